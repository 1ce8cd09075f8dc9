"""Document shards that are Parquet files, as columns of the types the rest of the house knows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from dolma_pipe import jsonl, storage
from dolma_pipe.errors import DataError

MAX_ROWS = 1 << 16
_HEAD, _TAIL = (pa.scalar(part, pa.large_string()) for part in ('{"id":"","text":"","metadata":', "}\n"))
_ONE_LINE = pc.ReplaceSubstringOptions("\n", " ")


class Documents:
    """Iterates over (columns, faults): readable rows of about `batch_bytes`, and (row in file, reason) of the others.

    `size` and `hash` are those of the stored bytes.
    """

    def __init__(self, path: str, fields: Sequence[str], batch_bytes: int) -> None:
        self.path, self._fields = path, fields
        stored = _map(path)
        self.size, self.hash = stored.size, xxhash.xxh3_128_hexdigest(memoryview(stored))
        try:
            self._file = pq.ParquetFile(pa.BufferReader(stored))
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError(f"{path}: not a readable Parquet file: {error}") from error
        self._rows = _rows_per_batch(self._file, batch_bytes)
        names = self._file.schema_arrow.names
        for name in ("id", "text"):
            if name not in names:
                raise DataError(f"{path}: no column {name!r} (columns: {', '.join(names)})")
            kind = self._file.schema_arrow.field(name).type
            if not (_is_text(kind) or pa.types.is_null(kind) or (name == "id" and pa.types.is_integer(kind))):
                raise DataError(f"{path}: the column {name!r} holds {kind}; expected strings")

    def __iter__(self) -> Iterator[tuple[pa.RecordBatch, list[tuple[int, str]]]]:
        names = [name for name in self._fields if name in self._file.schema_arrow.names]
        first = 0
        try:
            for batch in self._file.iter_batches(batch_size=self._rows, columns=names, use_threads=False):
                faults = _faults(batch)
                if faults:
                    good = np.ones(batch.num_rows, np.bool_)
                    good[list(faults)] = False
                    yield self._typed(batch.filter(pa.array(good))), [(first + row, why) for row, why in faults.items()]
                else:
                    yield self._typed(batch), []
                first += batch.num_rows
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError(f"{self.path}: broken Parquet file: {error}") from error

    def _typed(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return pa.RecordBatch.from_pydict({name: _column(batch, name) for name in self._fields})


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    strings = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(check(kind) for check in (*strings, pa.types.is_binary, pa.types.is_large_binary))


def _map(path: str) -> pa.Buffer:
    if storage.is_remote(path):
        return pa.py_buffer(storage.read_bytes(path))
    if storage.size(path) == 0:
        raise DataError(f"{path}: an empty file is not Parquet")
    with pa.memory_map(storage.local_path(path)) as mapped:
        return mapped.read_buffer()


def _rows_per_batch(file: Any, batch_bytes: int) -> int:
    """So many rows that the largest row group's average batch holds about `batch_bytes`."""
    largest = 1
    for i in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(i)
        largest = max(largest, group.total_byte_size // max(group.num_rows, 1))
    return max(1, min(MAX_ROWS, batch_bytes // largest))


def _faults(batch: pa.RecordBatch) -> dict[int, str]:
    faults: dict[int, str] = {}
    for name in ("id", "text"):
        column = batch.column(name)
        for index in np.flatnonzero(np.asarray(column.is_null())):
            faults.setdefault(int(index), f"not a document: {name} is null")
    text = _column(batch, "text")
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        binary = text.cast(pa.large_binary())
        for index, value in enumerate(binary.to_pylist()):
            try:
                (value or b"").decode()
            except UnicodeDecodeError as error:
                faults.setdefault(index, f"invalid UTF-8 at byte {error.start} of the text")
    for index, reason in _metadata_faults(batch):
        faults.setdefault(index, reason)
    return faults


def _metadata_faults(batch: pa.RecordBatch) -> Iterator[tuple[int, str]]:
    """Rows whose metadata is a string, but not of JSON, by the rules for lines: it becomes a part of lines."""
    from dolma_pipe.kernels.jsonlines import find_documents

    if "metadata" not in batch.schema.names or not _is_text(batch.schema.field("metadata").type):
        return
    values = _column(batch, "metadata").cast(pa.large_string()).fill_null("null")
    lines = pc.call_function("binary_join_element_wise", [_HEAD, values, _TAIL, pa.scalar("", pa.large_string())])
    data = _bytes_of(lines)
    found = find_documents(np.frombuffer(data, np.uint8))
    for index in np.flatnonzero(~found.sure).tolist():
        reason = jsonl.fault(bytes(data[int(found.starts[index]) : int(found.ends[index])]))
        if reason is not None:
            yield index, f"metadata: {reason}"


def _bytes_of(strings: pa.Array) -> Any:
    """The bytes of large strings behind one another, without a copy."""
    offsets = np.frombuffer(strings.buffers()[1], np.int64)[strings.offset : strings.offset + len(strings) + 1]
    return memoryview(strings.buffers()[2])[int(offsets[0]) : int(offsets[-1])]


def _column(batch: pa.RecordBatch, name: str) -> pa.Array:
    if name not in batch.schema.names:
        return pa.nulls(batch.num_rows, pa.string())
    column = batch.column(name)
    if name == "metadata" and not _is_text(column.type):
        encoded = [None if value is None else msgspec.json.encode(value).decode() for value in column.to_pylist()]
        return pa.array(encoded, pa.string())
    if name == "metadata":  # JSON may be written in several lines; ours is a part of one
        return pc.call_function("replace_substring", [column.cast(pa.string())], _ONE_LINE)
    if name == "text":  # whether it is UTF-8 is seen row by row
        return pc.call_function("cast", [column], pc.CastOptions(pa.large_string(), allow_invalid_utf8=True))
    return column.cast(pa.string())
