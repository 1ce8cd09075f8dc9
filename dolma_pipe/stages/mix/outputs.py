"""The files that one shard of the mix becomes; each appears with its first document."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from dolma_pipe import storage
from dolma_pipe.kernels.ranges import join_lines
from dolma_pipe.shards import DocumentWriter, Shard
from dolma_pipe.stage import Work

Array = npt.NDArray[Any]
PROVENANCE = pa.schema([
    ("source", pa.string()), ("shard", pa.string()), ("row", pa.int64()), ("copy", pa.int32()), ("edits", pa.int32()),
])  # fmt: skip
REJECTED = pa.schema([
    ("source", pa.string()), ("shard", pa.string()), ("row", pa.int64()), ("reasons", pa.list_(pa.string())),
])  # fmt: skip


def warm() -> None:
    """Load the kernel that joins lines."""
    nothing = np.zeros(1, np.int64)
    join_lines(np.zeros(1, np.uint8), nothing, nothing)


class Lines(NamedTuple):
    """The JSON lines of a batch: line i is `raw[starts[i]:ends[i]]`."""

    raw: Array
    starts: Array
    ends: Array


class Output:
    """Documents of one kind, with where each came from in a file beside them, row by row."""

    def __init__(self, work: Work, stack: ExitStack, dataset: str, name: str, end: str, schema: pa.Schema) -> None:
        documents = stack.enter_context(work.create(storage.join(dataset, "documents", name + end)))
        self._documents = DocumentWriter(documents, "documents" + end)
        self._provenance = stack.enter_context(work.create(storage.join(dataset, "_provenance", name + ".parquet")))
        self._schema = schema
        self._parts: list[pa.Table] = []

    def write(self, lines: Lines, chosen: Array, origin: dict[str, Any]) -> None:
        """The chosen lines, and as many values per column of `origin` (or one for all)."""
        starts, ends = lines.starts[chosen], lines.ends[chosen]
        self._documents.write_ranges(lines.raw, starts, ends)
        columns = {
            name: pa.repeat(value, len(starts)) if isinstance(value, str) else value for name, value in origin.items()
        }
        self._parts.append(pa.table({field.name: pa.array(columns[field.name], field.type) for field in self._schema}))

    def close(self) -> None:
        self._documents.close()
        pq.write_table(pa.concat_tables(self._parts), pa.PythonFile(self._provenance, "w"), compression="zstd")
        self._provenance.rows = self._documents.rows


class Outputs:
    """All outputs of a shard, opened when they are first needed; `compression` is zst, gz or none."""

    def __init__(self, work: Work, home: str, source: str, shard: Shard, compression: str = "zst") -> None:
        self._work, self._home, self._source, self._shard = work, home, source, shard
        self._end = ".jsonl" + ("" if compression == "none" else f".{compression}")
        self._stack = ExitStack()
        self._open: dict[tuple[str, int], Output] = {}

    def __enter__(self) -> Outputs:
        self._stack.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if error[0] is None:
            try:
                for output in self._open.values():
                    output.close()
            except BaseException as failure:
                self._stack.__exit__(type(failure), failure, failure.__traceback__)
                raise
        self._stack.__exit__(*error)

    def write(self, folder: str, lines: Lines, chosen: Array, rows: Array, copy: int, edits: Array) -> None:
        """Write chosen lines below `folder` ("" or "splits/NAME"); `rows` and `edits` are those of all lines."""
        if chosen.any():
            copies = np.full(int(chosen.sum()), copy)
            origin = {**self._origin(), "row": rows[chosen], "copy": copies, "edits": edits[chosen]}
            self._output(folder, copy, PROVENANCE).write(lines, chosen, origin)

    def reject(self, folder: str, lines: Lines, chosen: Array, rows: Array, reasons: list[list[str]]) -> None:
        """Write rejected lines, with all reasons of each."""
        if chosen.any():
            origin = {**self._origin(), "row": rows[chosen], "reasons": reasons}
            self._output(folder, 0, REJECTED).write(lines, chosen, origin)

    def _origin(self) -> dict[str, Any]:
        return {"source": self._source, "shard": self._shard.name}

    def _output(self, folder: str, copy: int, schema: pa.Schema) -> Output:
        if (folder, copy) not in self._open:
            name = storage.join(self._source, self._shard.stem + (f".copy{copy}" if copy else ""))
            dataset = storage.join(self._home, folder)
            self._open[folder, copy] = Output(self._work, self._stack, dataset, name, self._end, schema)
        return self._open[folder, copy]
