"""Lines, paragraphs and sentences of a batch: where their bytes lie, and their spans in code points of the documents.

A line is a piece of `text.split("\\n")` that holds a word; a paragraph is a run of such lines, which blank ones end; a
sentence is a run of words of `str.split()` that ends with one that ends in `.`, `!` or `?`, or with the document. Spans
of lines and paragraphs take the newline behind them along.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from dolma_pipe.batch import Batch, Int64s
from dolma_pipe.kernels import line_kinds, sentences
from dolma_pipe.kernels.utf8 import bytes_to_chars

Unit = Literal["line", "paragraph", "sentence"]


class Passages(NamedTuple):
    """Passage i has the bytes `data[starts[i]:ends[i]]`; document d has those of `offsets[d]:offsets[d + 1]`."""

    starts: Int64s
    ends: Int64s
    offsets: Int64s


class Places(NamedTuple):
    """Spans in code points, and how many of them the passages have without the newline behind."""

    starts: Int64s
    ends: Int64s
    chars: Int64s


def passages(batch: Batch, unit: Unit) -> Passages:
    """All passages of that kind, in order."""
    if unit == "sentence":
        return _sentences(batch)
    lines = batch.filled_lines
    first, last = np.ones(len(lines.starts), np.bool_), np.ones(len(lines.starts), np.bool_)
    if unit == "paragraph":
        first[1:] = lines.places[1:] != lines.places[:-1] + lines.chars[:-1] + 1
        first[lines.offsets[:-1][np.diff(lines.offsets) > 0]] = True
        last[:-1] = first[1:]
    starts, ends = lines.starts[first].astype(np.int64), lines.ends[last].astype(np.int64)
    return Passages(starts, ends, _running(first)[lines.offsets])


def _sentences(batch: Batch) -> Passages:
    _, starts, ends, offsets = sentences.sentence_signals(
        batch.data, batch.offsets, batch.marks, line_kinds.bitmap_of(str.isupper), line_kinds.bitmap_of(str.isalnum)
    )
    return Passages(starts.astype(np.int64), ends.astype(np.int64), offsets)


def places(batch: Batch, found: Passages, unit: Unit) -> Places:
    documents = np.repeat(np.arange(len(batch)), np.diff(found.offsets))
    starts = bytes_to_chars(batch.data, batch.offsets, documents, found.starts)
    ends = bytes_to_chars(batch.data, batch.offsets, documents, found.ends)
    # A passage that does not end its document ends before a newline, or (a sentence) before white space.
    newline = (found.ends < batch.offsets[documents + 1]) & (unit != "sentence")
    return Places(starts, ends + newline, ends - starts)


def summed(values: npt.NDArray[np.float64] | Int64s, offsets: Int64s) -> npt.NDArray[np.float64]:
    """Sum of each document's values, added up in order and for each document apart."""
    found = np.zeros(len(offsets) - 1)
    some = np.diff(offsets) > 0
    if some.any():
        found[some] = np.add.reduceat(values, offsets[:-1][some])
    return found


def _running(values: npt.NDArray[np.bool_]) -> Int64s:
    return np.concatenate(([0], np.cumsum(values, dtype=np.int64)))
