"""MassiveText's repetition signals (Rae et al. 2021, arXiv 2112.11446, appendix A1.1, table A1).

Where the paper leaves room we read it so. A duplicate is every occurrence but the first. Lines hold a word, and
paragraphs are runs of them; equal means equal bytes; their characters are divided by all code points of the text.
n-grams are of `str.split()` words, their characters those of the words (no white space on either side of the
division), each counted once however many occurrences overlap on it: so every fraction lies between 0 and 1. The top
n-gram is the most frequent one, of equals the first, even when it occurs once.

The Dolma toolkit counts all copies, and overlapping n-grams each in full: `dolma_...` are the values of its `gopher_v2`
(and of `gopher_v1`, whose fraction of duplicate lines is `dolma_v1_...`). datatrove's Gopher repetition filter divides
by all code points of the text and parts paragraphs otherwise: `datatrove_...`, with words split at white space; its
repeated n-grams are the tagger `datatrove_ngrams`. docs/why/peers.md says what the differences do.

`words` is one of the models of languages/word_models.py, for scripts that are written without spaces; lines and
paragraphs stay what they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dolma_pipe.batch import Batch
from dolma_pipe.kernels import duplicates, ngrams
from dolma_pipe.kernels.ratios import ratio
from dolma_pipe.languages import word_models
from dolma_pipe.tagger import Field, Tagger, count, real

Counts = npt.NDArray[np.int64]

_LINE_FIELDS = {
    "duplicate_line_fraction": real("lines that occurred before / lines"),
    "duplicate_line_character_fraction": real("code points of lines that occurred before / of the text"),
    "duplicate_paragraph_fraction": real("paragraphs that occurred before / paragraphs"),
    "duplicate_paragraph_character_fraction": real("code points of paragraphs that occurred before / of the text"),
}
_DOLMA_LINE_FIELDS = {
    "dolma_duplicate_line_fraction": real(
        'pieces of `re.split(r"\\n+", text)` that occur twice or more, all copies / pieces'
    ),
    "dolma_v1_duplicate_line_fraction": real(
        'the same for pieces of `text.split("\\n")`: blank lines repeat each other'
    ),
    "dolma_duplicate_line_character_fraction": real("code points of those / code points in words; can exceed 1"),
}
_DATATROVE_LINE_FIELDS = {
    "character_count": count("code points of the text: what datatrove divides characters by"),
    "datatrove_duplicate_line_fraction": real(
        'pieces of `re.split(r"\\n+", text)` that occurred before / pieces, of which an empty document has one'
    ),
    "datatrove_duplicate_line_character_fraction": real("code points of those / of the text"),
    "datatrove_duplicate_paragraph_fraction": real(
        'pieces of `re.split(r"\\n{2,}", text.strip())` that occurred before / pieces; a line of spaces parts nothing'
    ),
    "datatrove_duplicate_paragraph_character_fraction": real("code points of those / of the text"),
}


def _top_fields(n: int) -> dict[str, Field]:
    return {
        f"top_{n}gram_character_fraction": real(f"characters in the most frequent {n}-gram's occurrences / in words"),
        f"top_{n}gram_occurrences": count(f"occurrences of the most frequent {n}-gram; 0 with fewer words"),
        f"top_{n}gram_characters": count(f"characters of the most frequent {n}-gram's words"),
        f"dolma_top_{n}gram_character_fraction": real(
            f"occurrences * characters / in words, as Dolma's `fraction_of_characters_in_most_common_{n}grams`"
        ),
        f"datatrove_top_{n}gram_character_fraction": real(
            f"occurrences * (characters + {n - 1} spaces) / code points of the text; can exceed 1"
        ),
    }


def _repeated_fields(n: int) -> dict[str, Field]:
    return {
        f"duplicate_{n}gram_character_fraction": real(f"characters in {n}-grams that occurred before / in words"),
        f"dolma_duplicate_{n}gram_character_fraction": real(
            f"characters of {n}-grams that occur twice or more / of all {n}-grams, overlapping ones each in full, "
            f"as Dolma's `fraction_of_characters_in_duplicate_{n}grams`"
        ),
    }


class GopherRepetition(Tagger):
    """Repetition signals; 0 for a document without lines, words, or enough words for an n-gram."""

    version = 2
    fields = {
        **_LINE_FIELDS,
        **{name: field for n in ngrams.TOP for name, field in _top_fields(n).items()},
        **{name: field for n in ngrams.REPEATED for name, field in _repeated_fields(n).items()},
        **_DOLMA_LINE_FIELDS,
        **_DATATROVE_LINE_FIELDS,
    }

    def __init__(self, *, words: str = "whitespace") -> None:
        self.words: word_models.WordModel = word_models.checked(words, "gopher_repetition")
        self.model_hash = word_models.identity(self.words)

    def tag(self, batch: Batch) -> dict[str, Any]:
        marks, size = word_models.marks(batch, self.words), batch.char_counts
        top, repeated, letters = ngrams.ngram_signals(batch.data, batch.offsets, marks, ngrams.MOST_SLOTS)
        values = _line_values(batch, letters)
        for position, n in enumerate(ngrams.TOP):
            values.update(_top_values(n, top[:, position], letters, size))
        for position, n in enumerate(ngrams.REPEATED):
            values.update(_repeated_values(n, repeated[:, position], letters))
        return values


def _line_values(batch: Batch, letters: Counts) -> dict[str, Any]:
    found = duplicates.duplicate_signals(batch.data, batch.offsets, batch.marks, ngrams.MOST_SLOTS)
    lines, paragraphs, dolma = (
        found[duplicates.LINES :],
        found[duplicates.PARAGRAPHS :],
        found[duplicates.DOLMA_LINES :],
    )
    return {
        "duplicate_line_fraction": ratio(lines[1], lines[0]),
        "duplicate_line_character_fraction": ratio(lines[2], batch.char_counts),
        "duplicate_paragraph_fraction": ratio(paragraphs[1], paragraphs[0]),
        "duplicate_paragraph_character_fraction": ratio(paragraphs[2], batch.char_counts),
        "dolma_duplicate_line_fraction": ratio(dolma[1], dolma[0]),
        "dolma_v1_duplicate_line_fraction": ratio(dolma[3], batch.line_counts),
        "dolma_duplicate_line_character_fraction": ratio(dolma[2], letters),
        **_datatrove_line_values(found, batch.char_counts),
    }


def _datatrove_line_values(found: Counts, size: Counts) -> dict[str, Any]:
    blocks = found[duplicates.BLOCKS :]
    return {
        "character_count": size,
        "datatrove_duplicate_line_fraction": ratio(found[duplicates.REPEATED_PIECES], found[duplicates.DOLMA_LINES]),
        "datatrove_duplicate_line_character_fraction": ratio(found[duplicates.REPEATED_PIECE_CHARACTERS], size),
        "datatrove_duplicate_paragraph_fraction": ratio(blocks[1], blocks[0]),
        "datatrove_duplicate_paragraph_character_fraction": ratio(blocks[2], size),
    }


def _top_values(n: int, top: Counts, letters: Counts, size: Counts) -> dict[str, Any]:
    occurrences, characters = top[:, ngrams.OCCURRENCES], top[:, ngrams.GRAM_CHARACTERS]
    return {
        f"top_{n}gram_character_fraction": ratio(top[:, ngrams.COVERED], letters),
        f"top_{n}gram_occurrences": occurrences,
        f"top_{n}gram_characters": characters,
        f"dolma_top_{n}gram_character_fraction": ratio(occurrences * characters, letters),
        f"datatrove_top_{n}gram_character_fraction": ratio(occurrences * (characters + n - 1), size),
    }


def _repeated_values(n: int, repeated: Counts, letters: Counts) -> dict[str, Any]:
    copies, grams = repeated[:, ngrams.ALL_COPIES], repeated[:, ngrams.ALL_GRAMS]
    return {
        f"duplicate_{n}gram_character_fraction": ratio(repeated[:, ngrams.REPEATS], letters),
        f"dolma_duplicate_{n}gram_character_fraction": ratio(copies, grams),
    }
