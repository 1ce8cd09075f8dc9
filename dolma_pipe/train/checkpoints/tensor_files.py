"""How a checkpoint's tensors are written and read: torch.distributed.checkpoint's files, without its pickles.

It describes its files in a pickle (`.metadata`) and would unpickle non-tensors. We save tensors only, refuse anything
else on loading, and read `.metadata` with an unpickler that knows its classes alone.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import torch.distributed as dist
import xxhash
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystem, FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta, TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from dolma_pipe.errors import DataError
from dolma_pipe.storage.direct import DirectFile

State = dict[str, Any]


class StoredFile(msgspec.Struct, frozen=True):
    """Size and xxh3-128 of a file."""

    bytes: int
    hash: str


def save_tensors(folder: str, state: State, group: Any) -> dict[str, StoredFile]:
    """Write `state` into a folder; every rank of the process group calls it (None: one process alone).

    Returns the files that all of them wrote.
    """
    writer = _Writer(folder)
    try:
        with _one_process_is_fine():
            save(state, storage_writer=writer, process_group=group, no_dist=group is None)
    except CheckpointException as error:  # its text is a traceback of every rank
        raise next(iter(error.failures.values()))[0] from error
    written = [writer.files.written]
    if group is not None:
        written = [{}] * dist.get_world_size(group)
        dist.all_gather_object(written, writer.files.written, group)
    return dict(sorted(file for files in written for file in files.items()))


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


class _Stream(DirectFile):
    """Goes past the page cache, and hashes what goes by: reading it again would be reading it from the disk."""

    def __init__(self, path: Any) -> None:
        super().__init__(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666))
        self._taken, self._digest = 0, xxhash.xxh3_128()

    def write(self, data: Any) -> int:
        taken = super().write(data)
        self._taken += taken
        self._digest.update(data)
        return taken

    def tell(self) -> int:
        return self._taken

    def stored(self) -> StoredFile:
        return StoredFile(self._taken, self._digest.hexdigest())


class _Files(FileSystem):
    """Local files; one that is written has reached the disk when it is closed, and is listed by its name."""

    def __init__(self) -> None:
        super().__init__()
        self.written: dict[str, StoredFile] = {}

    @contextlib.contextmanager
    def create_stream(self, path: Any, mode: str) -> Iterator[Any]:
        if mode != "wb":
            with super().create_stream(path, mode) as stream:
                yield stream
            return
        with _Stream(path) as stream:
            yield stream
        self.written[Path(path).name] = stream.stored()
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def rename(self, path: Any, new_path: Any) -> None:
        super().rename(path, new_path)
        self.written[Path(new_path).name] = self.written.pop(Path(path).name)


class _Writer(FileSystemWriter):
    """Writes no path into `.metadata`: a checkpoint may be moved."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder, sync_files=False)  # `_Files` sees to that
        self.fs = self.files = _Files()

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
