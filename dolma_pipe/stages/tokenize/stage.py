"""The tokenize stage: how its phases follow from one another.

- encode, per input shard: ids and a table of documents, kept as a cache
- sort, per some input shards: their documents by their draw
- order, one task: all documents in order, and what lies where in output shards
- write, per output shard
- manifest, one task: manifest.json and tokenizer.json, after everything else
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from typing import Any

import msgspec
from numpy.typing import NDArray

from dolma_pipe import storage
from dolma_pipe.batch import make_batch
from dolma_pipe.config import fingerprint
from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.manifest import MANIFEST as RECORDS
from dolma_pipe.manifest import Record, Ref
from dolma_pipe.shards import Shard, document_shards
from dolma_pipe.stage import Stage, Task, Work
from dolma_pipe.stages.tokenize import order, runs, write
from dolma_pipe.stages.tokenize.config import Origin, TokenizeConfig
from dolma_pipe.stages.tokenize.fim import Rearranger
from dolma_pipe.stages.tokenize.layout import make_layout
from dolma_pipe.stages.tokenize.write import Extent, Gatherer, shard_entry
from dolma_pipe.takedown import tombstones
from dolma_pipe.tokenizer import Tokenizer, identify, open_tokenizer
from dolma_pipe.tokens import MANIFEST, TOKENIZER, FillInTheMiddle, Manifest, Packing
from dolma_pipe.tokens import Origin as ManifestOrigin

SORTED_AT_ONCE = 64
"""Input shards whose documents are sorted by one task."""

MOST_OPEN = 1 << 14
"""Runs that are mapped at a time; a process may have four times as many mappings."""


class Tokenize(Stage):
    name = "tokenize"
    version = 3
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

    def places_read(self) -> dict[str, dict[str, str]]:
        return {origin.name: {"dataset": origin.dataset} for origin in self.origins}

    def record_folders(self) -> list[str]:
        return list(self._records.values())

    def scratch_folders(self) -> list[str]:
        return [self.scratch] if self.config.keep_cache else [self.scratch, self.cache]

    def warm(self) -> str | None:
        batch = make_batch(["Warm up.", ""])
        self.tokenizer.documents(batch)
        if (rearranger := self._encoder.rearranger) is not None:
            rearranger.documents(batch, batch.ids, 0)
        write.warm(self.tokenizer.dtype)
        order.warm()
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
        fim = None if self.config.fim is None else (self.config.fim, self.config.seed)
        how = [self.identity.hash, self.identity.names, self.config.engine, self.config.limit, fim]
        return [
            self._task(
                "encode", self._name(number), [*how, origin.name, origin.lock is not None], number,
                (Ref(f"{origin.name}/documents/{shard.name}", shard.path),),
            )
            for number, (origin, shard) in enumerate(self._inputs)
        ]  # fmt: skip

    def _plan_sort(self, done: dict[str, list[Record]]) -> list[Task]:
        records = done["encode"]
        gone = {origin.name: sorted(self._taken_down(origin)) for origin in self.origins}
        tasks: list[Task] = []
        for first in range(0, len(records), SORTED_AT_ONCE):
            runs = range(first, min(first + SORTED_AT_ONCE, len(records)))
            about = [(records[n].digest(), self._copy(n), gone[self._inputs[n][0].name]) for n in runs]
            tasks.append(self._task("sort", f"{len(tasks):05d}", [self.config.seed, first, about], (first, len(runs))))
        return tasks

    def _taken_down(self, origin: Origin) -> set[str]:
        """Ids that a take-down has named: in the data set, in the mix that it is a split of, or here."""
        mixed = origin.dataset.rsplit("/splits/", 1)[0]
        return set[str]().union(*map(tombstones.read, {origin.dataset, mixed, self.home}))

    def _copy(self, number: int) -> int:
        origin, shard = self._inputs[number]
        return origin.copy(shard)

    def _plan_order(self, done: dict[str, list[Record]]) -> list[Task]:
        digests = [record.digest() for record in done["sort"]]
        how = [self.config.shard_tokens, self.config.pack, self.config.sequence_lengths]
        return [self._task("order", "documents", [digests, *how], [record.task for record in done["sort"]])]

    def _plan_write(self, done: dict[str, list[Record]]) -> list[Task]:
        record = done["order"][0]
        lengths = [*(self.config.sequence_lengths or [None])]
        bounds = [
            (track, first, end, lengths[track])
            for track, starts in enumerate(record.facts["starts"])
            for first, end in itertools.pairwise([*starts, record.facts["pieces"][track]])
        ]
        extents = [Extent(number, *bound) for number, bound in enumerate(bounds)]
        return [self._task("write", extent.name, [record.digest(), extent], tuple(extent)) for extent in extents]

    def _plan_manifest(self, done: dict[str, list[Record]]) -> list[Task]:
        locks = [storage.content_hash(origin.lock) if origin.lock else None for origin in self.origins]
        lengths = [Extent(*task.payload).sequence_length for task in self._plan_write(done)]
        entries = [shard_entry(*found) for found in zip(done["write"], lengths, strict=True)]
        origins = [ManifestOrigin(origin.name, lock) for origin, lock in zip(self.origins, locks, strict=True)]
        masked = sum(record.facts["masked"] for record in done["write"])
        rearranged = sum(record.counts.get("fim_documents", 0) for record in done["encode"])
        sources = write.sum_of_sources(done["write"])
        packing, fim = self._packing(done["order"][0]), self._fim(rearranged, sources)
        facts = (entries, sources, origins, masked, packing, fim)
        depends_on = [facts, self.identity.hash, self.identity.names]
        return [self._task("manifest", "tokens", depends_on, facts)]

    def _packing(self, record: Record) -> Packing | None:
        if self.config.pack is None:
            return None
        found = [record.facts[name] for name in ("sequences", "padding")]
        return Packing(self.config.pack, self.config.sequence_lengths, *found)

    def _fim(self, documents: int, sources: Collection[str]) -> FillInTheMiddle | None:
        fim = self.config.fim
        if fim is None:
            return None
        for name in fim.sources:
            if name not in sources:
                raise ConfigError(f"fim.sources: no document is of {name!r} (sources: {', '.join(sources)})")
        return FillInTheMiddle(fim.rate, fim.spm_rate, fim.sources, [fim.prefix, fim.suffix, fim.middle], documents)

    # Doing it

    def run(self, phase: str, task: Task, work: Work) -> None:
        if phase == "encode":
            origin, shard = self._inputs[task.payload]
            quarantine = storage.join(self.home, "_quarantine", task.name + ".jsonl")
            self._encoder.encode(shard, origin, quarantine, task, work)
        elif phase == "sort":
            self._sort(task, work)
        elif phase == "order":
            self._order(task, work)
        elif phase == "write":
            self._write(Extent(*task.payload), work)
        else:
            self._finish(task, work)

    def _sorted_path(self, name: str) -> str:
        return storage.join(self.scratch, "sorted", name)

    @property
    def _encoder(self) -> runs.Encoder:
        config, tokenizer = self.config, self.tokenizer
        rearranger = Rearranger(config.fim, config.seed, tokenizer) if config.fim is not None else None
        return runs.Encoder(tokenizer, self.cache, config.limit, rearranger)

    def _order_path(self, track: int) -> str:
        return storage.join(self.scratch, f"order-{track}")

    def _sort(self, task: Task, work: Work) -> None:
        first, count = task.payload
        found: list[NDArray[Any]] = []
        documents = 0
        for run in range(first, first + count):
            table = runs.open_table(self.cache, self._name(run))
            gone = self._taken_down(self._inputs[run][0])
            found.append(order.drawn_documents(table, run, self.config.seed, self._copy(run), gone))
            documents += len(table)
        ordered = order.in_order(found)
        with work.create(self._sorted_path(task.name)) as out:
            out.write(ordered.data)
            out.rows = len(ordered)
        if len(ordered) < documents:
            work.count(taken_down=documents - len(ordered))

    def _order(self, task: Task, work: Work) -> None:
        config = self.config
        layout = make_layout(config.pack, config.shard_tokens, config.sequence_lengths)
        ordered = order.merge([self._sorted_path(name) for name in task.payload])
        with ExitStack() as stack:
            files = [stack.enter_context(work.create(self._order_path(track))) for track in range(len(layout.lengths))]
            for track, pieces in itertools.chain(*map(layout.add, ordered), layout.finish()):
                files[track].write(pieces.data)
                files[track].rows += len(pieces)
        if not layout.documents:
            raise DataError(f"{', '.join(config.datasets)}: no documents to tokenize; see what was kept before")
        work.count(documents=layout.documents, tokens=layout.tokens)
        work.fact("starts", layout.starts)
        work.fact("pieces", [file.rows for file in files])
        work.fact("sequences", layout.sequences)
        work.fact("padding", layout.padding)

    def _write(self, extent: Extent, work: Work) -> None:
        tokenizer = self.tokenizer
        open_run = functools.lru_cache(MOST_OPEN)(
            lambda number: runs.open_run(self.cache, self._name(number), tokenizer.vocab_size)
        )
        token_bytes = functools.cache(tokenizer.token_bytes)
        padding = tokenizer.eos_id if tokenizer.pad_id is None else tokenizer.pad_id
        origins = [(origin.name, shard.name) for origin, shard in self._inputs]
        gatherer = Gatherer(open_run, tokenizer.dtype, token_bytes, padding, origins)
        write.write_shard(self.home, extent, self._order_path(extent.track), gatherer, work)

    def _finish(self, task: Task, work: Work) -> None:
        entries, sources, origins, masked, packing, fim = task.payload
        tokenizer = self.tokenizer
        manifest = Manifest(
            dtype=tokenizer.dtype.name, vocab_size=tokenizer.vocab_size,
            eos_id=tokenizer.eos_id, bos_id=tokenizer.bos_id, pad_id=tokenizer.pad_id,
            tokenizer_hash=tokenizer.hash, seed=self.config.seed, shard_tokens=self.config.shard_tokens,
            documents=sum(total.documents for total in sources.values()),
            tokens=sum(entry.tokens for entry in entries), masked=masked,
            bytes=sum(total.bytes for total in sources.values()),
            sources=sources, shards=entries, origins=origins, packing=packing, fim=fim,
        )  # fmt: skip
        with work.create(storage.join(self.home, TOKENIZER)) as out:
            out.write(tokenizer.raw)
        with work.create(storage.join(self.home, MANIFEST)) as out:
            out.write(msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n")
        work.count(documents=manifest.documents, tokens=manifest.tokens, shards=len(entries))
