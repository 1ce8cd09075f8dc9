"""What the parts of a training step take, by marks on the device's own time line, without a change to the loop."""

from __future__ import annotations

from time import perf_counter
from typing import Any, NamedTuple

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from dolma_pipe.train.config import TrainConfig
from dolma_pipe.train.model.transformer import Transformer
from dolma_pipe.train.objective import Loss, Objective, Report, Whole
from dolma_pipe.train.parallel import World
from dolma_pipe.train.phases import Progress
from dolma_pipe.train.plan import Plan, make_plan

PARTS = ("forward", "backward and clipping", "optimizer", "between steps")


class Mark(NamedTuple):
    """Which part of a step begins here."""

    part: str
    at: Any


class Clock:
    """Marks on the device's own time line: events between kernels on a GPU, the processor's clock on a CPU."""

    def __init__(self, device: str) -> None:
        self._on_gpu = device == "cuda"
        self.marks: list[Mark] = []
        before = register_optimizer_step_pre_hook(lambda *_: self.mark("optimizer"))
        after = register_optimizer_step_post_hook(lambda *_: self.mark("between steps"))
        self._hooks = (before, after)

    def mark(self, part: str) -> None:
        if not self._on_gpu:
            self.marks.append(Mark(part, perf_counter()))
            return
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        self.marks.append(Mark(part, event))

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()

    def steps(self) -> list[dict[str, float]]:
        """Seconds of each part, for every step, which ends where the next one's forward pass begins."""
        if self._on_gpu:
            torch.cuda.synchronize()
        found: list[dict[str, float]] = [dict.fromkeys(PARTS, 0.0)]
        for one, following in zip(self.marks, self.marks[1:], strict=False):
            found[-1][one.part] += self._between(one.at, following.at)
            if one.part == "between steps":
                found.append(dict.fromkeys(PARTS, 0.0))
        return found[:-1]

    def _between(self, one: Any, other: Any) -> float:
        return one.elapsed_time(other) / 1000 if self._on_gpu else other - one


def timed(config: TrainConfig, done: Progress | None, clock: Clock) -> Plan:
    """The run's plan, with marks around the loss of each micro-batch."""
    plan = make_plan(config, done)
    return plan._replace(objective=lambda world: Timed(plan.objective(world), clock, world))


class Timed:
    """An objective that marks where its forward pass begins and ends; what follows is the backward pass."""

    def __init__(self, objective: Objective, clock: Clock, world: World) -> None:
        self._objective, self._clock = objective, clock
        if world.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(world.device)

    def weight(self, rows: Any) -> int:
        return self._objective.weight(rows)

    def loss(self, model: Transformer, rows: Any, whole: Whole) -> Loss:
        self._clock.mark("forward")
        found = self._objective.loss(model, rows, whole)
        self._clock.mark("backward and clipping")
        return found

    def report(self, step: int) -> Report:
        return self._objective.report(step)
