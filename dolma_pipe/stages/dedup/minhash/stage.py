"""Near duplicates: which documents have almost the same words as one before them that stays.

    keep     per shard       documents that were kept before -> signatures, which stay for the next time
    sign     per shard       documents -> signatures, likewise
    bands    per shard       signatures -> one key per band, sorted
    pairs    per partition   a range of all keys -> candidates: documents that share a band; documents of equal words
    sets     per shard       texts of candidates -> sets of shingles
    verify   per shard       candidates whose later document is the shard's -> pairs that are similar enough
    stars    once            pairs in documented order -> who is removed, and because of whom
    gather   per partition   a range of centres -> ranks and sizes of their stars
    write    per shard       attributes/dedup_minhash/**, row by row

Documented order is: data sets kept before, then those given, shard path by bytes, row. Nothing depends on how the work
is split: documents are numbered in that order, and each phase puts its inputs in it. Signatures lie in
`attributes/_signatures/`, for any threshold and any set; in the folder of the set, `_manifest` has the records of the
results and `_keys` all else. Why it is done this way: docs/why/minhash.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from dolma_pipe import storage
from dolma_pipe.batch import make_batch
from dolma_pipe.config import fingerprint
from dolma_pipe.errors import DataError
from dolma_pipe.manifest import MANIFEST, Record
from dolma_pipe.stage import Stage, Task, Work
from dolma_pipe.stages.dedup.config import DedupConfig
from dolma_pipe.stages.dedup.inert import refuse_inert, total
from dolma_pipe.stages.dedup.minhash import phases
from dolma_pipe.stages.dedup.minhash.buckets import RECORD_BYTES
from dolma_pipe.stages.dedup.minhash.near import Near
from dolma_pipe.stages.dedup.spill import KeyRange
from dolma_pipe.types import Plain

Done = dict[str, list[Record]]


class MinhashDedup(Stage):
    """Attributes that say of which earlier document each one is a near duplicate."""

    name: ClassVar[str] = "dedup"
    version: ClassVar[int] = 1
    kept_phases = ("keep",)

    def __init__(self, config: DedupConfig) -> None:
        self.config = config
        self.near = Near(config)
        self.corpus = self.near.corpus
        self.home = self.corpus.home
        self.max_bad_fraction = config.max_bad_fraction
        sets = ("sets",) if self.near.reads_texts else ()
        keep = ("keep",) if config.against else ()
        self.phases = (*keep, "sign", "bands", "pairs", *sets, "verify", "stars", "gather", "write")

    def scratch_folders(self) -> list[str]:
        return [self.near.scratch]

    def record_folders(self) -> list[str]:
        old = len(self.config.against)
        inner = [phase for phase in self.phases if phase not in ("keep", "sign", "write")]
        return [
            *(storage.join(folder, MANIFEST) for folder in self.near.signature_folders),
            *(self.near.record(phase) for phase in inner),
            *(storage.join(folder, MANIFEST) for folder in self.corpus.folders[old:]),
        ]

    def still_wanted(self, record: Record) -> bool:
        # signatures serve other runs too: include/exclude may have left their shard out of this one
        datasets = [*self.config.against, *self.config.datasets]
        kept = "signatures" in record.facts
        return kept and any(storage.exists(storage.join(dataset, record.inputs[0].name)) for dataset in datasets)

    def warm(self) -> None:
        phases.warm_up(self.near, make_batch(["One text, with a few words in it: these.", "Another text.", ""]))

    # What is to do

    def plan(self, phase: str, done: Done) -> list[Task]:
        corpus = self.corpus
        if phase == self.phases[0]:
            corpus.look()
        if phase == "keep":
            return [self._sign_task(index) for index in range(corpus.kept)]
        if phase == "sign":
            return [self._sign_task(index) for index in corpus.new]
        signed = [*done.get("keep", ()), *done["sign"]]
        if phase == "bands":
            return [self._bands_task(index, record) for index, record in enumerate(signed)]
        if phase == "pairs":
            new = done["bands"][self.corpus.kept :]
            refuse_inert(self.corpus, new, total(new, "keyed"), "no document has a word")
            return self._pairs_tasks(signed, done["bands"])
        counts = [record.counts["documents"] for record in signed]
        if phase in ("sets", "verify"):
            return self._shard_tasks(phase, signed, counts, done)
        if phase == "stars":
            about = (self.config.partition_bytes, self.near.bands, _digests(done["verify"]), _digests(done["pairs"]))
            return [self._scratch(phase, "stars", about, (counts, len(done["pairs"])))]
        if phase == "gather":
            digest, partitions = done["stars"][0].digest(), done["stars"][0].facts["partitions"]
            return [self._scratch(phase, _part(i), (digest, i), (counts, i)) for i in range(partitions)]
        self._refuse_unexpected(done)
        return self._write_tasks(signed, counts, done)

    def _scratch(self, phase: str, name: str, about: Plain, payload: Any, **more: Any) -> Task:
        definition = fingerprint((self.name, "minhash", self.version, phase, about))
        record = storage.join(self.near.record(phase), name + ".json")
        return Task(name, record, definition, payload=payload, scratch=True, **more)

    def _sign_task(self, index: int) -> Task:
        definition = fingerprint((self.name, "sign", self.near.signer.about, self.config.limit))
        inputs = self.corpus.inputs(index)[:1]
        return Task(self.corpus.task_name(index), self.near.signature_record(index), definition, inputs, index)

    def _bands_task(self, index: int, signed: Record) -> Task:
        corpus, config = self.corpus, self.config
        name = corpus.names[corpus.shards[index][0]] if config.scope == "dataset" else None
        where = corpus.where if index >= corpus.kept else None
        about = (_content(signed), self.near.bands, where, config.scope, name)
        inputs = corpus.inputs(index)[0 if corpus.columns() else 1 :]
        payload = (index, signed.facts["shard"]["hash"], signed.counts["bad_rows"])
        return self._scratch("bands", corpus.task_name(index), about, payload, inputs=inputs)

    def _refuse_unexpected(self, done: Done) -> None:
        if self.config.expect_duplicates and not done["stars"][0].facts["removed"]:
            rules, candidates = self.near.rules, total(done["verify"], "candidates")
            raise DataError(
                f"dedup by minhash: none of {total(done['bands'], 'keyed')} documents is like another "
                f"({rules.verify} of {rules.threshold} or more; {candidates} candidates) and duplicates were expected; "
                "lower minhash.threshold, or run without --expect-duplicates"
            )

    def _pairs_tasks(self, signed: list[Record], banded: list[Record]) -> list[Task]:
        size = RECORD_BYTES * sum(record.facts["records"] for record in banded)
        count = max(1, -(-size // self.config.partition_bytes))
        counts = [record.counts["documents"] for record in signed]
        about = (self.corpus.kept, self.near.rules.bucket_limit, counts, _digests(banded))
        return [self._scratch("pairs", _part(i), (i, count, about), (KeyRange(i, count), counts)) for i in range(count)]

    def _shard_tasks(self, phase: str, signed: list[Record], counts: list[int], done: Done) -> list[Task]:
        """Tasks of the shards that may have something to do: only new documents are the later ones of pairs."""
        rules, pairs = self.near.rules, done["pairs"]
        about = (
            self.near.signer.about if phase == "sets" else (rules.verify, rules.threshold),
            _digests(pairs), [_content(record) for record in signed], _digests(done.get("sets", [])),
        )  # fmt: skip
        shards = range(len(signed)) if phase == "sets" else self.corpus.new
        return [
            self._scratch(
                phase, self.corpus.task_name(index), (index, about),
                (index, counts, len(pairs), signed[index].facts["shard"]["size"]),
            )
            for index in shards
        ]  # fmt: skip

    def _write_tasks(self, signed: list[Record], counts: list[int], done: Done) -> list[Task]:
        corpus = self.corpus
        names = [corpus.shard_name(index) for index in range(len(corpus.shards))]
        shared = (corpus.set_name, names, _digests(done["gather"]))
        tasks: list[Task] = []
        for index in corpus.new:
            record = signed[index]
            definition = fingerprint((self.name, "minhash", self.version, "write", shared, _content(record)))
            about = {"shard": record.facts["shard"], "bad_rows": record.counts["bad_rows"]}
            payload = (index, counts, len(done["gather"]), about)
            path = storage.join(corpus.folder(index), MANIFEST, corpus.shards[index][1].stem + ".json")
            tasks.append(Task(corpus.task_name(index), path, definition, payload=payload))
        return tasks

    def run(self, phase: str, task: Task, work: Work) -> None:
        phases.PHASES[phase](self.near, task, work)


def _content(record: Record) -> str:
    """What a record of signatures says, whatever its task was called: another run may have made it."""
    return fingerprint((record.definition, record.inputs, record.outputs, record.counts, record.facts))


def _digests(records: Sequence[Record]) -> str:
    return fingerprint([record.digest() for record in records])


def _part(number: int) -> str:
    return f"partition-{number:05d}"
