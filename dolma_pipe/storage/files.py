"""Paths, local and `s3://`: what is there, and its bytes."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple, cast

import xxhash

from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.storage import s3

CHUNK = 1 << 20


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
        for name in folders:
            _refuse_loop(os.path.join(root, name), folder)
        for name in files:
            yield os.path.relpath(os.path.join(root, name), folder).replace(os.sep, "/")


def _refuse_loop(path: str, top: str) -> None:
    """A link to a folder on the way to it would show every file of that folder again and again."""
    if not os.path.islink(path):
        return
    target, place = os.path.realpath(path), os.path.dirname(path)
    while len(place) >= len(top):
        if os.path.realpath(place) == target:
            raise DataError(f"{path}: a link to {target}, in which it lies; remove it from {top}")
        place = os.path.dirname(place)


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


def read_bytes(path: str) -> bytes:
    found = read_if_there(path)
    if found is None:
        raise DataError(f"{path}: no such file")
    return found


def read_if_there(path: str) -> bytes | None:
    """What is in a file, None where there is none."""
    if is_remote(path):
        return s3.get(path)
    if not os.path.exists(path):
        return None
    with open_read(path) as stream:
        return stream.read()


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
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


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
