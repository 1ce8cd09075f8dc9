"""Any fastText classifier: its label for each document, scores of the labels that matter, and of each line.

Topic, format, genre: a model is a file. `{name: topic, use: fasttext, model: topic.bin, k: 3}` writes `topic.label`,
`topic.score` and `topic.top`; `dolma-pipe classifier train` makes models from labelled text.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from dolma_pipe import models, storage
from dolma_pipe.batch import Batch
from dolma_pipe.errors import ConfigError
from dolma_pipe.fasttext import FastText
from dolma_pipe.kernels.ratios import ratio
from dolma_pipe.kernels.segment import matching_lines
from dolma_pipe.labels import check_labels, label_fields, label_values
from dolma_pipe.places import Places, summed
from dolma_pipe.tagger import Field, Tagger, real, spans

pc: Any = pyarrow.compute
END_OF_LINE = "</s>"
"""A word that fastText takes for the end of its input, wherever it stands."""

DIGITS = 6
SCALE = 10**DIGITS
"""Decimals that are kept: what is stored must not depend on a CPU's last bit."""

RESERVED = ("label", "score", "top", "lines", "max_line_score", "mean_line_score")


class Fasttext(Tagger):
    """Scores are the model's, clipped to 0..1 and rounded to 6 decimals.

    model: a bundled or cached model's name, or the path of a classifier (.bin, .ftz); it must be named. labels: those
    that get a field of their own, without `__label__`. k: how many of the best go into `top` (0: no such field).
    line_label: measure each line too, by its score for this label, and list those with at least min_line_score.
    lowercase: measure the lower-cased text, as the model was trained.

    A document is one line to fastText; what is blank has no label and score 0.0.
    """

    version = 2

    def __init__(
        self,
        *,
        model: str | None = None,
        labels: Sequence[str] = (),
        k: int = 0,
        line_label: str | None = None,
        min_line_score: float = 0.5,
        lowercase: bool = False,
    ) -> None:
        check_labels(labels, k, RESERVED, "fasttext")
        if line_label is None and min_line_score != 0.5:
            raise ConfigError("fasttext: min_line_score without line_label has no effect; name the label of the lines")
        if not 0 < min_line_score <= 1:
            raise ConfigError(f"fasttext: min_line_score is {min_line_score}; it must be above 0 and at most 1")
        self.path = None if model is None else models.find(model)
        self.labels, self.k, self.lowercase = tuple(labels), k, lowercase
        self.line_label, self.min_line_score = line_label, min_line_score
        self.fields = fields(self.labels, k, line_label, min_line_score)

    @functools.cached_property
    def model_hash(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return storage.content_hash(self.named_path)

    @property
    def named_path(self) -> str:
        if self.path is None:
            use = type(self).__name__.lower()
            raise ConfigError(f"{use}: which model? Write {{name: SET, use: {use}, model: FILE}}")
        return self.path

    def tag(self, batch: Batch) -> dict[str, Any]:
        model = FastText.open(self.named_path)
        seen = as_trained(batch, self.lowercase)
        found = model.predict(seen, max(self.k, 1), self.labels)
        filled = batch.word_counts > 0
        values: dict[str, Any] = {
            **label_values(model.labels, np.where(filled[:, None], found.labels, -1), rounded(found.scores), self.k),
            **{label: rounded(found.selected[:, i]) * filled for i, label in enumerate(self.labels)},
        }
        return {**values, **self.line_fields(model, batch, seen)} if self.line_label is not None else values

    def line_fields(self, model: FastText, batch: Batch, seen: Batch) -> dict[str, Any]:
        """Fields of the lines of `batch`, which the model sees as those of `seen`."""
        index, places = batch.filled_lines, Places(batch)
        starts, ends = index.starts, index.ends
        if seen is not batch:
            starts, ends = matching_lines(
                batch.data, batch.offsets, batch.marks, seen.data, seen.offsets, len(index.starts)
            )
        found = model.predict_ranges(seen.data, starts, ends, 1, [str(self.line_label)])
        scores = rounded(found.selected[:, 0])
        chosen = scores >= self.min_line_score
        some, firsts = np.diff(index.offsets) > 0, index.offsets[:-1]
        highest: Any = np.zeros(len(batch))
        if some.any():
            highest[some] = np.maximum.reduceat(scores, firsts[some])
        # whole millionths: a sum that no order of adding can change
        sums = summed(np.rint(scores * SCALE).astype(np.int64) * index.chars, index.offsets) / SCALE
        return {
            "lines": places.lines(self.fields["lines"], chosen, scores[chosen]),
            "max_line_score": highest,
            "mean_line_score": np.round(ratio(sums, batch.char_counts - batch.line_counts + 1), DIGITS),
        }


def fields(labels: Sequence[str], k: int, line_label: str | None, min_line_score: float) -> dict[str, Field]:
    found = label_fields(labels, k, "a document without a word")
    if line_label is not None:
        found["lines"] = spans(
            f"lines whose probability of {line_label!r} (the score) is at least {min_line_score}, newline included"
        )
        found["max_line_score"] = real(f"highest probability of {line_label!r} of a line; blank lines have 0.0")
        found["mean_line_score"] = real(f"mean of the lines' probabilities of {line_label!r}, weighted by code points")
    return found


def rounded(scores: Any) -> Any:
    return np.round(np.clip(scores.astype(np.float64), 0.0, 1.0), DIGITS)


def as_trained(batch: Batch, lowercase: bool) -> Batch:
    """The batch as a model is to see it: lower-cased if so trained, and with no word that would end it early.

    Code points may change their number, words and lines do not.
    """
    text = batch.columns.column("text")
    lowered = pc.utf8_lower(text) if lowercase else text
    if pc.any(pc.match_substring(lowered, END_OF_LINE)).as_py():
        lowered = pc.replace_substring(lowered, END_OF_LINE, " ")
    if lowered is text:
        return batch
    return Batch(batch.shard, batch.first_row, pa.RecordBatch.from_pydict({"id": batch.ids, "text": lowered}))
