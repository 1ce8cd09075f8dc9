"""Repeated n-grams as datatrove's Gopher repetition filter counts them; `gopher_repetition` has the paper's count.

It joins the words of a gram without a space, so ("ab", "c") repeats ("a", "bc"); goes from left to right, steps over a
gram that was seen before and does not remember what begins inside it; and divides by all code points of the text,
white space included, which the joined words do not have. Words are pieces of `str.split()`, or those of another of the
models of dolma_pipe/languages/word_models.py (`words`).

Source: datatrove 0.10, `pipeline/filters/gopher_repetition_filter.py`, `find_all_duplicate`.
"""

from __future__ import annotations

from typing import Any

from dolma_pipe.batch import Batch
from dolma_pipe.kernels.joined import joined_repeats
from dolma_pipe.kernels.ngrams import MOST_SLOTS, REPEATED
from dolma_pipe.kernels.ratios import ratio
from dolma_pipe.languages import word_models
from dolma_pipe.tagger import Tagger, real


class DatatroveNgrams(Tagger):
    """Fractions of characters in repeated n-grams; 0 for a document with fewer than n + 1 words."""

    version = 1
    fields = {
        f"duplicate_{n}gram_character_fraction": real(
            f"code points of runs of {n} words that were seen before / of the text; see the module"
        )
        for n in REPEATED
    }

    def __init__(self, *, words: str = "whitespace") -> None:
        self.words: word_models.WordModel = word_models.checked(words, "datatrove_ngrams")
        self.model_hash = word_models.identity(self.words)

    def tag(self, batch: Batch) -> dict[str, Any]:
        repeats = joined_repeats(batch.data, batch.offsets, word_models.marks(batch, self.words), MOST_SLOTS)
        return {name: ratio(repeats[:, place], batch.char_counts) for place, name in enumerate(self.fields)}
