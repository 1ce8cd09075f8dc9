"""What the records of earlier phases decide, and the definitions that later tasks get from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from dolma_pipe.config import fingerprint
from dolma_pipe.manifest import Record
from dolma_pipe.mixer import Sample
from dolma_pipe.stages.mix import definitions
from dolma_pipe.stages.mix.amounts import upsampling
from dolma_pipe.stages.mix.amounts.budget import asked, targets
from dolma_pipe.stages.mix.amounts.cuts import NOBODY, Copies, Cut, epochs_copies, fraction_cut
from dolma_pipe.stages.mix.amounts.upsampling import Rates
from dolma_pipe.stages.mix.config import MixConfig
from dolma_pipe.stages.mix.copies.clusters import Group, partition_count
from dolma_pipe.stages.mix.copies.paragraphs import settlements
from dolma_pipe.stages.mix.fates import Decisions, Place, cut_name
from dolma_pipe.stages.mix.lock import LockedSource, Target, locked
from dolma_pipe.stages.mix.source import Source
from dolma_pipe.types import Plain

Done = dict[str, list[Record]]


class SharePlan(NamedTuple):
    """How a source reaches its target: so many whole copies, and `rest` of one more, in the unit of shares."""

    whole: int
    rest: int
    target: Target


class Ledger:
    """Reads records; holds the configuration only."""

    def __init__(
        self,
        config: MixConfig,
        sources: Sequence[Source],
        groups: Sequence[Group],
        repeats: Sequence[Group],
        places: Sequence[Place],
    ) -> None:
        self.config, self.sources, self.groups, self.places = config, sources, groups, places
        self.repeats = repeats

    # Definitions

    def configuration(self) -> Plain:
        """All that shapes the mix besides its inputs, recipes written out, without a path."""
        return definitions.configuration(self.config, self.sources)

    def definition(self) -> str:
        return fingerprint(self.configuration())

    def verdict_definition(self, source: Source) -> Plain:
        return definitions.verdict(source)

    def settled(self, done: Done, decisions: Decisions) -> Callable[[Place], Plain]:
        """Per shard: digests of what decides about its documents: verdicts, clusters, splits and limit so far."""
        count = len(decisions.partitions)
        resolved = [fingerprint([record.digest() for record in done[f"resolve-{n}"]]) for n in range(count)]
        settled = [
            fingerprint([record.digest() for record in done[f"settle-{n}"]]) for n in range(len(decisions.settlements))
        ]

        def about(place: Place) -> Plain:
            source = self.sources[place.source]
            mine = [digest for n, digest in enumerate(resolved) if place.source in self.groups[n].members]
            mine += [digest for n, digest in enumerate(settled) if place.source in self.repeats[n].members]
            splits = [(split, decisions.cuts.get(cut_name(source, n))) for n, split in enumerate(source.splits)]
            limit = decisions.limits.get(source.name)
            chance = self._chance(place) if splits or limit is not None else None
            return [done["verdict"][place.number].digest(), mine, splits, limit, chance]

        return about

    def write_definition(self, place: Place, decisions: Decisions) -> Plain:
        """What shapes the output of a shard besides what is settled about it."""
        source = self.sources[place.source]
        often = [decisions.copies.get(source.name), decisions.rates.get(source.name)]
        chance = self._chance(place) if any(found is not None for found in often) else None
        rules = [rule.name for rule in source.rules]
        return [
            source.name,
            rules,
            source.edits,
            source.removals,
            source.keep_after,
            source.counting.unit,
            self.config.keep_rejected,
            self.config.compression,
            often,
            chance,
            *definitions.read_limit(source),
        ]

    def _chance(self, place: Place) -> Plain:
        """What draws depend on; the number of the shard settles ties where a target is reached."""
        return [self.config.seed, place.number if self.sources[place.source].by_amount else None]

    # Decisions

    def partitions(self, done: Done) -> list[int]:
        """Partitions of each group, from how many copies of clusters the verdicts have counted."""
        totals = [0] * len(self.groups)
        for place, record in zip(self.places, done["verdict"], strict=True):
            for number, group in enumerate(self.groups):
                if place.source in group.members:
                    totals[number] += record.facts["clustered"][group.members[place.source]]
        return [partition_count(total) for total in totals]

    def settlements(self, done: Done) -> list[int]:
        """Tasks that settle each group of paragraphs, of those whose copies have been gathered."""
        gathered = [done[f"gather-{n}"] for n in range(len(self.repeats)) if f"gather-{n}" in done]
        return [settlements(sum(record.facts["copies"] for record in records)) for records in gathered]

    def decisions(self, done: Done, groups: int | None = None) -> Decisions:
        """What the phases that are done have decided; `groups` limits it to the first ones."""
        cuts = {
            cut_name(source, number): fraction_cut(split.fraction)
            for source in self.sources
            for number, split in enumerate(source.splits)
            if split.fraction is not None
        }
        for phase, records in done.items():
            if phase.startswith("choose-split-"):
                number = int(phase.rpartition("-")[2])
                cuts |= {cut_name(source, number): _cut(record) for record in records for source in self._named(record)}
        limits = {
            source.name: _cut(record) for record in done.get("choose-limit", ()) for source in self._named(record)
        }
        copies = {
            source.name: epochs_copies(source.sample.epochs)
            for source in self.sources
            if source.sample is not None and source.sample.epochs is not None and source.upsample is None
        }
        chosen = {s.name: _cut(record) for record in done.get("choose-sample", ()) for s in self._named(record)}
        if "choose-sample" in done:
            plans = self.share_plans(done)
            copies |= {
                source.name: Copies(plans[source.name].whole, chosen.get(source.name, NOBODY))
                for source in self.sources
                if source.name in plans and source.upsample is None
            }
        rates = self._rates(done, chosen)
        return Decisions(self.partitions(done)[:groups], self.settlements(done), cuts, limits, copies, rates)

    def _named(self, record: Record) -> list[Source]:
        return [source for source in self.sources if source.name in record.facts["sources"]]

    def _rates(self, done: Done, chosen: Mapping[str, Cut]) -> dict[str, Rates]:
        """How often documents are taken that are upsampled, as far as it is known."""
        found = {s.name: Rates(upsampling.table(s.upsample)) for s in self.sources if s.upsample and s.upsample.rates}
        targets_of = self._targets(done) if "divide" in done else {}
        for record in done.get("divide", ()):
            source = next(source for source in self.sources if source.name == record.facts["source"])
            assert source.sample is not None
            assert source.upsample is not None
            groups = msgspec.convert(record.facts["groups"], upsampling.Groups)
            target = targets_of.get(source.name)
            means = upsampling.group_means(source.sample, groups, target, self.config.budget, source.name)
            cut = upsampling.HALF if target is None else chosen.get(source.name, NOBODY)
            found[source.name] = Rates(upsampling.solve(source.upsample, means, groups), cut)
        return found

    def _available(self, done: Done) -> dict[str, int]:
        """What is left of each source that samples a share, in the unit of shares."""
        available = {source.name: 0 for source in self.sources if source.shared}
        weighed = [place for place in self.places if self.sources[place.source].shared]
        for place, record in zip(weighed, done["weigh"], strict=True):
            available[self.sources[place.source].name] += record.facts["available"]
        return available

    def _targets(self, done: Done) -> dict[str, int]:
        """What each source that samples a share is to give; empty before sources were weighed."""
        if "weigh" not in done or self.config.budget is None:
            return {}
        return targets(self.config.budget, self._samples(), self._available(done), self.config.limit)

    def _asked(self, available: Mapping[str, int]) -> dict[str, int]:
        """The sources' shares of the budget, whether they have as much or not."""
        return asked(self.config.budget, self._samples(), available) if self.config.budget is not None else {}

    def _samples(self) -> dict[str, Sample]:
        return {s.name: s.sample for s in self.sources if s.sample is not None and s.shared}

    def share_plans(self, done: Done) -> dict[str, SharePlan]:
        """How each source that samples a share reaches its target; empty before sources were weighed."""
        wanted = self._targets(done)
        available = self._available(done) if wanted else {}
        asked = self._asked(available)
        plans: dict[str, SharePlan] = {}
        for source in self.sources:
            if source.name in wanted:
                target, counting = wanted[source.name], source.counting
                is_estimate = counting.unit == "tokens" and counting.tokenizer is None
                locked = Target(counting.unit, asked[source.name], target, available[source.name], 0, is_estimate)
                whole, rest = divmod(target, available[source.name]) if available[source.name] else (0, 0)
                plans[source.name] = SharePlan(whole, rest, locked)
                if source.curved:
                    plans[source.name] = SharePlan(0, self._fractional(source, done), locked)
        return plans

    def _fractional(self, source: Source, done: Done) -> int:
        """What is still to be given by fractions of copies, once whole ones are counted."""
        if "scatter-sample" not in done:
            return 0
        groups = self._rates(done, {})[source.name].groups
        total = sum(bucket.rate * bucket.weight for buckets in groups.values() for bucket in buckets)
        its = [r.facts["whole"] for r in done["scatter-sample"] if r.facts.get("source") == source.name]
        return round(total) - sum(its)

    def locked_sources(self, done: Done) -> dict[str, LockedSource]:
        """The lock's entries; refuses sums that do not agree."""
        plans, rates = self.share_plans(done), self._rates(done, {})
        found: dict[str, LockedSource] = {}
        for index, source in enumerate(self.sources):
            numbers = [place.number for place in self.places if place.source == index]
            judged, written = ([done[phase][number] for number in numbers] for phase in ("verdict", "write"))
            target = plans[source.name].target if source.name in plans else None
            found[source.name] = locked(source.name, judged, written, target, rates.get(source.name))
        return found


def _cut(record: Record) -> Cut:
    return Cut(*record.facts["cut"])
