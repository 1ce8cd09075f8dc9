"""MosaicML's MDS (streaming/base/format/mds/writer.py): shard.*.mds and index.json, one column `tokens`.

A file is u32 samples; u32 [samples + 1] where each begins, and the last ends; the columns' description as JSON; the
samples. A sample is a document (`ndarray:DTYPE`: a byte for rank and width of the shape, the shape, the ids, and
before them u32 the size of it all) or a packed sequence (`ndarray:DTYPE:LENGTH`: the ids).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from dolma_pipe.exchange.raw import Create
from dolma_pipe.tokens import Manifest, TokenShard

INDEX = "index.json"
SIZE_LIMIT = 1 << 26
WIDTHS = (np.uint8, np.uint16, np.uint32, np.uint64)


class Written(NamedTuple):
    """One .mds file, for the index."""

    name: str
    samples: int
    bytes: int
    encoding: str
    size: int | None


def export_mds(shard: TokenShard, manifest: Manifest, create: Create) -> list[Written]:
    """shard.NAME.00000.mds and further ones, each of at most 64 MiB unless one sample is larger."""
    length = shard.entry.sequence_length
    encoding = f"ndarray:{shard.dtype.name}" + (f":{length}" if length else "")
    size = length * shard.dtype.itemsize if length else None
    head = json.dumps(_config(encoding, size), sort_keys=True).encode()
    found: list[Written] = []
    for number, samples in enumerate(_files(shard, length, len(head))):
        name = f"shard.{shard.name.removeprefix('shard-')}.{number:05d}.mds"
        data = _file(samples, head)
        with create(name) as out:
            out.write(data)
            out.rows = len(samples)
        found.append(Written(name, len(samples), len(data), encoding, size))
    return found


def make_index(files: list[Written]) -> bytes:
    """index.json of all files."""
    shards = [
        {
            "samples": file.samples, "zip_data": None,
            "raw_data": {"basename": file.name, "bytes": file.bytes, "hashes": {}}, **_config(file.encoding, file.size),
        }
        for file in files
    ]  # fmt: skip
    return json.dumps({"version": 2, "shards": shards}, sort_keys=True).encode()


def _config(encoding: str, size: int | None) -> dict[str, Any]:
    return {
        "version": 2, "format": "mds", "compression": None, "hashes": [], "size_limit": SIZE_LIMIT,
        "column_names": ["tokens"], "column_encodings": [encoding], "column_sizes": [size],
    }  # fmt: skip


def _files(shard: TokenShard, length: int | None, head: int) -> Iterator[list[bytes]]:
    """The samples of each file."""
    samples: list[bytes] = []
    size = 8 + head
    for ids in _samples(shard, length):
        sample = ids.tobytes() if length else _dynamic(ids)
        if samples and size + len(sample) + 4 > SIZE_LIMIT:
            yield samples
            samples, size = [], 8 + head
        samples.append(sample)
        size += len(sample) + 4
    if samples:
        yield samples


def _samples(shard: TokenShard, length: int | None) -> Iterator[NDArray[Any]]:
    mapped = shard.map()
    if length:
        for start in range(0, len(mapped), length):
            yield mapped[start : start + length]
        return
    table = shard.documents()
    ends = table["end"].to_numpy()
    kept = ~table["masked"].to_numpy()
    for start, end in zip(np.concatenate([[0], ends[:-1]])[kept].tolist(), ends[kept].tolist(), strict=True):
        yield mapped[start:end]


def _dynamic(ids: NDArray[Any]) -> bytes:
    width = next(number for number, kind in enumerate(WIDTHS) if len(ids) <= np.iinfo(kind).max)
    body = bytes([1 << 2 | width]) + WIDTHS[width](len(ids)).tobytes() + ids.tobytes()
    return len(body).to_bytes(4, "little") + body


def _file(samples: list[bytes], head: bytes) -> bytes:
    offsets = np.cumsum([0, *map(len, samples)]).astype(np.uint32)
    offsets += np.uint32(4 + offsets.nbytes + len(head))
    return b"".join([len(samples).to_bytes(4, "little"), offsets.tobytes(), head, *samples])


def as_plain(files: list[Written]) -> list[Any]:
    """For a record."""
    return msgspec.to_builtins([list(file) for file in files])
