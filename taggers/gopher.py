"""Gopher's quality signals (Rae et al. 2021, arXiv 2112.11446, appendix A1.1, "Quality Filtering").

Where the paper leaves room we read it so: a word is a piece of `str.split()`, punctuation included; a line is a piece
of `text.split("\\n")` that holds a word, so blank lines dilute nothing; bullets are `-`, `*` and `•`, after
indentation; an ellipsis is `...` or `…`; a stop word counts once however often it occurs, in any case ("The" is "the").
The fields after these are what the Dolma toolkit (`gopher_v1`, `gopher_v2`), DCLM and datatrove (its Gopher quality
filter, with words split at white space) compute instead; docs/why/peers.md says what the difference does.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dolma_pipe.batch import Batch
from dolma_pipe.kernels import alphabetic, linebreaks, lines, punctuation, words
from dolma_pipe.kernels.ratios import ratio
from dolma_pipe.tagger import Tagger, count, real


class Gopher(Tagger):
    """Quality signals; every ratio and fraction of a document without words or lines is 0."""

    version = 2
    model_hash = f"unicode-{alphabetic.UNICODE_VERSION}"
    fields = {
        "word_count": count("words"),
        "mean_word_length": real("code points in words / words"),
        "hash_to_word_ratio": real("`#` characters / words"),
        "ellipsis_to_word_ratio": real("`...` (not overlapping) and `…` / words"),
        "line_count": count('pieces of `text.split("\\n")`, blank ones too; 1 for an empty document'),
        "filled_line_count": count("lines that hold a word"),
        "bullet_line_fraction": real("lines whose first word begins with `-`, `*` or `•` / lines that hold a word"),
        "ellipsis_line_fraction": real("lines whose last word ends with `...` or `…` / lines that hold a word"),
        "alphabetic_word_fraction": real("words with a letter (`str.isalpha`, any script) / words"),
        "stop_word_count": count(
            "how many of the, be, to, of, and, that, have, with occur as a word, in any case (0-8)"
        ),
        "median_word_length": real("median of code points per word, as Dolma's `median_word_length`"),
        "symbol_to_word_ratio": real("words that hold `#` or `…` / words, as Dolma's `symbol_to_word_ratio`"),
        "stop_word_occurrences": count("words that are a stop word in lower case, as Dolma's `required_word_count`"),
        "stop_word_folded_occurrences": count("words that are a stop word in any case, as DCLM and datamap-rs count"),
        "stop_word_exact_count": count("how many stop words occur in lower case (0-8), as datatrove counts"),
        "dolma_bullet_line_count": count(
            "lines that begin with `*` or `-`, indented ones not; / line_count is gopher_v1"
        ),
        "dolma_ellipsis_line_count": count(
            "lines that end with `…`, not followed by white space; / line_count is gopher_v1"
        ),
        "dolma_line_count": count(
            'pieces of `re.split(r"\\n+", text)`: what gopher_v2 divides by; 1 for an empty document'
        ),
        "datatrove_word_count": count("words with a code point that is no punctuation (kernels/punctuation.py)"),
        "datatrove_mean_word_length": real("code points in those / those"),
        "datatrove_line_count": count("pieces of `str.splitlines()`, blank ones too; 0 for an empty document"),
        "datatrove_bullet_line_fraction": real("lines whose first word begins with `-` or `•` / datatrove_line_count"),
        "datatrove_ellipsis_line_fraction": real("lines whose last word ends with `...` or `…` / datatrove_line_count"),
    }

    def tag(self, batch: Batch) -> dict[str, Any]:
        return {**_word_fields(batch), **_line_fields(batch), **_datatrove_line_fields(batch)}


def _word_fields(batch: Batch) -> dict[str, Any]:
    index = batch.words
    letters, wordlike = alphabetic.alphabetic_bitmap(), punctuation.wordlike_bitmap()
    found = words.word_signals(batch.data, index.starts, index.ends, index.chars, index.offsets, letters, wordlike)
    total = np.diff(index.offsets)
    return {
        "word_count": total,
        "mean_word_length": ratio(found[words.CHARACTERS], total),
        "hash_to_word_ratio": ratio(found[words.HASHES], total),
        "ellipsis_to_word_ratio": ratio(found[words.ELLIPSES], total),
        "alphabetic_word_fraction": ratio(found[words.LETTERED], total),
        "stop_word_count": found[words.STOPS],
        "median_word_length": words.median_lengths(index.chars, index.offsets),
        "symbol_to_word_ratio": ratio(found[words.SYMBOLS], total),
        "stop_word_occurrences": found[words.STOP_OCCURRENCES],
        "stop_word_folded_occurrences": found[words.FOLDED_STOP_OCCURRENCES],
        "stop_word_exact_count": found[words.EXACT_STOPS],
        "datatrove_word_count": found[words.WORDLIKE],
        "datatrove_mean_word_length": ratio(found[words.WORDLIKE_CHARACTERS], found[words.WORDLIKE]),
    }


def _line_fields(batch: Batch) -> dict[str, Any]:
    index, word = batch.lines, batch.words
    found = lines.line_signals(
        batch.data, index.starts, index.ends, index.offsets, word.starts, word.ends, word.offsets
    )
    filled = found[lines.FILLED]
    return {
        "line_count": np.diff(index.offsets),
        "filled_line_count": filled,
        "bullet_line_fraction": ratio(found[lines.BULLETS], filled),
        "ellipsis_line_fraction": ratio(found[lines.ELLIPSES], filled),
        "dolma_bullet_line_count": found[lines.DOLMA_BULLETS],
        "dolma_ellipsis_line_count": found[lines.DOLMA_ELLIPSES],
        "dolma_line_count": found[lines.DOLMA_LINES],
    }


def _datatrove_line_fields(batch: Batch) -> dict[str, Any]:
    word = batch.words
    found = linebreaks.splitlines_signals(batch.data, batch.offsets, word.starts, word.ends, word.offsets)
    total = found[linebreaks.LINES]
    return {
        "datatrove_line_count": total,
        "datatrove_bullet_line_fraction": ratio(found[linebreaks.BULLETS], total),
        "datatrove_ellipsis_line_fraction": ratio(found[linebreaks.ELLIPSES], total),
    }
