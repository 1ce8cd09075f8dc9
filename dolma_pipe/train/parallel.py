"""Ranks: who takes part in a run, what they add up, and how a model is spread over them.

A run of one process needs no process group and takes the plain path; `torchrun` sets the variables that make
several. Weights, gradients and optimizer state are then sharded by FSDP2, one unit per block and the root.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from datetime import timedelta
from time import monotonic, sleep
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.rendezvous import rendezvous

from dolma_pipe.errors import ConfigError, TaskError
from dolma_pipe.train.model.transformer import Transformer

KEPT_BYTES = 4e9
"""Blocks that together take no more in the dtype of the pass stay gathered between forward and backward pass."""

POLL_SECONDS, GIVE_UP_SECONDS = 0.2, 5.0
"""Ranks that have waited in vain find out from each other, for so long, which one they waited for."""


class World(NamedTuple):
    """One rank's view of the run."""

    rank: int
    size: int
    device: torch.device
    timeout_seconds: int = 600
    store: Store | None = None

    @property
    def first(self) -> bool:
        """Whether this rank speaks, and writes what is written once."""
        return self.rank == 0

    def add_up(self, values: Tensor) -> Tensor:
        """The sum over all ranks, in place."""
        if self.size > 1:
            dist.all_reduce(values, op=dist.ReduceOp.SUM)
        return values

    def agree(self, step: int, values: Sequence[int]) -> list[int]:
        """The sums over all ranks, at the beginning of a step; through memory, so that no device is waited for.

        A rank that does not come within `timeout_seconds` is named in a `TaskError`.
        """
        sums = torch.tensor(values, dtype=torch.int64)
        if self.size > 1:
            start = monotonic()
            try:
                dist.all_reduce(sums, op=dist.ReduceOp.SUM)
            except RuntimeError as error:
                if monotonic() - start < self.timeout_seconds:
                    raise
                raise TaskError(self._who_is_missing(step)) from error
        return sums.tolist()

    def _who_is_missing(self, step: int) -> str:
        store, keys = self.store, [f"waits/{step}/{rank}" for rank in range(self.size)]
        if store is None:
            return f"step {step}: another rank did not come within {self.timeout_seconds} s"
        store.set(keys[self.rank], "")
        end = monotonic() + GIVE_UP_SECONDS
        missing = list(range(self.size))
        while missing and monotonic() < end:
            sleep(POLL_SECONDS)
            missing = [rank for rank in missing if not store.check([keys[rank]])]
        who = ", ".join(map(str, missing)) or "a connection between them"
        return (
            f"step {step}: rank {who} of {self.size} did not come within {self.timeout_seconds} s "
            "(rank_timeout_seconds); run again to go on from the last checkpoint"
        )

    def wait(self) -> None:
        """Until every rank is here."""
        if self.size > 1:
            dist.barrier()


@contextlib.contextmanager
def join_world(device: str, timeout_seconds: int = 600) -> Iterator[World]:
    """Take part in the run that `torchrun` started (or be all of it); `device` is auto, cpu or cuda."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    chosen = choose_device(device)
    if size == 1:
        yield World(0, 1, chosen)
        return
    ours = not dist.is_initialized()
    store = _meet(chosen, timeout_seconds) if ours else None
    try:
        yield World(dist.get_rank(), size, chosen, timeout_seconds, store)
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "gloo" in str(error):
            reason = str(error).splitlines()[0]
            raise TaskError(f"another rank is gone; run again to go on from the last checkpoint ({reason})") from error
        raise
    finally:
        if ours:
            dist.destroy_process_group()


def _meet(device: torch.device, timeout_seconds: int) -> Store:
    """Start the process group; the store through which its ranks found each other.

    After an elastic restart torchrun's store still holds the addresses of the ranks that are gone, so each attempt
    has its own part of it.
    """
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    shared, rank, size = next(rendezvous("env://"))
    store = PrefixStore(f"attempt-{attempt}-of-{size}", shared)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    timeout = timedelta(seconds=timeout_seconds)
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=timeout)
    return store


def choose_device(name: str) -> torch.device:
    """The device that `auto`, `cpu` or `cuda` means on this rank."""
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ConfigError("device: cuda, but PyTorch finds no GPU here; use device: cpu, or auto")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device


def shard(model: Transformer, world: World, replicas: int = 1) -> None:
    """Spread a (meta) model over the ranks; with one rank, leave it alone.

    With `replicas` every weight is sharded over ranks / replicas neighbours, and kept by each such group (HSDP).

    The weights of a model of no more than `KEPT_BYTES` are gathered once a pass, others again for the backward pass.

    Gradients are summed, never averaged: the loss is divided by the global count of labels before `backward`, and
    on gloo an average has been a sum (pytorch issue 162338), so no rank count may enter the reduction. Tied
    embeddings belong to the root, whose weights stay gathered from the first use to the last.
    """
    if world.size == 1:
        return
    groups, names = ((replicas, world.size // replicas), ("replica", "shard"))
    if replicas == 1:
        groups, names = groups[1:], names[1:]
    mesh = init_device_mesh(world.device.type, groups, mesh_dim_names=names)
    policy = MixedPrecisionPolicy()
    if model.compute_dtype == torch.bfloat16:
        policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
    gathered = sum(parameter.numel() for parameter in model.parameters()) * model.compute_dtype.itemsize
    for module in (*model.blocks, model):
        reshard = None if module is model else gathered > KEPT_BYTES
        sharded = fully_shard(module, mesh=mesh, mp_policy=policy, reshard_after_forward=reshard)
        sharded.set_gradient_divide_factor(1.0)
        sharded.set_force_sum_reduction_for_comms(True)


def reduce_gradients(model: Transformer, last: bool) -> None:
    """Say before a `backward` whether it is the step's last: the others keep their gradients on the rank."""
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(last)
        model.set_is_last_backward(last)
