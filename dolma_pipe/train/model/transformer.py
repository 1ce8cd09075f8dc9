"""One Transformer, described by a `ModelConfig`.

The modules hold no buffers and build without drawing numbers, so a model may be made on the meta device, sharded, and
only then given memory and values (`initialisation.materialise`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dolma_pipe.train.model.architecture import ModelConfig
from dolma_pipe.train.model.attention import Attention, Cache, LayerCache, Mask, attention_mask
from dolma_pipe.train.model.feedforward import Experts, FeedForward, balance_loss, router_z_loss
from dolma_pipe.train.model.layers import Embedding, LayerNorm, Linear, Norm, RmsNorm
from dolma_pipe.train.model.recompute import Recompute, run
from dolma_pipe.train.model.rotary import Rotary, Turns


def make_norm(config: ModelConfig) -> Norm:
    return (RmsNorm if config.norm == "rms" else LayerNorm)(config.d_model, config.norm_eps)


class Block(nn.Module):
    """Attention and feed-forward, each added to the residual stream; the unit that FSDP shards.

    Returns the stream and, where there are experts, the router's scores.
    """

    def __init__(self, config: ModelConfig, number: int, recompute: Recompute) -> None:
        super().__init__()
        self.norm_after = config.norm_after
        self.recompute: Recompute = recompute
        self.attention_norm = make_norm(config)
        self.attention = Attention(config, number)
        self.ffn_norm = make_norm(config)
        experts = config.experts
        self.ffn = FeedForward(config, number) if experts is None else Experts(config, number, experts)

    def forward(
        self, x: Tensor, turns: Turns, mask: Mask | None = None, cache: LayerCache | None = None
    ) -> tuple[Tensor, Tensor | None]:
        return run(self.recompute, self._pass, x, turns, mask, cache)

    def _pass(
        self, x: Tensor, turns: Turns, mask: Mask | None, cache: LayerCache | None
    ) -> tuple[Tensor, Tensor | None]:
        if self.norm_after:
            x = x + self.attention_norm(self.attention(x, turns, mask, cache))
            made, scores = self.ffn(x)
            return x + self.ffn_norm(made), scores
        x = x + self.attention(self.attention_norm(x), turns, mask, cache)
        made, scores = self.ffn(self.ffn_norm(x))
        return x + made, scores


class Transformer(nn.Module):
    """Token ids [batch, length] to logits [batch, length, padded_vocab_size], computed in `compute_dtype`.

    `routing_loss` is the experts' part of the loss of the last pass, summed over its sequences; None without experts.
    """

    def __init__(
        self, config: ModelConfig, compute_dtype: torch.dtype = torch.float32, recompute: Recompute = "none"
    ) -> None:
        super().__init__()
        config.check()
        if config.padded_vocab_size is None:
            raise ValueError("the vocabulary is not known yet: ModelConfig.with_vocabulary fills it in")
        self.config = config
        self.compute_dtype = compute_dtype
        self.routing_loss: Tensor | None = None
        self.embedding = Embedding(config.padded_vocab_size, config.d_model)
        self.rotary = Rotary(config.head, config.rope_theta, config.rope_scaling)
        self.blocks = nn.ModuleList(Block(config, number, recompute) for number in range(config.n_layers))
        self.norm = make_norm(config)
        self.unembedding = None if config.tie_embeddings else Linear(config.d_model, config.padded_vocab_size)

    def turn_as(self, config: ModelConfig) -> None:
        """Take the rotary positions of another configuration of this model."""
        self.config = config
        self.rotary = Rotary(config.head, config.rope_theta, config.rope_scaling)

    def forward(self, ids: Tensor, documents: Tensor | None = None, cache: Cache | None = None) -> Tensor:
        """`documents` [batch, length] keeps attention within documents; a `cache` is of the positions before."""
        x = self.embedding(ids).to(self.compute_dtype)
        first, length = (0 if cache is None else cache.seen), ids.shape[1]
        turns = self.rotary.table(length, like=x, first=first)
        mask = None if first else attention_mask(length, self.config.sliding_window, documents, like=x)
        scores: list[Tensor] = []
        for number, block in enumerate(self.blocks):
            x, routed = block(x, turns, mask, None if cache is None else cache.layers[number])
            if routed is not None:
                scores.append(routed)
        self.routing_loss = self._routing_loss(scores)
        x = self.norm(x)
        return F.linear(x, self.embedding.weight.to(x.dtype)) if self.unembedding is None else self.unembedding(x)

    def _routing_loss(self, scores: list[Tensor]) -> Tensor | None:
        experts = self.config.experts
        if experts is None:
            return None
        stacked = torch.stack(scores)
        loss = experts.balance_loss * balance_loss(stacked, experts.chosen)
        return loss + experts.router_z_loss * router_z_loss(stacked) if experts.router_z_loss else loss


def on_meta(config: ModelConfig, precision: str = "fp32", recompute: Recompute = "none") -> Transformer:
    """The model without memory: shapes and dtypes only."""
    stored = torch.float64 if precision == "fp64" else torch.float32
    with torch.device("meta"):
        return Transformer(config, torch.bfloat16 if precision == "bf16" else stored, recompute).to(stored)


def parameter_count(model: nn.Module) -> int:
    """Parameters of the whole model, a shared or sharded one counted once."""
    return sum(parameter.numel() for parameter in model.parameters())
