"""Data sets made by hand: written for a test, and read back to compare two runs."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import zstandard


def encode_lines(documents: Iterable[Any]) -> bytes:
    """JSON lines; bytes and strings are lines as they are."""
    lines = [
        line if isinstance(line, bytes) else line.encode() if isinstance(line, str) else json.dumps(line).encode()
        for line in documents
    ]
    return b"".join(line + b"\n" for line in lines)


def store(path: Path, data: bytes) -> Path:
    """Write bytes compressed as the extension says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gz":
        data = gzip.compress(data, mtime=0)
    elif path.suffix == ".zst":
        data = zstandard.ZstdCompressor().compress(data)
    path.write_bytes(data)
    return path


def tree_of(folder: str | Path, ignore: tuple[str, ...] = ("runs", "stat")) -> dict[str, bytes]:
    """Every file below a folder with its content, zst and gz decompressed: what two equal runs must share."""
    found: dict[str, bytes] = {}
    for path in sorted(Path(folder).rglob("*")):
        relative = path.relative_to(folder)
        if path.is_dir() or any(part in ignore for part in relative.parts):
            continue
        data = path.read_bytes()
        if path.suffix == ".zst":
            data = zstandard.ZstdDecompressor().decompressobj(read_across_frames=True).decompress(data)
        elif path.suffix == ".gz":
            data = gzip.decompress(data)
        found[str(relative)] = data
    return found
