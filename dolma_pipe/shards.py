"""Document shards: JSON lines (plain, .gz, .zst) and Parquet in, JSON lines out.

A row is a readable document's index in its shard. Blank lines are no rows; a
line that cannot be read is no row either: it goes to the quarantine with its
line number, byte offset and reason, and later stages count the same ones.
"""

from __future__ import annotations

import base64
import fnmatch
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from dolma_pipe import jsonl, parquet, storage
from dolma_pipe.batch import Batch, Bytes, Int64s
from dolma_pipe.errors import DataError
from dolma_pipe.streams import Decompressed, compressor

if TYPE_CHECKING:
    from dolma_pipe.kernels.jsonlines import Found

EXTENSIONS = (
    ".jsonl", ".json", ".jsonl.gz", ".json.gz", ".gz", ".jsonl.zst", ".json.zst", ".parquet",
)  # fmt: skip
FIELDS = ("id", "text", "source", "added", "created", "metadata")
BATCH_BYTES = 4 << 20
MAX_RAW = 64 << 10
BOM = b"\xef\xbb\xbf"
"""What some editors put before the first line of a file in UTF-8; it is no part of it (RFC 8259, section 8.1)."""


class BadRow(msgspec.Struct, frozen=True):
    """One line of a quarantine file; `raw_base64` holds at most 64 KiB of it."""

    file: str
    line: int
    byte_offset: int
    byte_length: int
    reason: str
    raw_base64: str


class Shard(NamedTuple):
    """One document file of a data set; `name` is relative to `documents/`."""

    dataset: str
    name: str

    @property
    def path(self) -> str:
        return storage.join(self.dataset, "documents", self.name)

    @property
    def stem(self) -> str:
        """The name without its extension: what attribute files are called."""
        return split_extension(self.name)[0]


def split_extension(name: str) -> tuple[str, str]:
    """Stem and extension of a document shard; the longest known extension counts, "" where none is known."""
    for extension in sorted(EXTENSIONS, key=len, reverse=True):
        if name.endswith(extension):
            return name[: -len(extension)], extension
    return name, ""


def _instead(dataset: str) -> str:
    """What was probably meant by a folder that is no data set."""
    folder = dataset.rstrip("/")
    if folder.endswith("/documents") and storage.exists(folder):
        return f"name the data set, which is the folder above it: {folder.removesuffix('/documents')}"
    if storage.exists(folder):
        return f"to make a data set of what is in it: dolma-pipe ingest {folder} --to DATASET"
    return "there is no such folder"


