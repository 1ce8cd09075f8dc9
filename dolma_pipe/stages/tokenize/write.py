"""Writing one output shard: its documents are gathered from the runs in the given order, a bounded piece at a time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from dolma_pipe import storage
from dolma_pipe.batch import Int64s
from dolma_pipe.manifest import Record
from dolma_pipe.stage import Work
from dolma_pipe.stages.tokenize.layout import PIECE
from dolma_pipe.stages.tokenize.runs import Run, map_array
from dolma_pipe.token_writer import FILES, ShardWriter, Tally
from dolma_pipe.tokens import ShardEntry, Totals

compute: Any = pyarrow.compute

PIECE_TOKENS = 1 << 22


class Extent(NamedTuple):
    """A shard: pieces [first, end) of a track, which are sequences of so many tokens if they are packed."""

    number: int
    track: int
    first: int
    end: int
    sequence_length: int | None

    @property
    def name(self) -> str:
        return f"shard-{self.number:05d}"


class Gatherer:
    """Reads pieces of documents from the runs that hold them; what it gives is good until it is asked again."""

    def __init__(
        self, open_run: Callable[[int], Run], dtype: np.dtype[Any], token_bytes: Callable[[], Int64s], padding: int
    ) -> None:
        self._open_run = open_run
        self._token_bytes = token_bytes
        self._padding = padding
        self._room = np.empty(0, dtype)

    def gather(self, pieces: NDArray[Any]) -> tuple[NDArray[Any], pa.Table]:
        """Their tokens behind one another, and a row for each: `tokens.DOCUMENTS` with `run` for origin."""
        from dolma_pipe.kernels.tokens import scatter_ranges

        sizes = pieces["tokens"].astype(np.int64)
        ends = np.cumsum(sizes)
        tokens = self._buffer(int(ends[-1]))
        real = pieces["parts"] > 0
        if not real.all():
            tokens[:] = self._padding
        width = tokens.itemsize
        order = np.argsort(pieces["run"], kind="stable")
        tables: list[pa.Table] = []
        for run, rows in _groups(pieces["run"], order):
            ids, documents = self._open_run(run)
            some = pieces[rows]
            places = pa.array(some["row"])
            origins = documents["end"].take(places).to_numpy() - some["length"] + some["begin"]
            lengths, to = sizes[rows] * real[rows] * width, (ends - sizes)[rows] * width
            scatter_ranges(ids.view(np.uint8), origins * width, lengths, tokens.view(np.uint8), to)
            found = documents.select(["id", "source", "bytes"]).take(places)
            tables.append(self._rows(found, some, ids, origins))
        table = pa.concat_tables(tables).combine_chunks().take(pa.array(np.argsort(order)))
        return tokens, table.append_column("end", pa.array(ends))

    def _buffer(self, size: int) -> NDArray[Any]:
        if len(self._room) < size:
            self._room = np.empty(size, self._room.dtype)
        return self._room[:size]

    def _rows(self, found: pa.Table, pieces: NDArray[Any], ids: NDArray[Any], origins: Int64s) -> pa.Table:
        padding = pieces["parts"] == 0
        sizes = np.where(padding, 0, found["bytes"].to_numpy())
        known: dict[int, Int64s] = {}
        for i in np.flatnonzero(~padding & (pieces["tokens"] < pieces["length"])):
            begin, tokens, length = (int(pieces[name][i]) for name in ("begin", "tokens", "length"))
            start = int(origins[i]) - begin
            if start not in known:
                known[start] = byte_marks(int(sizes[i]), self._token_bytes()[ids[start : start + length]])
            sizes[i] = known[start][begin + tokens] - known[start][begin]
        columns: dict[str, Any] = {
            "id": found["id"], "source": found["source"], "bytes": sizes, "run": pieces["run"], "row": pieces["row"],
            "part": pieces["part"], "parts": pieces["parts"], "masked": padding,
        }  # fmt: skip
        if padding.any():
            columns["id"] = compute.if_else(pa.array(padding), "", found["id"])
        return pa.table({name: pa.array(v) if isinstance(v, np.ndarray) else v for name, v in columns.items()})


def byte_marks(total: int, weights: Int64s) -> Int64s:
    """int64[n + 1]: where in a document of `total` bytes each of its tokens begins, which weigh `weights`."""
    sums = np.concatenate([[0], np.cumsum(weights)])
    if sums[-1] == 0:
        sums = np.arange(len(weights) + 1)
    return total * sums // sums[-1]


def _groups(runs: NDArray[Any], order: NDArray[np.intp]) -> Iterator[tuple[int, NDArray[np.intp]]]:
    for rows in np.split(order, np.flatnonzero(np.diff(runs[order])) + 1):
        yield int(runs[rows[0]]), rows


def pieces_of(path: str, extent: Extent) -> Iterator[NDArray[Any]]:
    """The shard's pieces, about `PIECE_TOKENS` tokens at a time."""
    pieces = map_array(path, PIECE)[extent.first : extent.end]
    marks = np.cumsum(pieces["tokens"], dtype=np.int64) // PIECE_TOKENS
    for start, stop in itertools.pairwise([0, *(np.flatnonzero(np.diff(marks)) + 1).tolist(), len(pieces)]):
        yield pieces[start:stop]


def write_shard(
    to: str, extent: Extent, order_path: str, gatherer: Gatherer, origins: Sequence[tuple[str, str]], work: Work
) -> None:
    """Write a shard's three files; `origins` are the (data set, shard) of every run."""
    tally = Tally()
    with ExitStack() as stack:
        files = [stack.enter_context(work.create(storage.join(to, extent.name + end))) for end in FILES]
        writer = ShardWriter(*files)  # pyright: ignore[reportArgumentType]
        for pieces in pieces_of(order_path, extent):
            tokens, table = gatherer.gather(pieces)
            documents = _named(table, origins)
            writer.write(tokens, documents)
            tally.add(documents)
            work.progress(len(documents), int(tokens.nbytes))
        writer.close()
        for file in files:
            file.rows = writer.rows
    work.fact("rows", writer.rows)
    work.fact("masked", tally.masked)
    work.fact("sources", tally.plain)
    work.count(tokens=writer.total)


def _named(table: pa.Table, origins: Sequence[tuple[str, str]]) -> pa.Table:
    """The table with its runs' numbers as data set and shard."""
    runs, indices = np.unique(table["run"].to_numpy(), return_inverse=True)
    for column, name in enumerate(("dataset", "shard")):
        values = pa.array([origins[run][column] for run in runs], pa.string())
        # By value: where a dictionary has an entry twice, pyarrow writes uninitialised bytes into the Parquet page.
        table = table.append_column(name, values.take(pa.array(indices)).dictionary_encode())
    source = table["source"].combine_chunks().dictionary_encode()
    return table.set_column(table.schema.get_field_index("source"), "source", source)


def shard_entry(record: Record, sequence_length: int | None = None) -> ShardEntry:
    """What the manifest says of a shard, from the record of its task."""
    [tokens] = [output for output in record.outputs if output.path.endswith(".bin")]
    return ShardEntry(record.task, record.counts["tokens"], record.facts["rows"], tokens.hash, sequence_length)


def sum_of_sources(records: list[Record]) -> dict[str, Totals]:
    """Totals per source of all shards, from the records of their tasks."""
    totals: dict[str, list[int]] = {}
    for record in records:
        for name, found in record.facts["sources"].items():
            totals[name] = [a + b for a, b in zip(totals.get(name, [0, 0, 0]), found, strict=True)]
    return {name: Totals(*found) for name, found in sorted(totals.items())}
