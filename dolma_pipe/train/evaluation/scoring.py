"""The loss of chosen tokens in their context: what bits per byte, test questions and preferences are made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dolma_pipe.train.data.loader import IGNORED
from dolma_pipe.train.model.transformer import Transformer

SORTED_TOGETHER = 64
"""Batches' worth of windows that are sorted by length, so that few positions are padding."""

EXACT_POSITIONS = 2048
"""Positions whose logits are copied, in float32, at a time."""

Ids = NDArray[np.int64]


class Window(NamedTuple):
    """What a model sees at once of item number `item`: inputs, and labels of which some are ignored."""

    item: int
    inputs: Ids
    labels: Ids


class Loss(NamedTuple):
    """Of a window's labels: their summed loss in nats, and whether each is the likeliest token in its place."""

    nats: float
    greedy: bool


def cut(item: int, tokens: Ids, window: int, overlap: int) -> Iterator[Window]:
    """Windows of at most `window` inputs over a text that begins with its context: every later token is a label once.

    The first window predicts `window` tokens, each later one `window - overlap`, seeing the `overlap` before them too.
    The last one reaches back as far as it can: a short rest is not left without context.
    """
    scored, last = 0, len(tokens) - 1
    while scored < last:
        end = min(max(0, scored - overlap) + window, last)
        start = max(0, end - window)
        labels = tokens[start + 1 : end + 1].copy()
        labels[: scored - start] = IGNORED
        yield Window(item, tokens[start:end], labels)
        scored = end


def continue_with(item: int, context: Ids, continuation: Ids, window: int) -> Iterator[Window]:
    """Predict `continuation` after `context` (at least one token), of which what does not fit is cut off at the left.

    A continuation that is longer than the window is predicted window by window, as `cut` does, after the last token of
    the context; an empty one has no window.
    """
    if len(continuation):
        kept = context[-max(1, window + 1 - len(continuation)) :]
        for one in cut(item, np.concatenate([kept, continuation]), window, 0):
            one.labels[: len(kept) - 1] = IGNORED  # none where there are several windows
            yield one


def score(model: Transformer, windows: Iterable[Window], batch_tokens: int) -> Iterator[tuple[Window, Loss]]:
    """The loss of every window, in another order; at most `batch_tokens` positions (or one window) at a time."""
    for batch in _batched(iter(windows), batch_tokens):
        yield from zip(batch, _losses(model, batch), strict=True)


def _batched(windows: Iterator[Window], batch_tokens: int) -> Iterator[list[Window]]:
    while chunk := _fill(windows, batch_tokens * SORTED_TOGETHER):
        chunk.sort(key=lambda window: -len(window.inputs))
        while chunk:
            rows = max(1, batch_tokens // len(chunk[0].inputs))
            yield chunk[:rows]
            chunk = chunk[rows:]


def _fill(windows: Iterator[Window], tokens: int) -> list[Window]:
    chunk: list[Window] = []
    while tokens > 0 and (window := next(windows, None)) is not None:
        chunk.append(window)
        tokens -= len(window.inputs)
    return chunk


@torch.inference_mode()
def _losses(model: Transformer, batch: list[Window]) -> list[Loss]:
    """Padding lies behind, where a causal model cannot see it."""
    device = next(model.parameters()).device
    labels = _padded([window.labels for window in batch], IGNORED)
    counted = (labels != IGNORED).flatten().nonzero()[:, 0].to(device)  # counted here: a GPU would be waited for
    labels = labels.to(device)
    logits = model(_padded([window.inputs for window in batch], 0).to(device)).flatten(0, 1)
    nats = torch.zeros(len(batch), dtype=torch.float64, device=device)
    misses = torch.zeros_like(nats)
    for places in counted.split(EXACT_POSITIONS):
        expected, exact = labels.flatten()[places], logits[places]
        exact = exact.to(torch.promote_types(exact.dtype, torch.float32))
        rows = places // labels.shape[1]
        nats.index_add_(0, rows, F.cross_entropy(exact, expected, reduction="none").double())
        misses.index_add_(0, rows, (exact.argmax(dim=-1) != expected).double())
    return [Loss(loss, missed == 0) for loss, missed in zip(nats.tolist(), misses.tolist(), strict=True)]


def _padded(rows: list[Ids], value: int) -> Tensor:
    tensors = [torch.from_numpy(row) for row in rows]
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=value)
