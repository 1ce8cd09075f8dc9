"""What a mix would do, told from attributes alone."""
