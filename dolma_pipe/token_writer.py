"""Writes token shards as `tokens` says, and adds up what they hold."""

from __future__ import annotations

import zlib
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dolma_pipe.tokens import DOCUMENTS, Totals

compute: Any = pyarrow.compute  # its functions are made at import, so no type checker knows them

FILES = (".bin", ".docs.parquet", ".csv.gz")
"""What a shard's files are called behind its name."""


def documents_writer(stream: Any) -> pq.ParquetWriter:
    """A writer of tables as `DOCUMENTS` says."""
    return pq.ParquetWriter(stream, DOCUMENTS, compression="zstd", write_statistics=False)


class ShardWriter:
    """Writes the three files of one shard into binary streams, piece by piece."""

    def __init__(self, tokens: BinaryIO, documents: BinaryIO, table: BinaryIO) -> None:
        self._tokens = tokens
        self._documents = documents_writer(documents)
        self._table = table
        # Format 31 is gzip; zlib leaves its header's time and name empty, so equal content gives equal bytes.
        self._gzip = zlib.compressobj(2, zlib.DEFLATED, 31)
        self.total = self.rows = 0

    def write(self, tokens: NDArray[Any], documents: pa.Table) -> None:
        """Append tokens (in the shard's dtype) and the rows of the documents they are, with `end` counted from the
        first token of `tokens`."""
        start = self.total
        self._tokens.write(np.ascontiguousarray(tokens).data)
        self.total += len(tokens)
        self.rows += len(documents)
        ends = documents["end"].to_numpy() + start
        documents = documents.select(DOCUMENTS.names).set_column(0, "end", pa.array(ends, pa.int64()))
        self._documents.write_table(documents.cast(DOCUMENTS))
        self._table.write(self._gzip.compress(_olmo_rows(documents, start, ends)))

    def close(self) -> None:
        self._documents.close()
        self._table.write(self._gzip.flush())


def _olmo_rows(documents: pa.Table, start: int, ends: NDArray[np.int64]) -> bytes:
    """CSV as Python's own writer makes it (CRLF, quotes where needed): start, end, id, file, 1-based row."""
    starts = np.concatenate([[start], ends[:-1]])
    folder, shard = (documents[name].cast(pa.string()) for name in ("dataset", "shard"))
    source = compute.binary_join_element_wise(folder, "documents", shard, "/")
    lines = documents["row"].to_numpy() + 1
    numbers = [pa.array(values).cast(pa.string()) for values in (starts, ends, lines)]
    columns = [numbers[0], numbers[1], _quoted(documents["id"]), _quoted(source), numbers[2]]
    rows = compute.binary_join_element_wise(compute.binary_join_element_wise(*columns, ","), "\r\n", "").cast(
        pa.large_string()
    )
    return b"".join(memoryview(chunk.buffers()[2]) for chunk in rows.chunks if len(chunk))


def _quoted(values: pa.ChunkedArray) -> pa.ChunkedArray:
    special = compute.match_substring_regex(values, '[",\r\n]')
    if not compute.any(special).as_py():
        return values
    doubled = compute.replace_substring(values, '"', '""')
    return compute.if_else(special, compute.binary_join_element_wise('"', doubled, '"', ""), values)


class Tally:
    """Documents, tokens and bytes per source, and masked tokens, of tables of documents."""

    def __init__(self) -> None:
        self.masked = 0
        self._totals: dict[str, NDArray[np.int64]] = {}

    def add(self, table: pa.Table) -> None:
        """Add a table; a document counts where its first part is, masked rows count as masked tokens only."""
        sizes = np.diff(table["end"].to_numpy(), prepend=0)
        masked = table["masked"].to_numpy()
        self.masked += int(sizes[masked].sum())
        columns = (table["part"].to_numpy() == 0, sizes, table["bytes"].to_numpy())
        source = table["source"].combine_chunks()
        indices = source.indices.to_numpy(zero_copy_only=False)
        for number, name in enumerate(source.dictionary.to_pylist()):
            rows = (indices == number) & ~masked
            if rows.any():
                found = np.array([int(column[rows].sum()) for column in columns], np.int64)
                self._totals[name] = self._totals.get(name, np.zeros(3, np.int64)) + found

    @property
    def plain(self) -> dict[str, list[int]]:
        """[documents, tokens, bytes] of each source, for a record."""
        return {name: total.tolist() for name, total in sorted(self._totals.items())}

    @property
    def totals(self) -> dict[str, Totals]:
        return {name: Totals(*found) for name, found in self.plain.items()}
