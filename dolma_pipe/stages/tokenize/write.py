"""Writing one output shard: its documents are gathered from the runs in the given order, some at a time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from dolma_pipe import storage, token_writer
from dolma_pipe.batch import Int64s
from dolma_pipe.manifest import Record
from dolma_pipe.stage import Work
from dolma_pipe.stages.tokenize.ids import Ids, map_array
from dolma_pipe.stages.tokenize.layout import PIECE
from dolma_pipe.stages.tokenize.runs import Run
from dolma_pipe.token_writer import FILES, ShardWriter, Tally
from dolma_pipe.tokens import ShardEntry, Totals

compute: Any = pyarrow.compute

PIECE_TOKENS = 1 << 22
TABLE_ROWS = 1 << 16
"""Documents that are described at once: a row group of the table."""


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


def warm(dtype: np.dtype[Any]) -> None:
    """Compile what copies ids from mapped files, and what describes them."""
    places = np.zeros(1, np.int64)
    stored = np.frombuffer(bytes(2), np.uint8)
    Ids(stored.view("<u2"), stored[:0].reshape(0, 0)).copy(places, places, np.zeros(1, dtype), places)
    token_writer.warm()


class Gatherer:
    """Reads pieces of documents from the runs that hold them; `origins` are the (data set, shard) of every run."""

    def __init__(
        self,
        open_run: Callable[[int], Run],
        dtype: np.dtype[Any],
        token_bytes: Callable[[], Int64s],
        padding: int,
        origins: Sequence[tuple[str, str]],
    ) -> None:
        self._open_run = open_run
        self._token_bytes = token_bytes
        self._padding = padding
        self._origins = origins
        self.dtype = dtype
        self._room = np.empty(0, dtype)

    def tokens(self, pieces: NDArray[Any]) -> NDArray[Any]:
        """Their tokens behind one another; good until they are asked for again."""
        ends = np.cumsum(pieces["tokens"], dtype=np.int64)
        tokens = self._buffer(int(ends[-1]))
        if (pieces["parts"] == 0).any():
            tokens[:] = self._padding
        order, runs = _by_run(pieces)
        pieces, to = np.take(pieces, order), (ends - pieces["tokens"])[order]
        lengths = np.where(pieces["parts"] > 0, pieces["tokens"], 0).astype(np.int64)
        for number, some in runs:
            run = self._open_run(number)
            run.ids.copy(_begins(run, pieces[some]), lengths[some], tokens, to[some])
        return tokens

    def _buffer(self, size: int) -> NDArray[Any]:
        if len(self._room) < size:
            self._room = np.empty(size, self.dtype)
        return self._room[:size]

    def table(self, pieces: NDArray[Any]) -> pa.Table:
        """A row for each piece: `tokens.DOCUMENTS`, with ends that are counted from the first of them."""
        order, runs = _by_run(pieces)
        back = np.argsort(order)
        by_run = np.take(pieces, order)
        sizes, found = np.empty(len(pieces), np.int64), []
        for number, some in runs:
            run = self._open_run(number)
            sizes[some] = self._bytes(run, by_run[some])
            found.append(run.documents.select(["id", "source"]).take(pa.array(by_run["row"][some])))
        texts = pa.concat_tables(found).combine_chunks().take(pa.array(back))
        padding = pieces["parts"] == 0
        ids = compute.if_else(pa.array(padding), "", texts["id"]) if padding.any() else texts["id"]
        codes = np.repeat(np.arange(len(runs)), [some.stop - some.start for _, some in runs])[back]
        datasets, shards = zip(*(self._origins[number] for number, _ in runs), strict=True)
        columns: dict[str, Any] = {
            "end": np.cumsum(pieces["tokens"], dtype=np.int64), "id": ids,
            "source": texts["source"].combine_chunks().dictionary_encode(), "bytes": sizes[back],
            "dataset": _encoded(datasets, codes), "shard": _encoded(shards, codes),
            "row": pieces["row"], "part": pieces["part"], "parts": pieces["parts"], "masked": padding,
        }  # fmt: skip
        return pa.table({name: pa.array(v) if isinstance(v, np.ndarray) else v for name, v in columns.items()})

    def _bytes(self, run: Run, pieces: NDArray[Any]) -> Int64s:
        """Bytes of text of each piece."""
        padding = pieces["parts"] == 0
        sizes = np.where(padding, 0, run.sizes[pieces["row"]])
        known: dict[int, Int64s] = {}
        for i in np.flatnonzero(~padding & (pieces["tokens"] < pieces["length"])):
            begin, tokens, length = (int(pieces[name][i]) for name in ("begin", "tokens", "length"))
            start = int(_begins(run, pieces[i : i + 1])[0]) - begin
            if start not in known:
                ids = np.empty(length, self.dtype)
                run.ids.copy(np.array([start]), np.array([length]), ids, np.array([0]))
                known[start] = byte_marks(int(sizes[i]), self._token_bytes()[ids])
            sizes[i] = known[start][begin + tokens] - known[start][begin]
        return sizes


def _begins(run: Run, pieces: NDArray[Any]) -> Int64s:
    """Where in the run's tokens pieces of it begin."""
    return run.ends[pieces["row"]] - pieces["length"] + pieces["begin"]


