"""Language of a document, by a fastText model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dolma_pipe import models, storage
from dolma_pipe.batch import Batch, Bytes, Int64s, make_batch
from dolma_pipe.errors import ConfigError
from dolma_pipe.fasttext import FastText, Predictions
from dolma_pipe.kernels.blanks import blank_ranges
from dolma_pipe.kernels.utf8 import chars_to_bytes
from dolma_pipe.tagger import Field, Tagger, real, string

BUNDLED = "langid"
UNDETERMINED = "und"
"""ISO 639-2 for a text whose language cannot be told."""

RANKED = pa.struct([("language", pa.string()), ("score", pa.float64())])
DIGITS = 6
"""Decimals that are kept: what is stored must not depend on a CPU's last bit."""

END_OF_LINE = re.compile(b"</s>")
"""A word that fastText takes for the end of its input, wherever it stands (HTML's strike-through, for one)."""


class Langid(Tagger):
    """Scores are those of the model, clipped to 0..1 (fastText's exceed 1 by up to 1e-5) and rounded to 6 decimals.

    model: a bundled or cached model's name, or the path of a fastText classifier (.bin or .ftz). languages: labels
    that get a field of their own. k: how many of the best go into `top`. max_characters: only so much of a document's
    beginning is looked at (default: all of it). lowercase: measure the lower-cased text, as the Dolma toolkit does with
    lid.176; the default leaves case alone, and the bundled model was trained on all of it.

    The text is one line to fastText: newlines become spaces. Labels lose their `__label__`.
    """

    version = 2

    def __init__(
        self,
        *,
        model: str = BUNDLED,
        languages: Sequence[str] = ("en",),
        k: int = 3,
        max_characters: int | None = None,
        lowercase: bool = False,
    ) -> None:
        if k < 1 or (max_characters is not None and max_characters < 1):
            raise ConfigError(f"langid: k ({k}) and max_characters ({max_characters}) must be 1 or more")
        self.languages = checked_languages(languages)
        self.path = models.find(model)
        self.model_hash = storage.content_hash(self.path)
        self.k, self.max_characters, self.lowercase = k, max_characters, lowercase
        self.fields = fields(self.languages, k)

    def tag(self, batch: Batch) -> dict[str, Any]:
        model = FastText.open(self.path)
        self.check_labels(model.labels)
        lines = self.as_lines(batch)
        found = model.predict_ranges(*lines, self.k, self.languages)
        return columns(found, blank_ranges(*lines), model.labels, self.languages)

    def as_lines(self, batch: Batch) -> Lines:
        """What fastText is given: each document as one line."""
        if self.lowercase:
            batch = make_batch([text[: self.max_characters].lower() for text in batch.texts()])
        data, starts, ends = batch.data, batch.offsets[:-1], batch.offsets[1:]
        if self.max_characters is not None and not self.lowercase:
            counts = np.minimum(batch.char_counts, self.max_characters)
            ends = chars_to_bytes(data, batch.offsets, np.arange(len(batch)), counts)
        return Lines(without_ends_of_line(data, starts, ends), starts, ends)

    def check_labels(self, known: Sequence[str]) -> None:
        """A language that the model does not know would be 0.0 everywhere, without a word."""
        for language in self.languages:
            if language not in known:
                names = ", ".join(sorted(known)[:200])
                raise ConfigError(f"langid: {self.path} has no label for {language!r} (it knows {names})")


def checked_languages(languages: Sequence[str]) -> tuple[str, ...]:
    reserved = ("language", "score", "top")
    for language in languages:
        if isinstance(languages, str) or not language or language in reserved or list(languages).count(language) > 1:
            raise ConfigError(f"langid: languages {languages!r} must be a list of different labels, none of {reserved}")
    return tuple(languages)


def fields(languages: Sequence[str], k: int) -> dict[str, Field]:
    return {
        "language": string(f"Label with the highest score; {UNDETERMINED!r} for an empty or white-space-only document"),
        "score": real("Probability of that label, 0 to 1; 0.0 for an empty document"),
        "top": Field(
            pa.list_(RANKED), f"The {k} best labels and their scores, best first; empty list for an empty text"
        ),
        **{
            language: real(f"Probability of the label {language!r}, 0 to 1, best or not; 0.0 for an empty document")
            for language in languages
        },
    }


class Lines(NamedTuple):
    """Text i is `data[starts[i]:ends[i]]`."""

    data: Bytes
    starts: Int64s
    ends: Int64s


def without_ends_of_line(data: Bytes, starts: Int64s, ends: Int64s) -> Bytes:
    """The same bytes with spaces for each `</s>` that lies within a range."""
    places = np.array([match.start() for match in END_OF_LINE.finditer(data.data)], np.int64)
    if len(places) == 0:
        return data
    documents = np.searchsorted(starts, places, side="right") - 1
    copy = data.copy()
    for place in places[places + 4 <= ends[documents]].tolist():
        copy[place : place + 4] = 0x20
    return copy


def columns(
    found: Predictions, blank: npt.NDArray[np.bool_], labels: Sequence[str], languages: Sequence[str]
) -> dict[str, Any]:
    """The fields; a blank document has no language, and neither has one that the model can say nothing about."""
    names = pa.array([*labels, UNDETERMINED], pa.string())
    is_ranked = (found.labels >= 0) & ~blank[:, None]
    scores = np.where(is_ranked, rounded(found.scores), 0.0)
    best = np.where(is_ranked[:, 0], found.labels[:, 0], len(labels))
    ranked = [names.take(pa.array(found.labels[is_ranked])), pa.array(scores[is_ranked], pa.float64())]
    items = pa.StructArray.from_arrays(ranked, fields=list(RANKED))
    offsets = np.concatenate([[0], np.cumsum(is_ranked.sum(axis=1))]).astype(np.int32)
    # A hierarchical soft-max (lid.176) leaves out labels below 1e-5: those are 0.0.
    wanted = np.where(is_ranked[:, :1], rounded(found.selected), 0.0)
    return {
        "language": names.take(pa.array(best)),
        "score": scores[:, 0],
        "top": pa.ListArray.from_arrays(pa.array(offsets), items, type=pa.list_(RANKED)),
        **{language: wanted[:, i] for i, language in enumerate(languages)},
    }


def rounded(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    return np.round(np.clip(scores.astype(np.float64), 0.0, 1.0), DIGITS)
