"""Any fastText classifier: its label for each document, scores of the labels that matter, and of each line.

Topic, format, quality, toxicity: a model is a file. `{name: quality, use: fasttext, model: quality.bin, labels:
[good]}` writes `quality.good`; `dolma-pipe classifier train` makes models from labelled text, or from good against
random text.
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
from dolma_pipe.places import Places
from dolma_pipe.tagger import Field, Tagger, real, spans, string

pc: Any = pyarrow.compute
END_OF_LINE = "</s>"
"""A word that fastText takes for the end of its input, wherever it stands."""

DIGITS = 6
"""Decimals that are kept: what is stored must not depend on a CPU's last bit."""

RESERVED = ("label", "score", "lines", "max_line_score", "mean_line_score")


class Fasttext(Tagger):
    """Scores are the model's, clipped to 0..1 and rounded to 6 decimals.

    model: a bundled or cached model's name, or the path of a classifier (.bin, .ftz); it must be named. labels: those
    that get a field of their own, without `__label__`. line_label: measure each line too, by its score for this label,
    and list those with at least min_line_score. lowercase: measure the lower-cased text, as the model was trained.

    A document is one line to fastText; what is blank has no label and score 0.0.
    """

    version = 1

    def __init__(
        self,
        *,
        model: str | None = None,
        labels: Sequence[str] = (),
        line_label: str | None = None,
        min_line_score: float = 0.5,
        lowercase: bool = False,
    ) -> None:
        if isinstance(labels, str) or len(set(labels)) < len(labels) or not {*labels, ""}.isdisjoint({*RESERVED}):
            raise ConfigError(f"fasttext: labels {labels!r} must be a list of different labels, none of {RESERVED}")
        if line_label is None and min_line_score != 0.5:
            raise ConfigError("fasttext: min_line_score without line_label has no effect; name the label of the lines")
        if not 0 < min_line_score <= 1:
            raise ConfigError(f"fasttext: min_line_score is {min_line_score}; it must be above 0 and at most 1")
        self.path = None if model is None else models.find(model)
        self.labels, self.lowercase = tuple(labels), lowercase
        self.line_label, self.min_line_score = line_label, min_line_score
        self.fields = fields(self.labels, line_label, min_line_score)

    @functools.cached_property
    def model_hash(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return storage.content_hash(self.named_path)

    @property
    def named_path(self) -> str:
        if self.path is None:
            raise ConfigError("fasttext: which model? Write {name: SET, use: fasttext, model: FILE}")
        return self.path

    def tag(self, batch: Batch) -> dict[str, Any]:
        model = FastText.open(self.named_path)
        seen = as_trained(batch, self.lowercase)
        found = model.predict(seen, 1, self.labels)
        filled = np.diff(batch.words.offsets) > 0
        names = pa.array([*model.labels, ""], pa.string())
        best = np.where(filled, found.labels[:, 0], len(model.labels))
        values: dict[str, Any] = {
            "label": names.take(pa.array(best)),
            "score": rounded(found.scores[:, 0]) * filled,
            **{label: rounded(found.selected[:, i]) * filled for i, label in enumerate(self.labels)},
        }
        return {**values, **self.line_fields(model, batch, seen)} if self.line_label is not None else values

    def line_fields(self, model: FastText, batch: Batch, seen: Batch) -> dict[str, Any]:
        """Fields of the lines of `batch`, which the model sees as those of `seen`."""
        index, places = batch.lines, Places(batch)
        found = model.predict(seen, 1, [str(self.line_label)], unit="line").selected[:, 0]
        scores = rounded(found) * holds_word(batch)
        chosen = scores >= self.min_line_score
        sums = np.add.reduceat(np.stack((scores * index.chars, index.chars)), index.offsets[:-1], axis=1)
        return {
            "lines": places.lines(self.fields["lines"], chosen, scores[chosen]),
            "max_line_score": np.maximum.reduceat(scores, index.offsets[:-1]),
            "mean_line_score": np.round(ratio(*sums), DIGITS),
        }


def holds_word(batch: Batch) -> Any:
    """Which lines are not blank."""
    words, lines = batch.words.starts, batch.lines
    return np.searchsorted(words, lines.starts) < np.searchsorted(words, lines.ends)


def fields(labels: Sequence[str], line_label: str | None, min_line_score: float) -> dict[str, Field]:
    found = {
        "label": string('label with the highest score; "" for a document without a word'),
        "score": real("probability of that label, 0 to 1; 0.0 for a document without a word"),
        **{label: real(f"probability of the label {label!r}, best or not; 0.0 without a word") for label in labels},
    }
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
