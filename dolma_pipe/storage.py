"""The one module that touches paths: local files and `s3://` objects.

Whatever is published appears whole or not at all: locally it is written aside,
flushed and renamed; on s3 the object appears when its upload completes. Files
and folders whose name starts with `_` or `.` are ours and never listed as data.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

import xxhash

from dolma_pipe import s3
from dolma_pipe.direct import DirectFile
from dolma_pipe.errors import ConfigError, DataError

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

ASIDE = "_aside"
"""Folder, beside the output, where unfinished files lie; nobody reads it."""

CHUNK = 1 << 20
MOST_FLUSHES = 16


class Stat(NamedTuple):
    """What tells cheaply that a file is still the one that was read: size in bytes and mtime (ns) or ETag."""

    size: int
    stamp: str


def cache_folder(kind: str) -> str:
    """This machine's folder for what can be made or fetched again: `$DOLMA_PIPE_CACHE` or the user's cache folder."""
    home = os.path.join(os.path.expanduser("~"), ".cache")
    base = os.environ.get("DOLMA_PIPE_CACHE") or os.environ.get("XDG_CACHE_HOME") or home
    return join(base, "dolma_pipe", kind)


def is_remote(path: str) -> bool:
    return "://" in path


def join(*parts: str) -> str:
    """Join path parts with `/`, whatever the scheme."""
    head, *tail = [part for part in parts if part]
    return "/".join([head.rstrip("/"), *(part.strip("/") for part in tail)]) or "/"


def parent(path: str) -> str:
    return path.rsplit("/", 1)[0] if "/" in path else "."


def exists(path: str) -> bool:
    if is_remote(path):
        return s3.stat(path) is not None or bool(s3.names(path, limit=1))
    return os.path.exists(path)


def is_file(path: str) -> bool:
    return s3.stat(path) is not None if is_remote(path) else os.path.isfile(path)


def stat(path: str) -> Stat | None:
    """Size and stamp of a file, None where there is none."""
    if is_remote(path):
        found = s3.stat(path)
        return None if found is None else Stat(*found)
    try:
        local = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return Stat(local.st_size, str(local.st_mtime_ns))


def size(path: str) -> int:
    found = stat(path)
    if found is None:
        raise DataError(f"{path}: no such file")
    return found.size


def listing(folder: str, hidden: str = "_.") -> list[str]:
    """Relative paths of all files below `folder`, sorted by bytes; names that begin with a character of `hidden`
    are left out at every level."""
    if is_remote(folder):
        names = s3.names(folder)
    else:
        if not os.path.isdir(folder):
            raise DataError(f"{folder}: no such folder")
        names = list(_walk(folder, hidden))
    shown = (name for name in names if not any(part[:1] in hidden for part in name.split("/")))
    return sorted(shown, key=os.fsencode)


def _walk(folder: str, hidden: str) -> Iterator[str]:
    for root, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if name[:1] not in hidden]
        for name in files:
            yield os.path.relpath(os.path.join(root, name), folder).replace(os.sep, "/")


def open_read(path: str) -> BinaryIO:
    """A buffered stream of the stored bytes."""
    if is_remote(path):
        return cast(BinaryIO, s3.open_object(path, "rb"))
    try:
        return open(path, "rb", buffering=CHUNK)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise DataError(f"{path}: is a folder, not a file") from error
    except PermissionError as error:
        raise DataError(f"{path}: may not be read: {error.strerror}") from error


class Writer(io.RawIOBase):
    """A file being written aside; `size` and `hash` (xxh3-128) are those of the bytes so far, `rows` is told."""

    rows = 0

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream: BinaryIO | None = stream
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
        self._stream.write(view)
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
    def create(self, path: str, root: str, durable: bool = True, direct: bool = False) -> Iterator[Writer]:
        """One file, written aside below `root`; a block that fails leaves it out. `durable` as for `storage.create`;
        `direct` is for what is large and not read again soon (`direct.py`)."""
        if is_remote(path):
            with _create_remote(path) as writer:
                yield writer
            return
        handle, temporary = _temporary(os.path.join(root, ASIDE), path)
        try:
            with _opened(handle, direct) as stream, _given_up_on_error(stream) as writer:
                yield writer
        except BaseException:
            _unlink(temporary)
            raise
        self._waiting.append(_Unpublished(temporary, path, durable))

    def write_bytes(self, path: str, data: bytes, root: str, durable: bool = True) -> None:
        with self.create(path, root, durable) as writer:
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
                _unlink(file.temporary)


def _opened(handle: int, direct: bool) -> BinaryIO:
    return cast(BinaryIO, DirectFile(handle)) if direct else os.fdopen(handle, "wb", buffering=CHUNK)


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


def _unlink(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


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
        with _given_up_on_error(stream) as writer:
            yield writer
    except BaseException:
        stream.terminate()
        raise
    stream.close()


@contextlib.contextmanager
def _given_up_on_error(stream: BinaryIO) -> Iterator[Writer]:
    writer = Writer(stream)
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
            handle, temporary = tempfile.mkstemp(prefix=os.path.basename(path) + ".", dir=aside)
            os.fchmod(handle, 0o666 & ~_UMASK)
            return handle, temporary


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


_UMASK = _umask()  # asking sets it for a moment, which other threads would notice


def make_folder(folder: str) -> None:
    """Make a local folder and its parents; a folder that may not be written is a `ConfigError`."""
    if is_remote(folder):
        return
    try:
        os.makedirs(folder, exist_ok=True)
    except (PermissionError, NotADirectoryError, FileExistsError, OSError) as error:
        raise ConfigError(f"{folder}: cannot be made: {error.strerror}; choose another output folder") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"{folder}: may not be written; choose another output folder")


def clear_aside(root: str) -> None:
    """Remove what an interrupted run left unfinished in `root`."""
    if not is_remote(root):
        shutil.rmtree(os.path.join(root, ASIDE), ignore_errors=True)


def read_bytes(path: str) -> bytes:
    with open_read(path) as stream:
        return stream.read()


def write_bytes(path: str, data: bytes, root: str | None = None, durable: bool = True) -> None:
    """Publish `data` as `path`, atomically."""
    with create(path, root, durable) as writer:
        writer.write(data)


def content_hash(path: str) -> str:
    """xxh3-128 (hex) of the stored bytes."""
    digest = xxhash.xxh3_128()
    with open_read(path) as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def remove(path: str) -> None:
    """Remove a file if it is there."""
    if is_remote(path):
        s3.remove(path)
        return
    _unlink(path)


def remove_tree(folder: str) -> None:
    """Remove a folder and what is in it, if it is there."""
    if is_remote(folder):
        for name in s3.names(folder):
            remove(join(folder, name))
    else:
        shutil.rmtree(folder, ignore_errors=True)


def local_path(path: str) -> str:
    """`path` itself when it is local; s3 objects cannot be mapped into memory."""
    if is_remote(path):
        raise ConfigError(f"{path}: this needs a local file; copy it first")
    return path
