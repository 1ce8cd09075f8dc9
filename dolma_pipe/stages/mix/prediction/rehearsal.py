"""A mix that decides everything and writes nothing, from attributes alone.

All phases of the mix that decide something are run, with the same code, in a scratch folder, on verdicts that no text
was read for (see foresight.py). So documents and bytes as read are those of the run; what edits leave is estimated.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from dolma_pipe import storage
from dolma_pipe.errors import DataError
from dolma_pipe.manifest import Record
from dolma_pipe.stage import Job, Task, Work
from dolma_pipe.stages.mix.amounts.phases import Amounts
from dolma_pipe.stages.mix.config import MixConfig
from dolma_pipe.stages.mix.copies import clusters
from dolma_pipe.stages.mix.copies.phases import Duplicates
from dolma_pipe.stages.mix.docket import Docket
from dolma_pipe.stages.mix.fates import ALIVE, Court, Place
from dolma_pipe.stages.mix.ledger import Done
from dolma_pipe.stages.mix.prediction import outlook, variants
from dolma_pipe.stages.mix.prediction.foresight import Foresight, Known, Seen, known_of, stands
from dolma_pipe.stages.mix.prediction.variants import Ballot, Variants
from dolma_pipe.stages.mix.sections import write_sections
from dolma_pipe.stages.mix.stage import Mix

Array = npt.NDArray[Any]
Vote = Callable[[int, Seen], Ballot]
"""Who passes under each variant: of the index of a source and rows of it."""

WRITING = ("write", "lock")


class Rehearsal(Mix):
    """A mix whose decisions are made in a scratch folder; nothing of it is published."""

    def __init__(self, config: MixConfig, file: str, scratch: str) -> None:
        super().__init__(config, file)
        self.docket = Docket(msgspec.structs.replace(config, to=scratch), self.sources, file, self.version)
        self.home, self.ledger, self.files = scratch, self.docket.ledger, self.docket.files
        self.known = [known_of(source) for source in self.sources]
        self.done: Done = {}
        units = [3 if known.tokens else 2 for known in self.known]
        shape = [(len(source.rules), count) for source, count in zip(self.sources, units, strict=True)]
        self.alone, self.only = ([np.zeros(size) for size in shape] for _ in range(2))
        self.units = min(units)
        self.watch(1, as_they_are)
        self.amounts = Amounts(self.docket)

    def watch(self, count: int, vote: Vote) -> None:
        """Let so many variants of the rules be added up in `variants`."""
        self.variants, self.vote = Variants(self.groups, len(self.sources), count, self.units), vote
        self.duplicates = Compared(self.docket, self.variants)

    def decide(self) -> None:
        """Run every phase up to those that write."""
        for phase in self.phases:
            if phase not in WRITING:
                self.done[phase] = [self._perform(phase, task) for task in self.plan(phase, self.done)]

    def judge_all(self) -> None:
        """Run the verdicts alone."""
        self.done["verdict"] = [self._perform("verdict", task) for task in self.plan("verdict", self.done)]

    def court(self) -> Court:
        """Who knows what becomes of each row."""
        decisions = self.ledger.decisions(self.done)
        return Court(self.home, self.sources, self.groups, decisions, self.config.seed, self.repeats)

    def _perform(self, phase: str, task: Task) -> Record:
        with storage.Publication() as files:
            work = Work(self, Job(phase, task, task.all_parts()), files, lambda _: None)
            self.run(phase, task, work)
        outputs = sorted((output for found in work.outputs.values() for output in found), key=lambda found: found.path)
        return Record(self.name, task.name, task.definition, [], outputs, work.counts, work.facts)

    def _judge(self, task: Task, work: Work) -> None:
        place, source, _ = self.docket.case(task)
        known = self.known[place.source]
        judge = Foresight(source, place.shard, known, Clerk(self, place))
        with work.create(self.files.verdict(source, place.shard)) as stream:
            try:
                judge.write(stream, work)
            except DataError:
                if not judge.named:  # say it again, with the document's id
                    Foresight(source, place.shard, known, Clerk(self, place), named=True).write(io.BytesIO(), work)
                raise


class Compared(Duplicates):
    """The phases that find the best copies, where all copies have already been compared."""

    def __init__(self, docket: Docket, variants: Variants) -> None:
        super().__init__(docket)
        self.variants = variants
        self._settled: dict[int, Array] = {}

    def spill(self, task: Task, work: Work) -> None:
        """What a shard loses to copies anywhere, so that nothing is left to resolve."""
        place, source, court = self.docket.case(task)
        _, _, group, partitions = task.payload
        lost = self.variants.contests[group].rows(self._losers(group), place.number)
        with work.create(court.files.of_shard(f"spill-{group}", source, place.shard)) as stream:
            write_sections(stream, [*[np.empty(0, np.uint8)] * partitions, lost])
        is_limited = any(dedup.max_removed_fraction for dedup in source.dedups)
        documents = int((court.fates(place, 0) == ALIVE).sum()) if is_limited else 0
        work.fact("removal", {"source": source.name, "documents": documents, "lost": len(lost)})

    def resolve(self, task: Task, work: Work) -> None:
        with work.create(self.docket.files.partition(f"resolve-{task.payload[0]}", task.payload[1])) as stream:
            write_sections(stream, [np.empty(0, np.int64)] * len(self.docket.places))
        work.fact("lost", {})

    def _losers(self, group: int) -> Array:
        """The copies that a group of dedups loses, of those that the groups before it have left."""
        if not self._settled:
            alive = self.variants.alive(0)
            self._settled = {n: contest.settle(alive) for n, contest in enumerate(self.variants.contests)}
        return self._settled[group]


class Clerk:
    """Counts the rows of a shard while they are judged."""

    def __init__(self, stage: Rehearsal, place: Place) -> None:
        self.stage, self.place = stage, place
        source = stage.sources[place.source]
        self.standings = [clusters.standing(dedup, source.name) for dedup in source.dedups]

    def see(self, seen: Seen) -> None:
        stage, source = self.stage, self.place.source
        for rule, failed in enumerate(seen.failed):
            stage.alone[source][rule] += [unit[failed].sum() for unit in seen.units]
        for rule, rows in _sole(seen).items():
            stage.only[source][rule] += [unit[rows].sum() for unit in seen.units]
        where = variants.Place(source, self.place.number, seen.first)
        units = seen.units[: stage.units]
        stage.variants.add(where, stage.vote(source, seen), units, seen.verdict, self.standings)


def _sole(seen: Seen) -> dict[int, Array]:
    """The rows that fail a rule and no other, by rule."""
    rows = np.flatnonzero(seen.failed.sum(axis=0, dtype=np.int16) == 1)
    if not len(rows):
        return {}
    which = seen.failed[:, rows].argmax(axis=0)
    return {rule: rows[which == rule] for rule in range(len(seen.failed))}


def _passing(seen: Seen) -> Array:
    return ~seen.failed.any(axis=0) & stands(seen.estimated)


def as_they_are(source: int, seen: Seen) -> Ballot:
    """No variant but the rules as they are."""
    return Ballot(_passing(seen), {})


def leave_one_out(stage: Rehearsal) -> tuple[int, Vote]:
    """The rules as they are, and without each of them, source by source."""
    firsts = np.cumsum([1, *(len(source.rules) for source in stage.sources)]).tolist()

    def vote(source: int, seen: Seen) -> Ballot:
        left = stands(seen.estimated)
        return Ballot(_passing(seen), {firsts[source] + rule: rows[left[rows]] for rule, rows in _sole(seen).items()})

    return firsts[-1], vote


@contextlib.contextmanager
def rehearsal(config: MixConfig, file: str) -> Iterator[Rehearsal]:
    """A mix to be decided; its scratch folder is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="dolma-pipe-plan-") as scratch:
        yield Rehearsal(config, file, scratch)


def surveyed(stage: Rehearsal) -> list[outlook.Sums]:
    """What becomes of the documents of each source."""
    court = stage.court()
    totals = [outlook.nothing(source, known) for source, known in zip(stage.sources, stage.known, strict=True)]
    for place in stage.places:
        known: Known = stage.known[place.source]
        more = outlook.Surveyor(court, place, known).survey()
        totals[place.source] = totals[place.source].plus(more)
    return totals
