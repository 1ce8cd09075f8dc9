"""What a training run and an evaluation are, as typed configuration; imports no torch.

Official OLMo runs as data: `configs/train/olmo-1b.yaml`, `configs/train/olmo-7b.yaml`.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from dolma_pipe.config import Config, bundled, convert, read_yaml
from dolma_pipe.errors import ConfigError
from dolma_pipe.train.architecture import ModelConfig, Positive, PositiveReal, Real
from dolma_pipe.types import Plain

Count = Annotated[int, Meta(ge=0)]
Fraction = Annotated[float, Meta(ge=0, le=1)]


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
    betas: tuple[Fraction, Fraction] = (0.9, 0.95)
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


class ScheduleConfig(Config, frozen=True):
    """Linear warm-up from `warmup_start_fraction` of the peak; decay to `final_fraction` of it at the last step."""

    decay: Literal["cosine", "linear"] = "cosine"
    warmup_steps: Count = 0
    warmup_start_fraction: Fraction = 0.1
    final_fraction: Fraction = 0.1


class CheckpointConfig(Config, frozen=True):
    """A checkpoint every `every_steps` steps and at the end; only the newest `keep_last` stay (null: all)."""

    every_steps: Positive = 1000
    keep_last: Positive | None = 3


class TrainConfig(Config, frozen=True):
    """One training run; its folder is `to`.

    Batch sizes count sequences of `sequence_length` tokens: `global_batch_size` per step over all ranks,
    `micro_batch_size` per forward pass of a rank (default: all of its share). The run ends after `steps` steps,
    or after `tokens` tokens (the step that reaches them is a whole one), or, with neither, when the data's
    `epochs` are through. `precision`: `bf16` keeps float32 weights and gradients' sums, and computes in bfloat16.
    `model` is an architecture, or the name of one (configs/models/, or a file). `start` names weights to begin with
    instead of random ones: a run, a checkpoint, or a folder of Hugging Face's; `model` is then theirs, and may be
    left out. `z_loss` weighs mean(logsumexp(logits)^2), which keeps logits from drifting (PaLM, section 5: 1e-4;
    OLMo 2: 1e-5).

    `within_documents`: a position attends to its own document only, and no document is predicted from the one before
    it. Every `source_loss_every` steps (0: never) the metrics tell the loss of each source.

    `activation_checkpointing` computes activations again instead of keeping them: all of a block (`full`), or all but
    attention and every other product (`selective`). `compile` compiles each block. `replicas`: weights are sharded
    over ranks / replicas, and each shard is kept so many times (HSDP).
    """

    to: str
    data: Annotated[list[DataSource], Meta(min_length=1)]
    sequence_length: Positive
    global_batch_size: Positive
    optimizer: OptimizerConfig
    model: ModelConfig | str | None = None
    start: str | None = None
    micro_batch_size: Positive | None = None
    steps: Positive | None = None
    tokens: Positive | None = None
    schedule: ScheduleConfig = ScheduleConfig()
    z_loss: Real = 0.0
    within_documents: bool = False
    source_loss_every: Count = 10
    activation_checkpointing: Literal["none", "selective", "full"] = "none"
    compile: bool = False
    replicas: Positive = 1
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
        if self.model is not None or self.start is None:
            self.architecture().check()
        self.optimizer.check()
        if self.steps is not None and self.tokens is not None:
            raise ConfigError("steps and tokens both say how long to train; keep one of them")
        if self.micro_batch_size is not None and self.micro_batch_size > self.global_batch_size:
            raise ConfigError(f"micro_batch_size {self.micro_batch_size} exceeds the global {self.global_batch_size}")
        self._check_data()

    def _check_data(self) -> None:
        folders = [source.tokens for source in self.data]
        for folder in folders:
            if folders.count(folder) > 1:
                raise ConfigError(f"data: {folder!r} is listed twice; give it one share or more epochs")
        kinds = {(source.share is not None, source.epochs is not None) for source in self.data}
        if (True, True) in kinds:
            raise ConfigError("data: a folder has either a share or a number of epochs, not both")
        if len(kinds) > 1 or (len(self.data) > 1 and kinds == {(False, False)}):
            raise ConfigError("data: of several folders each needs a share, or each a number of epochs")
        if kinds != {(False, True)} and self.steps is None and self.tokens is None:
            raise ConfigError("nothing says when to stop: give steps, tokens, or epochs for each folder of data")


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
