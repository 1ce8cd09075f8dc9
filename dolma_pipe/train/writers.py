"""Where the steps of a run are told: `metrics.jsonl` always, TensorBoard and Weights & Biases where asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from dolma_pipe import storage
from dolma_pipe.config import fingerprint
from dolma_pipe.errors import DependencyError
from dolma_pipe.train.metrics import StepMetrics, metrics_path, read_metrics

Append = Callable[[StepMetrics], None]


class Writers:
    """Appends to `metrics.jsonl`, from which lines after `step` are removed first (those steps run again), and to
    each of `log`."""

    def __init__(self, run: str, log: Sequence[str], step: int) -> None:
        self._open = ExitStack()
        self._appends: list[Append] = [self._metrics(run, step)]
        for name in log:
            self._appends.append(self._tensorboard(run, step) if name == "tensorboard" else self._wandb(run))

    def append(self, metrics: StepMetrics) -> None:
        for append in self._appends:
            append(metrics)

    def close(self) -> None:
        self._open.close()

    def _metrics(self, run: str, step: int) -> Append:
        path = metrics_path(run)
        kept = [line for line in read_metrics(run) if line.step <= step]
        storage.write_bytes(path, b"".join(msgspec.json.encode(line) + b"\n" for line in kept))
        stream = self._open.enter_context(open(storage.local_path(path), "ab", buffering=0))  # noqa: SIM115

        def append(metrics: StepMetrics) -> None:
            stream.write(msgspec.json.encode(metrics) + b"\n")

        return append

    def _tensorboard(self, run: str, step: int) -> Append:
        """Events in `RUN/tensorboard`; those of steps that run again are hidden (`purge_step`)."""
        kind: Any = import_module("torch.utils.tensorboard").SummaryWriter
        writer = kind(storage.join(storage.local_path(run), "tensorboard"), purge_step=step + 1)
        self._open.callback(writer.close)

        def append(metrics: StepMetrics) -> None:
            for name, value in numbers(metrics):
                writer.add_scalar(name, value, metrics.step)

        return append

    def _wandb(self, run: str) -> Append:
        """A run of Weights & Biases of this name, in `RUN/wandb`; offline, project and so on by its own variables."""
        wandb: Any = import_module("wandb")
        folder = storage.local_path(run)
        name = Path(folder).name
        session = wandb.init(dir=folder, name=name, id=f"{name}-{fingerprint(folder)[:8]}", resume="allow")
        self._open.callback(session.finish)

        def append(metrics: StepMetrics) -> None:
            session.log(dict(numbers(metrics)), step=metrics.step)

        return append


def require_writers(log: Sequence[str]) -> None:
    """Raise `DependencyError` where a package that a run is to be told to is not installed."""
    for name in log:
        if find_spec(name) is None:
            raise DependencyError(name, name, f"log: [{name}]")


def numbers(metrics: StepMetrics) -> Iterator[tuple[str, float]]:
    """Every number of a step but its own, under the names that charts have: `train/loss`, `sources/web/first/loss`."""
    for name, value in msgspec.structs.asdict(metrics).items():
        if isinstance(value, int | float) and name != "step":
            yield f"train/{name}", value
    yield "train/is_skipped", float(metrics.skipped is not None)
    for name, value in (metrics.measures or {}).items():
        yield f"train/{name}", value
    for source, loss in (metrics.sources or {}).items():
        for exposure in ("first", "again"):
            seen = getattr(loss, exposure)
            if seen is not None:
                yield f"sources/{source}/{exposure}/loss", seen.loss
                yield f"sources/{source}/{exposure}/bits_per_byte", seen.bits_per_byte
