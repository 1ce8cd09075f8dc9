"""Tokens that repeat over and over, as the Dolma toolkit finds them: `tokenizer_repetitions_v2r2`, of its 1.6 mix.

A run is a stretch in which every token equals the one a period before it, for periods of 1 to 13 tokens, three periods
long or longer. A text is taken in pieces of 100,000 code points, and no run reaches over their edges. A run that lies
inside the one before it (by its beginning, the longer first) does not count.

Dolma drops a document in which something repeats 100 times (`max_times`); OLMo 3 asks for 32 times. The tokenizer is
for the user to name: Dolma's is EleutherAI's GPT-NeoX-20B with tokens for PII. Spaces at the ends of a run are no part
of it. Where we differ: a special token that a document spells out is text.
"""

from __future__ import annotations

import functools
import os
from typing import Any, NamedTuple

import numpy as np

from dolma_pipe import storage
from dolma_pipe.batch import Batch, Int64s
from dolma_pipe.errors import ConfigError
from dolma_pipe.kernels.periods import periodic_runs, run_bytes
from dolma_pipe.kernels.ratios import ratio
from dolma_pipe.kernels.utf8 import bytes_to_chars, chars_to_bytes
from dolma_pipe.places import running
from dolma_pipe.tagger import Tagger, count, real, span_array, spans
from dolma_pipe.tokenizer import Engine, Identity, identify, open_tokenizer

PIECE = 100_000
AT_ONCE = 1 << 23
"""Bytes of pieces that are encoded together."""
MOST_PERIOD = 13


class Run(NamedTuple):
    """Code points of a document, and how often a period fits in."""

    start: int
    end: int
    times: int


