"""What a training configuration comes to: its data, its model, its phases and their length; known before any work."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from dolma_pipe.errors import ConfigError
from dolma_pipe.train.checkpoints.start import architecture_of, check_tokenizer
from dolma_pipe.train.config import PhaseConfig, RunConfig, TrainConfig
from dolma_pipe.train.data.loader import Loader
from dolma_pipe.train.data.text_mixture import TextMixture
from dolma_pipe.train.data.text_stream import TextSource, TextStream
from dolma_pipe.train.language_modelling import LanguageModelling
from dolma_pipe.train.model.architecture import ModelConfig
from dolma_pipe.train.model.transformer import on_meta, parameter_count
from dolma_pipe.train.objective import Examples, Objective
from dolma_pipe.train.parallel import World
from dolma_pipe.train.phases import START, Bounds, Phase, Position, Progress, bounds, phases_of
from dolma_pipe.types import Plain


class Plan(NamedTuple):
    """What a configuration comes to.

    `objective` is made once the ranks are there; `passes` says how often each part of the data is seen in all.
    """

    phases: list[Phase]
    examples: Examples
    objective: Callable[[World], Objective]
    passes: dict[str, float]

    @property
    def model(self) -> ModelConfig:
        """The model that the run begins with; later phases may turn its positions otherwise."""
        return self.phases[0].model

    @property
    def parameters(self) -> int:
        return parameter_count(on_meta(self.model))

    @property
    def steps(self) -> int:
        return self.phases[-1].last_step

    def phase(self, step: int) -> Phase:
        """The phase of update `step`, counted from 1; of one beyond the end, the last."""
        return next((phase for phase in self.phases if step <= phase.last_step), self.phases[-1])

    def after(self, at: Position) -> Position:
        """Where the run stands one update later."""
        return Position(at.step + 1, at.tokens + self.phase(at.step + 1).tokens_per_step)

    def begun(self, at: Position) -> list[Position]:
        """Where each phase began that a run which stands here has entered."""
        return [phase.begin for number, phase in enumerate(self.phases) if not number or phase.begin.step < at.step]

    def facts(self) -> dict[str, Plain]:
        return {
            "steps": self.steps,
            "parameters": self.parameters,
            "tokens_per_step": self.phases[0].tokens_per_step,
            "passes": {name: round(count, 4) for name, count in self.passes.items()},
            "phases": {phase.name: phase.steps for phase in self.phases} if len(self.phases) > 1 else {},
        }


def make_plan(config: TrainConfig, done: Progress | None = None, source: TextSource | None = None) -> Plan:
    """Open the data and size the model and the run, which may have come as far as `done`; errors are `train`'s.

    `source` has the documents that `config.documents` names.
    """
    config.check()
    stretches = config.stretches()
    if done is not None and len(done.begun) > len(stretches):
        raise ConfigError(f"phases: the run is in its phase {len(done.begun)}, but there are {len(stretches)}")
    if config.documents is not None:
        return _text_plan(config, stretches, done, source)
    longest = config.chunk_length or max(stretch.sequence_length or 0 for stretch in stretches)
    first, by_source = stretches[0], config.source_loss_every > 0
    loader = Loader(first.data or [], longest, config.seed, config.within_documents, by_source, first.sequence_length)
    found = _pretraining_bounds(stretches, loader, done)
    check_tokenizer(config.start, loader.tokenizer_hash)
    model = architecture_of(config).with_vocabulary(loader.vocab_size)
    return Plan(
        phases=phases_of(config, stretches, found, model),
        examples=loader,
        objective=lambda world: LanguageModelling(config, loader.source_names, world),
        passes=loader.passes(-(-found[-1].end.tokens // longest)),
    )


def _text_plan(
    config: TrainConfig, stretches: list[PhaseConfig], done: Progress | None, source: TextSource | None
) -> Plan:
    if source is None:
        raise ConfigError("documents: this run reads documents, which were not opened for it")
    longest = max(stretch.sequence_length or 0 for stretch in stretches)
    found: list[Bounds] = []
    for number, stretch in enumerate(stretches):
        found.append(bounds(stretch, number, found[-1].end if found else START, done, longest, None))
    check_tokenizer(config.start, source.identity()["tokenizer"])
    model = architecture_of(config).with_vocabulary(source.vocab_size)
    shares = {} if config.documents is None else config.documents.shares
    how = (longest, config.seed, config.within_documents)
    return Plan(
        phases=phases_of(config, stretches, found, model),
        examples=TextMixture(source, shares, *how) if shares else TextStream(source, *how),
        objective=lambda world: LanguageModelling(config, None, world),
        passes={},
    )


def _pretraining_bounds(stretches: list[PhaseConfig], loader: Loader, done: Progress | None) -> list[Bounds]:
    """Of each phase, while the loader learns of its mixture: an instance that a phase has begun, it ends."""
    found: list[Bounds] = []
    longest = loader.sequence_length
    for number, stretch in enumerate(stretches):
        before = found[-1].end if found else START
        begin = done.begun[number] if done is not None and number < len(done.begun) else before
        first = -(-begin.tokens // longest)
        mixture = loader.add(stretch.data or [], first, stretch.sequence_length) if number else loader.mixtures[0]
        total = mixture.order.total
        extent = None if total is None else (first + total) * longest
        found.append(bounds(stretch, number, before, done, longest, extent))
    return found


def one_phase(config: RunConfig, model: ModelConfig, rows: int | None, done: Progress | None = None) -> list[Phase]:
    """The phase of a run over `rows` examples (None: as many as its steps take); `model` has its vocabulary."""
    stretch = PhaseConfig(
        steps=config.steps,
        sequence_length=config.sequence_length,
        global_batch_size=config.global_batch_size,
        micro_batch_size=config.micro_batch_size,
    )
    extent = None if rows is None else rows * config.sequence_length
    found = bounds(stretch, 0, START, done, config.sequence_length, extent)
    return phases_of(config, [stretch], [found], model)
