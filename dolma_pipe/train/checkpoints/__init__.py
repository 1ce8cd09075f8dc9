"""What a run leaves behind and begins with: written, read, checked."""
