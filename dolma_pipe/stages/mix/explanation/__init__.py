"""Why a document is, or is not, in a mix, and where it went."""
