"""The unit of work: consecutive documents of one shard, as Arrow columns and as NumPy views of their bytes."""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

if TYPE_CHECKING:
    from dolma_pipe.kernels.marks import Marks

Bytes = npt.NDArray[np.uint8]
Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]
UInt64s = npt.NDArray[np.uint64]
pc: Any = pyarrow.compute


class Segments(NamedTuple):
    """Pieces of every document of a batch, in order.

    `offsets[i]:offsets[i + 1]` are the pieces of document i; `starts`/`ends` are
    byte positions in `Batch.data`, `chars` lengths in code points, `hashes` 64-bit
    hashes of the bytes.
    """

    starts: Int32s
    ends: Int32s
    chars: Int32s
    hashes: UInt64s
    offsets: Int64s


class Lines(NamedTuple):
    """Lines that hold a word, in order: as `Segments`, and the code points of the document before each."""

    starts: Int32s
    ends: Int32s
    chars: Int32s
    places: Int32s
    offsets: Int64s


class Batch:
    """Consecutive documents of one shard; `columns` holds "id" and "text" and whatever else was asked for.

    `raw`/`raw_offsets` are the JSON lines without their newline, where the reader was asked for lines.
    """

    def __init__(
        self,
        shard: str,
        first_row: int,
        columns: pa.RecordBatch,
        raw: Bytes | None = None,
        raw_offsets: Int64s | None = None,
    ) -> None:
        self.shard = shard
        self.first_row = first_row
        self.columns = columns
        self.raw = raw
        self.raw_offsets = raw_offsets

    def __len__(self) -> int:
        return self.columns.num_rows

    @property
    def ids(self) -> pa.StringArray:
        return self.columns.column("id")

    @cached_property
    def offsets(self) -> Int64s:
        """int64[n + 1]: document i is `data[offsets[i]:offsets[i + 1]]`."""
        text = self.columns.column("text")
        found = np.frombuffer(text.buffers()[1], np.int64)[text.offset : text.offset + len(text) + 1]
        return found - found[0]

    @cached_property
    def data(self) -> Bytes:
        """UTF-8 bytes of all documents, one after the other; a view of the Arrow column, not a copy."""
        text = self.columns.column("text")
        buffer = text.buffers()[2]
        if buffer is None:
            return np.empty(0, np.uint8)
        first = np.frombuffer(text.buffers()[1], np.int64)[text.offset]
        return np.frombuffer(buffer, np.uint8)[first : first + self.offsets[-1]]

    @cached_property
    def marks(self) -> Marks:
        """Where the words of `words` lie, as bits: a quarter of the text's size."""
        from dolma_pipe.kernels.marks import white_words

        return white_words(self.data, self.offsets)

    @cached_property
    def words(self) -> Segments:
        """What `str.split()` makes of each text; 20 bytes a word, which for a kernel that reads them in order `marks`
        saves."""
        from dolma_pipe.kernels.segment import word_arrays

        return Segments(*word_arrays(self.data, self.offsets, self.marks))

    @cached_property
    def word_counts(self) -> Int64s:
        """Words of each document."""
        from dolma_pipe.kernels.marks import count_words

        return count_words(self.marks, self.offsets)

    @cached_property
    def line_counts(self) -> Int64s:
        """How many `text.split("\\n")` makes of each text."""
        from dolma_pipe.kernels.newlines import count_lines

        return count_lines(self.data, self.offsets)

    @cached_property
    def lines(self) -> Segments:
        """What `text.split("\\n")` makes of each text."""
        from dolma_pipe.kernels.segment import split_lines

        return Segments(*split_lines(self.data, self.offsets))

    @cached_property
    def filled_lines(self) -> Lines:
        """Those of `lines` that hold a word."""
        from dolma_pipe.kernels.segment import filled_lines

        return Lines(*filled_lines(self.data, self.offsets, self.marks))

    @cached_property
    def char_counts(self) -> Int64s:
        """Code points of each document."""
        from dolma_pipe.kernels.utf8 import count_chars

        return count_chars(self.data, self.offsets)

    def text(self, index: int) -> str:
        return self.data[self.offsets[index] : self.offsets[index + 1]].tobytes().decode()

    def texts(self) -> list[str]:
        return self.columns.column("text").to_pylist()

    def metadata(self, field: str) -> pa.StringArray:
        """One field of `metadata` as strings ("url", or dotted "a.b"); null where a document has none."""
        return pa.array(_values(tuple(field.split(".")), self.columns.column("metadata")), pa.string())

    def document(self, index: int) -> dict[str, Any]:
        """One document as plain data, its metadata decoded."""
        found: dict[str, Any] = self.columns.slice(index, 1).to_pylist()[0]
        if found.get("metadata") is not None:
            found["metadata"] = msgspec.json.decode(found["metadata"])
        return found


def _values(names: tuple[str, ...], column: pa.StringArray) -> list[str | None]:
    """One field of each object, decoded all together where all are what is expected."""
    kind = _only(names)
    try:
        found: list[Any] = _decoder_of(list[kind | None]).decode(_as_one(column))
    except msgspec.ValidationError:  # something on the way is no object
        found = [_decoded(kind, text) for text in column.to_pylist()]
    for _ in names:
        found = [None if value is None else value.value for value in found]
    return [
        value if value is None or isinstance(value, str) else msgspec.json.encode(value).decode() for value in found
    ]


def _as_one(column: pa.StringArray) -> bytes:
    """JSON texts as one list; those that are null or empty are null."""
    texts = pc.fill_null(column, "null")
    texts = pc.if_else(pc.equal(texts, ""), "null", texts) if pc.any(pc.equal(texts, "")).as_py() else texts
    one = pa.ListArray.from_arrays(pa.array([0, len(texts)], pa.int32()), texts)
    return b"[%b]" % pc.binary_join(one, ",")[0].as_buffer()


def _decoded(kind: Any, text: str | None) -> Any:
    try:
        return _decoder_of(kind).decode(text) if text else None
    except msgspec.ValidationError:
        return None


@lru_cache(maxsize=64)
def _only(names: tuple[str, ...]) -> Any:
    """Nested objects of which one field is decoded and nothing else: each is a struct `value` of that one field."""
    kind: Any = Any
    for name in reversed(names):
        kind = msgspec.defstruct("Only", [("value", kind, None)], rename={"value": name}, gc=False)
    return kind


@lru_cache(maxsize=64)
def _decoder_of(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def make_batch(
    texts: list[str], ids: list[str] | None = None, shard: str = "batch", **columns: list[str | None]
) -> Batch:
    """A batch of texts that come from no file: for tests, notebooks and warming up kernels."""
    names = ids if ids is not None else [str(index) for index in range(len(texts))]
    arrays: dict[str, pa.Array] = {"id": pa.array(names, pa.string()), "text": pa.array(texts, pa.large_string())}
    arrays.update({name: pa.array(values, pa.string()) for name, values in columns.items()})
    return Batch(shard, 0, pa.RecordBatch.from_pydict(arrays))
