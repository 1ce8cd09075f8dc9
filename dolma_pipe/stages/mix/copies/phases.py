"""The phases in which the best copies are found: of documents (`spill-K`, `resolve-K`), of paragraphs of those that
stay (`gather-K`, `settle-K`)."""

from __future__ import annotations

import numpy as np

from dolma_pipe.config import fingerprint
from dolma_pipe.stage import Task, Work
from dolma_pipe.stages.mix.copies import clusters, paragraphs, stars
from dolma_pipe.stages.mix.docket import Docket
from dolma_pipe.stages.mix.fates import ALIVE, Place
from dolma_pipe.stages.mix.ledger import Done
from dolma_pipe.stages.mix.verdicts import read_columns


class Duplicates:
    """Plans and runs the tasks of these phases; `number` is the group's."""

    def __init__(self, docket: Docket) -> None:
        self.docket = docket

    def phases(self) -> list[str]:
        found: list[str] = []
        for number in range(len(self.docket.groups)):
            found += [f"spill-{number}", f"resolve-{number}"]
        for number in range(len(self.docket.repeats)):
            found += [f"gather-{number}", f"settle-{number}"]
        return found

    def refuse_removals(self, done: Done) -> None:
        """Stop where a dedup removed more of a source than it may."""
        docket = self.docket
        for number, group in enumerate(docket.groups):
            if f"resolve-{number}" in done:
                spilled, resolved = done[f"spill-{number}"], done[f"resolve-{number}"]
                clusters.refuse_removals(docket.sources, group, spilled, resolved, docket.file)

    # Documents

    def plan_spills(self, phase: str, number: int, done: Done) -> list[Task]:
        docket, ledger = self.docket, self.docket.ledger
        decisions = ledger.decisions(done, groups=number)
        partitions = ledger.partitions(done)[number]
        settled = ledger.settled(done, decisions)
        members = docket.groups[number].members
        return [
            docket.shard_task(
                phase, place, (partitions, place.number, members[place.source], self._standing(place, number),
                               settled(place)),
                (decisions, number, partitions), scratch=True,
            )
            for place in docket.places_of(*members)
        ]  # fmt: skip

    def plan_resolves(self, phase: str, number: int, done: Done) -> list[Task]:
        docket = self.docket
        partitions = docket.ledger.partitions(done)[number]
        about = (partitions, len(docket.places), fingerprint([record.digest() for record in done[f"spill-{number}"]]))
        return [
            docket.task(phase, f"partition-{part:03}", (part, about), (number, part), scratch=True)
            for part in range(partitions)
        ]

    def _standing(self, place: Place, group: int) -> int:
        source = self.docket.sources[place.source]
        return clusters.standing(source.dedups[self.docket.groups[group].members[place.source]], source.name)

    def spill(self, task: Task, work: Work) -> None:
        place, source, court = self.docket.case(task)
        _, _, group, partitions = task.payload
        number = self.docket.groups[group].members[place.source]
        names = [f"cluster{number}", f"rank{number}"]
        if clusters.preference(source.dedups[number]) is not None:
            names.append(f"prefer{number}")
        if self.docket.groups[group].stars:
            names += [f"text{number}", f"near{number}"]
        columns = read_columns(court.files.verdict(source, place.shard), names)
        alive, standing = court.fates(place, 0) == ALIVE, self._standing(place, group)
        with work.create(court.files.of_shard(f"spill-{group}", source, place.shard)) as stream:
            if self.docket.groups[group].stars:
                lost = stars.spill(stream, stars.copies(columns, number, alive, place.number, standing), partitions)
            else:
                found = clusters.copies(columns, number, alive, place.number, standing)
                lost = clusters.spill(stream, found, partitions)
        work.fact("removal", {"source": source.name, "documents": int(alive.sum()), "lost": lost})

    def resolve(self, task: Task, work: Work) -> None:
        docket = self.docket
        group, partition = task.payload
        members = docket.places_of(*docket.groups[group].members)
        names = [source.name for source in docket.sources]
        paths = [docket.files.of_shard(f"spill-{group}", docket.sources[p.source], p.shard) for p in members]
        with work.create(docket.files.partition(f"resolve-{group}", partition)) as stream:
            if docket.groups[group].stars:
                lost = stars.resolve(stream, paths, partition, len(docket.places))
            else:
                lost = clusters.resolve(stream, paths, [partition], len(docket.places))
        by_source = dict.fromkeys(names, 0)
        for place in members:
            by_source[names[place.source]] += int(lost[place.number])
        work.fact("lost", by_source)

    # Paragraphs

    def plan_gathers(self, phase: str, number: int, done: Done) -> list[Task]:
        docket = self.docket
        decisions = docket.ledger.decisions(done)
        settled, group = docket.ledger.settled(done, decisions), docket.repeats[number]
        tasks: list[Task] = []
        for place in docket.places_of(*group.members):
            source = docket.sources[place.source]
            dedup = source.repeats[group.members[place.source]]
            about = (place.number, clusters.standing(dedup, source.name), settled(place))
            inputs = docket.attribute_refs(place, [group.by])
            tasks.append(docket.shard_task(phase, place, about, (decisions, number), inputs=inputs, scratch=True))
        return tasks

    def plan_settlements(self, phase: str, number: int, done: Done) -> list[Task]:
        docket = self.docket
        count = docket.ledger.settlements(done)[number]
        about = (len(docket.places), fingerprint([record.digest() for record in done[f"gather-{number}"]]))
        parts = [paragraphs.Settlement(part, count) for part in range(count)]
        return [
            docket.task(phase, f"partition-{part.number:03}", (part, about), (number, part), scratch=True)
            for part in parts
        ]

    def gather(self, task: Task, work: Work) -> None:
        place, source, court = self.docket.case(task)
        group = self.docket.repeats[task.payload[2]]
        number = group.members[place.source]
        dedup = source.repeats[number]
        prefer = None
        if clusters.preference(dedup) is not None:
            name = f"prefer_paragraph{number}"
            prefer = np.asarray(read_columns(court.files.verdict(source, place.shard), [name])[name])
        alive, standing = court.fates(place, 0) == ALIVE, clusters.standing(dedup, source.name)
        path = source.attribute_file(group.by, place.shard)
        found = paragraphs.copies(path, group.by, alive, prefer, (standing, place.number))
        with work.create(court.files.of_shard(f"gather-{task.payload[2]}", source, place.shard)) as stream:
            clusters.spill(stream, found, paragraphs.PARTS)
        work.fact("copies", len(found))

    def settle(self, task: Task, work: Work) -> None:
        docket = self.docket
        number, part = task.payload[0], paragraphs.Settlement(*task.payload[1])
        members = docket.places_of(*docket.repeats[number].members)
        paths = [docket.files.of_shard(f"gather-{number}", docket.sources[p.source], p.shard) for p in members]
        with work.create(docket.files.partition(f"settle-{number}", part.number)) as stream:
            clusters.resolve(stream, paths, part.sections, len(docket.places))
