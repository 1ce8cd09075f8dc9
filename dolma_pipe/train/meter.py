"""What a step's line of metrics says: speed, utilisation, memory."""

from __future__ import annotations

from typing import NamedTuple

from dolma_pipe.train.hardware import peak_flops, peak_memory
from dolma_pipe.train.metrics import StepMetrics
from dolma_pipe.train.model.architecture import flops_per_token
from dolma_pipe.train.objective import Report
from dolma_pipe.train.parallel import World
from dolma_pipe.train.phases import Phase, Position


class Update(NamedTuple):
    """A step as it went: where the run stands after it, and why it was skipped, if it was."""

    at: Position
    loss: float
    rate: float
    norm: float
    seconds: float
    waited: float
    skipped: str | None


class Meter:
    """Knows what the devices can do at most."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._peak = peak_flops(world.device)

    def line(self, phase: Phase, update: Update, report: Report) -> StepMetrics:
        speed = phase.tokens_per_step / update.seconds
        flops = flops_per_token(phase.model, phase.sequence_length, report.seen)
        used = None if self._peak is None else speed / (self._peak * self._world.size)
        return StepMetrics(
            step=update.at.step,
            tokens=update.at.tokens,
            sequence_length=phase.sequence_length,
            batch_size=phase.global_batch_size,
            loss=update.loss,
            lr=update.rate,
            grad_norm=update.norm,
            tokens_per_second=speed,
            data_wait_seconds=update.waited,
            mfu=None if used is None else used * flops.nominal,
            mfu_executed=None if used is None else used * flops.executed,
            memory_bytes=peak_memory(self._world.device),
            skipped=update.skipped,
            measures=report.measures,
            sources=report.sources,
        )
