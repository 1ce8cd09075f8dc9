"""Each stage says what is done to which files; none says where it runs."""
