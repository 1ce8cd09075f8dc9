"""FineWeb's own quality signals (Penedo et al. 2024, arXiv 2406.17557, section 3.6): for `keep: fineweb_0_01`.

FineWeb measures what is left of a page after its C4 step: tag with a view, `{name: fineweb, view: fineweb_c4}`, as
configs/rules/fineweb_0_01.yaml says. Lines are pieces of `text.split("\\n")` that hold a word, as they are, with white
space at their ends; words are pieces of `str.split()`, or those of another of the models of languages/word_models.py
(`words`).

A mark that ends a line is one of 159 code points of all scripts (kernels/punctuation.py), quotes and `…` not among
them; the paper does not list them, this is the released code's set.

Source: datatrove 0.10, `pipeline/filters/fineweb_quality_filter.py`. Its threshold for repeated characters is 0.01;
the paper and FineWeb-2 have 0.1: two recipes, fineweb_0_01 and fineweb_0_1.
"""

from __future__ import annotations

from typing import Any

from dolma_pipe.batch import Batch
from dolma_pipe.errors import ConfigError
from dolma_pipe.kernels import fineweb as kernels
from dolma_pipe.kernels.marks import count_words
from dolma_pipe.kernels.ngrams import MOST_SLOTS
from dolma_pipe.kernels.punctuation import terminal_bitmap
from dolma_pipe.kernels.ratios import ratio
from dolma_pipe.languages import word_models
from dolma_pipe.tagger import Tagger, count, real


class Fineweb(Tagger):
    """Fractions of lines and characters; all 0 for an empty document. `short_length` is in code points, inclusive."""

    version = 1
    fields = {
        "filled_line_count": count("lines that hold a word; 0 is datatrove's reason `empty`"),
        "punctuated_line_fraction": real("lines whose last code point is a mark that ends a sentence / lines"),
        "short_line_fraction": real("lines of at most `short_length` code points / lines"),
        "duplicate_line_character_fraction": real(
            "code points of lines that occurred before / code points of the text but newlines"
        ),
        "newline_to_word_ratio": real("newlines / words"),
    }

    def __init__(self, short_length: int = 30, words: str = "whitespace") -> None:
        if short_length < 0:
            raise ConfigError(f"fineweb: short_length is {short_length}; a length is 0 or more")
        self.short_length = short_length
        self.words: word_models.WordModel = word_models.checked(words, "fineweb")
        self.model_hash = word_models.identity(self.words)

    def tag(self, batch: Batch) -> dict[str, Any]:
        found = kernels.fineweb_signals(
            batch.data, batch.offsets, batch.marks, terminal_bitmap(), self.short_length, MOST_SLOTS
        )
        newlines = batch.line_counts - 1
        words = count_words(word_models.marks(batch, self.words), batch.offsets)
        filled = found[kernels.FILLED]
        return {
            "filled_line_count": filled,
            "punctuated_line_fraction": ratio(found[kernels.PUNCTUATED], filled),
            "short_line_fraction": ratio(found[kernels.SHORT], filled),
            "duplicate_line_character_fraction": ratio(
                found[kernels.REPEATED_CHARACTERS], batch.char_counts - newlines
            ),
            "newline_to_word_ratio": ratio(newlines, words),
        }
