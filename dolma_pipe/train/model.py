"""One Transformer, described by a `ModelConfig`.

OLMo's block (Groeneveld et al. 2024, section 2.1): x + attention(norm(x)), then x + ffn(norm(x)), with a
LayerNorm that has neither scale nor shift, rotary positions, and no bias anywhere. The modules hold no
buffers and build without drawing numbers, so a model may be made on the meta device, sharded, and only then
given memory and values (`materialise`).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from dolma_pipe.train.config import ModelConfig
from dolma_pipe.train.permutation import key_of

INIT_CUTOFF = 3.0
"""Initial weights are normal, cut off at this many standard deviations."""


class Linear(nn.Linear):
    """A product without bias that computes in its input's dtype: float32 weights serve a bfloat16 pass."""

    def __init__(self, inputs: int, outputs: int, std: float) -> None:
        super().__init__(inputs, outputs, bias=False)
        self.std = std

    def reset_parameters(self) -> None:
        """Values come from `materialise`."""

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight.to(input.dtype))


class Embedding(nn.Module):
    """Rows by id; `std` is the initial standard deviation."""

    def __init__(self, rows: int, width: int, std: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, width))
        self.std = std

    def forward(self, ids: Tensor) -> Tensor:
        return F.embedding(ids, self.weight)


class Rotary(nn.Module):
    """Rotary positions (Su et al. 2021): dimensions j and j + width/2 turn by position * theta^(-2j/width).

    That pairing is the half layout, Hugging Face's; Meta's checkpoints pair 2j and 2j + 1. Angles and turns are
    float32 whatever the model computes in (float64 for a float64 model), as with OLMo's `rope_full_precision`.
    """

    def __init__(self, width: int, theta: float) -> None:
        super().__init__()
        self.width, self.theta = width, theta

    def table(self, length: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines, each [length, width / 2]."""
        dtype = torch.promote_types(like.dtype, torch.float32)
        exponents = torch.arange(0, self.width, 2, dtype=dtype, device=like.device) / self.width
        angles = torch.outer(torch.arange(length, dtype=dtype, device=like.device), 1.0 / self.theta**exponents)
        return angles.cos(), angles.sin()

    @staticmethod
    def turn(x: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
        """Turn [..., length, width] by its positions."""
        cos, sin = table
        first, second = x.to(cos.dtype).chunk(2, dim=-1)
        return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1).to(x.dtype)


class Attention(nn.Module):
    """Causal multi-head self-attention."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        width, std = config.d_model, config.d_model**-0.5
        self.n_heads = config.n_heads
        self.query = Linear(width, width, std)
        self.key = Linear(width, width, std)
        self.value = Linear(width, width, std)
        self.output = Linear(width, width, 1 / math.sqrt(2 * width * (layer + 1)))

    def forward(self, x: Tensor, positions: tuple[Tensor, Tensor]) -> Tensor:
        query = Rotary.turn(self._heads(self.query(x)), positions)
        key = Rotary.turn(self._heads(self.key(x)), positions)
        mixed = F.scaled_dot_product_attention(query, key, self._heads(self.value(x)), is_causal=True)
        return self.output(mixed.transpose(1, 2).flatten(2))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)


class FeedForward(nn.Module):
    """SwiGLU (Shazeer 2020): down(silu(gate(x)) * up(x))."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        width, hidden, std = config.d_model, config.ffn_hidden, config.d_model**-0.5
        self.gate = Linear(width, hidden, std)
        self.up = Linear(width, hidden, std)
        self.down = Linear(hidden, width, 1 / math.sqrt(2 * hidden * (layer + 1)))

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Norm(nn.Module):
    """LayerNorm without scale and shift: (x - mean) / sqrt(variance + eps)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.width, self.eps = config.d_model, config.norm_eps

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, (self.width,), eps=self.eps)


class Block(nn.Module):
    """Attention and feed-forward, each on the normed residual stream; the unit that FSDP shards."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.attention_norm = Norm(config)
        self.attention = Attention(config, layer)
        self.ffn_norm = Norm(config)
        self.ffn = FeedForward(config, layer)

    def forward(self, x: Tensor, positions: tuple[Tensor, Tensor]) -> Tensor:
        x = x + self.attention(self.attention_norm(x), positions)
        return x + self.ffn(self.ffn_norm(x))


class Transformer(nn.Module):
    """Token ids [batch, length] to logits [batch, length, padded_vocab_size], computed in `compute_dtype`."""

    def __init__(self, config: ModelConfig, compute_dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        config.check()
        if config.padded_vocab_size is None:
            raise ValueError("the vocabulary is not known yet: ModelConfig.with_vocabulary fills it in")
        std = config.d_model**-0.5
        self.config = config
        self.compute_dtype = compute_dtype
        self.embedding = Embedding(config.padded_vocab_size, config.d_model, std)
        self.rotary = Rotary(config.d_model // config.n_heads, config.rope_theta)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.n_layers))
        self.norm = Norm(config)
        self.unembedding = None if config.tie_embeddings else Linear(config.d_model, config.padded_vocab_size, std)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids).to(self.compute_dtype)
        positions = self.rotary.table(ids.shape[1], like=x)
        for block in self.blocks:
            x = block(x, positions)
        x = self.norm(x)
        return F.linear(x, self.embedding.weight.to(x.dtype)) if self.unembedding is None else self.unembedding(x)


def on_meta(config: ModelConfig, precision: str = "fp32") -> Transformer:
    """The model without memory: shapes and dtypes only."""
    stored = torch.float64 if precision == "fp64" else torch.float32
    with torch.device("meta"):
        return Transformer(config, torch.bfloat16 if precision == "bf16" else stored).to(stored)


def parameter_count(model: nn.Module) -> int:
    """Parameters of the whole model, a shared or sharded one counted once."""
    return sum(parameter.numel() for parameter in model.parameters())


@torch.no_grad()
def materialise(model: Transformer, seed: int, device: torch.device) -> None:
    """Give a meta model memory and OLMo's `mitchell` initialisation.

    Each weight is drawn in float32 on the CPU from its own generator, seeded by (seed, name): the values depend
    neither on the number of ranks nor on precision, device or the order of the modules. A rank of a sharded model
    draws a whole weight at a time and keeps its part.
    """
    model.to_empty(device=device)
    for name, module in model.named_modules():
        if isinstance(module, (Linear, Embedding)):
            _fill(module.weight, _drawn(f"{name}.weight", module.weight.shape, module.std, seed))


def _drawn(name: str, shape: torch.Size, std: float, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(key_of(seed, "initialise", name))
    cutoff = INIT_CUTOFF * std
    return nn.init.trunc_normal_(torch.empty(shape), 0.0, std, -cutoff, cutoff, generator=generator)


def _fill(parameter: Tensor, values: Tensor) -> None:
    if isinstance(parameter, DTensor):
        values = values.to(parameter.device, parameter.dtype)
        # src_data_rank=None: every rank has the values, none needs to be sent.
        placed = distribute_tensor(values, parameter.device_mesh, parameter.placements, src_data_rank=None)
        parameter.to_local().copy_(placed.to_local())
    else:
        parameter.copy_(values)
