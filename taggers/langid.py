"""Language of a document, by a fastText model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from dolma_pipe import models, storage
from dolma_pipe.batch import Batch
from dolma_pipe.errors import ConfigError
from dolma_pipe.tagger import Field, Tagger, real, string

BUNDLED = "langid"
UNDETERMINED = "und"
"""ISO 639-2 for a text whose language cannot be told."""

RANKED = pa.struct([("language", pa.string()), ("score", pa.float64())])
PREFIX = "__label__"
DIGITS = 6
"""Decimals that are kept: what is stored must not depend on a CPU's last bit."""

END_OF_LINE = "</s>"
"""A word that fastText takes for the end of its input, wherever it stands (HTML's strike-through, for one)."""


class Langid(Tagger):
    """Scores are those of the model, clipped to 0..1 (fastText's exceed 1 by up to 1e-5) and rounded to 6 decimals.

    model: a bundled or cached model's name, or the path of a fastText classifier (.bin or .ftz). languages: labels
    that get a field of their own. k: how many of the best go into `top`. max_characters: only so much of a document's
    beginning is looked at (default: all of it). lowercase: measure the lower-cased text, as the Dolma toolkit does with
    lid.176; the default leaves case alone, and the bundled model was trained on all of it.

    The text is one line to fastText: newlines become spaces. Labels lose their `__label__`.
    """

    version = 1

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
        scores = Scores(len(batch), self.languages, self.k)
        self.check_labels()
        predict = models.fasttext_model(self.path).predict
        for row, text in enumerate(batch.texts()):
            line = self.as_line(text)
            if line and not line.isspace():
                scores.put(row, *predict(line, k=-1))
        return scores.columns()

    def as_line(self, text: str) -> str:
        """What fastText is given for a text."""
        line = text[: self.max_characters].replace("\n", " ")
        if END_OF_LINE in line:
            line = line.replace(END_OF_LINE, " ")
        return line.lower() if self.lowercase else line

    def check_labels(self) -> None:
        """A language that the model does not know would be 0.0 everywhere, without a word."""
        known = models.fasttext_model(self.path).labels
        for language in self.languages:
            if PREFIX + language not in known:
                names = ", ".join(sorted(label.removeprefix(PREFIX) for label in known)[:200])
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


class Scores:
    """The columns while they are being filled; rows that are never put belong to empty documents."""

    def __init__(self, rows: int, languages: Sequence[str], k: int) -> None:
        self.best = [UNDETERMINED] * rows
        self.score = np.zeros(rows)
        self.wanted = {language: np.zeros(rows) for language in languages}
        self.counts = np.zeros(rows + 1, np.int32)
        self.names: list[str] = []
        self.values: list[float] = []
        self.k = k

    def put(self, row: int, labels: Sequence[str], probabilities: np.ndarray) -> None:
        """One document's labels and probabilities, best first, of all labels."""
        if not labels:
            return
        found = np.round(np.clip(probabilities.astype(np.float64), 0.0, 1.0), DIGITS)
        self.best[row] = labels[0].removeprefix(PREFIX)
        self.score[row] = found[0]
        for language, column in self.wanted.items():
            # A hierarchical soft-max (lid.176) leaves out labels below 1e-5.
            column[row] = found[labels.index(PREFIX + language)] if PREFIX + language in labels else 0.0
        self.counts[row + 1] = min(self.k, len(labels))
        self.names += [label.removeprefix(PREFIX) for label in labels[: self.k]]
        self.values += found[: self.k].tolist()

    def columns(self) -> dict[str, Any]:
        arrays = [pa.array(self.names, pa.string()), pa.array(self.values, pa.float64())]
        items = pa.StructArray.from_arrays(arrays, fields=list(RANKED))
        top = pa.ListArray.from_arrays(pa.array(np.cumsum(self.counts, dtype=np.int32)), items, type=pa.list_(RANKED))
        return {"language": pa.array(self.best, pa.string()), "score": self.score, "top": top, **self.wanted}
