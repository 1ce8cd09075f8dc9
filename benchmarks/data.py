"""The corpus as one data set of gzip shards that both sides read."""

from __future__ import annotations

import gzip
import os
import shutil
import sys
from pathlib import Path

import zstandard

PROSE = ("usenet", "books", "web", "reuters", "reddit", "court_opinions", "enron_email")


def corpus() -> Path:
    folder = os.environ.get("DOLMA_PIPE_CORPUS")
    if not folder:
        sys.exit("set DOLMA_PIPE_CORPUS to the folder that holds corpus/ (documents of many sources)")
    return Path(folder)


def lay_out(to: Path, sources: tuple[str, ...] | None = None, limit_bytes: int | None = None, copies: int = 1) -> str:
    """A data set of .jsonl.gz shards (level 6) from the corpus; `copies` repeats it under other ids."""
    shutil.rmtree(to, ignore_errors=True)
    (to / "documents").mkdir(parents=True)
    for copy in range(copies):
        left = limit_bytes if limit_bytes is not None else sys.maxsize
        for path in sorted((corpus() / "corpus").glob("*/documents/*")):
            if sources is not None and path.parts[-3] not in sources:
                continue
            data = read(path)[:left]
            data = data[: data.rfind(b"\n") + 1]
            left -= len(data)
            if copy:
                data = data.replace(b'{"id": "', b'{"id": "copy%d-' % copy)
            if data:
                with gzip.open(to / "documents" / f"{path.name.split('.')[0]}-{copy}.jsonl.gz", "wb", 6) as out:
                    out.write(data)
    return str(to)


def copied(to: Path) -> str:
    """A data set of all shards of the corpus as they are: gzip and zstandard."""
    shutil.rmtree(to, ignore_errors=True)
    (to / "documents").mkdir(parents=True)
    for path in sorted((corpus() / "corpus").glob("*/documents/*")):
        shutil.copyfile(path, to / "documents" / path.name)
    return str(to)


SHARD_BYTES = 64 << 20


def joined(folder: str) -> str:
    """The same documents in a data set of few shards, about `SHARD_BYTES` of lines each."""
    to = Path(folder + "-joined")
    shutil.rmtree(to, ignore_errors=True)
    (to / "documents").mkdir(parents=True)
    pending, size, number = [], 0, 0
    paths = sorted(Path(folder, "documents").iterdir())
    for path in paths:
        pending.append(read(path))
        size += len(pending[-1])
        if size >= SHARD_BYTES or path == paths[-1]:
            with gzip.open(to / "documents" / f"{number:04}.jsonl.gz", "wb", 3) as out:
                out.writelines(pending)
            pending, size, number = [], 0, number + 1
    return str(to)


def read(path: Path) -> bytes:
    if path.suffix == ".gz":
        return gzip.decompress(path.read_bytes())
    return zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes())
