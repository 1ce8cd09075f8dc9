"""Megatron's indexed datasets (megatron/core/datasets/indexed_dataset.py): NAME.bin and NAME.idx.

    .idx  9 bytes "MMIDIDX" and two zeros; u64 version 1; u8 code of the dtype (4: int32, 8: uint16);
          u64 sequences; u64 documents + 1; int32 tokens of each sequence; int64 byte where each begins;
          int64 [documents + 1] the sequence that each document begins with

Every document is one sequence. There is no uint32: such ids are written as int32. Ids are uint16 where the
vocabulary has fewer than 65,500, as Megatron chooses. There are no label masks: masked rows are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dolma_pipe import storage
from dolma_pipe.errors import DataError
from dolma_pipe.exchange.raw import PIECE_TOKENS, Create
from dolma_pipe.tokens import Manifest, TokenShard

MAGIC = b"MMIDIDX\x00\x00"
DTYPES = {4: np.dtype("<i4"), 8: np.dtype("<u2")}
SMALL_VOCABULARY = 65_500


def export_megatron(shard: TokenShard, manifest: Manifest, create: Create) -> None:
    """NAME.bin and NAME.idx."""
    code = 8 if manifest.vocab_size < SMALL_VOCABULARY else 4
    table = shard.documents()
    ends, masked = table["end"].to_numpy(), table["masked"].to_numpy()
    starts = np.concatenate([[0], ends[:-1]])
    with create(shard.name + ".bin") as out:
        for piece in _kept(shard, starts[~masked], ends[~masked]):
            out.write(np.ascontiguousarray(piece.astype(DTYPES[code])).data)
    with create(shard.name + ".idx") as out:
        out.write(_index((ends - starts)[~masked], code))


def _kept(shard: TokenShard, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> Iterator[NDArray[Any]]:
    """The tokens of these rows; neighbours at once, some at a time."""
    mapped = shard.map()
    breaks = np.flatnonzero(starts[1:] != ends[:-1]) + 1
    for first, last in zip([0, *breaks], [*breaks, len(starts)], strict=True):
        if first < last:
            for at in range(int(starts[first]), int(ends[last - 1]), PIECE_TOKENS):
                yield mapped[at : min(at + PIECE_TOKENS, int(ends[last - 1]))]


def _index(lengths: NDArray[np.int64], code: int) -> bytes:
    starts = np.cumsum(lengths) - lengths
    counts = np.array([len(lengths), len(lengths) + 1], "<u8").tobytes()
    arrays = (lengths.astype("<i4"), (starts * DTYPES[code].itemsize).astype("<i8"))
    documents = np.arange(len(lengths) + 1, dtype="<i8")
    return b"".join(
        [MAGIC, (1).to_bytes(8, "little"), bytes([code]), counts, *(a.tobytes() for a in arrays), documents.tobytes()]
    )


def read_index(path: str) -> tuple[np.dtype[Any], NDArray[np.int64], NDArray[np.int64]]:
    """The dtype of an .idx file, and for each of its documents the token at which it begins and ends in the .bin.

    Sequences of a document must lie behind one another; a file of another kind is a `DataError`.
    """
    raw = storage.read_bytes(path)
    if raw[:9] != MAGIC or len(raw) < 34 or raw[17] not in DTYPES:
        raise DataError(f"{path}: not an index of Megatron's of int32 or uint16")
    dtype = DTYPES[raw[17]]
    sequences, bounds = (int(value) for value in np.frombuffer(raw, "<u8", 2, 18))
    if len(raw) < 34 + 12 * sequences + 8 * bounds:
        raise DataError(f"{path}: {len(raw)} bytes are too few for {sequences} sequences; copy it again")
    lengths = np.frombuffer(raw, "<i4", sequences, 34).astype(np.int64)
    pointers = np.frombuffer(raw, "<i8", sequences, 34 + 4 * sequences) // dtype.itemsize
    documents = np.frombuffer(raw, "<i8", bounds, 34 + 12 * sequences)
    ends = pointers + lengths
    first, last = documents[:-1], documents[1:]
    filled = last > first
    if (pointers[1:] != ends[:-1]).any():
        raise DataError(f"{path}: its sequences do not lie behind one another in the .bin")
    return dtype, pointers[first[filled]], ends[last[filled] - 1]
