"""The architectures of the field as settings of one decoder-only Transformer; imports no torch.

`configs/models/` has OLMo, OLMo 2, Llama 2, Mistral, Mixtral and OpenELM as data.
"""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from msgspec import Meta, structs

from dolma_pipe.config import Config
from dolma_pipe.errors import ConfigError

Positive = Annotated[int, Meta(gt=0)]
PositiveReal = Annotated[float, Meta(gt=0)]
Real = Annotated[float, Meta(ge=0)]

VOCABULARY_MULTIPLE = 128
"""Embedding rows are rounded up to this (OLMo: 50,280 ids, 50,304 rows), for the sake of matrix kernels."""


class ExpertsConfig(Config, frozen=True):
    """A sparse mixture of experts (Jiang et al. 2024, Mixtral): each token goes to the `chosen` best of `count`.

    Their outputs are weighed by a softmax over the chosen ones' scores. `balance_loss` is the weight of the Switch
    Transformer's balancing loss, count x sum(share of tokens x mean probability) over experts and choices, which is
    `chosen` when balanced, as in Hugging Face's Mixtral; there over a rank's batch, here over each sequence, so that
    it depends neither on the number of ranks nor on micro-batches. `router_z_loss` weighs mean(logsumexp(scores)^2).
    """

    count: Positive
    chosen: Positive = 2
    balance_loss: Real = 0.02
    router_z_loss: Real = 0.0


class RopeScaling(Config, frozen=True):
    """Rotary positions for sequences `factor` times as long as the `original_length` that they were trained at.

    `linear` divides positions by the factor (Chen et al. 2023). `ntk` raises the base to theta x
    factor^(d / (d - 2)), so that the slowest dimension is divided and the fastest is not. `yarn` (Peng et al. 2023)
    divides dimensions that turn fewer than `beta_slow` (1) times in the original length, leaves those that turn more
    than `beta_fast` (32) times, goes over linearly in between, and multiplies queries and keys by 0.1 ln(factor) + 1.
    `llama3` goes over between the wavelengths original_length / `low_frequency_factor` (1) and original_length /
    `high_frequency_factor` (4).
    """

    kind: Literal["linear", "ntk", "yarn", "llama3"]
    factor: Annotated[float, Meta(ge=1)]
    original_length: Positive | None = None
    beta_fast: PositiveReal | None = None
    beta_slow: PositiveReal | None = None
    low_frequency_factor: PositiveReal | None = None
    high_frequency_factor: PositiveReal | None = None

    def check(self) -> None:
        own = {"yarn": ("beta_fast", "beta_slow"), "llama3": ("low_frequency_factor", "high_frequency_factor")}
        for kind, names in own.items():
            for name in names:
                if kind != self.kind and getattr(self, name) is not None:
                    raise ConfigError(f"rope_scaling.{name} has no effect on the kind {self.kind}; leave it out")
        if (self.original_length is None) == (self.kind in own):
            need = "needs" if self.kind in own else "has no use for"
            raise ConfigError(f"rope_scaling: the kind {self.kind} {need} original_length")


class Layer(NamedTuple):
    """The sizes of one block."""

    n_heads: int
    n_kv_heads: int
    ffn_hidden: int


