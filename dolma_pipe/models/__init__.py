"""Where models come from: bundled with the package, a local cache, or a path; nothing is fetched unless asked.

A name is looked for among the bundled models, then in the cache, then taken as a path.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from dolma_pipe import storage
from dolma_pipe.errors import ConfigError, DataError

BUNDLED = Path(__file__).parent
ENDINGS = (".ftz", ".bin")
TIMEOUT = 60
"""Seconds that a server may be silent."""


class Published(NamedTuple):
    """A model that somebody publishes, and what its bytes must be."""

    address: str
    sha256: str
    about: str


_FASTTEXT = "https://dl.fbaipublicfiles.com/fasttext/supervised-models"

PUBLISHED = {
    "lid.176.ftz": Published(
        f"{_FASTTEXT}/lid.176.ftz",
        "8f3472cfe8738a7b6099e8e999c3cbfae0dcd15696aac7d7738a8039db603e83",
        "language identification, 176 languages, 0.9 MB; CC BY-SA 3.0 (Joulin et al. 2016)",
    ),
    "lid.176.bin": Published(
        f"{_FASTTEXT}/lid.176.bin",
        "7e69ec5451bc261cc7844e49e4792a85d7f09c06789ec800fc4a44aec362764e",
        "language identification, 176 languages, 131 MB; CC BY-SA 3.0; what the Dolma toolkit uses",
    ),
}


class Model(NamedTuple):
    """A model that is on this machine."""

    name: str
    origin: str  # "bundled" or "cached"
    path: str
    bytes: int


def cache_folder() -> str:
    """Where fetched models lie on this machine."""
    return storage.cache_folder("models")


def available() -> list[Model]:
    """Every bundled and cached model, by name; a bundled one hides a cached one of its name."""
    found: dict[str, Model] = {}
    for origin, folder in (("cached", cache_folder()), ("bundled", str(BUNDLED))):
        names = storage.listing(folder) if os.path.isdir(folder) else []
        for name in (name for name in names if name.endswith(ENDINGS)):
            path = storage.join(folder, name)
            found[name] = Model(name, origin, path, storage.size(path))
    return [found[name] for name in sorted(found)]


def find(name: str) -> str:
    """Path of the model that a config names; `langid` means `langid.ftz`."""
    here = {model.name: model.path for model in available()}
    for candidate in (name, *(name + ending for ending in ENDINGS)):
        if candidate in here:
            return here[candidate]
    if storage.exists(name):
        return storage.local_path(name)
    if name in PUBLISHED:
        raise ConfigError(f"model {name!r} is not on this machine; run: dolma-pipe models fetch {name}")
    known = ", ".join(sorted({*here, *PUBLISHED}))
    raise ConfigError(f"model {name!r}: no such file, and neither bundled nor cached (known: {known})")


def fetch(
    name: str, address: str | None = None, sha256: str | None = None, on_bytes: Callable[[int], None] | None = None
) -> str:
    """Download a model into the cache and return its path; a published one's address and sha256 are known.

    Another `address` (a mirror, a `file://`) may serve a published model, but its bytes must be the same. Content
    that differs is a `DataError`, and nothing stays behind.
    """
    known = PUBLISHED.get(name)
    source, expected = address or (known and known.address), (known and known.sha256) or sha256
    if known and sha256 and sha256.lower() != known.sha256:
        raise ConfigError(f"model {name!r}: the published sha256 is {known.sha256}, not {sha256}; use another name")
    if not source or not expected:
        raise ConfigError(f"model {name!r} is not among {', '.join(PUBLISHED)}; give its address and its sha256")
    if "/" in name or not name.endswith(ENDINGS):
        raise ConfigError(f"model {name!r}: a cached model is named like a file, NAME{' or NAME'.join(ENDINGS)}")
    path = storage.join(cache_folder(), name)
    if not (os.path.exists(path) and _sha256(path) == expected.lower()):
        _download(source, path, expected.lower(), on_bytes)
    return path


def _download(address: str, path: str, expected: str, on_bytes: Callable[[int], None] | None) -> None:
    digest = hashlib.sha256()
    with storage.create(path) as target, _open(address) as stream:
        while chunk := _read(stream, address):
            digest.update(chunk)
            target.write(chunk)
            if on_bytes is not None:
                on_bytes(len(chunk))
        if digest.hexdigest() != expected:
            raise DataError(f"{address}: sha256 is {digest.hexdigest()}, expected {expected}; nothing was kept")


def _open(address: str) -> Any:
    try:
        return urllib.request.urlopen(address, timeout=TIMEOUT)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise DataError(f"{address}: cannot be fetched: {error}; nothing was kept") from error


def _read(stream: Any, address: str) -> bytes:
    try:
        return stream.read(storage.CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise DataError(f"{address}: the download broke off: {error!r}; nothing was kept") from error


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with storage.open_read(path) as stream:
        while chunk := stream.read(storage.CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
