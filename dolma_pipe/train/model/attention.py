"""Causal self-attention: grouped queries, rotary positions, sliding windows, documents apart, and a cache of keys."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dolma_pipe.train.model.architecture import ModelConfig
from dolma_pipe.train.model.layers import Linear, RmsNorm
from dolma_pipe.train.model.rotary import Rotary, Turns


class LayerCache:
    """Keys and values of the last `size` positions of one layer, position i in slot i modulo size."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        self.keys, self.values, self.seen = keys, values, 0

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store more positions; returns the keys and values that the new ones may attend to.

        The first call may bring many positions, which attend among themselves; each later one brings one.
        """
        count, size = keys.shape[2], self.keys.shape[2]
        first = self.seen
        if first and count > 1:
            raise ValueError("a cache that holds something takes one position at a time")
        self.seen += count
        slots = torch.arange(first, self.seen, device=keys.device)[-size:] % size
        self.keys[:, :, slots], self.values[:, :, slots] = keys[:, :, -size:], values[:, :, -size:]
        if not first:
            return keys, values
        held = min(self.seen, size)
        return self.keys[:, :, :held], self.values[:, :, :held]


class Cache(NamedTuple):
    """What a model remembers of the text so far; memory is bounded by the sliding window where there is one."""

    layers: list[LayerCache]

    @property
    def seen(self) -> int:
        return self.layers[0].seen


def make_cache(config: ModelConfig, batch: int, length: int, like: Tensor) -> Cache:
    """An empty cache for `batch` texts of up to `length` tokens, in the dtype and on the device of `like`."""
    size = min(length, config.sliding_window or length)
    layers: list[LayerCache] = []
    for layer in map(config.layer, range(config.n_layers)):
        shape = (batch, layer.n_kv_heads, size, config.head)
        layers.append(LayerCache(like.new_zeros(shape), like.new_zeros(shape)))
    return Cache(layers)


def attention_mask(length: int, window: int | None, documents: Tensor | None, device: torch.device) -> Tensor | None:
    """Which keys each position sees, true where it does; None where causality is all that holds.

    `documents` [batch, length] numbers each position's document: others are not seen. Shape [length, length], with
    documents [batch, 1, length, length].
    """
    if documents is None and (window is None or window >= length):
        return None
    positions = torch.arange(length, device=device)
    distance = positions[:, None] - positions
    mask = distance >= 0
    if window is not None:
        mask &= distance < window
    if documents is not None:
        mask = mask & (documents[:, None, :, None] == documents[:, None, None, :])
    return mask


class Attention(nn.Module):
    """Multi-head attention in which `n_heads / n_kv_heads` neighbouring heads share keys and values."""

    def __init__(self, config: ModelConfig, number: int) -> None:
        super().__init__()
        width, head, layer = config.d_model, config.head, config.layer(number)
        self.head, self.clip, self.by_head = head, config.clip_qkv, config.query_key_norm == "head"
        self.is_grouped = layer.n_heads != layer.n_kv_heads
        self.query = Linear(width, layer.n_heads * head)
        self.key = Linear(width, layer.n_kv_heads * head)
        self.value = Linear(width, layer.n_kv_heads * head)
        self.output = Linear(layer.n_heads * head, width)
        self.query_norm = self.key_norm = None
        if config.query_key_norm is not None:
            self.query_norm = RmsNorm(head if self.by_head else layer.n_heads * head, config.norm_eps)
            self.key_norm = RmsNorm(head if self.by_head else layer.n_kv_heads * head, config.norm_eps)

    def forward(self, x: Tensor, turns: Turns, mask: Tensor | None, cache: LayerCache | None = None) -> Tensor:
        query, key = self._normed(self.query(x), self.query_norm), self._normed(self.key(x), self.key_norm)
        query, key, value = (
            Rotary.turn(query, turns),
            Rotary.turn(key, turns),
            self._heads(self._clipped(self.value(x))),
        )
        if cache is not None:
            key, value = cache.extend(key, value)
        causal = mask is None and query.shape[2] > 1
        mixed = F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=causal, enable_gqa=self.is_grouped
        )
        return self.output(mixed.transpose(1, 2).flatten(2))

    def _normed(self, x: Tensor, norm: RmsNorm | None) -> Tensor:
        """Clipped, normed and split into heads."""
        x = self._clipped(x)
        if norm is None:
            return self._heads(x)
        return norm(self._heads(x)) if self.by_head else self._heads(norm(x))

    def _clipped(self, x: Tensor) -> Tensor:
        return x if self.clip is None else x.clamp(-self.clip, self.clip)

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.head)).transpose(1, 2)
