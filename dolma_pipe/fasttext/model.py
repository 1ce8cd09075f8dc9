"""A model in memory, and what it says of texts."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from dolma_pipe.batch import Batch, Bytes, Int32s
from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.fasttext.file import Stored, read
from dolma_pipe.kernels.fasttext_hidden import hidden_vectors
from dolma_pipe.kernels.fasttext_labels import label_scores

Float32s = npt.NDArray[np.float32]
Unit = Literal["document", "line"]

_UNITS_AT_ONCE = 1 << 16


class Predictions(NamedTuple):
    """One row per document or line.

    `labels` are indexes of `FastText.labels`, int32[n, k], best first, with their `scores` float32[n, k]; -1 and 0.0
    where the library gives fewer than k. `selected`: float32[n, len(selected)], scores of the labels asked for by name,
    best or not.
    """

    labels: Int32s
    scores: Float32s
    selected: Float32s


class FastText:
    """A supervised model. Its vectors lie in memory as float32: rows x dimension x 4 bytes, quantised or not."""

    def __init__(self, stored: Stored) -> None:
        self.labels, self._vocabulary, self._vectors, self._output = stored

    @staticmethod
    @functools.lru_cache(maxsize=4)
    def open(path: str) -> FastText:
        """The model at `path`, read once per process. A file that is none is a `DataError`, one without labels
        (word vectors only) a `ConfigError`."""
        return FastText(read(path))

    def predict(self, batch: Batch, k: int = 1, selected: Sequence[str] = (), unit: Unit = "document") -> Predictions:
        """The `k` best labels (-1: all) of every document or line, and the scores of the `selected` labels.

        A document is one line to fastText: its newlines are white space. Labels are named without `__label__`. The word
        `</s>` in a text ends what is read of it; what is empty is measured by the model's end-of-line vector alone.
        """
        if unit == "line":
            starts, ends = batch.lines.starts.astype(np.int64), batch.lines.ends.astype(np.int64)
        else:
            starts, ends = batch.offsets[:-1], batch.offsets[1:]
        return self.predict_ranges(batch.data, starts, ends, k, selected)

    def predict_ranges(
        self, data: Bytes, starts: Any, ends: Any, k: int = 1, selected: Sequence[str] = ()
    ) -> Predictions:
        """As `predict`, for the texts `data[starts[i]:ends[i]]` (int64 positions of whole characters)."""
        if k == 0 or k < -1:
            raise ConfigError(f"fastText: k must be 1 or more, or -1 for all labels, not {k}")
        most = len(self.labels) if k == -1 else min(k, len(self.labels))
        chosen = np.array([self.index(label) for label in selected], np.int64)
        data = data.view()
        data.flags.writeable = False  # one type of argument, and the kernels are compiled once
        starts, ends = np.array(starts, np.int64), np.array(ends, np.int64)
        parts: list[tuple[Any, ...]] = []
        for first in range(0, max(len(starts), 1), _UNITS_AT_ONCE):
            some = slice(first, first + _UNITS_AT_ONCE)
            hidden, counts = hidden_vectors(self._vocabulary, self._vectors, data, starts[some], ends[some])
            parts.append(label_scores(self._output, hidden, counts, most, chosen))
        found = Predictions(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
        if np.isnan(found.scores).any():
            raise DataError("a fastText model holds vectors that are no numbers; train it again")
        return found

    def index(self, label: str) -> int:
        """The number of a label."""
        if label not in self.labels:
            names = ", ".join(sorted(self.labels)[:200])
            raise ConfigError(f"the model has no label {label!r} (it knows {names})")
        return self.labels.index(label)
