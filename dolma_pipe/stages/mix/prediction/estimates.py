"""What edits will leave of texts, told from their spans and lengths alone.

Characters are exact, but for pseudonyms, which are taken to be as long as what they stand for. Bytes are estimated:
every character of a text is taken to be of its average width. Whether nothing but white space is left is told from how
little is left; where that is a guess, the document is in doubt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dolma_pipe.batch import Batch
from dolma_pipe.editing import Editor
from dolma_pipe.kernels.spans import merge_spans
from dolma_pipe.mixer import Edit
from dolma_pipe.stages.mix.verdicts import EMPTY, FINE, SHORT

Array = npt.NDArray[Any]

Structs = Mapping[str, pa.StructArray]
WIDEST_GAP = 2
"""Characters that may lie between two edits, as a blank line does, and be white space only."""


class Estimated(NamedTuple):
    """Per document: bytes as written, what is left (`FINE`, `EMPTY`, `SHORT`), and whether that is in doubt."""

    bytes: Array
    after: Array
    in_doubt: Array


def untouched(sizes: Array) -> Estimated:
    """Documents of so many bytes that nothing edits."""
    return Estimated(sizes, np.full(len(sizes), FINE, np.int8), np.zeros(len(sizes), np.bool_))


class Estimator:
    """A source's edits, ready to be estimated for rows of its shards."""

    def __init__(self, edits: Sequence[Edit], keep_after: int) -> None:
        self.edits, self.keep_after = list(edits), keep_after
        self._editor = Editor(self.edits)
        self._characters = np.array([len(edit.text) for edit in self.edits])
        self._bytes = np.array([len(edit.text.encode()) for edit in self.edits])
        self._is_pseudonym = np.array([edit.pseudonym is not None for edit in self.edits])
        self._is_blank = np.array([not edit.text.strip() and edit.pseudonym is None for edit in self.edits])

    def estimate(self, rows: Batch, attributes: Structs, wanted: Array, sizes: Array, characters: Array) -> Estimated:
        """The wanted rows after all edits; `rows` has ids only, `sizes` and `characters` are those of the texts."""
        spans = self._editor.gather(rows, attributes, wanted)
        owners, starts, ends, edits = merge_spans(spans.documents, spans.starts, spans.ends, spans.edits)
        lengths = ends - starts
        made = np.where(self._is_pseudonym[edits], lengths, self._characters[edits])
        made_bytes = np.where(self._is_pseudonym[edits], lengths, self._bytes[edits])
        removed, added, added_bytes, filled = (
            np.bincount(owners, weights=weights, minlength=len(sizes)).astype(np.int64)
            for weights in (lengths, made, made_bytes, ~self._is_blank[edits])
        )
        regions = np.bincount(owners, minlength=len(sizes))
        left = characters - removed
        width = sizes / np.maximum(characters, 1)
        written = np.where(regions > 0, np.rint(left * width).astype(np.int64) + added_bytes, sizes)
        return Estimated(written, *self._after(regions, left, left + added, filled > 0))

    def _after(self, regions: Array, left: Array, characters: Array, is_filled: Array) -> tuple[Array, Array]:
        """What is left of each text; one character between two edits is taken to be white space."""
        touched = regions > 0
        is_empty = touched & ~is_filled & (left < np.maximum(regions, 1))
        after = np.where(is_empty, EMPTY, np.where(touched & (characters < self.keep_after), SHORT, FINE))
        in_doubt = touched & ~is_filled & (left > 0) & (left <= WIDEST_GAP * (regions + 1))
        return after.astype(np.int8), in_doubt
