"""import-tokens: token files of other systems as a token folder; one task per file, and one for the manifest."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, ClassVar

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dolma_pipe import storage
from dolma_pipe.config import Config, fingerprint
from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.exchange import foreign
from dolma_pipe.exchange.foreign import Documents, Foreign
from dolma_pipe.manifest import MANIFEST as RECORDS
from dolma_pipe.manifest import Record, Ref
from dolma_pipe.stage import Stage, Task, Work
from dolma_pipe.stages.tokenize.write import shard_entry, sum_of_sources
from dolma_pipe.token_writer import FILES, ShardWriter, Tally
from dolma_pipe.tokenizer import Tokenizer, identify, open_tokenizer
from dolma_pipe.tokens import MANIFEST, TOKENIZER, Manifest, Origin

PIECE_TOKENS = 1 << 22


class ImportConfig(Config, frozen=True):
    """The token files in `folder`, of a `format`, as a token folder `to`.

    `tokenizer` (and `eos`) is what made them; `source` is what all their documents are of (default: the folder's name).
    """

    folder: str
    to: str
    format: foreign.Form
    tokenizer: str
    eos: str | None = None
    bos: str | None = None
    pad: str | None = None
    source: str | None = None


class ImportTokens(Stage):
    name: ClassVar[str] = "import"
    version: ClassVar[int] = 1
    phases: tuple[str, ...] = ("shards", "manifest")

    def __init__(self, config: ImportConfig) -> None:
        if storage.join(config.folder) == storage.join(config.to):
            raise ConfigError(f"--to {config.to}: the files to import lie there; name another folder")
        self.config = config
        self.home = config.to
        self.identity = identify(config.tokenizer, config.eos, config.bos, config.pad)
        self.source = config.source or config.folder.rstrip("/").rsplit("/", 1)[-1]

    @property
    def tokenizer(self) -> Tokenizer:
        return open_tokenizer(self.identity, "tokenizers")

    def plan(self, phase: str, done: dict[str, list[Record]]) -> list[Task]:
        about = [self.config.format, self.identity.hash, self.identity.names, self.source]
        if phase == "manifest":
            records = done["shards"]
            return [self._task(phase, "tokens", [about, [record.digest() for record in records]], records)]
        return [
            self._task(phase, f"shard-{number:05d}", [about, file.name], tuple(file), _refs(file))
            for number, file in enumerate(foreign.find(self.config.folder, self.config.format))
        ]

    def _task(self, phase: str, name: str, about: object, payload: Any, inputs: tuple[Ref, ...] = ()) -> Task:
        definition = fingerprint((self.name, self.version, phase, about))
        return Task(name, storage.join(self.home, RECORDS, phase, name + ".json"), definition, inputs, payload)

    def run(self, phase: str, task: Task, work: Work) -> None:
        if phase == "manifest":
            self._finish(task.payload, work)
        else:
            self._import(Foreign(*task.payload), task.name, work)

    def _import(self, file: Foreign, name: str, work: Work) -> None:
        documents = foreign.read(file, self.tokenizer.dtype, self.tokenizer.eos_id)
        tally = Tally()
        with ExitStack() as stack:
            files = [stack.enter_context(work.create(storage.join(self.home, name + end))) for end in FILES]
            writer = ShardWriter(*files)  # pyright: ignore[reportArgumentType]
            for first, last in _slices(documents):
                tokens, table = self._piece(file, documents, first, last)
                writer.write(tokens, table)
                tally.add(table)
                work.progress(last - first, tokens.nbytes)
            writer.close()
            for out in files:
                out.rows = writer.rows
        work.fact("rows", writer.rows)
        work.fact("masked", tally.masked)
        work.fact("sources", tally.plain)
        work.count(documents=writer.rows, tokens=writer.total)

    def _piece(self, file: Foreign, found: Documents, first: int, last: int) -> tuple[NDArray[Any], pa.Table]:
        """Documents `first:last`, and their table."""
        starts, ends = found.starts[first:last], found.ends[first:last]
        ids = np.concatenate([found.tokens[s:e] for s, e in zip(starts.tolist(), ends.tolist(), strict=True)])
        if int(ids.max()) >= self.tokenizer.vocab_size:
            raise DataError(f"{file.path()}: the id {ids.max()} is none of {self.config.tokenizer}'s")
        to = np.cumsum(ends - starts)
        masked = found.masked[first:last]
        sizes = np.add.reduceat(self._weights()[ids], np.concatenate([[0], to[:-1]]))
        names = found.ids.slice(first, last - first)
        padding = masked & (np.array([len(name) for name in names.to_pylist()]) == 0)
        datasets, shards = self._places(file, found.files.slice(first, last - first))
        table = pa.table(
            {
                "end": to, "id": names, "source": pa.repeat(self.source, len(to)).dictionary_encode(),
                "bytes": np.where(padding, 0, sizes), "dataset": datasets, "shard": shards,
                "row": found.rows[first:last], "part": np.zeros(len(to), np.int32),
                "parts": np.where(padding, 0, 1).astype(np.int32), "masked": masked,
            }
        )  # fmt: skip
        return ids.astype(self.tokenizer.dtype), table

    def _weights(self) -> NDArray[np.int64]:
        return self.tokenizer.token_bytes()

    def _places(self, file: Foreign, files: pa.Array) -> tuple[pa.Array, pa.Array]:
        """Data set and shard of each document: `DATASET/documents/SHARD`, else the folder that is imported, and the
        file as it is called."""
        encoded = files.dictionary_encode()
        here = file.folder.rstrip("/").rsplit("/", 1)[-1]
        split = [name.rpartition("/documents/") for name in encoded.dictionary.to_pylist()]
        columns = [[head.rsplit("/", 1)[-1] or here for head, _, _ in split], [tail for _, _, tail in split]]
        found = [pa.array(column, pa.string()).take(encoded.indices).dictionary_encode() for column in columns]
        return found[0], found[1]

    def _finish(self, records: list[Record], work: Work) -> None:
        tokenizer = self.tokenizer
        entries = [shard_entry(record) for record in records]
        sources = sum_of_sources(records)
        manifest = Manifest(
            dtype=tokenizer.dtype.name, vocab_size=tokenizer.vocab_size, eos_id=tokenizer.eos_id,
            bos_id=tokenizer.bos_id, pad_id=tokenizer.pad_id, tokenizer_hash=tokenizer.hash, seed=0,
            shard_tokens=max(entry.tokens for entry in entries),
            documents=sum(total.documents for total in sources.values()),
            tokens=sum(entry.tokens for entry in entries), bytes=sum(total.bytes for total in sources.values()),
            sources=sources, shards=entries, origins=[Origin(self.source)],
            masked=sum(record.facts["masked"] for record in records),
        )  # fmt: skip
        with work.create(storage.join(self.home, TOKENIZER)) as out:
            out.write(tokenizer.raw)
        with work.create(storage.join(self.home, MANIFEST)) as out:
            out.write(msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n")
        work.count(documents=manifest.documents, tokens=manifest.tokens, shards=len(entries))


def _refs(file: Foreign) -> tuple[Ref, ...]:
    return tuple(Ref(file.name + ending, file.path(ending)) for ending in file.files())


def _slices(documents: Documents) -> Iterator[tuple[int, int]]:
    """Numbers of documents that hold about `PIECE_TOKENS` tokens together."""
    marks = np.cumsum(documents.ends - documents.starts) // PIECE_TOKENS
    cuts = [0, *(np.flatnonzero(np.diff(marks)) + 1).tolist(), len(marks)]
    return itertools.pairwise(cuts)
