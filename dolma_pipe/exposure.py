"""Which checkpoints have seen documents: their manifests name the token folders, and the order of training is known."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from dolma_pipe import storage
from dolma_pipe.errors import DataError, PipeError
from dolma_pipe.tokens import MANIFEST, TokenSet

compute: Any = pyarrow.compute

ROWS_AT_ONCE = 1 << 16


class Exposure(msgspec.Struct, frozen=True):
    """A checkpoint that was made from a token folder that holds the documents.

    `sequences` of its training data showed some of them (each pass counts); None where the order cannot be made again.
    """

    checkpoint: str
    sequences: int | None


class _Saved(msgspec.Struct):
    """What this module reads of a checkpoint's record."""

    tokens: int
    data: dict[str, Any]


def exposures(runs: Sequence[str], ids: Collection[str], folders: Sequence[str]) -> list[Exposure]:
    """The checkpoints of training runs that were made from one of the token folders."""
    sets = [TokenSet.open(folder) for folder in folders if storage.is_file(storage.join(folder, MANIFEST))]
    hashes = {tokens.hash for tokens in sets}
    found: list[Exposure] = []
    for run in runs:
        paths = sorted(Path(storage.local_path(run)).glob("checkpoints/*/checkpoint.json"))
        if not paths:
            raise DataError(f"{run}: no checkpoints; name the folder of a training run")
        saved = {path: msgspec.json.decode(path.read_bytes(), type=_Saved) for path in paths}
        made = {path: record for path, record in saved.items() if _manifests(record.data) & hashes}
        if made:
            shown = _shown(run, ids, sets, max(record.tokens for record in made.values()))
            found += [Exposure(str(path.parent), _until(shown, record.tokens)) for path, record in made.items()]
    return found


def _manifests(value: Any) -> set[str]:
    """Every `manifest` that a record names, however deep."""
    if isinstance(value, dict):
        own = {value["manifest"]} if isinstance(value.get("manifest"), str) else set[str]()
        return own.union(*map(_manifests, value.values()))
    return set[str]().union(*map(_manifests, value)) if isinstance(value, list) else set()


def _until(shown: NDArray[np.int64] | None, tokens: int) -> int | None:
    return None if shown is None else int((shown < tokens).sum())


def _shown(run: str, ids: Collection[str], sets: Sequence[TokenSet], tokens: int) -> NDArray[np.int64] | None:
    """After how many tokens each sequence began that showed one of the documents; None if it cannot be told."""
    from dolma_pipe.train import require_torch

    try:
        require_torch()
        from dolma_pipe.train.trace import training_order

        loader = training_order(run)
    except PipeError:
        return None
    length = loader.sequence_length
    wanted: set[tuple[int, int]] = set()
    for number, chunks in enumerate(loader.folders):
        if chunks.hash in {one.hash for one in sets}:
            wanted |= {(number, chunk) for chunk in _chunks(chunks.tokens, ids, length)}
    hits: list[int] = []
    for first in range(0, tokens // length, ROWS_AT_ONCE):
        rows = np.arange(first, min(first + ROWS_AT_ONCE, tokens // length))
        for row, part in zip(rows.tolist(), loader.parts(rows, length), strict=True):
            if part is not None and (part.place.folder, part.place.chunk) in wanted:
                hits.append(row * length)
    return np.array(hits, np.int64)


def _chunks(tokens: TokenSet, ids: Collection[str], length: int) -> set[int]:
    """The chunks of so many tokens that hold a label of one of the documents."""
    starts = [0, *accumulate(len(shard) for shard in tokens.shards)]
    found: set[int] = set()
    for base, shard in zip(starts, tokens.shards, strict=False):
        table = shard.documents()
        rows = np.flatnonzero(compute.is_in(table["id"], pa.array(sorted(ids), pa.string())).to_numpy())
        ends = table["end"].to_numpy()
        for row in rows.tolist():
            first, last = base + (int(ends[row - 1]) if row else 0), base + int(ends[row]) - 1
            found.update(range(max(first - 1, 0) // length, max(last - 1, 0) // length + 1))
    return found
