"""What a model sees, and in which order: from token folders, or straight from documents."""