def document_shards(dataset: str, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> list[Shard]:
    """The shards of a data set, by bytes of their names; strangers and twin stems are errors. Globs match names."""
    folder = storage.join(dataset, "documents")
    if not storage.exists(folder):
        raise DataError(f"{dataset}: no folder documents/ in it; {_instead(dataset)}")
    shards: dict[str, Shard] = {}
    for name in storage.listing(folder):
        if name.encode(errors="replace") != os.fsencode(name):
            raise DataError(f"{folder}: the name {name!r} is not UTF-8; rename the file")
        stem, extension = split_extension(name)
        if not extension:
            raise DataError(f"{folder}/{name}: not a document file; expected one of {', '.join(EXTENSIONS)}")
        if stem in shards:
            raise DataError(f"{folder}: {shards[stem].name} and {name} share one stem; rename or remove one")
        shards[stem] = Shard(dataset, name)
    chosen = [shard for shard in shards.values() if _chosen(shard.name, include, exclude)]
    if not chosen:
        wanted = f" that match {', '.join(include)}" if include else ""
        raise DataError(f"{folder}: no document files{wanted}")
    return sorted(chosen, key=lambda shard: shard.name.encode())


def _chosen(name: str, include: Sequence[str], exclude: Sequence[str]) -> bool:
    included = not include or any(fnmatch.fnmatch(name, glob) for glob in include)
    return included and not any(fnmatch.fnmatch(name, glob) for glob in exclude)


class DocumentReader:
    """The documents of one shard as batches of about 4 MB, in order.

    Iterate once. Afterwards `rows`, `bad_rows`, `bad_bytes` are the shard's counts, `size` and `hash`
    (xxh3-128) those of the stored file. `limit` ends after that many rows: then size and hash are None.
    `bad` is told of every row that could not be read.
    """

    def __init__(
        self,
        shard: Shard | str,
        columns: Sequence[str] = ("id", "text"),
        *,
        lines: bool = False,
        limit: int | None = None,
        bad: Callable[[BadRow], None] | None = None,
        batch_bytes: int = BATCH_BYTES,
    ) -> None:
        self.path, self.name = (shard.path, shard.name) if isinstance(shard, Shard) else (shard, shard)
        self.columns = tuple(columns)
        self.lines = lines
        self.limit = limit
        self.rows = self.bad_rows = self.bad_bytes = 0
        self.size: int | None = None
        self.hash: str | None = None
        self._bad = bad
        self._batch_bytes = batch_bytes

    def __iter__(self) -> Iterator[Batch]:
        batches = self._parquet() if self.path.endswith(".parquet") else self._json_lines()
        for batch in batches:
            if self.limit is not None and self.rows + len(batch) >= self.limit:
                yield self._cut(batch, self.limit - self.rows)
                return
            self.rows += len(batch)
            if len(batch):
                yield batch

    def _cut(self, batch: Batch, rows: int) -> Batch:
        self.rows += rows
        raw_offsets = batch.raw_offsets[: rows + 1] if batch.raw_offsets is not None else None
        return Batch(batch.shard, batch.first_row, batch.columns.slice(0, rows), batch.raw, raw_offsets)

    # JSON lines

    def _json_lines(self) -> Iterator[Batch]:
        stream = Decompressed(self.path)
        line, offset = 0, 0
        for block in jsonl.blocks(stream, self._batch_bytes):
            if not offset and block.startswith(BOM):
                del block[: len(BOM)]
                offset = len(BOM)
            cut = block.rfind(b"\n") + 1 if stream.fault is not None else len(block)
            rest = bytes(block[cut:])
            del block[cut:]
            batch, lines = self._batch(block, line, offset)
            line += lines
            offset += cut
            del block  # a very long line need not be held twice while its text is worked on
            yield batch
            if rest:
                self._quarantine(line + 1, offset, rest, stream.fault or "")
        if stream.fault is not None and not self._told(stream.fault):
            self._quarantine(line + 1, offset, b"", stream.fault)
        self.size, self.hash = stream.size, stream.hash

    def _batch(self, block: bytearray, first_line: int, offset: int) -> tuple[Batch, int]:
        """The documents of a block, and how many newlines it has."""
        from dolma_pipe.kernels.jsonlines import find_documents

        data = np.frombuffer(block, np.uint8)
        found = find_documents(data)
        judged = self._judge(block, found, first_line + 1, offset)
        columns = jsonl.columns(data, found, self.columns)
        kept = found.sure
        if judged:
            kept = kept.copy()
            kept[list(judged)] = True
            columns = jsonl.merged(columns, np.flatnonzero(found.sure), judged, self.columns)
        raw = raw_offsets = None
        if self.lines:
            raw, raw_offsets = _gather(data, found.starts[kept], found.ends[kept])
        return Batch(self.name, self.rows, columns, raw, raw_offsets), found.newlines

    def _judge(self, block: bytearray, found: Found, first_line: int, offset: int) -> dict[int, jsonl.Row]:
        """The documents of the lines that the kernel does not vouch for; what is none is set aside."""
        judged: dict[int, jsonl.Row] = {}
        for i in np.flatnonzero(~found.sure).tolist():
            start = int(found.starts[i])
            line = bytes(block[start : int(found.ends[i])])
            reason = jsonl.fault(line)
            if reason is None:
                judged[i] = jsonl.decode(line)
            else:
                self._quarantine(first_line + int(found.numbers[i]), offset + start, line, reason)
        return judged

    def _quarantine(self, line: int, offset: int, raw: bytes, reason: str) -> None:
        self.bad_rows += 1
        self.bad_bytes += len(raw)
        self._last_reason = reason
        if self._bad is not None:
            kept = base64.b64encode(raw[:MAX_RAW]).decode()
            self._bad(BadRow(self.name, line, offset, len(raw), reason, kept))

    _last_reason: str | None = None

    def _told(self, reason: str) -> bool:
        return self._last_reason == reason

    # Parquet

    def _parquet(self) -> Iterator[Batch]:
        table = parquet.Documents(self.path, FIELDS, self._batch_bytes)
        self.size, self.hash = table.size, table.hash
        for columns, faults in table:
            for row, reason in faults:
                self._quarantine(row + 1, 0, b"", reason)
            names = dict.fromkeys((*self.columns, *FIELDS)) if self.lines else self.columns
            found = Batch(self.name, self.rows, columns.select(list(names)))
            if self.lines:
                found.raw, found.raw_offsets = _as_lines(found)
            yield found


def _gather(data: Bytes, starts: Int64s, ends: Int64s) -> tuple[Bytes, Int64s]:
    """The bytes of some ranges behind one another, and their offsets."""
    from dolma_pipe.kernels.ranges import gather_ranges

    return gather_ranges(data, starts, ends)


def _as_lines(batch: Batch) -> tuple[Bytes, Int64s]:
    """Rows of a Parquet shard as the JSON lines they would be."""
    encoded = [encode_document(row) for row in batch.columns.to_pylist()]
    offsets = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(line) for line in encoded], out=offsets[1:])
    return np.frombuffer(b"".join(encoded), np.uint8), offsets


def encode_document(row: dict[str, Any]) -> bytes:
    """One document as compact JSON; null fields are left out and `metadata` may be a JSON string already."""
    document = {name: value for name, value in row.items() if value is not None}
    if isinstance(document.get("metadata"), str):
        document["metadata"] = msgspec.Raw(document["metadata"].encode())
    return msgspec.json.encode(document)


class DocumentWriter:
    """JSON lines into a binary file, compressed by the extension of `name`; `rows` counts them."""

    def __init__(self, stream: Any, name: str) -> None:
        if split_extension(name)[1] in ("", ".parquet"):
            raise DataError(f"{name}: documents are written as .jsonl, .jsonl.gz or .jsonl.zst")
        self._stream = stream
        self._out = compressor(name, stream)
        self.rows = 0

    def write(self, documents: Iterable[dict[str, Any]]) -> None:
        encoded = [encode_document(document) for document in documents]
        if encoded:
            self._out.write(b"\n".join(encoded) + b"\n")
        self._add(len(encoded))

    def write_ranges(self, raw: Bytes, starts: Int64s, ends: Int64s) -> None:
        """Lines as they are, without newlines, that lie anywhere in `raw`."""
        from dolma_pipe.kernels.ranges import join_lines

        if len(starts):
            self._out.write(join_lines(raw, starts, ends).data)
        self._add(len(starts))

    def _add(self, rows: int) -> None:
        self.rows += rows
        if hasattr(self._stream, "rows"):
            self._stream.rows = self.rows

    def close(self) -> None:
        self._out.close()
