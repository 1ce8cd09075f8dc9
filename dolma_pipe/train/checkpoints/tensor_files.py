"""How a checkpoint's tensors are written and read: torch.distributed.checkpoint's files, without its pickles.

It describes its files in a pickle (`.metadata`) and would unpickle non-tensors. We save tensors only, refuse anything
else on loading, and read `.metadata` with an unpickler that knows its classes alone.
"""

from __future__ import annotations

import contextlib
import pickle
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta, TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from dolma_pipe.errors import DataError

State = dict[str, Any]


def save_tensors(folder: str, state: State, group: Any) -> None:
    """Write `state` into a folder; every rank of the process group calls it (None: one process alone)."""
    with _one_process_is_fine():
        save(state, storage_writer=_Writer(folder), process_group=group, no_dist=group is None)


def load_tensors(folder: str, state: State, alone: bool) -> None:
    """Read a folder's tensors into those of `state`; every rank calls it."""
    reader = _Reader(folder)
    reader.read_metadata()  # once more below, but an error there is wrapped and logged by every rank
    with _one_process_is_fine():
        load(state, storage_reader=reader, no_dist=alone)


@contextlib.contextmanager
def _one_process_is_fine() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled, unavailable or uninitialized")
        yield


class _Writer(FileSystemWriter):
    """Writes no path into `.metadata`: a checkpoint may be moved."""

    def storage_meta(self) -> None:
        return None


class _Reader(FileSystemReader):
    """Reads `.metadata` with the unpickler below, and only if it describes tensors."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        path = Path(self.path, ".metadata")
        try:
            with path.open("rb") as stream:
                metadata: Metadata = _MetadataUnpickler(stream).load()
            entries = metadata.state_dict_metadata
        except (pickle.UnpicklingError, EOFError, AttributeError) as error:
            raise DataError(f"{path}: not a checkpoint's description: {error}") from error
        for name, entry in entries.items():
            if not isinstance(entry, TensorStorageMetadata):
                raise DataError(f"{path}: {name} is stored as a pickle, not as a tensor; no checkpoint of ours is")
        metadata.storage_meta = StorageMeta(load_id=self.load_id)
        return metadata


class _MetadataUnpickler(pickle.Unpickler):
    """Admits the classes that describe tensors and where they lie, and nothing that can run."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if f"{module_name}.{global_name}" not in _ADMITTED:
            raise pickle.UnpicklingError(f"it names {module_name}.{global_name}")
        return super().find_class(module_name, global_name)


def _admitted() -> Iterator[str]:
    classes = "Metadata MetadataIndex ChunkStorageMetadata TensorStorageMetadata TensorProperties _MEM_FORMAT_ENCODING"
    for name in classes.split():
        yield f"torch.distributed.checkpoint.metadata.{name}"
    yield "torch.distributed.checkpoint.filesystem._StorageInfo"
    yield "torch.serialization._get_layout"
    yield "torch.Size"
    for dtype in ("float16", "bfloat16", "float32", "float64", "int32", "int64"):
        yield f"torch.{dtype}"


_ADMITTED = frozenset(_admitted())
