"""Arrays of ids as they are: OLMo's headerless .npy with its .csv.gz, NumPy's own, datatrove's .ds.

OLMo (olmo/data/memmap_dataset.py) maps `.npy` files that have no header: little-endian uint16 or uint32. The `.csv.gz`
beside one lists start,end,id,src,loc of each document; a label mask is a file of as many bools, false where a label
does not count. datatrove (pipeline/tokens/tokenizer.py) has the same array as `.ds`, the documents' ends as uint64 in
`.ds.index`, the bools as `.ds.loss`, and three lines of text in `.ds.metadata`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dolma_pipe import storage
from dolma_pipe.tokens import TOKENIZER, Manifest, TokenShard

PIECE_TOKENS = 1 << 22
Create = Callable[[str], AbstractContextManager[storage.Writer]]
"""Opens an output by its name."""


def pieces(shard: TokenShard) -> Iterator[NDArray[Any]]:
    """A shard's tokens, some at a time."""
    mapped = shard.map()
    for start in range(0, len(mapped), PIECE_TOKENS):
        yield np.ascontiguousarray(mapped[start : start + PIECE_TOKENS])


def export_olmo(shard: TokenShard, manifest: Manifest, create: Create) -> None:
    """NAME.npy, NAME.csv.gz; NAME.label_mask.npy if some tokens are masked."""
    _copy(shard, create, shard.name + ".npy")
    with create(shard.name + ".csv.gz") as out:
        out.write(storage.read_bytes(storage.join(shard.folder, shard.name + ".csv.gz")))
    _write_mask(shard, manifest, create, shard.name + ".label_mask.npy", b"")


def export_npy(shard: TokenShard, manifest: Manifest, create: Create) -> None:
    """NAME.npy and NAME.ends.npy (uint64) as `numpy.load` reads them; NAME.label_mask.npy (bool) likewise."""
    _copy(shard, create, shard.name + ".npy", _header(len(shard), shard.dtype))
    ends = shard.documents()["end"].to_numpy().astype("<u8")
    with create(shard.name + ".ends.npy") as out:
        out.write(_header(len(ends), ends.dtype))
        out.write(ends.data)
    _write_mask(shard, manifest, create, shard.name + ".label_mask.npy", _header(len(shard), np.dtype(np.bool_)))


def export_datatrove(shard: TokenShard, manifest: Manifest, create: Create) -> None:
    """NAME.ds, NAME.ds.index, NAME.ds.metadata; NAME.ds.loss if some tokens are masked."""
    _copy(shard, create, shard.name + ".ds")
    with create(shard.name + ".ds.index") as out:
        out.write(shard.documents()["end"].to_numpy().astype("<u8").data)
    with create(shard.name + ".ds.metadata") as out:
        out.write(f"{TOKENIZER}|{shard.dtype.itemsize}\n{len(shard)}\n{_for_people(len(shard))}".encode())
    _write_mask(shard, manifest, create, shard.name + ".ds.loss", b"")


def _copy(shard: TokenShard, create: Create, name: str, header: bytes = b"") -> None:
    with create(name) as out:
        out.write(header)
        for piece in pieces(shard):
            out.write(piece.data)


def _write_mask(shard: TokenShard, manifest: Manifest, create: Create, name: str, header: bytes) -> None:
    """A bool per token, false where it is no label; nothing where the whole folder has no such token."""
    if not manifest.masked:
        return
    counts = np.ones(len(shard), np.bool_)
    for start, end in shard.masked():
        counts[start:end] = False
    with create(name) as out:
        out.write(header)
        out.write(counts.data)


def _header(length: int, dtype: np.dtype[Any]) -> bytes:
    """The header of a one-dimensional .npy file, format 1.0: padded to a multiple of 64 bytes."""
    text = f"{{'descr': '{dtype.str}', 'fortran_order': False, 'shape': ({length},), }}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def _for_people(tokens: int) -> str:
    """Three digits and a unit, as the `humanize` package writes tokens: "1.23 MT"."""
    exponent = 0
    value = float(tokens)
    while value >= 1000 and exponent < 5:
        value, exponent = value / 1000, exponent + 1
    digits = max(3 - len(str(int(value))), 0) if value >= 1 else 2
    return f"{value:.{digits}f} {['', 'k', 'M', 'G', 'T', 'P'][exponent]}T"