class ModelConfig(Config, frozen=True):
    """A decoder-only Transformer without biases, with SwiGLU and rotary positions.

    `n_heads`, `n_kv_heads` (default: as many as heads; fewer is grouped-query attention) and `ffn_hidden` are one
    number or one per layer. `head_width` is d_model / n_heads unless given. `ffn_hidden` is SwiGLU's inner width
    (OLMo's `mlp_hidden_size` is the fused width, twice that).

    `norm`: `layer` is OLMo's LayerNorm without scale and shift, `rms` has a scale; with `norm_after` a block is
    x + norm(f(x)), as in OLMo 2, instead of x + f(norm(x)). `query_key_norm` normalises queries and keys over their
    full `width` (OLMo 2) or by `head` (OpenELM). `clip_qkv` clamps queries, keys and values. `sliding_window`: each
    position attends to itself and the window - 1 before it.

    `initialisation`: `mitchell` is OLMo's (std 1/sqrt(inputs), outputs to the residual stream smaller with depth);
    `normal` has `init_std` everywhere, `megatron` divides it by sqrt(2 layers) for those outputs. All are cut off at
    three deviations.

    `vocab_size` counts the tokenizer's ids (default: what the token folders say), `padded_vocab_size` the
    embedding's rows. The rows beyond `vocab_size` are never masked, in training or in evaluation, as in OLMo, so
    that an exported model scores the same elsewhere.
    """

    d_model: Positive
    n_layers: Positive
    n_heads: Positive | list[Positive]
    ffn_hidden: Positive | list[Positive]
    n_kv_heads: Positive | list[Positive] | None = None
    head_width: Positive | None = None
    norm: Literal["layer", "rms"] = "layer"
    norm_eps: PositiveReal = 1e-5
    norm_after: bool = False
    query_key_norm: Literal["width", "head"] | None = None
    clip_qkv: PositiveReal | None = None
    sliding_window: Positive | None = None
    experts: ExpertsConfig | None = None
    rope_theta: PositiveReal = 10_000.0
    rope_scaling: RopeScaling | None = None
    initialisation: Literal["mitchell", "normal", "megatron"] = "mitchell"
    init_std: PositiveReal | None = None
    tie_embeddings: bool = False
    vocab_size: Positive | None = None
    padded_vocab_size: Positive | None = None

    def with_vocabulary(self, vocab_size: int) -> ModelConfig:
        """Itself with every default filled in, for a tokenizer of `vocab_size` ids."""
        own = self.vocab_size or vocab_size
        if own < vocab_size:
            raise ConfigError(f"model.vocab_size is {own}, but the tokens use {vocab_size} ids; leave it out")
        rows = self.padded_vocab_size or -(-own // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE
        if rows < own:
            raise ConfigError(f"model.padded_vocab_size is {rows}, fewer rows than the vocabulary's {own} ids")
        return structs.replace(self, vocab_size=own, padded_vocab_size=rows)

    @property
    def head(self) -> int:
        """Width of a head."""
        return self.head_width or self.d_model // _first(self.n_heads)

    def layer(self, number: int) -> Layer:
        """The sizes of block `number`, from 0."""
        heads = _at(self.n_heads, number)
        kv_heads = heads if self.n_kv_heads is None else _at(self.n_kv_heads, number)
        return Layer(heads, kv_heads, _at(self.ffn_hidden, number))

    def check(self) -> None:
        """Refuse what cannot be built, and what would have no effect."""
        for name in ("n_heads", "n_kv_heads", "ffn_hidden"):
            values = getattr(self, name)
            if isinstance(values, list) and len(values) != self.n_layers:  # pyright: ignore[reportUnknownArgumentType]
                listed = len(values)  # pyright: ignore[reportUnknownArgumentType]
                raise ConfigError(f"model.{name} lists {listed} layers, but n_layers is {self.n_layers}")
        if self.head_width is None and (isinstance(self.n_heads, list) or self.d_model % self.n_heads):
            raise ConfigError(f"model.d_model {self.d_model} is no multiple of n_heads {self.n_heads}: give head_width")
        if self.head % 2:
            raise ConfigError(f"model: a head of {self.head} numbers is odd, which rotary positions cannot turn")
        for layer in map(self.layer, range(self.n_layers)):
            if layer.n_heads % layer.n_kv_heads:
                raise ConfigError(f"model.n_heads {layer.n_heads} is no multiple of n_kv_heads {layer.n_kv_heads}")
        if self.rope_scaling is not None:
            self.rope_scaling.check()
        if (self.initialisation == "mitchell") != (self.init_std is None):
            raise ConfigError("model.init_std belongs to initialisation normal or megatron, which need it")
        if self.experts is not None and self.experts.chosen > self.experts.count:
            raise ConfigError(f"model.experts: {self.experts.chosen} of {self.experts.count} experts cannot be chosen")


def _first(values: int | list[int]) -> int:
    return values[0] if isinstance(values, list) else values


def _at(values: int | list[int], number: int) -> int:
    return values[number] if isinstance(values, list) else values


class Flops(NamedTuple):
    """Floating-point operations of one token's forward and backward pass: 6 per weight of a product and token, and
    12 x heads' width x keys per layer of attention.

    `nominal` counts every position's attention to all `length` positions, as the field's MFU does (PaLM, appendix B);
    `executed` only those that causality, a sliding window and documents leave. Of experts, the chosen ones count.
    """

    nominal: float
    executed: float


def flops_per_token(config: ModelConfig, length: int, seen: float | None = None) -> Flops:
    """Of a sequence of `length` tokens; `config` has its vocabulary. `seen`: how many positions each attends to, where
    documents leave fewer than causality and the window."""
    products = config.d_model * (config.padded_vocab_size or 0)
    widths = 0
    for layer in map(config.layer, range(config.n_layers)):
        ffn = 3 * config.d_model * layer.ffn_hidden
        if config.experts is not None:
            ffn = ffn * config.experts.chosen + config.d_model * config.experts.count
        products += config.d_model * config.head * 2 * (layer.n_heads + layer.n_kv_heads) + ffn
        widths += layer.n_heads * config.head
    window = min(length, config.sliding_window or length)
    if seen is None:
        seen = (window * (window + 1) / 2 + (length - window) * window) / length
    return Flops(6 * products + 12 * widths * length, 6 * products + 12 * widths * seen)
