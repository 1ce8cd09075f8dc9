"""Blocks and losses, compiled: each whole, for the shapes that it meets."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
import torch._dynamo.config

from dolma_pipe.errors import ConfigError
from dolma_pipe.train.model.transformer import Transformer

SHAPES = 4
"""Batch and sequence lengths of a run, in training and without gradients, that each kind of block is compiled for."""

P = ParamSpec("P")
Result = TypeVar("Result")


def compile_blocks(model: Transformer) -> None:
    """Compile the forward pass of each block, so that what FSDP hooks onto it stays outside.

    Blocks of equal sizes share what is compiled. Where every layer has its own (OpenELM), PyTorch's limit of eight
    would leave the later ones as they were.
    """
    if model.config.experts is not None and model.compute_dtype != torch.bfloat16:
        raise ConfigError("compile: experts are compiled in bfloat16 only; set precision: bf16, or leave compile out")
    kinds = len({model.config.layer(number) for number in range(model.config.n_layers)})
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, SHAPES * kinds)
    for block in model.blocks:
        block.forward = compiled(block.forward)


def compiled(function: Callable[P, Result]) -> Callable[P, Result]:
    """Without breaks and for fixed shapes; what cannot be compiled so is an error."""
    return torch.compile(function, fullgraph=True, dynamic=False)
