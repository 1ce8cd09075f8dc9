"""What instruction tuning and preference optimisation share: rows of conversations in their order, and the plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray
from torch import Tensor

from dolma_pipe import storage
from dolma_pipe.config import fingerprint
from dolma_pipe.errors import DataError
from dolma_pipe.tokens import TOKENIZER
from dolma_pipe.train.adaptation.chat import Encoded, files, starting_tokenizer
from dolma_pipe.train.adaptation.config import TuneConfig
from dolma_pipe.train.checkpoints.start import architecture_of
from dolma_pipe.train.data.chunks import IGNORED
from dolma_pipe.train.data.permutation import key_of, permute
from dolma_pipe.train.evaluation.text import StoredTokenizer
from dolma_pipe.train.objective import Objective
from dolma_pipe.train.parallel import World
from dolma_pipe.train.phases import Progress
from dolma_pipe.train.plan import Plan, one_phase
from dolma_pipe.types import Plain


class Counted(NamedTuple):
    """Of the data's conversations (or pairs): how many are trained on, in how many rows, and how many were too long."""

    kept: int
    rows: int
    too_long: int


class TuneRows(NamedTuple):
    """Rows of a batch: `inputs`, `labels` and `documents` int64 [rows, S], or [pairs, 2, S]."""

    inputs: Tensor
    labels: Tensor
    documents: Tensor

    @property
    def row_count(self) -> int:
        return len(self.inputs)

    def rows(self, start: int, end: int) -> TuneRows:
        return TuneRows(*(tensor[start:end] for tensor in self))


class Examples:
    """Rows in an order of their own for every pass, and empty ones behind the last pass.

    A row is a list of sequences of conversations: one sequence for instruction tuning, two for a pair.
    """

    def __init__(
        self, rows: Sequence[Sequence[Sequence[Encoded]]], config: TuneConfig, stored: StoredTokenizer
    ) -> None:
        self._rows, self._config, self._stored = rows, config, stored
        self._padding = stored.eos if stored.pad is None else stored.pad
        self._identity = _identity(config, stored)
        self._key = fingerprint(self._identity)
        self.total = None if config.epochs is None else -(-len(rows) * Fraction(str(config.epochs)) // 1)

    @property
    def count(self) -> int:
        """Rows of one pass."""
        return len(self._rows)

    def batch(self, first: int, size: int, rank: int = 0, world_size: int = 1, length: int | None = None) -> TuneRows:
        instances = np.arange(first + rank, first + size, world_size, dtype=np.int64)
        shape = (len(instances), len(self._rows[0]), self._config.sequence_length)
        inputs, labels = np.full(shape, self._padding, np.int64), np.full(shape, IGNORED, np.int64)
        documents = np.zeros(shape, np.int64)
        for row, instance in enumerate(instances):
            if self.total is None or instance < self.total:
                for number, sequence in enumerate(self._rows[self._place(int(instance))]):
                    _fill(sequence, inputs[row, number], labels[row, number], documents[row, number])
        tensors = (torch.from_numpy(array).squeeze(1) for array in (inputs, labels, documents))
        return TuneRows(*tensors)

    def _place(self, instance: int) -> int:
        epoch, position = divmod(instance, len(self._rows))
        key = key_of(self._config.seed, self._key, "epoch", epoch)
        return int(permute(np.array([position]), len(self._rows), key)[0])

    def identity(self) -> dict[str, Plain]:
        return dict(self._identity)


def _identity(config: TuneConfig, stored: StoredTokenizer) -> dict[str, Plain]:
    own = {field: getattr(config, field) for field in ("pack", "per_token", "beta") if hasattr(config, field)}
    return {
        "files": [storage.content_hash(path) for path in files(config.data)],
        "template": fingerprint(config.chat()),
        "sequence_length": config.sequence_length,
        "epochs": config.epochs,
        "seed": config.seed,
        "tokenizer": xxhash.xxh3_128_hexdigest(stored.raw),
        "eos": stored.eos,
        "bos": stored.bos,
        "pad": stored.pad,
        **own,
    }


Int64s = NDArray[np.int64]


def _fill(sequence: Sequence[Encoded], inputs: Int64s, labels: Int64s, documents: Int64s) -> None:
    at = 0
    for number, one in enumerate(sequence, 1):
        end = at + len(one.inputs)
        inputs[at:end], labels[at:end], documents[at:end] = one.inputs, one.labels, number
        at = end


def packed(found: Sequence[Encoded], length: int, pack: bool) -> list[list[Encoded]]:
    """Conversations in rows of `length` positions, in their order: as many as fit, or one."""
    rows: list[list[Encoded]] = []
    room = 0
    for one in found:
        if not pack or len(one.inputs) > room:
            rows.append([])
            room = length
        rows[-1].append(one)
        room -= len(one.inputs)
    return rows


def fitting(found: Sequence[Sequence[Encoded]], config: TuneConfig) -> list[Sequence[Encoded]]:
    """Those of which every part fits into the sequence length."""
    kept = [parts for parts in found if all(len(part.inputs) <= config.sequence_length for part in parts)]
    if not kept:
        raise DataError(
            f"{', '.join(config.data)}: none of {len(found)} conversations fits into sequence_length "
            f"{config.sequence_length}"
        )
    return kept


def tune_plan(config: Any, examples: Examples, objective: Callable[[World], Objective], done: Progress | None) -> Plan:
    """The plan of a run over `examples`, from the model that it starts from."""
    model = architecture_of(config)
    phases = one_phase(config, model, examples.total, done)
    rows = phases[-1].last_step * config.global_batch_size
    epochs = config.epochs or rows / examples.count
    return Plan(phases, examples, objective, {path: epochs for path in config.data})


def keep_tokenizer(config: TuneConfig) -> None:
    """Write the tokenizer into the run's folder: whoever evaluates or exports the run finds it there."""
    stored = starting_tokenizer(config)
    path = storage.join(config.to, TOKENIZER)
    if not storage.is_file(path) or storage.read_bytes(path) != stored.raw:
        storage.write_bytes(path, stored.raw)
