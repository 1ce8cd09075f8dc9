"""Sentences as the library ICU finds them (UAX #29), in any language: `pip install 'dolma_pipe[languages]'`.

Where a recipe counts sentences, `c4.sentence_count` and `lines.sentence_count` are rules of our own, at a kernel's
speed; this tagger asks a library. For C4's rule of pages tag with `{name: c4_sentences, use: sentences, view: c4}`, and
keep `c4_sentences.sentence_count >= 5`.

A sentence is a piece of text between two of ICU's boundaries, white space at its ends apart, that holds a letter or a
digit. A newline ends one, unless texts are `wrapped`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from dolma_pipe.batch import Batch, Bytes
from dolma_pipe.errors import ConfigError
from dolma_pipe.kernels.punctuation import TERMINAL_RANGES, code_points
from dolma_pipe.kernels.ratios import ratio
from dolma_pipe.languages.icu import load_icu
from dolma_pipe.places import running
from dolma_pipe.tagger import Tagger, count, real, span_array
from dolma_pipe.tagger import spans as span_field

ABBREVIATIONS = ("de", "en", "es", "fr", "it", "pt", "ru")
"""Languages whose abbreviations ICU knows."""

MARKS = frozenset(map(chr, code_points(TERMINAL_RANGES)))
CLOSING = "\"'”’»)]』」》〉）"
WRAPPED = re.compile(r"(?<=\S)([^\S\n]*)\n(?=[^\S\n]*\S)")
"""A newline between two lines that both hold something."""

WINDOW = 1 << 20
"""Bytes of a long text that ICU is given at once, or more where a sentence is longer."""
FEWEST_UNSURE, UNSURE_CHARACTERS = 3, 256


class Sentences(Tagger):
    """abbreviations: a language (de, en, es, fr, it, pt, ru) whose abbreviations end no sentence (`Mrs. Smith`), as
    ICU's data has them. wrapped: lines are cut at some width (mail, plain-text books), so only a blank line ends a
    sentence. spans: list the sentences too.
    """

    version = 1
    fields = {
        "sentence_count": count("sentences that hold a letter or a digit; 0 for an empty document"),
        "punctuated_sentence_count": count(
            "of which end with a mark that ends sentences in any script (kernels/punctuation.py), closing quotes and "
            "brackets apart"
        ),
        "mean_sentence_length": real("code points in sentences / sentences; 0.0 without any"),
    }

    def __init__(self, *, abbreviations: str | None = None, wrapped: bool = False, spans: bool = False) -> None:
        if abbreviations is not None and abbreviations not in ABBREVIATIONS:
            raise ConfigError(
                f"sentences: abbreviations is {abbreviations!r}; ICU knows those of {', '.join(ABBREVIATIONS)}"
            )
        self.locale = "root" if abbreviations is None else f"{abbreviations}@ss=standard"
        self.wrapped = wrapped
        if spans:
            self.fields = {**self.fields, "sentences": span_field("the sentences, white space at their ends apart")}

    @functools.cached_property
    def model_hash(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return f"icu-{load_icu('the tagger sentences').icu_version}"

    def tag(self, batch: Batch) -> dict[str, Any]:
        total, lengths, marks = np.zeros((3, len(batch)), np.int64)
        edges = [np.empty((2, 0), np.int32)]
        for row in range(len(batch)):
            for starts, ends, marked in self.sentences(batch.data[batch.offsets[row] : batch.offsets[row + 1]]):
                total[row] += len(starts)
                lengths[row] += sum(ends) - sum(starts)
                marks[row] += marked
                if "sentences" in self.fields:
                    edges.append(np.array((starts, ends), np.int32))
        values: dict[str, Any] = {
            "sentence_count": total,
            "punctuated_sentence_count": marks,
            "mean_sentence_length": ratio(lengths, total),
        }
        if "sentences" in self.fields:
            starts, ends = np.concatenate(edges, axis=1)
            values["sentences"] = span_array(self.fields["sentences"], running(total), starts, ends)
        return values

    def sentences(self, data: Bytes) -> Iterator[tuple[list[int], list[int], int]]:
        """Of one window of the text after the other: starts, ends, and how many a mark ends."""
        at, shift, size = 0, 0, WINDOW
        while at < len(data):
            text, stop = _window(data, at, size, self.wrapped)
            pieces = self.pieces(text)
            if stop is None:
                del pieces[_unsure(pieces) :]
                stop = at + len("".join(pieces).encode())
            if pieces:
                yield _places(pieces, shift)
                shift += sum(map(len, pieces))
            size = WINDOW if pieces else 2 * size
            at = stop

    def pieces(self, text: str) -> list[str]:
        """What lies between ICU's boundaries."""
        seen = WRAPPED.sub(r"\1 ", text) if self.wrapped else text
        return list(load_icu("the tagger sentences").breakers.SentenceBreaker(seen, self.locale))


def _window(data: Bytes, start: int, size: int, wrapped: bool) -> tuple[str, int | None]:
    """About `size` bytes of text from a boundary on, and where they end; None if that is no boundary: then the last
    character is no white space, so that all newlines but those of blank lines can be told from others.

    A newline is a boundary, whatever stands around it; of wrapped lines, the second of two."""
    end = start + size
    if end >= len(data):
        return str(data[start:].data, "utf-8"), len(data)
    part = data[start:end].tobytes()
    boundary = part.rfind(b"\n\n" if wrapped else b"\n")
    if boundary >= 0:
        stop = boundary + (2 if wrapped else 1)
        return part[:stop].decode(), start + stop
    return part.decode("utf-8", "ignore").rstrip(), None


def _unsure(pieces: list[str]) -> int:
    """The first of the last pieces of a text that goes on, which might end elsewhere if more of it were seen.

    A boundary depends on what comes up to the next letter or mark, so on no more than the next piece; a few words more
    for abbreviations of several words.
    """
    count, size = 0, 0
    while count < len(pieces) and (count < FEWEST_UNSURE or size < UNSURE_CHARACTERS):
        count += 1
        size += len(pieces[-count])
    return len(pieces) - count


def _places(pieces: list[str], at: int) -> tuple[list[int], list[int], int]:
    """Where the sentences among pieces lie, the first of which begins at code point `at`, and how many a mark ends."""
    starts: list[int] = []
    ends: list[int] = []
    marked = 0
    for piece in pieces:
        sentence = piece.strip()
        if any(map(str.isalnum, sentence)):
            start = at + len(piece) - len(piece.lstrip())
            starts.append(start)
            ends.append(start + len(sentence))
            marked += sentence.rstrip(CLOSING)[-1:] in MARKS
        at += len(piece)
    return starts, ends, marked
