"""Attribute shards: what taggers measured, as Parquet, row i beside row i of the document shard.

    attributes/<set>/a/0001.parquet     id: string, <set>: struct<...>

The footer says which shard was measured (size and hash of its bytes), by which
tagger and version, and how many bad rows were set aside; a join verifies all of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dolma_pipe import storage
from dolma_pipe.errors import AlignmentError, DataError
from dolma_pipe.shards import Shard
from dolma_pipe.types import Plain

FOOTER = b"dolma_pipe"
ROW_GROUP = 1 << 16
GROUP_BYTES = 64 << 20
BUFFER = 256 << 10


def attribute_path(root: str, set_name: str, shard: Shard) -> str:
    """Where the attributes of a shard lie: `<root>/<set>/<stem>.parquet`."""
    return storage.join(root, set_name, shard.stem + ".parquet")


def attribute_sets(root: str) -> list[str]:
    """Names of the sets below an attributes folder; none where the folder is absent."""
    if not storage.exists(root):
        return []
    return sorted({name.split("/", 1)[0] for name in storage.listing(root) if "/" in name})


class AttributeWriter:
    """Rows of one set into a Parquet file; batches are gathered into row groups.

    `types` are the struct's fields; `about` goes into the footer beside what `close` adds. Nulls inside the struct
    are refused unless `nullable` (dedup: the cluster of a document that is alone).
    """

    def __init__(
        self,
        stream: Any,
        set_name: str,
        types: Mapping[str, pa.DataType],
        about: dict[str, Plain],
        nullable: bool = False,
    ) -> None:
        self._stream = stream
        self._nullable = nullable
        self._struct = pa.struct([pa.field(name, kind) for name, kind in types.items()])
        self._schema = pa.schema([pa.field("id", pa.string()), pa.field(set_name, self._struct)])
        self._set_name = set_name
        self._about = about
        self._sink = pa.BufferedOutputStream(pa.PythonFile(stream, "w"), BUFFER)  # Parquet writes many small pieces
        self._file = _writer(self._sink, self._schema)
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = self._pending_bytes = 0
        self.rows = 0

    def write(self, ids: pa.Array, columns: Mapping[str, Any], null: pa.Array | None = None) -> None:
        """Append rows: one array per field; `null` marks rows where the tagger was gated off."""
        arrays = [self._array(columns, field, len(ids)) for field in self._struct]
        values = pa.StructArray.from_arrays(arrays, fields=list(self._struct), mask=null)
        batch = pa.RecordBatch.from_arrays([ids.cast(pa.string()), values], schema=self._schema)
        self._pending.append(batch)
        self._pending_rows += batch.num_rows
        self._pending_bytes += batch.nbytes
        self.rows += batch.num_rows
        if self._pending_rows >= ROW_GROUP or self._pending_bytes >= GROUP_BYTES:
            self._flush()

    def _array(self, columns: Mapping[str, Any], field: pa.Field, rows: int) -> pa.Array:
        if field.name not in columns:
            raise DataError(f"{self._set_name}: the tagger declares {field.name!r} but did not return it")
        values = columns[field.name]
        array = values if isinstance(values, pa.Array) else pa.array(_narrowed(np.asarray(values), field.type))
        if len(array) != rows:
            raise DataError(f"{self._set_name}.{field.name}: {len(array)} values for {rows} documents")
        if array.null_count and not self._nullable:
            raise DataError(f"{self._set_name}.{field.name}: the tagger returned null; every document needs a value")
        return array if array.type == field.type else array.cast(field.type)

    def _flush(self) -> None:
        if self._pending:
            self._file.write_table(pa.Table.from_batches(self._pending), row_group_size=ROW_GROUP)
        self._pending, self._pending_rows, self._pending_bytes = [], 0, 0

    def close(self, **footer: Plain) -> None:
        """Finish the file; `footer` says what is known only now (the shard's size and hash, bad rows)."""
        self._flush()
        about = {**self._about, "set": self._set_name, "rows": self.rows, **footer}
        self._file.add_key_value_metadata({FOOTER: json.dumps(about, sort_keys=True).encode()})
        self._file.close()
        self._sink.detach()
        if hasattr(self._stream, "rows"):
            self._stream.rows = self.rows


def _narrowed(values: np.ndarray, kind: pa.DataType) -> np.ndarray:
    """Counts that fit as the type that they are stored in: NumPy is faster at this than Arrow."""
    if values.dtype == np.int64 and pa.types.is_int32(kind):
        narrow = values.astype(np.int32)
        if np.array_equal(narrow, values):
            return narrow
    return values


def _writer(sink: pa.NativeFile, schema: pa.Schema) -> pq.ParquetWriter:
    """As small as zstandard with dictionaries makes it, in a third of the time: integers as bit-packed differences,
    lz4; only scores, mostly all alike, have a dictionary."""
    leaves = {path: kind for field in schema for path, kind in _leaves(field.name, field.type)}
    return pq.ParquetWriter(
        sink,
        schema,
        compression="lz4",
        use_dictionary=[path for path in leaves if path.endswith(".score")],  # pyright: ignore[reportArgumentType]
        column_encoding={path: "DELTA_BINARY_PACKED" for path, kind in leaves.items() if pa.types.is_integer(kind)},
        write_statistics=False,
    )


def _leaves(path: str, kind: pa.DataType) -> Iterator[tuple[str, pa.DataType]]:
    """What Parquet calls the columns of a nested type, and their types."""
    if pa.types.is_struct(kind):
        for field in kind:
            yield from _leaves(f"{path}.{field.name}", field.type)
    elif pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        yield from _leaves(f"{path}.list.element", kind.value_type)
    else:
        yield path, kind


class AttributeReader:
    """The rows of one attribute file, handed out beside the documents they describe.

    `fields` limits what is read (top-level fields of the struct). `types` are the fields of the whole set.
    """

    def __init__(self, path: str, set_name: str, fields: Sequence[str] | None = None) -> None:
        self.path, self.set_name = path, set_name
        if storage.stat(path) is None:
            raise DataError(f"{path}: no such attribute file; run the stage that writes {set_name!r} for this shard")
        try:
            stored = pa.py_buffer(storage.read_bytes(path)) if storage.is_remote(path) else pa.memory_map(path)
            self._file = pq.ParquetFile(stored)
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError(f"{path}: not a readable attribute file: {error}") from error
        schema = self._file.schema_arrow
        if set_name not in schema.names:
            raise DataError(f"{path}: holds no column {set_name!r} (columns: {', '.join(schema.names)})")
        self.types: dict[str, pa.DataType] = {field.name: field.type for field in schema.field(set_name).type}
        self.about: dict[str, Plain] = json.loads((self._file.metadata.metadata or {}).get(FOOTER, b"{}"))
        self.rows: int = self._file.metadata.num_rows
        columns = ["id", set_name] if fields is None else ["id", *(f"{set_name}.{field}" for field in fields)]
        self._batches: Iterator[pa.RecordBatch] = self._file.iter_batches(
            batch_size=ROW_GROUP, columns=columns, use_threads=False
        )
        self._current: pa.Table | None = None
        self._given = 0

    def read(self, ids: pa.Array) -> pa.StructArray:
        """The next `len(ids)` rows; refuses rows whose ids are not these."""
        table = self._take(len(ids))
        found = table.column("id").combine_chunks() if table.num_rows else pa.array([], pa.string())
        if not found.equals(ids):
            raise AlignmentError(f"{self.path}: {self._mismatch(found, ids)}; tag this shard again")
        self._given += len(ids)
        column = table.column(self.set_name).combine_chunks()
        return column.chunk(0) if isinstance(column, pa.ChunkedArray) else column

    def upcoming(self) -> pa.Array | None:
        """Ids of the next rows, some tens of thousands, without taking them; None at the end of the file."""
        if self._current is None or not self._current.num_rows:
            more = next(self._batches, None)
            self._current = None if more is None else pa.Table.from_batches([more])
        return None if self._current is None else self._current.column("id").combine_chunks()

    def _take(self, rows: int) -> pa.Table:
        while self._current is None or self._current.num_rows < rows:
            more = next(self._batches, None)
            if more is None:
                break
            table = pa.Table.from_batches([more])
            self._current = table if self._current is None else pa.concat_tables([self._current, table])
        if self._current is None:
            return pa.table({"id": pa.array([], pa.string()), self.set_name: pa.array([], pa.null())})
        taken, self._current = self._current.slice(0, rows), self._current.slice(rows)
        return taken

    def _mismatch(self, found: pa.Array, ids: pa.Array) -> str:
        if len(found) < len(ids):
            return f"ends after row {self._given + len(found)} but the document shard goes on"
        row = next(i for i in range(len(ids)) if found[i] != ids[i])
        return (
            f"row {self._given + row} is of document {found[row].as_py()!r}, the shard has {ids[row].as_py()!r} there"
        )

    def finish(self, document_hash: str | None, bad_rows: int) -> None:
        """Call at the end of the document shard: every row was used and the shard is the one that was measured."""
        if self._given != self.rows and document_hash is not None:
            raise AlignmentError(f"{self.path}: {self.rows} rows for a shard of {self._given} documents; tag it again")
        shard = self.about.get("shard", {})
        if document_hash is not None and shard.get("hash") not in (None, document_hash):
            raise AlignmentError(f"{self.path}: the document shard has changed since it was measured; tag it again")
        if self.about.get("bad_rows", bad_rows) != bad_rows and document_hash is not None:
            raise AlignmentError(
                f"{self.path}: {self.about['bad_rows']} bad rows when measured, {bad_rows} now; tag this shard again"
            )
