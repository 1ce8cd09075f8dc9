"""Deduplication against a Bloom filter: for streams, and for one pass against a huge set that was seen before.

    spill    per shard       documents -> keys, as for exact deduplication
    resolve  per range       a range of the filter's blocks, and the keys that fall on them -> which were seen before
    write    per shard       both -> attributes/dedup_<by>_bloom/**
    save     once            all ranges, with this run's keys -> another filter

What comes out is what a single worker would write that goes through the keys in documented order (data sets as given,
shard path by bytes, row, key), asks for each whether all its bits are set, and sets them. Each block belongs to one
task, which takes its keys in that order; no test depends on another block. A filter is never changed: a range is
copied as its pages are written to, and what a task that was killed had set is gone with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import msgspec
import numpy as np
import pyarrow as pa

from dolma_pipe import storage
from dolma_pipe.config import fingerprint
from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.kernels.bloom import BLOCK_BITS, blocks_of, look_up
from dolma_pipe.manifest import MANIFEST, Record, Ref
from dolma_pipe.stage import Task, Work
from dolma_pipe.stages.dedup.arrays import ArrayReader
from dolma_pipe.stages.dedup.bloom import filter as filters
from dolma_pipe.stages.dedup.bloom.rows import seen_keys
from dolma_pipe.stages.dedup.clusters import ENTRY, Entries
from dolma_pipe.stages.dedup.config import DedupConfig
from dolma_pipe.stages.dedup.corpus import KEYS, SCRATCH
from dolma_pipe.stages.dedup.exact import ExactDedup
from dolma_pipe.stages.dedup.pages import PageRows, write_rows
from dolma_pipe.stages.dedup.results import Array, Page
from dolma_pipe.stages.dedup.spill import KeyRange, read_partition
from dolma_pipe.types import Plain


class BloomDedup(ExactDedup):
    """Attributes that say which documents or paragraphs a filter has seen, or this run before them."""

    version: ClassVar[int] = 2

    def __init__(self, config: DedupConfig) -> None:
        assert config.bloom is not None
        if config.by in ("substring", "minhash"):
            raise ConfigError(f"bloom: has no effect with by: {config.by}; it has keys of documents or paragraphs")
        super().__init__(config)
        if config.against:
            raise ConfigError("against: has no effect with bloom, where a filter has what was kept before: bloom.seen")
        self.rules = filters.check(config.bloom)
        self.adds = self.rules.save is not None
        self.keys = seen_keys(self.keys, self.adds)
        self.phases = ("spill", "resolve", "write", *(("save",) if self.adds else ()))
        self.header: filters.Header | None = None
        self.shape = filters.Shape(0, 0, 0, 0)  # both are found when the first phase is planned

    def _bits_path(self, number: int) -> str:
        return storage.join(self.home, KEYS, SCRATCH, "filter", filters.bits_name(number))

    def warm(self) -> None:
        super().warm()
        key = np.zeros(1, np.uint64)
        words, order = np.zeros(BLOCK_BITS // 64, np.uint64), np.zeros(1, np.int64)
        look_up(words, blocks_of(key, 1), key, order, 1, np.uint64(0), True)

    # What is to do

    def plan(self, phase: str, done: dict[str, list[Record]]) -> list[Task]:
        if phase == "spill":
            self._look()
        if phase == "write":
            self._refuse_too_full(done["resolve"])
        if phase == "save":
            return [self._save_task(done["spill"], done["resolve"])]
        return super().plan(phase, done)

    def _look(self) -> None:
        """Find out about the filter that is asked, and so what the one to be written is like."""
        rules = self.rules
        if rules.seen is None:
            expected, rate = int(rules.expected or 0), rules.error_rate or filters.ERROR_RATE
            self.shape = filters.shape_for(expected, rate, rules.seed or 0, self.config.partition_bytes)
            return
        self.header = filters.read_header(rules.seen)
        self.shape = self.header.shape
        if differing := _differences(self.header.keys, self._about()):
            raise ConfigError(
                f"bloom.seen: {rules.seen} holds keys that were made in another way ({differing}); they never match: "
                "use the same settings"
            )

    def _about(self) -> dict[str, Plain]:
        """What shapes the keys, as JSON has it."""
        return msgspec.json.decode(msgspec.json.encode({**self.keys.about, "scope": self.config.scope}))

    def _definition(self, spilled: list[Record]) -> str:
        """What the filter will have been made from."""
        made = (self.header, self.shape, self.rules.error_rate, [record.digest() for record in spilled])
        return fingerprint((self.name, "bloom", self.version, self.adds, self._about(), made))

    def _resolve_tasks(self, spilled: list[Record]) -> list[Task]:
        definition = self._definition(spilled)
        self._refuse_to_overwrite(definition)
        seen = self.rules.seen
        inputs = (Ref(f"filter/{filters.HEADER}", storage.join(seen, filters.HEADER)),) if seen else ()
        tasks: list[Task] = []
        for part in (KeyRange(number, self.shape.ranges) for number in range(self.shape.ranges)):
            name = f"range-{part.number:05d}"
            record = storage.join(self.home, KEYS, MANIFEST, "resolve", name + ".json")
            tasks.append(Task(name, record, fingerprint((definition, part)), inputs, tuple(part), scratch=True))
        return tasks

    def _refuse_to_overwrite(self, definition: str) -> None:
        save = self.rules.save
        if save is None or storage.stat(storage.join(save, filters.HEADER)) is None:
            return
        if filters.read_header(save).definition != definition:
            raise ConfigError(
                f"bloom.save: {save} was made of other documents or settings; to add to it, name it as bloom.seen and "
                "save another one; to make it again, remove it first"
            )

    def _error_rate(self) -> float:
        return self.rules.error_rate or (self.header.error_rate if self.header else filters.ERROR_RATE)

    def _expected(self) -> int:
        return self.header.expected if self.header else int(self.rules.expected or 0)

    def _refuse_too_full(self, resolved: list[Record]) -> None:
        bits, limit = _sum(resolved, "bits_set"), self._error_rate()
        rate = filters.estimated_error_rate(self.shape, bits)
        if self.adds and rate > limit:
            keys = filters.keys_in(self.shape, bits)
            larger = f"give bloom.expected: {_round_up(keys)}" if self.header is None else "start a larger one"
            raise DataError(
                f"bloom: about {keys} different keys came, the filter is sized for {self._expected()}: it would take "
                f"one unseen key in {1 / rate:.0f} for seen, not one in {1 / limit:.0f}; {larger}, or accept that with "
                f"bloom.error_rate: {rate:.2g}"
            )

    def _save_task(self, spilled: list[Record], resolved: list[Record]) -> Task:
        assert self.rules.save is not None
        bits, added = _sum(resolved, "bits_set"), _sum(resolved, "added") + (self.header.added if self.header else 0)
        header = filters.Header(
            filters.FORMAT, filters.HASH, self._about(), BLOCK_BITS, self.shape, self._expected(), self._error_rate(),
            added, bits, filters.estimated_error_rate(self.shape, bits), [], self._definition(spilled),
        )  # fmt: skip
        definition = fingerprint((header, [record.digest() for record in resolved]))
        return Task("filter", storage.join(self.rules.save, MANIFEST, filters.HEADER), definition, payload=header)

    # Doing it

    def run(self, phase: str, task: Task, work: Work) -> None:
        if phase == "save":
            self._save(task.payload, work)
        else:
            super().run(phase, task, work)

    def _resolve(self, part: KeyRange, work: Work) -> None:
        words = self._words(part.number)
        found: list[Array] = [np.empty(0, np.bool_)]
        repeated = 0
        for index in self.corpus.new:
            for page in read_partition(self._keys_path(index), part, False):
                found.append(self._ask(words, page.keys, part.number))
                repeated += int((page.keys["count"] > 1).sum())
        seen = np.concatenate(found)
        pages = np.repeat(np.arange(len(found) - 1), [len(keys) for keys in found[1:]])
        with work.create(self._partition_path(part)) as stream:
            write_rows(stream, seen, pages, len(found) - 1)
            stream.rows = int(seen.sum()) + (repeated if self.adds else 0)
        work.fact("added", int((~seen).sum()))
        work.fact("bits_set", int(np.bitwise_count(words).sum(dtype=np.int64)) if self.adds else 0)
        if self.adds:
            with work.create(self._bits_path(part.number)) as stream:
                stream.write(words.view(np.uint8))

    def _words(self, number: int) -> filters.Words:
        if self.header is None or self.rules.seen is None:
            return filters.empty_range(self.shape)
        return filters.read_range(self.rules.seen, self.header, number)

    def _ask(self, words: filters.Words, keys: Array, number: int) -> Array:
        """Which keys of a page were seen; they are asked for by block, and in a block by document."""
        shape = self.shape
        block = blocks_of(np.ascontiguousarray(keys["first"]), shape.blocks) - number * shape.range_blocks
        second, order = np.ascontiguousarray(keys["second"]), np.lexsort((keys["row"], block))
        return look_up(words, block, second, order, shape.probes, np.uint64(shape.seed), self.adds)

    def _pages(self, spill: ArrayReader, payload: Plain) -> Iterator[Page]:
        paths = [self._partition_path(KeyRange(i, payload["partitions"])) for i in range(payload["partitions"])]
        found = PageRows(paths, payload["first"], payload["pages"])
        for number in range(payload["pages"]):
            seen = found.of(number)
            entries = np.zeros(len(seen), ENTRY)
            entries["rank"] = seen
            yield Page(spill, number, Entries(np.arange(len(seen)), entries, pa.chunked_array([], pa.large_string())))

    def _save(self, header: filters.Header, work: Work) -> None:
        assert self.rules.save is not None
        hashes: list[str] = []
        for number in range(self.shape.ranges):
            with work.create(storage.join(self.rules.save, filters.bits_name(number))) as stream:
                stream.write(storage.read_bytes(self._bits_path(number)))
                hashes.append(stream.hash)
        with work.create(storage.join(self.rules.save, filters.HEADER)) as stream:
            stream.write(filters.as_json(header, hashes))


def _sum(records: list[Record], fact: str) -> int:
    return sum(record.facts[fact] for record in records)


def _differences(seen: dict[str, Plain], here: dict[str, Plain]) -> str:
    """The settings that differ, with both values; `by` alone where that does."""
    theirs, ours = _flat(seen), _flat(here)
    names = ["by"] if theirs["by"] != ours["by"] else sorted({*theirs, *ours})
    found = [(name, theirs.get(name), ours.get(name)) for name in names]
    return ", ".join(f"{name}: {one} there, {other} here" for name, one, other in found if one != other)


def _flat(settings: dict[str, Plain], within: str = "") -> dict[str, Plain]:
    found: dict[str, Plain] = {}
    for name, value in settings.items():
        found |= _flat(value, f"{within}{name}.") if isinstance(value, dict) else {within + name: value}
    return found


def _round_up(number: int) -> int:
    """To two digits."""
    unit = 10 ** max(len(str(number)) - 2, 0)
    return -(-number // unit) * unit
