"""The tokenize stage: how its phases follow from one another.

- encode, per input shard: ids and a table of documents, kept as a cache
- sort, per input shard: its documents by their draw
- order, one task: all documents in order, and where output shards begin
- write, per output shard
- manifest, one task: manifest.json and tokenizer.json, after everything else
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import msgspec

from dolma_pipe import storage
from dolma_pipe.batch import make_batch
from dolma_pipe.config import fingerprint
from dolma_pipe.errors import DataError
from dolma_pipe.manifest import MANIFEST as RECORDS
from dolma_pipe.manifest import Record, Ref
from dolma_pipe.shards import Shard, document_shards
from dolma_pipe.stage import Stage, Task, Work
from dolma_pipe.stages.tokenize import order, runs, write
from dolma_pipe.stages.tokenize.config import Origin, TokenizeConfig
from dolma_pipe.stages.tokenize.write import Extent, Gatherer
from dolma_pipe.tokenizer import Tokenizer, identify, open_tokenizer
from dolma_pipe.tokens import MANIFEST, TOKENIZER, Manifest, ShardEntry, Totals
from dolma_pipe.tokens import Origin as ManifestOrigin


class Tokenize(Stage):
    name = "tokenize"
    version = 1
    phases = ("encode", "sort", "order", "write", "manifest")

    def __init__(self, config: TokenizeConfig) -> None:
        config.check()
        self.config = config
        self.home = config.to
        self.max_bad_fraction = config.max_bad_fraction
        self.identity = identify(config.tokenizer, config.eos, config.bos, config.pad)
        self.origins = [Origin.of(dataset) for dataset in config.datasets]
        root = config.cache or config.to
        self.cache = storage.join(root, "_cache")
        self.scratch = storage.join(root, "_scratch")
        self._records = {phase: storage.join(root, RECORDS, phase) for phase in self.phases[:3]}
        self._records |= {phase: storage.join(config.to, RECORDS, phase) for phase in self.phases[3:]}

    @property
    def tokenizer(self) -> Tokenizer:
        return open_tokenizer(self.identity, self.config.engine)

    def record_folders(self) -> list[str]:
        return list(self._records.values())

    def scratch_folders(self) -> list[str]:
        return [self.scratch] if self.config.keep_cache else [self.scratch, self.cache]

    def warm(self) -> str | None:
        from dolma_pipe.kernels.tokens import scatter_ranges

        self.tokenizer.documents(make_batch(["Warm up.", ""]))
        (read, places), out = runs.warm_arrays(), runs.warm_arrays()[0].copy()
        scatter_ranges(read, places, places, out, places)
        return f"encoding with {self.tokenizer.describe()}"

    # What there is to do

    def plan(self, phase: str, done: dict[str, list[Record]]) -> list[Task]:
        return getattr(self, f"_plan_{phase}")(done)

    @functools.cached_property
    def _inputs(self) -> list[tuple[Origin, Shard]]:
        """Every input shard, in documented order; its place is its run's number."""
        return [
            (origin, shard)
            for origin in self.origins
            for shard in document_shards(origin.dataset, self.config.include, self.config.exclude)
        ]

    def _name(self, number: int) -> str:
        origin, shard = self._inputs[number]
        return f"{origin.name}/{shard.stem}"

    def _task(
        self, phase: str, name: str, depends_on: Sequence[object], payload: object, inputs: tuple[Ref, ...] = ()
    ) -> Task:
        definition = fingerprint((self.name, self.version, phase, depends_on))
        record = storage.join(self._records[phase], name + ".json")
        return Task(name, record, definition, inputs, payload, scratch=phase in self.phases[:3])

    def _plan_encode(self, done: dict[str, list[Record]]) -> list[Task]:
        self.__dict__.pop("_inputs", None)
        how = [self.identity.hash, self.identity.names, self.config.engine, self.config.limit]
        return [
            self._task(
                "encode", self._name(number), [*how, origin.name, origin.lock is not None], number,
                (Ref(f"{origin.name}/documents/{shard.name}", shard.path),),
            )
            for number, (origin, shard) in enumerate(self._inputs)
        ]  # fmt: skip

    def _plan_sort(self, done: dict[str, list[Record]]) -> list[Task]:
        return [
            self._task("sort", self._name(number), [record.digest(), self.config.seed, self._copy(number)], number)
            for number, record in enumerate(done["encode"])
        ]

    def _copy(self, number: int) -> int:
        origin, shard = self._inputs[number]
        return origin.copy(shard)

    def _plan_order(self, done: dict[str, list[Record]]) -> list[Task]:
        digests = [record.digest() for record in done["sort"]]
        return [self._task("order", "documents", [digests, self.config.shard_tokens], len(digests))]

    def _plan_write(self, done: dict[str, list[Record]]) -> list[Task]:
        record = done["order"][0]
        starts = [*record.facts["starts"], (record.counts["documents"], 0)]
        extents = [Extent(i, *starts[i], *starts[i + 1]) for i in range(len(starts) - 1)]
        return [self._task("write", extent.name, [record.digest(), extent], tuple(extent)) for extent in extents]

    def _plan_manifest(self, done: dict[str, list[Record]]) -> list[Task]:
        locks = [storage.content_hash(origin.lock) if origin.lock else None for origin in self.origins]
        entries = [_entry(record) for record in done["write"]]
        sources = _sources(done["write"])
        origins = [ManifestOrigin(origin.name, lock) for origin, lock in zip(self.origins, locks, strict=True)]
        depends_on = [entries, sources, origins, self.identity.hash, self.identity.names]
        return [self._task("manifest", "tokens", depends_on, (entries, sources, origins))]

    # Doing it

    def run(self, phase: str, task: Task, work: Work) -> None:
        if phase == "encode":
            origin, shard = self._inputs[task.payload]
            quarantine = storage.join(self.home, "_quarantine", task.name + ".jsonl")
            runs.encode_shard(shard, origin, self.tokenizer, self.cache, self.config.limit, quarantine, task, work)
        elif phase == "sort":
            self._sort(task, work)
        elif phase == "order":
            self._order(task, work)
        elif phase == "write":
            self._write(Extent(*task.payload), work)
        else:
            self._finish(task, work)

    def _sorted_path(self, number: int) -> str:
        return storage.join(self.scratch, "sorted", self._name(number))

    @property
    def _order_path(self) -> str:
        return storage.join(self.scratch, "order")

    def _sort(self, task: Task, work: Work) -> None:
        documents = runs.open_table(self.cache, task.name)
        with work.create(self._sorted_path(task.payload)) as out:
            out.write(order.sorted_documents(documents, self.config.seed, self._copy(task.payload)).data)
            out.rows = len(documents)

    def _order(self, task: Task, work: Work) -> None:
        cutter = order.Cutter(self.config.shard_tokens)
        with work.create(self._order_path) as out:
            for documents in order.merge([self._sorted_path(number) for number in range(task.payload)]):
                out.write(documents.data)
                cutter.add(documents["tokens"])
            out.rows = cutter.documents
        if not cutter.documents:
            raise DataError(f"{', '.join(self.config.datasets)}: no documents to tokenize; see what was kept before")
        work.count(documents=cutter.documents, tokens=cutter.tokens)
        work.fact("starts", cutter.starts)

    def _write(self, extent: Extent, work: Work) -> None:
        tokenizer = self.tokenizer
        open_run = functools.lru_cache(maxsize=512)(
            lambda number: runs.open_run(self.cache, self._name(number), tokenizer.dtype)
        )
        token_bytes = functools.cache(tokenizer.token_bytes)
        gatherer = Gatherer(open_run, tokenizer.dtype, token_bytes, self.config.shard_tokens)
        origins = [(origin.name, shard.name) for origin, shard in self._inputs]
        write.write_shard(self.home, extent, self._order_path, gatherer, origins, work)

    def _finish(self, task: Task, work: Work) -> None:
        entries, sources, origins = task.payload
        tokenizer = self.tokenizer
        manifest = Manifest(
            dtype=tokenizer.dtype.name, vocab_size=tokenizer.vocab_size,
            eos_id=tokenizer.eos_id, bos_id=tokenizer.bos_id, pad_id=tokenizer.pad_id,
            tokenizer_hash=tokenizer.hash, seed=self.config.seed, shard_tokens=self.config.shard_tokens,
            documents=sum(total.documents for total in sources.values()),
            tokens=sum(total.tokens for total in sources.values()),
            bytes=sum(total.bytes for total in sources.values()),
            sources=sources, shards=entries, origins=origins,
        )  # fmt: skip
        with work.create(storage.join(self.home, TOKENIZER)) as out:
            out.write(tokenizer.raw)
        with work.create(storage.join(self.home, MANIFEST)) as out:
            out.write(msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n")
        work.count(documents=manifest.documents, tokens=manifest.tokens, shards=len(entries))


def _entry(record: Record) -> ShardEntry:
    [tokens] = [output for output in record.outputs if output.path.endswith(".bin")]
    return ShardEntry(record.task, record.counts["tokens"], record.facts["rows"], tokens.hash)


def _sources(records: list[Record]) -> dict[str, Totals]:
    totals: dict[str, list[int]] = {}
    for record in records:
        for name, found in record.facts["sources"].items():
            totals[name] = [a + b for a, b in zip(totals.get(name, [0, 0, 0]), found, strict=True)]
    return {name: Totals(*found) for name, found in sorted(totals.items())}
