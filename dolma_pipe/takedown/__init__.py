"""Documents taken down: out of tokens, and of all that is made later."""
