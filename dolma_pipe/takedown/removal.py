"""Taking documents down: out of token shards, and out of everything that is made later.

In a token folder their ids become padding (the end-of-text that closes a document stays) and their rows are masked,
so that training counts none of them; hashes and sums follow. Every folder gets tombstones, and so do the data sets
that it was made from. `exposure` tells which models have seen them.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute

from dolma_pipe import lineage, manifest, storage
from dolma_pipe.errors import DataError
from dolma_pipe.manifest import MANIFEST as RECORDS
from dolma_pipe.manifest import Output, Record
from dolma_pipe.shards import split_extension
from dolma_pipe.takedown import tombstones
from dolma_pipe.token_writer import Tally, documents_writer
from dolma_pipe.tokens import MANIFEST, ShardEntry, TokenSet, TokenShard

compute: Any = pyarrow.compute

PIECE_TOKENS = 1 << 24


class TakenDown(msgspec.Struct, frozen=True):
    """What a take-down did: documents and tokens of token shards that are masked now, and tombstones by folder."""

    documents: int
    tokens: int
    shards: list[str]
    tombstones: dict[str, int]


class Changed(NamedTuple):
    """A shard after the take-down."""

    entry: ShardEntry
    documents: int
    tokens: int
    inputs: set[tuple[str, str]]


def take_down(ids: Collection[str], folders: Sequence[str]) -> TakenDown:
    """Take documents down in token folders and data sets; an id that none of them knows is no error."""
    documents = tokens = 0
    shards: list[str] = []
    graves: dict[str, int] = {}
    for folder in folders:
        if storage.is_file(storage.join(folder, MANIFEST)):
            changed = _take_down_tokens(folder, ids)
            documents += sum(one.documents for one in changed)
            tokens += sum(one.tokens for one in changed)
            shards += [storage.join(folder, one.entry.name) for one in changed if one.inputs]
        elif not storage.exists(storage.join(folder, "documents")):
            raise DataError(f"{folder}: neither a token folder (no {MANIFEST}) nor a data set (no documents/)")
        for where in [folder, *lineage.upstream(folder)]:
            graves[where] = graves.get(where, 0) + tombstones.add(where, ids)
    return TakenDown(documents, tokens, shards, graves)


def _take_down_tokens(folder: str, ids: Collection[str]) -> list[Changed]:
    tokens = TokenSet.open(folder)
    wanted = pa.array(sorted(ids), pa.string())
    tally = Tally()
    changed: list[Changed] = []
    with storage.Publication() as files:
        writer = _Rewriter(folder, files)
        for shard in tokens.shards:
            table = shard.documents()
            gone = compute.and_(compute.is_in(table["id"], wanted), compute.greater(table["parts"], 0)).to_numpy()
            if gone.any():
                one = writer.rewrite(shard, table, gone, _padding(tokens))
                changed.append(one)
                table = table.set_column(len(table.column_names) - 1, "masked", _masked(table, gone))
            else:
                changed.append(Changed(shard.entry, 0, 0, set()))
            tally.add(table)
        if any(one.inputs for one in changed):
            writer.finish(tokens, [one.entry for one in changed], tally)
            _forget_cache(folder, set[tuple[str, str]]().union(*(one.inputs for one in changed)))
    return changed


def _padding(tokens: TokenSet) -> tuple[int, int]:
    known = tokens.manifest
    return (known.eos_id if known.pad_id is None else known.pad_id, known.eos_id)


def _masked(table: pa.Table, gone: Any) -> pa.ChunkedArray:
    return compute.or_(table["masked"], pa.array(gone))


class _Rewriter:
    """Writes changed files of a token folder, and their records; all appear together."""

    def __init__(self, folder: str, files: storage.Publication) -> None:
        self.folder, self.files = folder, files
        self._outputs: dict[str, Output] = {}

    def rewrite(self, shard: TokenShard, table: pa.Table, gone: Any, padding: tuple[int, int]) -> Changed:
        """The shard with the rows that are gone as padding, and masked."""
        ends = table["end"].to_numpy()
        starts = np.concatenate([[0], ends[:-1]])
        last = table["part"].to_numpy() == table["parts"].to_numpy() - 1
        with self.files.create(shard.path, self.folder) as stream:
            for piece in _overwritten(shard, starts[gone], ends[gone], ends[gone & last], padding):
                stream.write(piece)
            self._keep(shard.name + ".bin", len(table), stream)
        with self.files.create(storage.join(self.folder, shard.name + ".docs.parquet"), self.folder) as stream:
            writer = documents_writer(stream)
            writer.write_table(table.set_column(len(table.column_names) - 1, "masked", _masked(table, gone)))
            writer.close()
            self._keep(shard.name + ".docs.parquet", len(table), stream)
        rows = table.filter(pa.array(gone))
        inputs = set(zip(rows["dataset"].to_pylist(), rows["shard"].to_pylist(), strict=True))
        fresh = gone & ~table["masked"].to_numpy()
        entry = msgspec.structs.replace(shard.entry, hash=self._outputs[shard.name + ".bin"].hash)
        firsts = int((table["part"].to_numpy()[fresh] == 0).sum())
        return Changed(entry, firsts, int((ends - starts)[fresh].sum()), inputs)

    def finish(self, tokens: TokenSet, entries: list[ShardEntry], tally: Tally) -> None:
        """The manifest with what is left, and the records of all files that changed."""
        sources = tally.totals
        after = msgspec.structs.replace(
            tokens.manifest, shards=entries, sources=sources, masked=tally.masked, order_hash=tokens.hash,
            documents=sum(total.documents for total in sources.values()),
            bytes=sum(total.bytes for total in sources.values()),
        )  # fmt: skip
        with self.files.create(storage.join(self.folder, MANIFEST), self.folder) as stream:
            stream.write(msgspec.json.format(msgspec.json.encode(after), indent=1) + b"\n")
            self._keep(MANIFEST, 0, stream)
        folder = storage.join(self.folder, RECORDS)
        names = storage.listing(folder) if storage.exists(folder) else []
        for name in names:
            record = manifest.read(storage.join(folder, name)) if _is_record(name) else None
            if record is not None and any(output.path in self._outputs for output in record.outputs):
                self._correct(storage.join(folder, name), record)

    def _correct(self, path: str, record: Record) -> None:
        outputs = [
            msgspec.structs.replace(self._outputs.get(output.path, output), rows=output.rows)
            for output in record.outputs
        ]
        found = msgspec.structs.replace(record, outputs=outputs)
        self.files.write_bytes(path, msgspec.json.format(msgspec.json.encode(found), indent=1), self.folder)

    def _keep(self, name: str, rows: int, stream: storage.Writer) -> None:
        self._outputs[name] = Output(name, rows, stream.size, stream.hash)


def _overwritten(
    shard: TokenShard, starts: Any, ends: Any, closed: Any, padding: tuple[int, int]
) -> Iterator[memoryview]:
    """A shard's tokens with padding in some ranges, and an end-of-text before each of the places `closed`."""
    mapped = shard.map()
    for first in range(0, len(mapped), PIECE_TOKENS):
        piece = np.array(mapped[first : first + PIECE_TOKENS])
        until = first + len(piece)
        for row in np.flatnonzero((starts < until) & (ends > first)):
            piece[max(starts[row] - first, 0) : ends[row] - first] = padding[0]
        piece[closed[(closed > first) & (closed <= until)] - 1 - first] = padding[1]
        yield piece.data


def _is_record(name: str) -> bool:
    return name.endswith(".json") and name.split("/", 1)[0] not in ("stat", "runs")


def _forget_cache(folder: str, inputs: set[tuple[str, str]]) -> None:
    """Remove what is cached of input shards that held such a document."""
    for dataset, shard in sorted(inputs):
        name = f"{dataset}/{split_extension(shard)[0]}"
        for extension in (".ids", ".arrow"):
            storage.remove(storage.join(folder, "_cache", name + extension))
        storage.remove(storage.join(folder, RECORDS, "encode", name + ".json"))


def read_ids(given: Sequence[str]) -> list[str]:
    """Ids as they are given; what names a file is a list of them, one per line."""
    found: list[str] = []
    for name in given:
        if os.path.isfile(name):
            found += [line for line in Path(name).read_text().splitlines() if line]
        else:
            found.append(name)
    if not found:
        raise DataError("take-down: no ids; name some, or a file with one per line")
    return list(dict.fromkeys(found))
