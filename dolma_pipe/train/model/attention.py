"""Causal self-attention: grouped queries, rotary positions, sliding windows, documents apart, and a cache of keys."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from dolma_pipe.train.model.architecture import ModelConfig
from dolma_pipe.train.model.layers import Linear, RmsNorm
from dolma_pipe.train.model.rotary import Rotary, Turns

Mask = Tensor | BlockMask
"""Which keys each position sees: true where it does, or by blocks, of which those that nobody sees are left out."""


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


def attention_mask(length: int, window: int | None, documents: Tensor | None, like: Tensor) -> Mask | None:
    """Which keys each position sees; None where causality is all that holds.

    `documents` [batch, length] numbers each position's document: others are not seen. A tensor has the shape [length,
    length], with documents [batch, 1, length, length]. Blocks are for flex attention, which trains on GPUs in
    bfloat16: it has no backward pass on CPUs, and texts of any length, as in evaluation, would each be compiled.
    `like` has the dtype and device of what attends.
    """
    if documents is None and (window is None or window >= length):
        return None
    if like.is_cuda and like.dtype == torch.bfloat16 and torch.is_grad_enabled():
        if documents is not None:
            return document_blocks(documents, window)
        return window_blocks(length, window or length, like.device)
    positions = torch.arange(length, device=like.device)
    distance = positions[:, None] - positions
    mask = distance >= 0
    if window is not None:
        mask &= distance < window
    if documents is not None:
        mask = mask & (documents[:, None, :, None] == documents[:, None, None, :])
    return mask


@lru_cache(maxsize=8)
def window_blocks(length: int, window: int, device: torch.device) -> BlockMask:
    """The mask of a window by blocks of 128 x 128, the same for every row of every batch."""

    def sees(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (query >= key) & (query - key < window)

    return create_block_mask(sees, None, None, length, length, device=device)


def document_blocks(documents: Tensor, window: int | None) -> BlockMask:
    """The mask of `documents` [batch, length], and of a window, by blocks of 128 x 128."""
    rows, length = documents.shape
    width = length if window is None else window

    def sees(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (query >= key) & (query - key < width) & (documents[row, query] == documents[row, key])

    return _compiled(create_block_mask)(sees, rows, None, length, length, device=documents.device)


@lru_cache(maxsize=2)
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Fused where nobody compiles the caller: both functions would hold whole matrices of positions otherwise."""
    return torch.compile(function, dynamic=False)


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

    def forward(self, x: Tensor, turns: Turns, mask: Mask | None, cache: LayerCache | None = None) -> Tensor:
        query, key = self._normed(self.query(x), self.query_norm), self._normed(self.key(x), self.key_norm)
        query, key, value = (
            Rotary.turn(query, turns),
            Rotary.turn(key, turns),
            self._heads(self._clipped(self.value(x))),
        )
        if cache is not None:
            key, value = cache.extend(key, value)
        return self.output(self._mixed(query, key, value, mask).transpose(1, 2).flatten(2))

    def _mixed(self, query: Tensor, key: Tensor, value: Tensor, mask: Mask | None) -> Tensor:
        if isinstance(mask, BlockMask):
            attend = flex_attention if torch.compiler.is_compiling() else _compiled(flex_attention)
            return attend(query, key, value, block_mask=mask, enable_gqa=self.is_grouped)
        causal = mask is None and query.shape[2] > 1
        return F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=causal, enable_gqa=self.is_grouped
        )

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
