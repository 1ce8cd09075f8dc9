"""The phases of a run: where each begins and ends, its sequence length, batch size and learning rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from dolma_pipe.errors import ConfigError
from dolma_pipe.train.config import PhaseConfig, RunConfig, ScheduleConfig
from dolma_pipe.train.model.architecture import ModelConfig
from dolma_pipe.train.optimizer import learning_rate


class Position(NamedTuple):
    """Where a run stands: updates made, and tokens shown (padding included)."""

    step: int
    tokens: int


START = Position(0, 0)


class Progress(NamedTuple):
    """How far a run has come, and where each of the phases began that it has entered."""

    at: Position
    begun: list[Position]


class Phase(NamedTuple):
    """A stretch of a run: `steps` updates from `begin` on, of `global_batch_size` rows of `sequence_length` tokens.

    Its learning rate is that of `schedule` over the `schedule_steps` steps after `schedule_first`.
    """

    name: str
    model: ModelConfig
    sequence_length: int
    global_batch_size: int
    micro_batch_size: int | None
    begin: Position
    steps: int
    schedule: ScheduleConfig
    peak: float
    schedule_first: int
    schedule_steps: int

    @property
    def last_step(self) -> int:
        return self.begin.step + self.steps

    @property
    def tokens_per_step(self) -> int:
        return self.global_batch_size * self.sequence_length

    def rate(self, step: int) -> float:
        """The learning rate of update `step` of the run, counted from 1."""
        return learning_rate(self.schedule, self.peak, step - self.schedule_first, self.schedule_steps)


class Bounds(NamedTuple):
    """Where a phase begins and ends."""

    begin: Position
    end: Position


def bounds(
    stretch: PhaseConfig, number: int, before: Position, done: Progress | None, longest: int, extent: int | None
) -> Bounds:
    """Where phase `number` begins and ends, whose predecessor ends at `before` and whose data at token `extent`.

    What a run has `done` stands: the phases that it has left, and what is gone of the present one.
    """
    begun = [] if done is None else done.begun
    begin = begun[number] if number < len(begun) else before
    if number + 1 < len(begun):
        return Bounds(begin, begun[number + 1])
    stands = done.at if done is not None and number + 1 == len(begun) else begin
    length = stretch.sequence_length or longest
    _check_length(length, longest, stands)
    per_step = length * (stretch.global_batch_size or 1)
    steps = max(_steps_left(stretch, begin, stands, extent, per_step), 0)
    return Bounds(begin, Position(stands.step + steps, stands.tokens + steps * per_step))


def _check_length(length: int, longest: int, stands: Position) -> None:
    if longest % length:
        raise ConfigError(f"sequence_length {length} does not divide chunk_length, the run's longest one, {longest}")
    if stands.tokens % length:
        raise ConfigError(
            f"sequence_length {length}: the {stands.tokens} tokens before end inside a sequence; let the phase before "
            f"end at a multiple of {length}"
        )


def _steps_left(stretch: PhaseConfig, begin: Position, stands: Position, extent: int | None, per_step: int) -> int:
    last = None if extent is None else -(-(extent - stands.tokens) // per_step)
    if stretch.steps is not None:
        steps = begin.step + stretch.steps - stands.step
    elif stretch.tokens is not None:
        steps = -(-(begin.tokens + stretch.tokens - stands.tokens) // per_step)
    elif last is not None:
        return last
    else:
        raise ConfigError("nothing says when to stop: give steps")
    if last is not None and steps > last:
        gone = stands.step - begin.step
        raise ConfigError(
            f"data: the epochs given last for {gone + last} steps, not {gone + steps}; train less or give more epochs"
        )
    return steps


def phases_of(
    config: RunConfig, stretches: Sequence[PhaseConfig], found: Sequence[Bounds], model: ModelConfig
) -> list[Phase]:
    """The phases of a model's run; the run's schedule goes over all of it, in phases that have none of their own."""
    total = found[-1].end.step
    phases: list[Phase] = []
    for number, (stretch, (begin, end)) in enumerate(zip(stretches, found, strict=True)):
        own = stretch.schedule is not None
        phase = Phase(
            name=stretch.name or f"phase {number + 1}",
            model=turned(model, stretch),
            sequence_length=stretch.sequence_length or config.sequence_length,
            global_batch_size=stretch.global_batch_size or config.global_batch_size,
            micro_batch_size=stretch.micro_batch_size,
            begin=begin,
            steps=end.step - begin.step,
            schedule=stretch.schedule or config.schedule,
            peak=stretch.learning_rate or config.optimizer.learning_rate,
            schedule_first=begin.step if own else 0,
            schedule_steps=end.step - begin.step if own else total,
        )
        _check_warmup(phase)
        phases.append(phase)
    return phases


def _check_warmup(phase: Phase) -> None:
    warmup, steps = phase.schedule.warmup_steps, phase.schedule_steps
    if steps and warmup >= steps:
        raise ConfigError(
            f"schedule.warmup_steps is {warmup}, but it runs over {steps} steps; give it fewer, as with "
            f"--set schedule.warmup_steps={steps // 10}"
        )
    if phase.schedule.decay_fraction is not None and steps:
        decay = round(phase.schedule.decay_fraction * steps)
        if decay > steps - warmup:
            raise ConfigError(
                f"schedule.decay_fraction: {decay} steps of decay and {warmup} of warm-up exceed the {steps} there are"
            )


def turned(model: ModelConfig, stretch: PhaseConfig) -> ModelConfig:
    """A model with the rotary positions of a phase, where it changes them."""
    changes = {"rope_scaling": stretch.rope_scaling, "rope_theta": stretch.rope_theta}
    return msgspec.structs.replace(model, **{name: value for name, value in changes.items() if value is not None})
