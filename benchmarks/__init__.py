"""Side-by-side runs: ratios measured in one run on one machine, against a peer or a limit."""
