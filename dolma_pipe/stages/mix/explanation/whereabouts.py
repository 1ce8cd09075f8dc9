"""Where the copies of a document went: files of a mix, and ranges of the tokens that were made of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow.compute
import pyarrow.parquet as pq

from dolma_pipe import storage
from dolma_pipe.shards import Shard
from dolma_pipe.tokens import TokenSet

pc: Any = pyarrow.compute
ENDINGS = (".jsonl.zst", ".jsonl.gz", ".jsonl")


class TokenRange(msgspec.Struct, frozen=True):
    """Tokens `start` to `end` of a shard."""

    folder: str
    shard: str
    start: int
    end: int


class Written(msgspec.Struct, frozen=True):
    """A copy: row `row` of `file`, with so many regions edited; `split` is empty for training text."""

    file: str
    row: int
    copy: int
    edits: int
    split: str
    tokens: list[TokenRange]


def written(
    home: str, source: str, shard: Shard, row: int, splits: Sequence[str], folders: Sequence[str]
) -> list[Written]:
    """All copies of a row of a source's shard; `folders` hold token shards."""
    found: list[Written] = []
    for split in ("", *splits):
        dataset = storage.join(home, "splits", split) if split else home
        documents = storage.join(dataset, "documents")
        for stem, table in provenance(dataset, storage.join(source, shard.stem)):
            for place in np.flatnonzero(np.asarray(table["row"]) == row).tolist():
                name = next(stem + end for end in ENDINGS if storage.is_file(storage.join(documents, stem + end)))
                tokens = [part for folder in folders for part in _tokens(folder, dataset, name, place)]
                copy, edits = table["copy"][place].as_py(), table["edits"][place].as_py()
                found.append(Written(storage.join(documents, name), place, copy, edits, split, tokens))
    return found


def rejected(home: str, source: str, shard: Shard, row: int) -> list[str]:
    """Why a row was rejected, where the mix wrote what it rejected (else nothing)."""
    for reason in folders_in(storage.join(home, "_rejected")):
        for _, table in provenance(storage.join(home, "_rejected", reason), storage.join(source, shard.stem)):
            places = np.flatnonzero(np.asarray(table["row"]) == row)
            if len(places):
                return table["reasons"][int(places[0])].as_py()
    return []


def is_written(home: str, source: str, shard: Shard, rows: Sequence[int], splits: Sequence[str]) -> list[bool]:
    """Which of the rows of a shard are in an output."""
    there: set[int] = set()
    for folder in (home, *(storage.join(home, "splits", split) for split in splits)):
        for _, table in provenance(folder, storage.join(source, shard.stem)):
            there.update(table["row"].to_pylist())
    return [row in there for row in rows]


def folders_in(folder: str) -> list[str]:
    names = storage.listing(folder) if storage.exists(folder) else []
    return list(dict.fromkeys(name.split("/", 1)[0] for name in names))


def provenance(dataset: str, stem: str) -> Iterator[tuple[str, Any]]:
    """The provenance of every copy of a shard, by the stem of its output."""
    copy = 0
    while True:
        name = f"{stem}.copy{copy}" if copy else stem
        path = storage.join(dataset, "_provenance", name + ".parquet")
        if storage.is_file(path):
            with storage.open_read(path) as stream:
                yield name, pq.ParquetFile(stream).read(use_threads=False)
        elif copy:
            return
        copy += 1


def _tokens(folder: str, dataset: str, shard: str, row: int) -> Iterator[TokenRange]:
    """The ranges in which a row of a data set lies; a long document may have several."""
    name = storage.join(dataset).rsplit("/", 1)[-1]
    for part in TokenSet.open(folder).shards:
        table: Any = part.documents()
        chosen = pc.and_(pc.equal(table["shard"], shard), pc.equal(table["row"], row))
        chosen = pc.and_(chosen, pc.equal(table["dataset"], name))
        ends = table["end"].to_numpy()
        for place in np.flatnonzero(np.asarray(chosen.combine_chunks())).tolist():
            yield TokenRange(folder, part.name, int(ends[place - 1]) if place else 0, int(ends[place]))
