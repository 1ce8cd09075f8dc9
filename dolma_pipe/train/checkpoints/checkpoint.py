"""Checkpoints: `RUN/checkpoints/step-00001000/`, sharded by torch.distributed.checkpoint, complete or not there.

A folder is complete once it has `checkpoint.json`, which `saving` writes last: step, tokens shown, fingerprints of
data and code, configuration, files with sizes and hashes. A folder without it is ignored, and removed when the next
one is saved. Any number of ranks can load what any other number saved.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import torch
from torch import nn

from dolma_pipe import storage
from dolma_pipe.errors import DataError
from dolma_pipe.train.checkpoints.tensor_files import State, StoredFile, load_tensors
from dolma_pipe.train.data.chunks import TokenRange
from dolma_pipe.train.model.architecture import ModelConfig
from dolma_pipe.train.model.transformer import Transformer, on_meta
from dolma_pipe.train.parallel import World
from dolma_pipe.train.phases import Position, Progress
from dolma_pipe.train.spikes import GuardState
from dolma_pipe.types import Plain

RECORD = "checkpoint.json"
_CURE = "remove the folder to use the checkpoint before it"


class CheckpointRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a checkpoint is of.

    `data` is the identity of the order whose first `tokens` were shown, `begun` where each phase began; `model` has
    the rotary positions of the present phase. `excluded` are the quarantined tokens, `memory` is what its examples
    know by now (`objective.Remembering`). `lineage` says what tokens, tokenizer, mixes and code it was made with.
    """

    step: int
    tokens: int
    begun: list[Position]
    data: dict[str, Plain]
    model: ModelConfig
    config: dict[str, Plain]
    guard: GuardState = GuardState()
    excluded: list[TokenRange] = []
    lineage: dict[str, Plain] = {}
    memory: dict[str, Plain] = {}
    files: dict[str, StoredFile] = {}

    @property
    def sequence_length(self) -> int:
        """That of the phase which the run is in."""
        phases = self.config.get("phases") or [{}]
        own = phases[min(len(self.begun), len(phases)) - 1].get("sequence_length")
        return own or self.config["sequence_length"]

    @property
    def progress(self) -> Progress:
        return Progress(Position(self.step, self.tokens), self.begun)


def training_state(model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> State:
    """The tensors of a model and its optimizer, by parameter name; loading writes into them."""
    parameters = dict(model.named_parameters())
    state: State = {"model": {name: parameter.detach() for name, parameter in parameters.items()}}
    if optimizer is not None:
        state["optimizer"] = {name: dict(optimizer.state[parameter]) for name, parameter in parameters.items()}
    return state


def folder_of(run: str) -> str:
    """Where a run's checkpoints lie."""
    return storage.join(storage.local_path(run), "checkpoints")


def complete(run: str) -> list[str]:
    """Folders of a run's complete checkpoints, the newest last."""
    return sorted(str(name.parent) for name in Path(folder_of(run)).glob(f"step-*/{RECORD}"))


def newest(run: str) -> str | None:
    """Folder of a run's newest complete checkpoint."""
    found = complete(run)
    return found[-1] if found else None


def find(path: str) -> str:
    """A checkpoint's folder, given that folder or its run's."""
    if storage.exists(storage.join(path, RECORD)):
        return path
    found = newest(path)
    if found is None:
        raise DataError(f"{path}: neither a checkpoint nor a run with a complete one")
    return found


def read_record(folder: str) -> CheckpointRecord:
    """A checkpoint's record; its files must be there, whole."""
    try:
        record = msgspec.json.decode(storage.read_bytes(storage.join(folder, RECORD)), type=CheckpointRecord)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise DataError(f"{folder}/{RECORD}: not a checkpoint's record: {error}") from error
    for name, file in record.files.items():
        found = storage.stat(storage.join(folder, name))
        if found is None or found.size != file.bytes:
            what = "is missing" if found is None else f"has {found.size} bytes, not {file.bytes}"
            raise DataError(f"{folder}/{name} {what}; {_CURE}")
    return record


def load(folder: str, state: State, world: World) -> None:
    """Read a checkpoint's tensors into those of `state`, if its files are what was saved; every rank calls it and
    hashes its share of them."""
    for name, file in list(read_record(folder).files.items())[world.rank :: world.size]:
        if storage.content_hash(storage.join(folder, name)) != file.hash:
            raise DataError(f"{folder}/{name} is not what was saved: its hash differs; {_CURE}")
    load_tensors(folder, state, alone=world.size == 1)


def open_model(folder: str, device: torch.device) -> tuple[Transformer, CheckpointRecord]:
    """A checkpoint's model, whole and on one device, and its record."""
    record = read_record(folder)
    model = on_meta(record.model, record.config["precision"]).to_empty(device=device)
    load(folder, training_state(model), World(0, 1, device))
    return model.eval(), record


def step_of(folder: str) -> int:
    """The step that a checkpoint's folder is named after."""
    return int(Path(folder).name.removeprefix("step-"))


def remove(folder: str) -> None:
    """Remove a checkpoint, its record first: half of one must not look whole."""
    storage.remove(storage.join(folder, RECORD))
    storage.remove_tree(folder)


def remove_all(run: str) -> None:
    """Remove every checkpoint of a run, complete or not."""
    storage.remove_tree(folder_of(run))
