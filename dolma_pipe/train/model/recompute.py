"""Activation checkpointing: what a block's backward pass computes again instead of finding it in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Literal, TypeVar

import torch
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

Recompute = Literal["none", "selective", "full"]
Result = TypeVar("Result")

_PRODUCTS = frozenset(("aten.mm.default", "aten.addmm.default", "aten.bmm.default"))


def run(kind: Recompute, function: Callable[..., Result], *arguments: Any) -> Result:
    """The function's result; `full` keeps its arguments only, `selective` attention and every other product too."""
    if kind == "none" or not torch.is_grad_enabled():
        return function(*arguments)
    options: dict[str, Any] = {"context_fn": _contexts} if kind == "selective" else {}
    return checkpoint(function, *arguments, use_reentrant=False, **options)  # pyright: ignore[reportReturnType]


def _contexts() -> Any:
    """Counts products anew for each pass of a block, forward and recomputed alike."""
    counts: Counter[bool] = Counter()

    def keep(context: Any, operator: Any, *arguments: Any, **options: Any) -> CheckpointPolicy:
        name = str(operator)
        is_saved = "scaled_dot_product" in name
        if name in _PRODUCTS:
            counts[context.is_recompute] += 1
            is_saved = counts[context.is_recompute] % 2 == 1
        return CheckpointPolicy.MUST_SAVE if is_saved else CheckpointPolicy.PREFER_RECOMPUTE

    return create_selective_checkpoint_contexts(keep)
