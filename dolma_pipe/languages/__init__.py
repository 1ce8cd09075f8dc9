"""What is known of single languages, and their words."""
