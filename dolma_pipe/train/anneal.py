"""A source tried out: a checkpoint's run goes on for a while with some of it, while the learning rate falls to zero.

What OLMo 2 calls microanneals (OLMo et al. 2025, section 4): the same checkpoint annealed with and without a source
says what the source is worth.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from dolma_pipe.config import convert
from dolma_pipe.errors import ConfigError
from dolma_pipe.train.checkpoints import checkpoint
from dolma_pipe.train.config import DataSource, PhaseConfig, ScheduleConfig, TrainConfig
from dolma_pipe.train.phases import Phase
from dolma_pipe.train.plan import make_plan

SHARE_OF_TOKENS = 0.05
"""How long an anneal is unless it is told: so much of what the checkpoint has seen."""


def anneal(run: str, source: str | None, share: float, tokens: int | None, to: str) -> TrainConfig:
    """The configuration that goes on from a run's checkpoint into `to`.

    The mix is the checkpoint's, of which `source` (a token folder; None: nothing) takes a `share`; the learning rate
    falls linearly to zero from where the checkpoint has it. Folders go on where they are in their order.
    """
    folder = checkpoint.find(run)
    record = checkpoint.read_record(folder)
    config = convert(record.config, TrainConfig, f"{folder}: its configuration")
    if not 0 < share <= 1:
        raise ConfigError(f"share {share}: give a part of the tokens, above 0 and at most 1")
    phase = make_plan(config, record.progress).phase(record.step)
    number = len(record.begun) - 1
    gone = [*config.stretches()[:number], _gone(config.stretches()[number], record)]
    tried = PhaseConfig(
        name="anneal",
        tokens=tokens or max(round(SHARE_OF_TOKENS * record.tokens), phase.tokens_per_step),
        data=_mixed(config.stretches()[number].data or [], source, share),
        schedule=ScheduleConfig(decay="linear", final_fraction=0.0),
        learning_rate=_rate(phase, record.step),
        sequence_length=phase.sequence_length,
        global_batch_size=phase.global_batch_size,
        micro_batch_size=phase.micro_batch_size,
        rope_scaling=phase.model.rope_scaling,
        rope_theta=phase.model.rope_theta,
    )
    return msgspec.structs.replace(
        config, to=to, phases=[*gone, tried], steps=None, tokens=None, start=None, branch=folder,
        chunk_length=record.data["sequence_length"],
        model=config.model if config.start is None else None,
    )  # fmt: skip


def folder_of(run: str, source: str | None, share: float) -> str:
    """Where an anneal goes that is given no folder: beside the run, named after the step and what is tried."""
    folder = Path(checkpoint.find(run))
    tried = "own-mix" if source is None else f"{Path(source).name}-{share:g}"
    return f"{folder.parent.parent}-anneal-{checkpoint.step_of(str(folder))}-{tried}"


def _gone(stretch: PhaseConfig, record: checkpoint.CheckpointRecord) -> PhaseConfig:
    """The phase that the checkpoint is in, ended there."""
    return msgspec.structs.replace(stretch, tokens=None, steps=record.step - record.begun[-1].step)


def _rate(phase: Phase, step: int) -> float:
    rate = phase.rate(step)
    if rate <= 0:
        raise ConfigError(f"the learning rate of step {step} is {rate:g}: anneal from an earlier checkpoint")
    return rate


def _mixed(base: list[DataSource], source: str | None, share: float) -> list[DataSource]:
    """Shares of the base data, and of the source that is tried."""
    if source is None:
        return [DataSource(tokens=one.tokens, share=one.share or one.epochs or 1.0) for one in base]
    weights = {one.tokens: one.share or one.epochs or 1.0 for one in base}
    total = sum(weights.values())
    shares = {folder: (1 - share) * weight / total for folder, weight in weights.items()}
    shares[source] = shares.get(source, 0.0) + share
    return [DataSource(tokens=folder, share=weight) for folder, weight in shares.items() if weight > 0]
