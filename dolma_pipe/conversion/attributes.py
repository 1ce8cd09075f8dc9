"""Dolma's attribute files, `{"id": ..., "attributes": {KEY: [[start, end, score], ...]}}` a line, as attribute sets.

A set gets a field of spans per key, with the key's name. A document that lacks a key has null there; an empty list
stays one: Dolma's filters tell them apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

import msgspec
import pyarrow as pa

from dolma_pipe import storage
from dolma_pipe.attributes import AttributeReader, AttributeWriter, attribute_path
from dolma_pipe.errors import AlignmentError, DataError
from dolma_pipe.shards import DocumentReader, Shard, document_shards
from dolma_pipe.streams import Decompressed

SPANS = pa.list_(pa.struct({"start": pa.int32(), "end": pa.int32(), "score": pa.float64()}))
ENDINGS = (".jsonl.gz", ".json.gz", ".jsonl.zst", ".json.zst", ".jsonl", ".json", ".gz")
LOOKED_AT = 1000
"""Rows of each file in which keys are looked for, where a set has not been converted."""


class _Row(msgspec.Struct):
    id: str | int
    attributes: dict[str, list[tuple[float, float, float]]]


_decoder = msgspec.json.Decoder(_Row)


def stored_keys(dataset: str, set_name: str) -> set[str] | None:
    """The keys of a set: the fields of ours, or what the first rows of Dolma's files have; None: no such set."""
    root = storage.join(dataset, "attributes")
    found: set[str] | None = None
    for shard in document_shards(dataset) if storage.exists(storage.join(dataset, "documents")) else ():
        path = attribute_path(root, set_name, shard)
        if storage.is_file(path):
            return set(AttributeReader(path, set_name).types)
        theirs = _path(root, set_name, shard)
        if theirs is not None:
            found = (found or set()) | {key for row, _ in _rows(theirs, LOOKED_AT) for key in row.attributes}
    return found


def convert_set(dataset: str, set_name: str) -> int:
    """Write a set of Dolma's beside itself, in our form; the number of rows."""
    root = storage.join(dataset, "attributes")
    shards = document_shards(dataset)
    paths = [_path(root, set_name, shard) for shard in shards]
    missing = next((shard for shard, path in zip(shards, paths, strict=True) if path is None), None)
    if missing is not None:
        name = storage.join(root, set_name, missing.stem)
        raise DataError(f"{name}.jsonl.gz: no such attribute file of Dolma's for the shard {missing.name}")
    there = [path for path in paths if path is not None]
    keys = sorted({key for path in there for row, _ in _rows(path) for key in row.attributes})
    return sum(_convert(root, set_name, shard, path, keys) for shard, path in zip(shards, there, strict=True))


def _path(root: str, set_name: str, shard: Shard) -> str | None:
    paths = (storage.join(root, set_name, shard.stem + ending) for ending in ENDINGS)
    return next((path for path in paths if storage.is_file(path)), None)


def _rows(path: str, limit: int | None = None) -> Iterator[tuple[_Row, int]]:
    """The rows of a file with their lines, counted from 1; a truncated file is an error."""
    stored = Decompressed(path)
    rest, line = b"", 0
    for block in chain(map(bytes, stored), [b"\n"]):
        *lines, rest = (rest + block).split(b"\n")
        for text in lines:
            line += 1
            if text.strip():
                yield _row(text, path, line), line
            if line == limit:
                return
    if stored.fault:
        raise DataError(f"{path}: {stored.fault}")


def _row(text: bytes, path: str, line: int) -> _Row:
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise DataError(f"{path}: line {line}: no row of Dolma's attributes: {error}") from error


def _convert(root: str, set_name: str, shard: Shard, path: str, keys: list[str]) -> int:
    rows = _rows(path)
    with storage.create(attribute_path(root, set_name, shard)) as stream:
        about: dict[str, Any] = {"tagger": "dolma", "version": 1}
        writer = AttributeWriter(stream, set_name, dict.fromkeys(keys, SPANS), about, nullable=True)
        reader = DocumentReader(shard, ("id",))
        for batch in reader:
            found = [_matching(rows, name, path) for name in batch.ids.to_pylist()]
            columns = {key: pa.array([_spans(row.attributes.get(key)) for row in found], SPANS) for key in keys}
            writer.write(batch.ids, columns)
        if next(rows, None) is not None:
            raise AlignmentError(f"{path}: more rows than {shard.path} has documents")
        writer.close(shard={"name": shard.name, "size": reader.size, "hash": reader.hash}, bad_rows=reader.bad_rows)
        return writer.rows


def _matching(rows: Iterator[tuple[_Row, int]], name: str, path: str) -> _Row:
    row, line = next(rows, (None, 0))
    if row is None:
        raise AlignmentError(f"{path}: ends before document {name!r}")
    if str(row.id) != name:
        raise AlignmentError(f"{path}: line {line} is of document {str(row.id)!r}, the shard has {name!r} there")
    return row


def _spans(found: list[tuple[float, float, float]] | None) -> list[dict[str, float]] | None:
    if found is None:
        return None
    return [{"start": int(start), "end": int(end), "score": score} for start, end, score in found]
