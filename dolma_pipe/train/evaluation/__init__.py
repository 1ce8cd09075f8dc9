"""A trained model measured: bits per byte, multiple-choice tasks, and by other people's harness."""
