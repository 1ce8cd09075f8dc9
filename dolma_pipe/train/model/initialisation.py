"""First values of a model's weights: functions of the seed and a weight's name alone."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from dolma_pipe.train.data.permutation import key_of
from dolma_pipe.train.model.layers import Embedding, ExpertsLinear, Linear, RmsNorm
from dolma_pipe.train.model.transformer import Transformer

CUTOFF = 3.0
"""Initial weights are normal, cut off at this many standard deviations."""


@torch.no_grad()
def materialise(model: Transformer, seed: int, device: torch.device) -> None:
    """Give a meta model memory and its initial values.

    Each weight is drawn in float32 on the CPU from its own generator, seeded by (seed, name): the values depend
    neither on the number of ranks nor on precision, device or the order of the modules. A rank of a sharded model
    draws a whole weight at a time and keeps its part.
    """
    model.to_empty(device=device)
    for name, module in model.named_modules():
        if isinstance(module, RmsNorm):
            fill(module.weight, torch.ones(module.weight.shape))
        elif isinstance(module, (Linear, Embedding, ExpertsLinear)):
            std = standard_deviation(model, name, module.weight.shape)
            fill(module.weight, _drawn(f"{name}.weight", module.weight.shape, std, seed))


def standard_deviation(model: Transformer, name: str, shape: torch.Size) -> float:
    """Of a weight [..., outputs, inputs] (of the embedding: [rows, width]) by the configuration's `initialisation`."""
    config = model.config
    to_stream = name.endswith(("attention.output", "ffn.down"))
    if config.init_std is not None:
        depth = 2 * config.n_layers if to_stream and config.initialisation == "megatron" else 1
        return config.init_std / math.sqrt(depth)
    depth = 2 * (int(name.split(".")[1]) + 1) if to_stream else 1
    return 1 / math.sqrt(shape[-1] * depth)


def _drawn(name: str, shape: torch.Size, std: float, seed: int) -> Tensor:
    """By inversion: one draw a weight. PyTorch's `trunc_normal_` draws the whole weight again until all of it fits."""
    generator = torch.Generator().manual_seed(key_of(seed, "initialise", name))
    most = math.erf(CUTOFF / math.sqrt(2))
    drawn = torch.empty(shape).uniform_(-most, most, generator=generator).erfinv_()
    return drawn.mul_(std * math.sqrt(2)).clamp_(-CUTOFF * std, CUTOFF * std)


@torch.no_grad()
def fill(parameter: Tensor, values: Tensor) -> None:
    """Write whole values into a parameter, of which this rank may hold a part."""
    if isinstance(parameter, DTensor):
        values = values.to(parameter.device, parameter.dtype)
        # src_data_rank=None: every rank has the values, none needs to be sent.
        placed = distribute_tensor(values, parameter.device_mesh, parameter.placements, src_data_rank=None)
        parameter.to_local().copy_(placed.to_local())
    else:
        parameter.copy_(values)
