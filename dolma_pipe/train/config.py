"""What a training run and an evaluation are, as typed configuration; imports no torch.

Official OLMo runs as data: `configs/train/olmo-1b.yaml`, `configs/train/olmo-7b.yaml`.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from dolma_pipe.config import Config, bundled, convert, read_yaml
from dolma_pipe.errors import ConfigError
from dolma_pipe.train.data.config import DocumentsConfig
from dolma_pipe.train.model.architecture import ModelConfig, Positive, PositiveReal, Real, RopeScaling
from dolma_pipe.types import Plain

Count = Annotated[int, Meta(ge=0)]
Fraction = Annotated[float, Meta(ge=0, le=1)]
Beta = Annotated[float, Meta(ge=0, lt=1)]


WARMUP_START = 0.1
SOURCE_LOSS_EVERY = 10


class DataSource(Config, frozen=True):
    """One folder of token shards: `share` of all training tokens, or `epochs` passes over it (0.5 is half a pass)."""

    tokens: str
    share: PositiveReal | None = None
    epochs: PositiveReal | None = None


class OptimizerConfig(Config, frozen=True):
    """AdamW. Unless `decay_embeddings`, embeddings are not decayed (with tied weights: nor is the head).

    The gradient's norm is clipped to `max_grad_norm` (null: never), times `clip_warmup_factor` in the first
    `clip_warmup_steps`. Scales of norms are decayed with `decay_norms` only.
    """

    learning_rate: PositiveReal
    betas: tuple[Beta, Beta] = (0.9, 0.95)
    eps: PositiveReal = 1e-8
    weight_decay: Real = 0.1
    decay_embeddings: bool = False
    decay_norms: bool = False
    max_grad_norm: PositiveReal | None = 1.0
    clip_warmup_steps: Count = 0
    clip_warmup_factor: PositiveReal = 1.0

    def check(self) -> None:
        if bool(self.clip_warmup_steps) != (self.clip_warmup_factor != 1.0):
            raise ConfigError("optimizer.clip_warmup_steps and .clip_warmup_factor have an effect only together")
        if self.clip_warmup_steps and self.max_grad_norm is None:
            raise ConfigError("optimizer.clip_warmup_steps has no effect without optimizer.max_grad_norm")
        if not self.weight_decay and (self.decay_embeddings or self.decay_norms):
            raise ConfigError("optimizer.decay_embeddings and .decay_norms have no effect where weight_decay is 0")


class ScheduleConfig(Config, frozen=True):
    """The learning rate over a run, or over a phase of one.

    Linear warm-up from `warmup_start_fraction` of the peak, then the peak, then in the last `decay_fraction` of all
    steps (default: right after warm-up) a decay to `final_fraction` (0.1) of the peak at the last step: `cosine`,
    `linear`, or `sqrt` (1 - sqrt(t/T); Haegele et al. 2024). Warm-up-stable-decay is `linear` with `decay_fraction:
    0.1`, say. `constant` stays at the peak; `inverse_sqrt` is peak x sqrt(warmup_steps / step) (Vaswani et al. 2017).
    """

    decay: Literal["cosine", "linear", "sqrt", "constant", "inverse_sqrt"] = "cosine"
    warmup_steps: Count = 0
    warmup_start_fraction: Fraction = WARMUP_START
    decay_fraction: Annotated[float, Meta(gt=0, le=1)] | None = None
    final_fraction: Fraction | None = None

    def check(self) -> None:
        for name in ("decay_fraction", "final_fraction"):
            if self.decay in ("constant", "inverse_sqrt") and getattr(self, name) is not None:
                raise ConfigError(f"schedule.{name} has no effect on a schedule that is {self.decay}; leave it out")
        if not self.warmup_steps and self.warmup_start_fraction != WARMUP_START:
            raise ConfigError("schedule.warmup_start_fraction has no effect without warmup_steps")


class SkipConfig(Config, frozen=True):
    """Which steps are skipped: their gradient is not applied, their data are not shown again.

    Always those whose loss or gradient is not finite. With `spike_sigma` also those whose loss or gradient norm is
    more than so many standard deviations above the mean of the last `window` steps that were not skipped (once half
    of a window is known; each phase begins anew). More than `most` skips within a window's steps end the run.
    `quarantine`: the documents of a skipped step are shown no more.
    """

    spike_sigma: PositiveReal | None = None
    window: Annotated[int, Meta(ge=4)] = 128
    most: Count = 10
    quarantine: bool = False


class CheckpointConfig(Config, frozen=True):
    """A checkpoint every `every_steps` steps and at the end.

    Only the newest `keep_last` stay (null: all), and of the older ones those whose step is a multiple of
    `keep_every_steps`. `background`: tensors are copied to memory, and written while training goes on.
    """

    every_steps: Positive = 1000
    keep_last: Positive | None = 3
    keep_every_steps: Positive | None = None
    background: bool = True

    def check(self) -> None:
        if self.keep_every_steps is not None and self.keep_last is None:
            raise ConfigError("checkpoint.keep_every_steps has no effect where keep_last is null, which keeps all")
        if self.keep_every_steps is not None and self.keep_every_steps % self.every_steps:
            raise ConfigError(
                f"checkpoint.keep_every_steps {self.keep_every_steps} is no multiple of every_steps {self.every_steps}"
            )


class RunConfig(Config, frozen=True):
    """What every training run has, whatever it is trained on; its folder is `to`.

    Batch sizes count sequences of `sequence_length` tokens: `global_batch_size` per step over all ranks,
    `micro_batch_size` per forward pass of a rank (default: all of its share). `precision`: `bf16` keeps float32
    weights and gradients' sums, and computes in bfloat16. `model` is an architecture, or the name of one
    (configs/models/, or a file). `start` names weights to begin with instead of random ones: a run, a checkpoint, or
    a folder of Hugging Face's; `model` is then theirs, and may be left out. `branch` names a run or a checkpoint to
    go on from as if this were that run: its optimizer state, its step, its place in the data.

    `activation_checkpointing` computes activations again instead of keeping them: all of a block (`full`), or all but
    attention and every other product (`selective`). `compile` compiles each block. `replicas`: weights are sharded
    over ranks / replicas, and each shard is kept so many times (HSDP). A rank for which the others wait longer than
    `rank_timeout_seconds` ends the run. `log` names what else is told of each step beside `metrics.jsonl`.
    """

    to: str
    sequence_length: Positive
    global_batch_size: Positive
    optimizer: OptimizerConfig
    model: ModelConfig | str | None = None
    start: str | None = None
    branch: str | None = None
    micro_batch_size: Positive | None = None
    steps: Positive | None = None
    schedule: ScheduleConfig = ScheduleConfig()
    skip: SkipConfig = SkipConfig()
    log: list[Literal["tensorboard", "wandb"]] = []
    activation_checkpointing: Literal["none", "selective", "full"] = "none"
    compile: bool = False
    replicas: Positive = 1
    rank_timeout_seconds: Positive = 600
    checkpoint: CheckpointConfig = CheckpointConfig()
    precision: Literal["fp64", "fp32", "bf16"] = "fp32"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seed: int = 0

    def architecture(self) -> ModelConfig:
        """The model, read from its file where it is given by name."""
        if self.model is None:
            raise ConfigError("model: name an architecture (olmo-1b, a file ...), or start from trained weights")
        if isinstance(self.model, ModelConfig):
            return self.model
        is_file = "/" in self.model or self.model.endswith(".yaml")
        path = self.model if is_file else str(bundled(f"models/{self.model}.yaml"))
        return convert(read_yaml(path), ModelConfig, path)

    def check(self) -> None:
        """Refuse what could be known to fail, or to have no effect, before any work."""
        if self.start is not None and self.branch is not None:
            raise ConfigError("start takes weights alone, branch a whole run's state; keep one of them")
        if self.model is not None or (self.start is None and self.branch is None):
            self.architecture().check()
        self.optimizer.check()
        self.schedule.check()
        self.checkpoint.check()
        if len(set(self.log)) < len(self.log):
            raise ConfigError(f"log: {', '.join(self.log)}: a name stands there twice")
        if self.micro_batch_size is not None and self.micro_batch_size > self.global_batch_size:
            raise ConfigError(f"micro_batch_size {self.micro_batch_size} exceeds the global {self.global_batch_size}")


class PhaseConfig(Config, frozen=True):
    """A stretch of a run, of `steps` steps, `tokens` tokens, or the `epochs` of its data; the rest is the run's own.

    `schedule` runs over the phase (the run's own one over the whole run), `learning_rate` is its peak.
    """

    name: str | None = None
    steps: Positive | None = None
    tokens: Positive | None = None
    data: list[DataSource] | None = None
    schedule: ScheduleConfig | None = None
    learning_rate: PositiveReal | None = None
    sequence_length: Positive | None = None
    global_batch_size: Positive | None = None
    micro_batch_size: Positive | None = None
    rope_scaling: RopeScaling | None = None
    rope_theta: PositiveReal | None = None


class TrainConfig(RunConfig, frozen=True):
    """One pre-training run, on token folders (`data`) or straight from `documents`.

    It ends after `steps` steps, or after `tokens` tokens (the step that reaches them is a whole one), or, with
    neither, when the data's `epochs` are through; or after its `phases`, which take from the run what they leave out.
    `z_loss` weighs mean(logsumexp(logits)^2), which keeps logits from drifting (PaLM, section 5: 1e-4; OLMo 2: 1e-5).
    `rope_scaling` and `rope_theta` change the model's rotary positions, for longer sequences than it began with.
    Folders are cut into chunks of `chunk_length` tokens (default: the longest sequence length of the run), which
    shorter sequences are parts of.

    `within_documents`: a position attends to its own document only, and no document is predicted from the one before
    it. Every `source_loss_every` steps (0: never) the metrics tell the loss of each source.
    """

    data: list[DataSource] = []
    documents: DocumentsConfig | None = None
    phases: list[PhaseConfig] = []
    tokens: Positive | None = None
    z_loss: Real = 0.0
    chunk_length: Positive | None = None
    rope_scaling: RopeScaling | None = None
    rope_theta: PositiveReal | None = None
    within_documents: bool = False
    source_loss_every: Count = SOURCE_LOSS_EVERY

    def stretches(self) -> list[PhaseConfig]:
        """The phases with what they take from the run filled in (its schedule apart); a run without any is one."""
        return [self._filled(phase) for phase in self.phases or [PhaseConfig(steps=self.steps, tokens=self.tokens)]]

    def _filled(self, phase: PhaseConfig) -> PhaseConfig:
        inherited = (
            "data", "sequence_length", "global_batch_size", "micro_batch_size", "rope_scaling", "rope_theta",
        )  # fmt: skip
        missing = {name: getattr(self, name) for name in inherited if getattr(phase, name) is None}
        rate = phase.learning_rate or self.optimizer.learning_rate
        return msgspec.structs.replace(phase, learning_rate=rate, **missing)

    def check(self) -> None:
        super().check()
        if self.phases and (self.steps is not None or self.tokens is not None):
            raise ConfigError("steps and tokens: with phases, each phase says how long it is; leave them out")
        self._check_phases()
        for number, phase in enumerate(self.stretches()):
            where = f"phases.{number}: " if self.phases else ""
            _check_stretch(phase, where)
            if self.documents is None:
                _check_data(phase, where)
            elif phase.data or (phase.steps is None and phase.tokens is None):
                raise ConfigError(f"{where}documents are one stream without an end: no data, but steps or tokens")
        if self.documents is not None:
            self._check_documents(self.documents)

    def _check_documents(self, documents: DocumentsConfig) -> None:
        documents.check()
        if self.chunk_length is not None:
            raise ConfigError("chunk_length has no effect on documents, which are not cut into chunks")
        if self.source_loss_every not in (0, SOURCE_LOSS_EVERY):
            raise ConfigError("source_loss_every has no effect on documents: losses by source need token folders")

    def _check_phases(self) -> None:
        """What is wrong with them together: names, a schedule of the run that none follows, batches."""
        names = [phase.name for phase in self.phases if phase.name is not None]
        if len(set(names)) < len(names):
            raise ConfigError(f"phases: two are called the same ({', '.join(names)}); rename one")
        all_own = self.phases and all(phase.schedule is not None for phase in self.phases)
        if all_own and self.schedule != ScheduleConfig():
            raise ConfigError("schedule has no effect: every phase has its own; leave it out")
        for number, phase in enumerate(self.phases):
            micro, batch = phase.micro_batch_size, phase.global_batch_size or self.global_batch_size
            if micro is not None and micro > batch:
                raise ConfigError(f"phases.{number}: micro_batch_size {micro} exceeds the global {batch}")


def _check_stretch(phase: PhaseConfig, where: str) -> None:
    if phase.steps is not None and phase.tokens is not None:
        raise ConfigError(f"{where}steps and tokens both say how long to train; keep one of them")
    if phase.schedule is not None:
        phase.schedule.check()
    if phase.rope_scaling is not None:
        phase.rope_scaling.check()


def _check_data(phase: PhaseConfig, where: str) -> None:
    sources = phase.data or []
    if not sources:
        raise ConfigError(f"{where}data: no folder of tokens is named")
    folders = [source.tokens for source in sources]
    for folder in folders:
        if folders.count(folder) > 1:
            raise ConfigError(f"{where}data: {folder!r} is listed twice; give it one share or more epochs")
    kinds = {(source.share is not None, source.epochs is not None) for source in sources}
    if (True, True) in kinds:
        raise ConfigError(f"{where}data: a folder has either a share or a number of epochs, not both")
    if len(kinds) > 1 or (len(sources) > 1 and kinds == {(False, False)}):
        raise ConfigError(f"{where}data: of several folders each needs a share, or each a number of epochs")
    if kinds != {(False, True)} and phase.steps is None and phase.tokens is None:
        raise ConfigError(f"{where}nothing says when to stop: give steps, tokens, or epochs for each folder of data")


def plain(config: Config) -> dict[str, Plain]:
    """A configuration as what its JSON holds."""
    return msgspec.json.decode(msgspec.json.encode(config))


def differences(before: dict[str, Plain], after: dict[str, Plain], prefix: str = "") -> list[str]:
    """Dotted keys at which two plain configurations differ."""
    found: list[str] = []
    for key in sorted({*before, *after}):
        old, new = before.get(key), after.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found += differences(old, new, f"{prefix}{key}.")
        elif old != new:
            found.append(prefix + key)
    return found
