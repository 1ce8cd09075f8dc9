"""Document shards that are JSON lines, as columns of the types the rest of the house knows.

A kernel vouches for nearly every line; the others are judged one by one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow as pa

from dolma_pipe.batch import Bytes
from dolma_pipe.streams import Decompressed

if TYPE_CHECKING:
    from dolma_pipe.kernels.jsonlines import Found


class Row(msgspec.Struct):
    """A document, of a line that was judged."""

    id: str | int
    text: str
    source: str | None = None
    added: str | None = None
    created: str | None = None
    metadata: msgspec.Raw = msgspec.Raw(b"null")


_row_decoder = msgspec.json.Decoder(Row)
_any_decoder = msgspec.json.Decoder()


def blocks(stream: Decompressed, size: int) -> Iterator[bytearray]:
    """Decompressed bytes in blocks that end with a newline (the last may not) and hold about `size` bytes.

    A block is not held here while the caller has it: it may be one line of a hundred megabytes.
    """
    parts: list[bytes] = []
    held = 0
    for chunk in stream:
        if held + len(chunk) < size or not (end := chunk.rfind(b"\n") + 1):
            parts.append(chunk)
            held += len(chunk)
            continue
        block = [bytearray().join([*parts, memoryview(chunk)[:end]])]
        parts, held = [chunk[end:]], len(chunk) - end
        del chunk
        yield block.pop()
    if held:
        block = [bytearray().join(parts)]
        parts.clear()
        yield block.pop()


def decode(line: bytes) -> Row:
    """The document of a line without a fault."""
    return _row_decoder.decode(line)


def fault(line: bytes) -> str | None:
    """Why a line cannot be a document, or None."""
    try:
        line.decode()
    except UnicodeDecodeError as error:
        return f"invalid UTF-8 at byte {error.start} of the line"
    try:
        json.dumps(json.loads(line, object_pairs_hook=no_repeats), ensure_ascii=False).encode()
        _any_decoder.decode(line)
        decode(line)
    except UnicodeEncodeError:
        return "a surrogate escape without its other half"
    except msgspec.ValidationError as error:
        return f"not a document: {error}".replace("`", "")
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        return f"invalid JSON: {error}"
    return None


def no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An `object_pairs_hook` for `json.loads` that refuses a key that occurs twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} is repeated")
    return found


def columns(data: Bytes, found: Found, names: Sequence[str]) -> pa.RecordBatch:
    """The columns of the documents that the kernel vouches for."""
    from dolma_pipe.kernels import jsonlines
    from dolma_pipe.kernels.jsonstrings import gather_strings

    arrays: dict[str, pa.Array] = {}
    for name in names:
        field = jsonlines.FIELDS.index(name)
        values, offsets = gather_strings(data, found.fields[field], found.kinds[field], found.sure)
        null = found.kinds[field][found.sure] == jsonlines.NULL
        valid = pa.py_buffer(np.packbits(~null, bitorder="little")) if null.any() else None
        buffers = [valid, pa.py_buffer(offsets), pa.py_buffer(values)]
        arrays[name] = pa.Array.from_buffers(pa.large_string(), len(null), buffers).cast(_type_of(name))
    return pa.RecordBatch.from_pydict(arrays)


def merged(sure: pa.RecordBatch, rows: Any, judged: dict[int, Row], names: Sequence[str]) -> pa.RecordBatch:
    """The columns `sure` of `rows` (line numbers, in order), with the judged documents among them."""
    others = pa.RecordBatch.from_pydict({name: _column(list(judged.values()), name) for name in names})
    order = np.argsort(np.concatenate([rows, np.array(list(judged))]))
    table = pa.Table.from_batches([sure, others]).take(pa.array(order)).combine_chunks()
    return table.to_batches()[0]


def _column(rows: list[Row], name: str) -> pa.Array:
    if name == "metadata":
        raw = [bytes(row.metadata).decode() for row in rows]
        return pa.array([None if value == "null" else value for value in raw], pa.string())
    values = [getattr(row, name) for row in rows]
    return pa.array([str(value) if isinstance(value, int) else value for value in values], _type_of(name))


def _type_of(name: str) -> pa.DataType:
    return pa.large_string() if name == "text" else pa.string()
