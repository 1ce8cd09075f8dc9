"""Encoded input shards: a file of ids and a table of documents each, kept so that only changed input is encoded."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dolma_pipe import storage
from dolma_pipe.batch import Batch, Int64s
from dolma_pipe.shards import DocumentReader, Shard
from dolma_pipe.stage import Task, Work
from dolma_pipe.stages.tokenize.config import Origin
from dolma_pipe.stages.tokenize.fim import Rearranger
from dolma_pipe.stages.tokenize.ids import Ids, IdsWriter, map_file, map_ids, planes_for
from dolma_pipe.tokenizer import Tokenizer

SCHEMA = pa.schema([("id", pa.string()), ("source", pa.string()), ("bytes", pa.int64()), ("end", pa.int64())])
"""One row per document, in the shard's order; `end` counts tokens of the run, eos included."""

CHECK_EVERY = 32
"""Batches (of about 4 MB) between two comparisons of the encoders."""


class Run(NamedTuple):
    """An encoded shard: ids of its documents behind one another, and their table, with two of its columns as arrays."""

    ids: Ids
    documents: pa.Table
    sizes: Int64s
    ends: Int64s


def ids_path(cache: str, name: str) -> str:
    return storage.join(cache, name + ".ids")


def table_path(cache: str, name: str) -> str:
    return storage.join(cache, name + ".arrow")


def open_run(cache: str, name: str, vocab_size: int) -> Run:
    """Both files, mapped into memory."""
    documents = open_table(cache, name)
    sizes, ends = (documents[column].to_numpy() for column in ("bytes", "end"))
    ids = map_ids(ids_path(cache, name), int(ends[-1]) if len(ends) else 0, planes_for(vocab_size))
    return Run(ids, documents, sizes, ends)


def open_table(cache: str, name: str) -> pa.Table:
    return pa.ipc.open_file(map_file(table_path(cache, name))).read_all()


class Encoder(NamedTuple):
    """How documents become runs in a cache."""

    tokenizer: Tokenizer
    cache: str
    limit: int | None
    rearranger: Rearranger | None

    def encode(self, shard: Shard, origin: Origin, quarantine: str, task: Task, work: Work) -> None:
        """Encode every document of a shard into its run."""
        tables: list[pa.RecordBatch] = []
        with ExitStack() as stack:
            bad = stack.enter_context(work.quarantine(quarantine))
            reader = DocumentReader(shard, origin.columns, limit=self.limit, bad=bad)
            out = stack.enter_context(work.create(ids_path(self.cache, task.name)))
            writer = IdsWriter(out, planes_for(self.tokenizer.vocab_size))
            for number, batch in enumerate(reader):
                if number % CHECK_EVERY == 0:
                    self.tokenizer.check_sample(batch, documents=1 if number else 2)
                sources, sizes = origin.sources(batch), pa.array(np.diff(batch.offsets))
                ids, ends = self._documents(batch, sources, origin.copy(shard), work)
                ends = pa.array(ends + writer.total)
                tables.append(pa.record_batch([batch.ids, sources, sizes, ends], schema=SCHEMA))
                writer.write(ids)
                work.progress(len(batch), len(batch.data))
                work.count(bytes=len(batch.data))
            writer.close()
            out.rows = reader.rows
            with work.create(table_path(self.cache, task.name)) as stream:
                _write_table(tables, stream)
                stream.rows = reader.rows
        if reader.hash is not None and reader.size is not None:
            work.seen(task.inputs[0], reader.size, reader.hash)
        work.count(documents=reader.rows, bad_rows=reader.bad_rows, bad_bytes=reader.bad_bytes)

    def _documents(self, batch: Batch, sources: pa.Array, copy: int, work: Work) -> tuple[NDArray[Any], Int64s]:
        if self.rearranger is None:
            return self.tokenizer.documents(batch)
        ids, ends, rearranged = self.rearranger.documents(batch, sources, copy)
        work.count(fim_documents=rearranged)
        return ids, ends


def _write_table(batches: list[pa.RecordBatch], stream: Any) -> None:
    """As one record batch, so that rows can be picked from it without touching the others."""
    table = pa.Table.from_batches(batches, SCHEMA).combine_chunks()
    with pa.ipc.new_file(stream, SCHEMA) as writer:
        for batch in table.to_batches():
            writer.write_batch(batch)
