"""The mix as a stage: which tasks its phases have, and on what each of them depends.

verdict                         every rule for every document of a shard
spill-K, resolve-K              the best passing copy of each cluster, for the K-th dedup (see duplicates.py)
gather-K, settle-K              the best copy of each paragraph of the documents that stay
scatter-split-K, choose-split-K where a split of so much ends (see amounts.py)
scatter-limit, choose-limit     where a limit ends
weigh, rank, divide             what there is to share, the percentiles of what is upsampled
scatter-sample, choose-sample   where a share of the budget ends
write                           documents, splits, rejected, provenance of a shard
lock                            mix.lock.json
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import msgspec

from dolma_pipe import editing, storage
from dolma_pipe.config import fingerprint
from dolma_pipe.manifest import MANIFEST
from dolma_pipe.stage import Stage, Task, Work
from dolma_pipe.stages.mix import lock, outputs
from dolma_pipe.stages.mix.amounts.phases import Amounts
from dolma_pipe.stages.mix.config import MixConfig
from dolma_pipe.stages.mix.copies.phases import Duplicates
from dolma_pipe.stages.mix.docket import Docket
from dolma_pipe.stages.mix.fates import Decisions
from dolma_pipe.stages.mix.ledger import Done
from dolma_pipe.stages.mix.sources import resolve_sources
from dolma_pipe.stages.mix.verdicts import Judge
from dolma_pipe.stages.mix.write import ShardMix


class Mix(Stage):
    """Documents of several sources: judged, deduplicated, edited, split, sampled, written.

    `file` is the YAML the configuration came from; recipes are found relative to it.
    """

    name: ClassVar[str] = "mix"
    version: ClassVar[int] = 2

    def __init__(self, config: MixConfig, file: str = "mix") -> None:
        self.config = config
        self.home = config.to
        self.max_bad_fraction = config.max_bad_fraction
        self.docket = Docket(config, resolve_sources(config, file), file, self.version)
        self.sources, self.ledger = self.docket.sources, self.docket.ledger
        self.groups, self.repeats, self.places = self.docket.groups, self.docket.repeats, self.docket.places
        self.files = self.docket.files
        self.duplicates, self.amounts = Duplicates(self.docket), Amounts(self.docket)
        self.phases = ("verdict", *self.duplicates.phases(), *self.amounts.phases(), "write", "lock")

    def record_folders(self) -> list[str]:
        return [storage.join(self.home, MANIFEST)]

    def places_read(self) -> dict[str, dict[str, str]]:
        return {s.name: {"dataset": s.shards[0].dataset, "attributes": s.attributes} for s in self.sources}

    def scratch_folders(self) -> list[str]:
        return [storage.join(self.home, "_scratch")]

    def warm(self) -> str | None:
        editing.warm()
        outputs.warm()
        return self.sources[0].counting.warm()

    # Planning

    def plan(self, phase: str, done: Done) -> list[Task]:
        kind, number = _kind(phase)
        duplicates, amounts = self.duplicates, self.amounts
        planners: dict[str, Callable[[str, int, Done], list[Task]]] = {
            "verdict": self._plan_verdicts, "spill": duplicates.plan_spills, "resolve": duplicates.plan_resolves,
            "gather": duplicates.plan_gathers, "settle": duplicates.plan_settlements,
            "scatter-split": amounts.plan_split_scatters, "choose-split": amounts.plan_choices,
            "scatter-limit": amounts.plan_limit_scatters, "choose-limit": amounts.plan_choices,
            "weigh": amounts.plan_weighing, "rank": amounts.plan_ranks, "divide": amounts.plan_divisions,
            "scatter-sample": amounts.plan_sample_scatters, "choose-sample": amounts.plan_choices,
            "write": self._plan_writes, "lock": self._plan_lock,
        }  # fmt: skip
        duplicates.refuse_removals(done)
        return planners[kind](phase, number, done)

    def _plan_verdicts(self, phase: str, number: int, done: Done) -> list[Task]:
        tasks: list[Task] = []
        for place in self.places:
            source = self.sources[place.source]
            inputs = self.docket.attribute_refs(place, list(source.verdict_fields))
            if source.reads_documents:
                inputs = (self.docket.document_ref(place), *inputs)
            about = self.ledger.verdict_definition(source)
            tasks.append(self.docket.shard_task(phase, place, about, (Decisions(),), inputs=inputs, scratch=True))
        return tasks

    def _plan_writes(self, phase: str, number: int, done: Done) -> list[Task]:
        decisions = self.ledger.decisions(done)
        settled = self.ledger.settled(done, decisions)
        tasks: list[Task] = []
        for place in self.places:
            sets = list(self.sources[place.source].written_fields)
            inputs = (self.docket.document_ref(place), *self.docket.attribute_refs(place, sets))
            about = (self.ledger.write_definition(place, decisions), settled(place))
            tasks.append(self.docket.shard_task(phase, place, about, (decisions,), inputs=inputs))
        return tasks

    def _plan_lock(self, phase: str, number: int, done: Done) -> list[Task]:
        about = (self.ledger.definition(), fingerprint([record.digest() for record in done["write"]]))
        sources = msgspec.to_builtins(self.ledger.locked_sources(done))
        return [self.docket.task(phase, "lock", about, sources)]

    # Running

    def run(self, phase: str, task: Task, work: Work) -> None:
        duplicates, amounts = self.duplicates, self.amounts
        runners: dict[str, Callable[[Task, Work], None]] = {
            "verdict": self._judge, "spill": duplicates.spill, "resolve": duplicates.resolve,
            "gather": duplicates.gather, "settle": duplicates.settle, "scatter-split": amounts.scatter,
            "choose-split": amounts.choose, "scatter-limit": amounts.scatter, "choose-limit": amounts.choose,
            "weigh": amounts.weigh, "rank": amounts.rank, "divide": amounts.divide,
            "scatter-sample": amounts.scatter, "choose-sample": amounts.choose, "write": self._write,
            "lock": self._lock,
        }  # fmt: skip
        runners[_kind(phase)[0]](task, work)

    def _judge(self, task: Task, work: Work) -> None:
        place, source, _ = self.docket.case(task)
        judge = Judge(source, place.shard)
        with work.create(self.files.verdict(source, place.shard)) as stream:
            judge.write(stream, work)
        if judge.documents is not None and judge.documents.hash is not None and judge.documents.size is not None:
            work.seen(task.inputs[0], judge.documents.size, judge.documents.hash)

    def _write(self, task: Task, work: Work) -> None:
        place, _, court = self.docket.case(task)
        reader = ShardMix(court, place, work, self.config).run()
        if reader.hash is not None and reader.size is not None:
            work.seen(task.inputs[0], reader.size, reader.hash)

    def _lock(self, task: Task, work: Work) -> None:
        found = lock.Lock(
            self.version, self.ledger.definition(), self.config.seed, self.ledger.configuration(),
            msgspec.convert(task.payload, dict[str, lock.LockedSource]),
        )  # fmt: skip
        with work.create(storage.join(self.home, lock.NAME)) as stream:
            stream.write(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")


def _kind(phase: str) -> tuple[str, int]:
    """`spill-2` as ("spill", 2); a phase without a number has 0."""
    kind, _, last = phase.rpartition("-")
    return (kind, int(last)) if last.isdigit() else (phase, 0)
