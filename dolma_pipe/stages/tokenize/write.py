"""Writing one output shard: its documents are gathered from the runs in the given order, a bounded piece at a time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dolma_pipe import storage
from dolma_pipe.batch import Int64s
from dolma_pipe.stage import Work
from dolma_pipe.stages.tokenize.order import ORDERED
from dolma_pipe.stages.tokenize.runs import Run, map_array
from dolma_pipe.tokens import ShardWriter

PIECE_TOKENS = 1 << 23


class Extent(NamedTuple):
    """A shard's place in the order: from token `skip` of document `first` to before token `end_skip` of `end`."""

    number: int
    first: int
    skip: int
    end: int
    end_skip: int

    @property
    def name(self) -> str:
        return f"shard-{self.number:05d}"


class Pieces(NamedTuple):
    """Documents, or parts of them: the tokens [begin, end) of `length` of row `row` of run `run`."""

    run: Int64s
    row: Int64s
    begin: Int64s
    end: Int64s
    length: Int64s

    def take(self, rows: NDArray[Any] | slice) -> Pieces:
        return Pieces(*(column[rows] for column in self))


class Gatherer:
    """Reads pieces of documents from the runs that hold them."""

    def __init__(
        self, open_run: Callable[[int], Run], dtype: np.dtype[Any], token_bytes: Callable[[], Int64s], shard_tokens: int
    ) -> None:
        self._open_run = open_run
        self._dtype = dtype
        self._token_bytes = token_bytes
        self._shard_tokens = shard_tokens

    def gather(self, pieces: Pieces) -> tuple[NDArray[Any], pa.Table]:
        """Their tokens behind one another, and a row for each: end, id, source, bytes, run, row, part, parts."""
        from dolma_pipe.kernels.tokens import scatter_ranges

        ends = np.cumsum(pieces.end - pieces.begin)
        starts = ends - (pieces.end - pieces.begin)
        tokens = np.empty(ends[-1], self._dtype)
        width = self._dtype.itemsize
        order = np.argsort(pieces.run, kind="stable")
        tables: list[pa.Table] = []
        for run, rows in _groups(pieces.run, order):
            ids, documents = self._open_run(run)
            some = pieces.take(rows)
            origins = documents["end"].take(pa.array(some.row)).to_numpy() - some.length + some.begin
            sizes = (some.end - some.begin) * width
            scatter_ranges(ids.view(np.uint8), origins * width, sizes, tokens.view(np.uint8), starts[rows] * width)
            found = documents.select(["id", "source", "bytes"]).take(pa.array(some.row))
            tables.append(self._rows(found, some, ids, origins))
        table = pa.concat_tables(tables).combine_chunks().take(pa.array(np.argsort(order)))
        return tokens, table.append_column("end", pa.array(ends))

    def _rows(self, found: pa.Table, pieces: Pieces, ids: NDArray[Any], origins: Int64s) -> pa.Table:
        sizes = found["bytes"].to_numpy().copy()
        for i in np.flatnonzero(pieces.end - pieces.begin < pieces.length):
            start = origins[i] - pieces.begin[i]
            weights = self._token_bytes()[ids[start : start + pieces.length[i]]]
            sizes[i] = part_bytes(int(sizes[i]), weights, int(pieces.begin[i]), int(pieces.end[i]))
        found = found.set_column(found.schema.get_field_index("bytes"), "bytes", pa.array(sizes))
        columns = {
            "run": pieces.run,
            "row": pieces.row,
            "part": np.where(pieces.end - pieces.begin < pieces.length, pieces.begin // self._shard_tokens, 0),
            "parts": -(-pieces.length // self._shard_tokens),
        }
        for name, values in columns.items():
            found = found.append_column(name, pa.array(values))
        return found


def part_bytes(total: int, weights: Int64s, begin: int, end: int) -> int:
    """The bytes of tokens [begin, end) of a document of `total` bytes whose tokens weigh `weights`; parts add up."""
    sums = np.concatenate([[0], np.cumsum(weights)])
    if sums[-1] == 0:
        sums = np.arange(len(weights) + 1)
    return total * int(sums[end]) // int(sums[-1]) - total * int(sums[begin]) // int(sums[-1])


def _groups(runs: Int64s, order: NDArray[np.intp]) -> Iterator[tuple[int, NDArray[np.intp]]]:
    for rows in np.split(order, np.flatnonzero(np.diff(runs[order])) + 1):
        yield int(runs[rows[0]]), rows


def pieces_of(order_path: str, extent: Extent) -> Iterator[Pieces]:
    """The shard's pieces, about `PIECE_TOKENS` tokens at a time."""
    order = map_array(order_path, ORDERED)[extent.first : extent.end + (extent.end_skip > 0)]
    length = order["tokens"].astype(np.int64)
    begin, end = np.zeros_like(length), length.copy()
    begin[0] = extent.skip
    if extent.end_skip:
        end[-1] = extent.end_skip
    pieces = Pieces(order["run"].astype(np.int64), order["row"].astype(np.int64), begin, end, length)
    marks = np.cumsum(end - begin) // PIECE_TOKENS
    bounds = [0, *(np.flatnonzero(np.diff(marks)) + 1).tolist(), len(length)]
    for start, stop in itertools.pairwise(bounds):
        yield pieces.take(slice(start, stop))


def write_shard(
    to: str, extent: Extent, order_path: str, gatherer: Gatherer, origins: Sequence[tuple[str, str]], work: Work
) -> None:
    """Write a shard's three files; `origins` are the (data set, shard) of every run."""
    totals: dict[str, NDArray[np.int64]] = {}
    with ExitStack() as stack:
        files = [stack.enter_context(work.create(storage.join(to, extent.name + end))) for end in FILES]
        writer = ShardWriter(*files)  # pyright: ignore[reportArgumentType]
        for pieces in pieces_of(order_path, extent):
            tokens, table = gatherer.gather(pieces)
            documents = _named(table, origins)
            writer.write(tokens, documents)
            _add_up(totals, documents)
            work.progress(len(documents), int(tokens.nbytes))
        writer.close()
        for file in files:
            file.rows = writer.rows
    work.fact("rows", writer.rows)
    work.fact("sources", {name: total.tolist() for name, total in sorted(totals.items())})
    work.count(tokens=writer.total)


FILES = (".bin", ".docs.parquet", ".csv.gz")


def _named(table: pa.Table, origins: Sequence[tuple[str, str]]) -> pa.Table:
    """The table with its runs' numbers as data set and shard."""
    runs, indices = np.unique(table["run"].to_numpy(), return_inverse=True)
    for column, name in enumerate(("dataset", "shard")):
        values = pa.array([origins[run][column] for run in runs], pa.string())
        # By value: where a dictionary has an entry twice, pyarrow writes uninitialised bytes into the Parquet page.
        table = table.append_column(name, values.take(pa.array(indices)).dictionary_encode())
    source = table["source"].combine_chunks().dictionary_encode()
    return table.set_column(table.schema.get_field_index("source"), "source", source)


def _add_up(totals: dict[str, NDArray[np.int64]], documents: pa.Table) -> None:
    """Add (documents, tokens, bytes) per source; a document counts where its first part is."""
    source = documents["source"].combine_chunks()
    indices = source.indices.to_numpy(zero_copy_only=False)
    tokens = np.diff(documents["end"].to_numpy(), prepend=0)
    columns = (documents["part"].to_numpy() == 0, tokens, documents["bytes"].to_numpy())
    for number, name in enumerate(source.dictionary.to_pylist()):
        found = np.array([int(column[indices == number].sum()) for column in columns], np.int64)
        totals[name] = totals.get(name, np.zeros(3, np.int64)) + found
