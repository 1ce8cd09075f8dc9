"""Saves checkpoints, in the background: the loop waits for a copy in memory, not for the disk.

All ranks write into `_partial-step-...`; the first one renames the folder and then writes its record. A run that is
killed at any point leaves the checkpoint before it, or this one, whole.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor

from dolma_pipe import storage
from dolma_pipe.errors import PipeError, TaskError
from dolma_pipe.train.checkpoints import checkpoint
from dolma_pipe.train.checkpoints.checkpoint import RECORD, CheckpointRecord
from dolma_pipe.train.checkpoints.tensor_files import State, save_tensors
from dolma_pipe.train.config import CheckpointConfig
from dolma_pipe.train.parallel import World

PARTIAL = "_partial-"
SLOWEST_SECONDS = 3600
"""Ranks wait so long for one whose disk is slower."""

GRACE_SECONDS = 15.0
"""A run that fails gives a save under way so long to end."""


class Saver:
    """One rank's part in saving a run's checkpoints, one at a time; every rank does the same in the same order."""

    def __init__(self, run: str, config: CheckpointConfig, world: World, saved: str | None) -> None:
        self._run, self._config, self._world = run, config, world
        self._group: Any = None
        if world.size > 1:
            self._group = dist.new_group(backend="gloo", timeout=timedelta(seconds=SLOWEST_SECONDS))
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._news: list[str] = []
        self._copies = _Copies()
        self.saved = saved
        """The newest complete checkpoint."""

    def save(self, record: CheckpointRecord, state: State) -> None:
        """Save; with `background`, return as soon as the state has been copied."""
        self.wait()
        folder = storage.join(checkpoint.folder_of(self._run), f"step-{record.step:08d}")
        if not self._config.background:
            self._attempt(folder, record, state)
            self.wait()
            return
        copy = self._copies.of(state)
        self._thread = threading.Thread(target=self._attempt, args=(folder, record, copy), daemon=True, name="saver")
        self._thread.start()

    def wait(self) -> None:
        """Until the save under way is done; its error, if it failed."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            if isinstance(error, PipeError):
                raise error
            raise TaskError(
                f"{self._run}: a checkpoint could not be saved: {error}; {self.saved or 'none'} stands; run again once "
                "it can be"
            ) from error

    def hear(self, tell: Callable[[str], None]) -> None:
        """Tell of the checkpoints that were completed since the last call."""
        while self._news:
            tell(self._news.pop(0))

    def close(self) -> None:
        """Give a save under way its time; what it says no longer matters."""
        if self._thread is not None:
            self._thread.join(GRACE_SECONDS)

    def _attempt(self, folder: str, record: CheckpointRecord, state: State) -> None:
        try:
            self._write(folder, record, state)
        except BaseException as error:  # told by `wait`, on the thread that trains
            self._error = error

    def _write(self, folder: str, record: CheckpointRecord, state: State) -> None:
        partial = storage.join(checkpoint.folder_of(self._run), PARTIAL + Path(folder).name)
        if self._world.first:
            _clear_partial(self._run)
            storage.make_folder(partial)
        self._meet()
        files = save_tensors(partial, state, self._group)
        if self._world.first:
            publish(partial, folder, msgspec.structs.replace(record, files=files))
            self._prune()
        self._meet()
        self.saved = folder
        self._news.append(folder)

    def _meet(self) -> None:
        if self._group is not None:
            dist.barrier(self._group)

    def _prune(self) -> None:
        keep, every = self._config.keep_last, self._config.keep_every_steps
        for old in checkpoint.complete(self._run)[: -keep if keep else 0]:
            if every is None or checkpoint.step_of(old) % every:
                checkpoint.remove(old)


def publish(partial: str, folder: str, record: CheckpointRecord) -> None:
    """Give a written folder its name, and then its record."""
    checkpoint.remove(folder)
    Path(partial).rename(folder)
    storage.write_bytes(storage.join(folder, RECORD), msgspec.json.format(msgspec.json.encode(record)))


def _clear_partial(run: str) -> None:
    for folder in Path(checkpoint.folder_of(run)).glob("*"):
        if not (folder / RECORD).exists():
            storage.remove_tree(str(folder))


@lru_cache(maxsize=4)
def _host_mesh(shape: tuple[int, ...], names: tuple[str, ...] | None) -> DeviceMesh:
    """The ranks of a mesh of devices, by their memory; making one makes process groups, so it is made once."""
    return init_device_mesh("cpu", shape, mesh_dim_names=names)


class _Copies:
    """Memory for a rank's part of a state, which the next save uses again; a GPU copies into it without stopping."""

    def __init__(self) -> None:
        self._memory: dict[str, torch.Tensor] = {}

    def of(self, state: State) -> State:
        """A copy that training does not touch."""
        copied = self._copied(state, "")
        if any(tensor.is_pinned() for tensor in self._memory.values()):
            torch.cuda.synchronize()
        return copied

    def _copied(self, state: Any, place: str) -> Any:
        if isinstance(state, dict):
            return {name: self._copied(value, f"{place}/{name}") for name, value in state.items()}
        if not isinstance(state, DTensor):
            return self._kept(state, place)
        mesh = state.device_mesh
        if mesh.device_type != "cpu":
            mesh = _host_mesh(tuple(mesh.shape), mesh.mesh_dim_names)
        part = self._kept(state.to_local(), place)
        return DTensor.from_local(
            part, mesh, state.placements, run_check=False, shape=state.shape, stride=state.stride()
        )

    def _kept(self, tensor: torch.Tensor, place: str) -> torch.Tensor:
        tensor = tensor.detach()
        if place not in self._memory:
            self._memory[place] = torch.empty_like(tensor, device="cpu", pin_memory=tensor.is_cuda)
        return self._memory[place].copy_(tensor, non_blocking=True)
