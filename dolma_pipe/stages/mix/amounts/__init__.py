"""How much of a source is taken: budgets, shares, epochs, limits, splits, upsampling."""
