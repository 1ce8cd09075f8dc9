"""Files appear whole or not at all: written aside, flushed, renamed; on s3 when their upload completes."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

import xxhash

from dolma_pipe.errors import DataError
from dolma_pipe.storage import s3
from dolma_pipe.storage.direct import DirectFile
from dolma_pipe.storage.files import is_remote, make_folder, parent, remove

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

ASIDE = "_aside"
"""Folder, beside the output, where unfinished files lie; nobody reads it."""

MOST_FLUSHES = 16
PIECE = 64 << 10
"""Bytes that the system gets at once. For a longer write a file system looks for longer stretches of memory, which may
not be at hand: on a virtual machine, touching them first cost ten times as much as the copying (measured)."""


class Writer(io.RawIOBase):
    """A file being written aside; `size` and `hash` (xxh3-128) are those of the bytes so far, `rows` is told."""

    rows = 0

    def __init__(self, stream: BinaryIO, path: str) -> None:
        super().__init__()
        self._stream: BinaryIO | None = stream
        self._path = path
        self._hash = xxhash.xxh3_128()
        self.size = 0

    @property
    def hash(self) -> str:
        return self._hash.hexdigest()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if self._stream is None:
            return len(data)
        view = memoryview(data).cast("B")
        self._hash.update(view)
        self.size += len(view)
        with _naming(self._path):
            for start in range(0, len(view), PIECE):
                self._stream.write(view[start : start + PIECE])
        return len(view)

    def tell(self) -> int:
        return self.size

    def give_up(self) -> None:
        """Ignore what is still written: a Parquet writer ends its file when it is collected, wanted or not."""
        self._stream = None


@contextlib.contextmanager
def create(path: str, root: str | None = None, durable: bool = True) -> Iterator[Writer]:
    """Write `path` aside and publish it when the block ends well; otherwise leave nothing.

    `root` is the folder that holds the `_aside` folder (default: the file's own folder, and it is removed again).
    What need not survive a loss of power is not `durable`: it is not flushed to the disk before it is renamed.
    """
    try:
        with Publication() as files, files.create(path, root or parent(path), durable) as writer:
            yield writer
    finally:
        if root is None and not is_remote(path):
            with contextlib.suppress(OSError):
                os.rmdir(os.path.join(parent(path), ASIDE))


class _Unpublished(NamedTuple):
    temporary: str
    path: str
    durable: bool


class Publication:
    """Files that appear when the block ends well, in the order they were finished; if it does not, none of them does.

    All are flushed to the disk at the same time, which costs about as much as flushing one. An s3 object cannot be held
    back: it appears as soon as it is finished.
    """

    def __init__(self) -> None:
        self._waiting: list[_Unpublished] = []

    @contextlib.contextmanager
    def create(
        self, path: str, root: str, durable: bool = True, direct: bool = False, first: bool = False
    ) -> Iterator[Writer]:
        """One file, written aside below `root`; a block that fails leaves it out. `durable` as for `storage.create`;
        `direct` is for what is large and not read again soon (`direct.py`); `first` appears before all others."""
        if is_remote(path):
            with _create_remote(path) as writer:
                yield writer
            return
        handle, temporary = _temporary(os.path.join(root, ASIDE), path)
        try:
            with _closed(_opened(handle, direct), path) as stream, _given_up_on_error(stream, path) as writer:
                yield writer
        except BaseException:
            remove(temporary)
            raise
        self._waiting.insert(0 if first else len(self._waiting), _Unpublished(temporary, path, durable))

    def write_bytes(self, path: str, data: bytes, root: str, durable: bool = True, first: bool = False) -> None:
        if is_remote(path):
            s3.put(path, data)
            return
        with self.create(path, root, durable, first=first) as writer:
            writer.write(data)

    def __enter__(self) -> Publication:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                _flush([file.temporary for file in self._waiting if file.durable])
                for file in self._waiting:
                    _publish(file.temporary, file.path)
                self._waiting = []
        finally:
            for file in self._waiting:
                remove(file.temporary)


def _opened(handle: int, direct: bool) -> BinaryIO:
    return cast(BinaryIO, DirectFile(handle)) if direct else os.fdopen(handle, "wb", buffering=PIECE)


@contextlib.contextmanager
def _closed(stream: BinaryIO, path: str) -> Iterator[BinaryIO]:
    """`stream`, closed at the end: what it still holds is written then, and a full disk names the file."""
    try:
        yield stream
    except BaseException:
        with contextlib.suppress(OSError):
            stream.close()
        raise
    with _naming(path):
        stream.close()


@contextlib.contextmanager
def _naming(path: str) -> Iterator[None]:
    """An error of the system says of which file, as those of opening do."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or path
        raise


def _flush(paths: list[str]) -> None:
    """Wait until the disk has these files: together, since a file system writes its journal once for all who wait."""
    if len(paths) == 1:
        _flush_one(paths[0])
    elif paths:
        list(_waiters(os.getpid()).map(_flush_one, paths))


def _flush_one(path: str) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@functools.cache
def _waiters(process: int) -> ThreadPoolExecutor:
    """Threads that wait for the disk; a process that was forked has none of its parent's."""
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(MOST_FLUSHES, f"flush-{process}")


def _publish(temporary: str, path: str) -> None:
    try:
        os.replace(temporary, path)
    except FileNotFoundError:
        make_folder(parent(path))
        os.replace(temporary, path)


@contextlib.contextmanager
def _create_remote(path: str) -> Iterator[Writer]:
    # A multipart upload is visible only once it completes; an exception inside the block aborts it.
    stream = s3.open_object(path, "wb")
    try:
        with _given_up_on_error(stream, path) as writer:
            yield writer
    except BaseException:
        with contextlib.suppress(DataError):  # what made the block fail is told
            stream.terminate()
        raise
    stream.close()


@contextlib.contextmanager
def _given_up_on_error(stream: BinaryIO, path: str) -> Iterator[Writer]:
    writer = Writer(stream, path)
    try:
        yield writer
    except BaseException:
        writer.give_up()
        raise


def _temporary(aside: str, path: str) -> tuple[int, str]:
    if not os.path.isdir(aside):
        make_folder(parent(aside))
    while True:
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            # another process may make or remove the empty folder at any moment: then try again
            os.makedirs(aside, exist_ok=True)
            handle, temporary = tempfile.mkstemp(prefix=os.path.basename(path)[:40] + ".", dir=aside)
            os.fchmod(handle, 0o666 & ~_UMASK)
            return handle, temporary


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


_UMASK = _umask()  # asking sets it for a moment, which other threads would notice


def has_unfinished(root: str) -> bool:
    """Does `root` hold a folder of unfinished files, of a run that is at work or was killed?"""
    return not is_remote(root) and os.path.isdir(os.path.join(root, ASIDE))


def clear_aside(root: str, older_than: float = 0.0) -> None:
    """Remove what an interrupted run left unfinished in `root`, and did so that many seconds ago."""
    if is_remote(root):
        return
    aside = os.path.join(root, ASIDE)
    if older_than == 0.0:
        shutil.rmtree(aside, ignore_errors=True)
        return
    with contextlib.suppress(OSError):
        for entry in os.scandir(aside):
            if time.time() - entry.stat().st_mtime > older_than:
                os.unlink(entry.path)
        os.rmdir(aside)


def write_bytes(path: str, data: bytes, root: str | None = None, durable: bool = True) -> None:
    """Publish `data` as `path`, atomically."""
    if is_remote(path):
        s3.put(path, data)
        return
    with create(path, root, durable) as writer:
        writer.write(data)
