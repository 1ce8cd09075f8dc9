"""Writes token shards as `tokens` says, and adds up what they hold."""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dolma_pipe.streams import compressor
from dolma_pipe.tokens import DOCUMENTS, Totals

FILES = (".bin", ".docs.parquet", ".csv.gz")
"""What a shard's files are called behind its name."""

REPEATING = ["source", "dataset", "shard", "part", "parts"]
"""Columns that a Parquet dictionary makes smaller; for the others, trying takes as long as writing."""


def documents_writer(stream: Any) -> pq.ParquetWriter:
    """A writer of tables as `DOCUMENTS` says."""
    options: dict[str, Any] = {"compression": "zstd", "write_statistics": False, "use_dictionary": REPEATING}
    return pq.ParquetWriter(stream, DOCUMENTS, **options)


def warm() -> None:
    """Compile what writes the rows of a table."""
    row = (
        dict.fromkeys(DOCUMENTS.names, 0) | dict.fromkeys(("id", "source", "dataset", "shard"), "") | {"masked": False}
    )
    _olmo_rows(pa.Table.from_pylist([row], DOCUMENTS), 0)


class ShardWriter:
    """Writes the three files of one shard into binary streams, piece by piece."""

    def __init__(self, tokens: BinaryIO, documents: BinaryIO, table: BinaryIO) -> None:
        self._tokens = tokens
        self._documents = documents_writer(documents)
        self._table = compressor("shard.csv.gz", table)
        self.total = self.rows = self._described = 0

    def write(self, tokens: NDArray[Any], documents: pa.Table) -> None:
        """Append tokens and the rows of the documents they are."""
        self.write_tokens(tokens)
        self.write_documents(documents)

    def write_tokens(self, tokens: NDArray[Any]) -> None:
        """Append tokens, in the shard's dtype."""
        self._tokens.write(np.ascontiguousarray(tokens).data)
        self.total += len(tokens)

    def write_documents(self, documents: pa.Table) -> None:
        """Append rows, with `end` counted from the end of the last row that was written."""
        start = self._described
        ends = documents["end"].to_numpy() + start
        documents = documents.select(DOCUMENTS.names).set_column(0, "end", pa.array(ends, pa.int64())).cast(DOCUMENTS)
        self._documents.write_table(documents)
        self._table.write(_olmo_rows(documents, start).data)
        self.rows += len(documents)
        self._described = int(ends[-1]) if len(ends) else start

    def close(self) -> None:
        self._documents.close()
        self._table.close()


def _olmo_rows(documents: pa.Table, start: int) -> NDArray[np.uint8]:
    """CSV as Python's own writer makes it (CRLF, quotes where needed): start, end, id, file, 1-based row."""
    from dolma_pipe.kernels.csvrows import place_rows

    ends = documents["end"].to_numpy()
    files, codes = _files(documents)
    quoted = pa.array([_quoted(name) for name in files], pa.string())
    starts = np.concatenate([[start], ends])[: len(ends)]
    names, lines = documents["id"].combine_chunks(), documents["row"].to_numpy() + 1
    return place_rows(starts, ends, *_strings(names), *_strings(quoted), codes, lines)


def _files(documents: pa.Table) -> tuple[list[str], NDArray[np.int64]]:
    """The files that documents come from, and which of them each does."""
    folders, shards = (documents[name].combine_chunks() for name in ("dataset", "shard"))
    folder, shard = (column.indices.to_numpy().astype(np.int64) for column in (folders, shards))
    pairs, codes = np.unique(folder * max(len(shards.dictionary), 1) + shard, return_inverse=True)
    places = np.stack(np.divmod(pairs, max(len(shards.dictionary), 1)), axis=1).tolist()
    names = folders.dictionary.to_pylist(), shards.dictionary.to_pylist()
    return [f"{names[0][one]}/documents/{names[1][other]}" for one, other in places], codes


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if set(name) & set('",\r\n') else name


def _strings(values: pa.Array) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """UTF-8 bytes, and int64[n + 1] offsets into them."""
    large = values.cast(pa.large_string())
    offsets = np.frombuffer(large.buffers()[1], np.int64)[large.offset : large.offset + len(large) + 1]
    return np.frombuffer(large.buffers()[2] or b"", np.uint8), offsets


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
        source = table["source"].combine_chunks()
        found = np.zeros((len(source.dictionary), 3), np.int64)
        indices = source.indices.to_numpy()[~masked]
        for at, column in enumerate((table["part"].to_numpy() == 0, sizes, table["bytes"].to_numpy())):
            np.add.at(found[:, at], indices, column[~masked].astype(np.int64))
        names = source.dictionary.to_pylist()
        for number in np.unique(indices).tolist():
            self._totals[names[number]] = self._totals.get(names[number], np.zeros(3, np.int64)) + found[number]

    @property
    def plain(self) -> dict[str, list[int]]:
        """[documents, tokens, bytes] of each source, for a record."""
        return {name: total.tolist() for name, total in sorted(self._totals.items())}

    @property
    def totals(self) -> dict[str, Totals]:
        return {name: Totals(*found) for name, found in self.plain.items()}