class TokenRepetition(Tagger):
    """Spans and their extremes; 0 and none for an empty document.

    tokenizer: a tokenizer.json or a folder that has one; it must be named. eos: the token that ends a document, where
    no tokenizer_config.json beside it says so. engine: auto, gigatoken or tokenizers.
    """

    version = 2
    fields = {
        "repetition": spans("runs; score is how often the period fits in, whole"),
        "max_times": count("the largest of these scores, as Dolma's `doc_max_score_repetition`"),
        "max_characters": count("code points of the longest run, as `doc_max_length_repetition`"),
        "fraction": real("code points of all runs / of the text, as `doc_frac_repetition`; can exceed 1"),
    }

    def __init__(self, *, tokenizer: str | None = None, eos: str | None = None, engine: Engine = "auto") -> None:
        if engine not in ("auto", "gigatoken", "tokenizers"):
            raise ConfigError(f"token_repetition: engine is {engine!r}; it must be auto, gigatoken or tokenizers")
        self.path, self.eos, self.engine = tokenizer, eos, engine

    @functools.cached_property
    def identity(self) -> Identity:
        if self.path is None:
            raise ConfigError("token_repetition: which tokenizer? Write {name: token_repetition, tokenizer: FILE}")
        return identify(self.path, self.eos)

    @property
    def model_hash(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.identity.hash

    def tag(self, batch: Batch) -> dict[str, Any]:
        pieces = _pieces(batch)
        runs: list[list[Run]] = [[] for _ in range(len(batch))]
        groups = np.array_split(np.arange(len(pieces.documents)), int(batch.offsets[-1]) // AT_ONCE + 1)
        for group in groups:
            if len(group):
                first, last = group[0], group[-1] + 1
                some = Pieces(pieces.documents[group], pieces.starts[group], pieces.offsets[first : last + 1])
                found = self._found(batch, some)
                for piece in sorted(found):
                    runs[some.documents[piece]] += _outermost(found[piece])
        return self._values(batch, runs)

    def _found(self, batch: Batch, pieces: Pieces) -> dict[int, list[Run]]:
        """Piece -> its runs, all of them."""
        low, high = pieces.offsets[0], pieces.offsets[-1]
        tokenizer = open_tokenizer(self.identity, self.engine)
        ids, ends = tokenizer.encode(batch.data[low:high], pieces.offsets - low)
        rows = periodic_runs(ids, ends, MOST_PERIOD)
        places = running(self._token_bytes[ids])
        exact = np.diff(places[ends]) == np.diff(pieces.offsets)
        found = _located(batch, pieces, rows[exact[rows[:, 0]]], places, ends)
        for piece in np.unique(rows[~exact[rows[:, 0]], 0]).tolist():
            text = batch.data[pieces.offsets[piece] : pieces.offsets[piece + 1]].tobytes().decode()
            found[piece] = self._slow_runs(text, int(pieces.starts[piece]))
        return found

    @functools.cached_property
    def _token_bytes(self) -> Int64s:
        return open_tokenizer(self.identity, self.engine).token_bytes()

    @functools.cached_property
    def _reference(self) -> Any:
        """`tokenizers`, which says where in the text a token lies though it is no part of it as it stands."""
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # workers are processes
        import tokenizers

        reference = tokenizers.Tokenizer.from_str(storage.read_bytes(self.identity.path).decode())
        reference.no_truncation()
        reference.no_padding()
        reference.encode_special_tokens = True
        return reference

    def _slow_runs(self, text: str, shift: int) -> list[Run]:
        """All runs of a piece of text whose tokens do not add up to its bytes: it was normalised."""
        encoding = self._reference.encode(text, add_special_tokens=False)
        rows = periodic_runs(np.array(encoding.ids, np.uint32), np.array([0, len(encoding.ids)]), MOST_PERIOD)
        places = encoding.offsets
        return [Run(shift + places[a][0], shift + places[b - 1][1], times) for _, a, b, times in rows.tolist()]

    def _values(self, batch: Batch, found: list[list[Run]]) -> dict[str, Any]:
        flat = np.array([run for runs in found for run in runs], np.int64).reshape(-1, 3)
        offsets = np.cumsum([0, *map(len, found)])
        lengths = [[run.end - run.start for run in runs] for runs in found]
        return {
            "repetition": span_array(self.fields["repetition"], offsets, flat[:, 0], flat[:, 1], flat[:, 2]),
            "max_times": [max((run.times for run in runs), default=0) for runs in found],
            "max_characters": [max(sizes, default=0) for sizes in lengths],
            "fraction": ratio(np.array(list(map(sum, lengths)), np.int64), batch.char_counts),
        }


class Pieces(NamedTuple):
    """Of every piece of text its document and first code point there, and the int64[n + 1] offsets of its bytes."""

    documents: Int64s
    starts: Int64s
    offsets: Int64s


def _pieces(batch: Batch) -> Pieces:
    counts = np.maximum(-(-batch.char_counts // PIECE), 1)
    documents = np.repeat(np.arange(len(batch)), counts)
    firsts = np.concatenate(([0], np.cumsum(counts)))
    starts = (np.arange(len(documents)) - firsts[documents]) * PIECE
    places = chars_to_bytes(batch.data, batch.offsets, documents, starts)
    return Pieces(documents, starts, np.append(places, batch.offsets[-1]))


def _located(batch: Batch, pieces: Pieces, rows: Any, places: Int64s, ends: Int64s) -> dict[int, list[Run]]:
    """Piece -> its runs; `places` are where tokens begin if all pieces are whole, `ends` each piece's first token."""
    piece, first, last = rows[:, 0], ends[rows[:, 0]] + rows[:, 1], ends[rows[:, 0]] + rows[:, 2] - 1
    shift = pieces.offsets[piece] - places[ends[piece]]
    bounds = [np.stack((shift + places[token], shift + places[token + 1]), 1) for token in (first, last)]
    edges = run_bytes(batch.data, *bounds)
    documents = pieces.documents[piece]
    starts, stops = (bytes_to_chars(batch.data, batch.offsets, documents, edges[:, side].copy()) for side in (0, 1))
    found: dict[int, list[Run]] = {}
    for number, *run in zip(piece.tolist(), starts.tolist(), stops.tolist(), rows[:, 3].tolist(), strict=True):
        found.setdefault(number, []).append(Run(*run))
    return found


def _outermost(runs: list[Run]) -> list[Run]:
    """By their beginnings, those that do not lie inside the one before."""
    kept: list[Run] = []
    for run in sorted(runs, key=lambda run: (run.start, -run.end, -run.times)):
        if not kept or not (run.start >= kept[-1].start and run.end <= kept[-1].end):
            kept.append(run)
    return kept
