"""Which copy of a duplicate stays: of documents, of near ones, of paragraphs."""
