"""The phases that find where amounts end, and how often documents are taken.

scatter-split-K, choose-split-K      where a split of so much ends
scatter-limit, choose-limit          where a limit ends
weigh                                what is left of the sources that share the budget
rank, divide                         the percentiles of what is upsampled
scatter-sample, choose-sample        where a share of the budget ends
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import numpy as np

from dolma_pipe.config import fingerprint
from dolma_pipe.errors import DataError
from dolma_pipe.mixer import Amount, Unit
from dolma_pipe.stage import Task, Work
from dolma_pipe.stages.mix.amounts import cuts, upsampling
from dolma_pipe.stages.mix.amounts.cuts import End
from dolma_pipe.stages.mix.docket import Case, Docket
from dolma_pipe.stages.mix.fates import ALIVE, Place
from dolma_pipe.stages.mix.ledger import Done

SAMPLE, LIMIT = -1, -2
"""What is scattered, beside the number of a split."""


class Choice(NamedTuple):
    """Where a target is to end among the documents of some sources, by index; `target` counts in `unit`."""

    sources: tuple[int, ...]
    target: int
    unit: Unit
    end: End


class Amounts:
    """Plans and runs the tasks of these phases."""

    def __init__(self, docket: Docket) -> None:
        self.docket = docket

    def phases(self) -> list[str]:
        sources, found = self.docket.sources, list[str]()
        for number in sorted({n for source in sources for n, split in enumerate(source.splits) if split.amount}):
            found += [f"scatter-split-{number}", f"choose-split-{number}"]
        if any(source.limit for source in sources):
            found += ["scatter-limit", "choose-limit"]
        if any(source.shared for source in sources):
            found.append("weigh")
        if any(source.curved for source in sources):
            found += ["rank", "divide"]
        if any(source.shared for source in sources):
            found += ["scatter-sample", "choose-sample"]
        return found

    # Planning

    def plan_split_scatters(self, phase: str, number: int, done: Done) -> list[Task]:
        wanted = self.docket.places_of(*(n for choice in self._split_choices(number) for n in choice.sources))
        return self._scatters(phase, [(place, number, 0) for place in wanted], done)

    def plan_limit_scatters(self, phase: str, number: int, done: Done) -> list[Task]:
        wanted = [place for place in self.docket.places if self.docket.sources[place.source].limit]
        return self._scatters(phase, [(place, LIMIT, 0) for place in wanted], done)

    def plan_sample_scatters(self, phase: str, number: int, done: Done) -> list[Task]:
        plans, sources = self.docket.ledger.share_plans(done), self.docket.sources
        shared = [place for place in self.docket.places if sources[place.source].name in plans]
        wanted = [(place, plans[sources[place.source].name]) for place in shared]
        chosen = [(p, SAMPLE, plan.whole) for p, plan in wanted if plan.rest or sources[p.source].curved]
        return self._scatters(phase, chosen, done)

    def _scatters(self, phase: str, wanted: list[tuple[Place, int, int]], done: Done) -> list[Task]:
        """Tasks for (shard, number of the split or what else, copy)."""
        decisions = self.docket.ledger.decisions(done)
        settled = self.docket.ledger.settled(done, decisions)
        tasks: list[Task] = []
        for place, what, copy in wanted:
            source = self.docket.sources[place.source]
            unit, rates = self._unit(place.source, what), decisions.rates.get(source.name) if what == SAMPLE else None
            about = (self.docket.config.seed, place.number, what, copy, unit, rates, settled(place))
            tasks.append(self.docket.shard_task(phase, place, about, (decisions, what, copy), scratch=True))
        return tasks

    def _unit(self, index: int, what: int) -> Unit:
        source = self.docket.sources[index]
        if what == LIMIT and source.limit is not None:
            return source.limit.amount.unit
        amount = source.splits[what].amount if what >= 0 else None
        return amount.unit if amount is not None else source.counting.unit

    def plan_weighing(self, phase: str, number: int, done: Done) -> list[Task]:
        return self._whole_shards(phase, done, [n for n, source in enumerate(self.docket.sources) if source.shared])

    def plan_ranks(self, phase: str, number: int, done: Done) -> list[Task]:
        return self._whole_shards(phase, done, self._curved(), scratch=True)

    def _whole_shards(self, phase: str, done: Done, indices: list[int], scratch: bool = False) -> list[Task]:
        ledger = self.docket.ledger
        decisions = ledger.decisions(done)
        settled = ledger.settled(done, decisions)
        tasks: list[Task] = []
        for place in self.docket.places_of(*indices):
            about = (self.docket.sources[place.source].counting.unit, settled(place))
            tasks.append(self.docket.shard_task(phase, place, about, (decisions,), scratch=scratch))
        return tasks

    def _curved(self) -> list[int]:
        return [index for index, source in enumerate(self.docket.sources) if source.curved]

    def plan_divisions(self, phase: str, number: int, done: Done) -> list[Task]:
        digest = fingerprint([record.digest() for record in done["rank"]])
        tasks: list[Task] = []
        for index in self._curved():
            source = self.docket.sources[index]
            buckets = source.upsample.buckets if source.upsample is not None else 0
            tasks.append(self.docket.task(phase, source.name, (source.name, buckets, digest), (index, buckets)))
        return tasks

    def plan_choices(self, phase: str, number: int, done: Done) -> list[Task]:
        """One task per target: where in the order of draws it is reached."""
        scatters = phase.replace("choose", "scatter")
        digest = fingerprint([record.digest() for record in done[scatters]])
        if phase == "choose-sample":
            choices = self._share_choices(done)
        else:
            choices = self._limit_choices() if phase == "choose-limit" else self._split_choices(number)
        tasks: list[Task] = []
        for choice in choices:
            names = [self.docket.sources[index].name for index in choice.sources]
            about = (names, choice.target, choice.unit, choice.end, digest)
            tasks.append(self.docket.task(phase, names[0], about, (choice, scatters)))
        return tasks

    def _split_choices(self, number: int) -> list[Choice]:
        found: dict[tuple[int, ...], Choice] = {}
        for index, source in enumerate(self.docket.sources):
            split = source.splits[number] if number < len(source.splits) else None
            if split is None or split.amount is None:
                continue
            whose = (index,) if split.scope == "source" else tuple(range(len(self.docket.sources)))
            found[whose] = _choice(whose, split.amount, "group" if split.by is not None else "reach")
        return list(found.values())

    def _limit_choices(self) -> list[Choice]:
        limits = [(index, source.limit) for index, source in enumerate(self.docket.sources)]
        return [_choice((index,), limit.amount, "within") for index, limit in limits if limit is not None]

    def _share_choices(self, done: Done) -> list[Choice]:
        found: list[Choice] = []
        plans = self.docket.ledger.share_plans(done)
        for index, source in enumerate(self.docket.sources):
            rest = plans[source.name].rest if source.name in plans else 0
            if rest > 0:
                found.append(Choice((index,), rest, source.counting.unit, "reach"))
        return found

    # Running

    def scatter(self, task: Task, work: Work) -> None:
        case = self.docket.case(task)
        _, _, what, copy = task.payload
        names = {SAMPLE: "scatter-sample", LIMIT: "scatter-limit"}
        fate = case.court.fates(case.place, what if what >= 0 else len(case.source.splits))
        rows = np.flatnonzero(fate == ALIVE)
        sizes = case.court.sizes(case.place, self._unit(case.place.source, what))
        path = case.court.files.of_shard(names.get(what, f"scatter-split-{what}"), case.source, case.place.shard)
        with work.create(path) as stream:
            if what == SAMPLE and case.source.upsample is not None:
                self._scatter_fractions(case, rows, sizes, stream, work)
            else:
                drawn = self._draws(case, what, copy)
                cuts.scatter(stream, drawn[rows], rows, sizes[rows])

    def _draws(self, case: Case, what: int, copy: int) -> upsampling.UInt64s:
        if what >= 0:
            return case.court.split_draws(case.place, what)
        return case.court.draws(case.place, "sample" if what == SAMPLE else "limit", copy)

    def _scatter_fractions(self, case: Case, rows: cuts.Array, sizes: cuts.Array, stream: object, work: Work) -> None:
        """Documents that are taken a fraction of a time more; what they give whole is a fact."""
        found = case.court.standing(case.place)
        assert found is not None, "rates are settled before documents are scattered"
        whole, fractions, drawn = case.court.fractions(case.place, found)
        work.fact("source", case.source.name)
        work.fact("whole", int((whole * sizes)[rows].sum()))
        rows = rows[fractions[rows] > 0]
        cuts.scatter(stream, drawn[rows], rows, sizes[rows])

    def choose(self, task: Task, work: Work) -> None:
        choice, scatters = Choice(*task.payload[0]), task.payload[1]
        docket = self.docket
        sources = [docket.sources[index] for index in choice.sources]
        paths = [
            (place.number, docket.files.of_shard(scatters, docket.sources[place.source], place.shard))
            for place in docket.places_of(*choice.sources)
        ]
        cut, whole = cuts.choose(paths, choice.target, choice.end)
        if whole < choice.target and scatters.startswith("scatter-split"):
            names = ", ".join(repr(source.name) for source in sources)
            raise DataError(
                f"source {names}: {whole:,} {choice.unit} of text are left for a split of {choice.target:,}; "
                "make it smaller"
            )
        work.fact("sources", [source.name for source in sources])
        work.fact("cut", [cut.draw, cut.shard, cut.row])

    def weigh(self, task: Task, work: Work) -> None:
        place, source, court = self.docket.case(task)
        alive = court.fates(place, len(source.splits)) == ALIVE
        work.fact("available", int(court.sizes(place)[alive].sum()))

    def rank(self, task: Task, work: Work) -> None:
        place, source, court = self.docket.case(task)
        alive = np.flatnonzero(court.fates(place, len(source.splits)) == ALIVE)
        values, groups = court.upsampled_by(place)
        names = [""] * len(alive) if groups is None else [groups[row] for row in alive.tolist()]
        with work.create(court.files.of_shard("rank", source, place.shard)) as stream:
            upsampling.spill(stream, names, values[alive], court.sizes(place)[alive])

    def divide(self, task: Task, work: Work) -> None:
        index, buckets = task.payload
        files, source = self.docket.files, self.docket.sources[index]
        paths = [files.of_shard("rank", source, place.shard) for place in self.docket.places_of(index)]
        work.fact("source", source.name)
        work.fact("groups", msgspec.to_builtins(upsampling.divide(paths, buckets)))


def _choice(sources: tuple[int, ...], amount: Amount, end: End) -> Choice:
    return Choice(sources, amount.number, amount.unit, end)