def _encoded(names: Sequence[str], codes: Int64s) -> pa.DictionaryArray:
    """Names as a dictionary. Where one has an entry twice, pyarrow writes uninitialised bytes into Parquet pages."""
    known = {name: number for number, name in enumerate(dict.fromkeys(names))}
    renamed = np.array([known[name] for name in names], np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(renamed[codes]), pa.array(list(known), pa.string()))


def byte_marks(total: int, weights: Int64s) -> Int64s:
    """int64[n + 1]: where in a document of `total` bytes each of its tokens begins, which weigh `weights`."""
    sums = np.concatenate([[0], np.cumsum(weights)])
    if sums[-1] == 0:
        sums = np.arange(len(weights) + 1)
    return total * sums // sums[-1]


def _by_run(pieces: NDArray[Any]) -> tuple[NDArray[np.intp], list[tuple[int, slice]]]:
    """The order in which pieces of a run follow one another, and the runs with where theirs then are."""
    order = np.argsort(pieces["run"], kind="stable")
    runs = pieces["run"][order]
    cuts = [0, *(np.flatnonzero(np.diff(runs)) + 1).tolist(), len(runs)]
    return order, [(int(runs[start]), slice(start, stop)) for start, stop in itertools.pairwise(cuts)]


def _portions(pieces: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Pieces of about `PIECE_TOKENS` tokens at a time."""
    marks = np.cumsum(pieces["tokens"], dtype=np.int64) // PIECE_TOKENS
    for start, stop in itertools.pairwise([0, *(np.flatnonzero(np.diff(marks)) + 1).tolist(), len(pieces)]):
        yield pieces[start:stop]


def write_shard(to: str, extent: Extent, order_path: str, gatherer: Gatherer, work: Work) -> None:
    """Write a shard's three files."""
    tally = Tally()
    pieces = map_array(order_path, PIECE)[extent.first : extent.end]
    with ExitStack() as stack:
        paths = [storage.join(to, extent.name + end) for end in FILES]
        files = [stack.enter_context(work.create(path, direct=path == paths[0])) for path in paths]
        writer = ShardWriter(*files)  # pyright: ignore[reportArgumentType]
        for first in range(0, len(pieces), TABLE_ROWS):
            some = pieces[first : first + TABLE_ROWS]
            for portion in _portions(some):
                writer.write_tokens(gatherer.tokens(portion))
            documents = gatherer.table(some)
            writer.write_documents(documents)
            tally.add(documents)
            work.progress(len(some), int(documents["end"][-1].as_py()) * gatherer.dtype.itemsize)
        writer.close()
        for file in files:
            file.rows = writer.rows
    work.fact("rows", writer.rows)
    work.fact("masked", tally.masked)
    work.fact("sources", tally.plain)
    work.count(tokens=writer.total)


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
