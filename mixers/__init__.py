"""One file per step that a mix can take; a step's name is its file's name."""
