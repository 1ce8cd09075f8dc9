"""From raw text to what a language model trains on: tag, dedup, mix, tokenize, train."""

__version__ = "0.1.0"
