"""What a run reports: one line of JSON per step in `RUN/metrics.jsonl`, and the same to whoever listens."""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec

from dolma_pipe import storage
from dolma_pipe.train.data.documents import Traced
from dolma_pipe.train.sources import SourceLoss


class StepMetrics(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One update: mean loss in nats per counted label before it, tokens of the run so far, norm before clipping.

    `tokens_per_second` is over all ranks and includes the wait for data, which is `data_wait_seconds` of this rank.
    `mfu` is the share of the devices' peak that the model's operations take, as the field counts them; of those that
    causality, windows and documents leave, `mfu_executed`. `memory_bytes` is the most that tensors took on this rank so
    far. `skipped` says why the update was not made.
    """

    step: int
    tokens: int
    sequence_length: int
    batch_size: int
    loss: float
    lr: float
    grad_norm: float
    tokens_per_second: float
    data_wait_seconds: float
    mfu: float | None = None
    mfu_executed: float | None = None
    memory_bytes: int | None = None
    skipped: str | None = None
    measures: dict[str, float] | None = None
    sources: dict[str, SourceLoss] | None = None


class RunStarted(msgspec.Struct, frozen=True, kw_only=True):
    """A run begins, or goes on after `step`; `passes` says how often each token folder is seen in all of it.

    `changed` names the settings that differ from the checkpoint's.
    """

    to: str
    step: int
    steps: int
    parameters: int
    tokens_per_step: int
    world_size: int
    device: str
    passes: dict[str, float]
    phases: dict[str, int]
    changed: list[str]


class CheckpointSaved(msgspec.Struct, frozen=True, kw_only=True):
    step: int
    path: str


class StepSkipped(msgspec.Struct, frozen=True, kw_only=True):
    """A step whose gradient was not applied; `documents` were in its batch, and are `quarantined` if they are not
    shown again."""

    step: int
    reason: str
    documents: list[Traced]
    quarantined: bool


class TrainResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a run stands when `train` returns; losses are those of its first and its last step."""

    to: str
    step: int
    steps: int
    tokens: int
    parameters: int
    first_loss: float
    last_loss: float
    checkpoint: str
    trained_steps: int
    signal: str | None = None


Event = RunStarted | StepMetrics | StepSkipped | CheckpointSaved
Listener = Callable[[Event], None]


def metrics_path(run: str) -> str:
    return storage.join(run, "metrics.jsonl")


def read_metrics(run: str) -> list[StepMetrics]:
    """The steps of a run so far; a last line that a crash cut short is left out.

    JSON has no NaN and no infinity: a loss or a norm that is not finite is null in the file, and NaN here.
    """
    if not storage.exists(metrics_path(run)):
        return []
    text = storage.read_bytes(metrics_path(run))
    lines = text[: text.rfind(b"\n") + 1].splitlines()
    return [_read(line) for line in lines]


def _read(line: bytes) -> StepMetrics:
    try:
        return msgspec.json.decode(line, type=StepMetrics)
    except msgspec.ValidationError:
        values = msgspec.json.decode(line)
        missing = {name: math.nan for name in ("loss", "grad_norm") if values.get(name, math.nan) is None}
        return msgspec.convert(values | missing, StepMetrics)


def skipped_path(run: str) -> str:
    return storage.join(run, "skipped.jsonl")
