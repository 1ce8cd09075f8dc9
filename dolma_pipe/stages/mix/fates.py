"""What becomes of every row of a shard, put together from verdicts, clusters and draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dolma_pipe import storage
from dolma_pipe.draws import draws
from dolma_pipe.mixer import Split, Unit
from dolma_pipe.shards import Shard
from dolma_pipe.stages.mix.amounts.cuts import NOBODY, Copies, Cut
from dolma_pipe.stages.mix.amounts.upsampling import Rates, Standing, priorities, standing
from dolma_pipe.stages.mix.copies.clusters import Group, losers
from dolma_pipe.stages.mix.copies.paragraphs import PARTS, Removals
from dolma_pipe.stages.mix.source import Source
from dolma_pipe.stages.mix.verdicts import EMPTY, SET, SHORT, read_columns, read_ids

Array = npt.NDArray[Any]
ALIVE = 0


class Decisions(msgspec.Struct, frozen=True):
    """What earlier phases have settled: partitions of each group, of documents and of paragraphs, cuts of splits and
    limits, how often sources are taken, or each of their documents."""

    partitions: list[int] = []
    settlements: list[int] = []
    cuts: dict[str, Cut] = {}
    limits: dict[str, Cut] = {}
    copies: dict[str, Copies] = {}
    rates: dict[str, Rates] = {}


class Place(NamedTuple):
    """A shard of the mix: its number among all, and whose it is."""

    number: int
    source: int
    shard: Shard


class Files(NamedTuple):
    """Where the mix keeps what one phase tells the next."""

    home: str

    def scratch(self, phase: str, *name: str) -> str:
        return storage.join(self.home, "_scratch", phase, *name)

    def verdict(self, source: Source, shard: Shard) -> str:
        return self.scratch(SET, source.name, shard.stem + ".parquet")

    def of_shard(self, phase: str, source: Source, shard: Shard) -> str:
        return self.scratch(phase, source.name, shard.stem + ".bin")

    def partition(self, phase: str, number: int) -> str:
        return self.scratch(phase, f"partition-{number:03}.bin")


def reasons(source: Source) -> list[str]:
    """Why documents of a source may be missing; reason r is fate r + 1."""
    fixed = ("rules", "empty_after_edit", "keep_after", "not_sampled", "over_limit")
    return [*fixed, *(dedup.by for dedup in source.dedups)]


RULES, EMPTIED, SHORTENED, NOT_SAMPLED, OVER_LIMIT, FIRST_DEDUP = 1, 2, 3, 4, 5, 6


def split_fate(number: int) -> int:
    """The fate of documents that the source's split `number` takes."""
    return -1 - number


def cut_name(source: Source, number: int) -> str:
    return f"{source.name}/{source.splits[number].name}"


class Court:
    """Settles the fates of one shard as far as earlier phases have decided."""

    def __init__(
        self,
        home: str,
        sources: Sequence[Source],
        groups: Sequence[Group],
        decisions: Decisions,
        seed: int,
        repeats: Sequence[Group] = (),
    ) -> None:
        self.files, self.sources, self.groups, self.decisions, self.seed = Files(home), sources, groups, decisions, seed
        self.repeats = repeats

    def fates(self, place: Place, splits: int) -> Array:
        """int16[rows]: `ALIVE`, a reason's number, or `split_fate` of one of the first `splits` splits.

        A limit counts where it is settled, which is after all splits.
        """
        source = self.sources[place.source]
        path = self.files.verdict(source, place.shard)
        columns = read_columns(path, ["passed", *(["after"] if source.measured else [])])
        fate = np.where(np.asarray(columns["passed"]), ALIVE, RULES).astype(np.int16)
        if source.measured:
            after = np.asarray(columns["after"])
            fate[(fate == ALIVE) & (after == EMPTY)] = EMPTIED
            fate[(fate == ALIVE) & (after == SHORT)] = SHORTENED
        for number, partitions in enumerate(self.decisions.partitions):
            its = self.groups[number].members.get(place.source)
            if its is not None:
                spilled = self.files.of_shard(f"spill-{number}", source, place.shard)
                resolved = [self.files.partition(f"resolve-{number}", p) for p in range(partitions)]
                fate[losers(spilled, partitions, resolved, place.number)] = FIRST_DEDUP + its
        for number in range(splits):
            self._hold_out(fate, place, number)
        if source.name in self.decisions.limits:
            found = self.draws(place, "limit")
            taken = self.decisions.limits[source.name].takes(found, place.number, np.arange(len(found)))
            fate[~taken & (fate == ALIVE)] = OVER_LIMIT
        return fate

    def removals(self, place: Place) -> dict[str, Removals]:
        """The copies of paragraphs that do not stay, per set."""
        source, found = self.sources[place.source], dict[str, Removals]()
        for number, count in enumerate(self.decisions.settlements):
            if place.source in self.repeats[number].members:
                gathered = self.files.of_shard(f"gather-{number}", source, place.shard)
                settled = [self.files.partition(f"settle-{number}", part) for part in range(count)]
                found[self.repeats[number].by] = Removals(losers(gathered, PARTS, settled, place.number))
        return found

    def _hold_out(self, fate: Array, place: Place, number: int) -> None:
        cut = self.decisions.cuts[cut_name(self.sources[place.source], number)]
        found = self.split_draws(place, number)
        taken = cut.takes(found, place.number, np.arange(len(found)))
        fate[taken & (fate == ALIVE)] = split_fate(number)

    def split_draws(self, place: Place, number: int) -> Array:
        """The draw of every document of a shard for one of its source's splits: its group's, if it has one."""
        source = self.sources[place.source]
        split = source.splits[number]
        found = self.draws(place, f"split {split.name}")
        if split.by is None:
            return found
        names = read_columns(self.files.verdict(source, place.shard), [f"group{number}"])[f"group{number}"]
        grouped = np.flatnonzero(np.asarray(names.is_valid()))
        found[grouped] = self._group_draws(source, split, names.take(pa.array(grouped)))
        return found

    def _group_draws(self, source: Source, split: Split, names: pa.Array) -> Array:
        distinct = names.dictionary_encode()
        whose = source.name if split.scope == "source" else ""
        drawn = draws(self.seed, f"split {split.name} by {split.by}", whose, distinct.dictionary)
        return drawn[np.asarray(distinct.indices)]

    def draws(self, place: Place, purpose: str, copy: int = 0) -> Array:
        """The draw of every document of a shard."""
        source = self.sources[place.source]
        path = self.files.verdict(source, place.shard)
        parts = [draws(self.seed, purpose, source.name, ids, copy) for ids in read_ids(path)]
        return np.concatenate([np.empty(0, np.uint64), *parts])

    def sizes(self, place: Place, unit: Unit | None = None) -> Array:
        """Every document as it would be written, in a unit (that of shares, unless another is named)."""
        source = self.sources[place.source]
        name = unit or source.counting.unit
        path = self.files.verdict(source, place.shard)
        if name == "documents":
            return np.ones(sum(len(ids) for ids in read_ids(path)), np.int64)
        return np.asarray(read_columns(path, [name])[name])

    def upsampled_by(self, place: Place) -> tuple[Array, list[str] | None]:
        """The number by which each document of a shard is upsampled, and its group."""
        source = self.sources[place.source]
        grouped = source.upsample is not None and source.upsample.group is not None
        columns = read_columns(
            self.files.verdict(source, place.shard), ["upsample", *(["upsample_group"] if grouped else [])]
        )
        return np.asarray(columns["upsample"]), columns["upsample_group"].to_pylist() if grouped else None

    def standing(self, place: Place) -> Standing | None:
        """Where every document of a shard stands among those that upsampling compares it with."""
        rates = self.decisions.rates.get(self.sources[place.source].name)
        return None if rates is None else standing(rates, *self.upsampled_by(place))

    def copies(self, place: Place, fate: Array) -> Array:
        """How often each living document is written; those that are not are marked in `fate`."""
        source = self.sources[place.source]
        times = np.where(fate == ALIVE, 1, 0)
        if source.sample is None:
            return times
        found = self.standing(place)
        times *= self._upsampled(place, found) if found is not None else self._repeated(place, len(times))
        fate[(fate == ALIVE) & (times == 0)] = NOT_SAMPLED
        return times

    def _repeated(self, place: Place, rows: int) -> Array:
        plan = self.decisions.copies[self.sources[place.source].name]
        times = np.full(rows, plan.whole)
        if plan.cut != NOBODY:
            found = self.draws(place, "sample", plan.whole)
            times += plan.cut.takes(found, place.number, np.arange(rows))
        return times

    def _upsampled(self, place: Place, found: Standing) -> Array:
        whole, fractions, drawn = self.fractions(place, found)
        cut = self.decisions.rates[self.sources[place.source].name].cut
        return whole + ((fractions > 0) & cut.takes(drawn, place.number, np.arange(len(drawn))))

    def fractions(self, place: Place, found: Standing) -> tuple[Array, Array, Array]:
        """Per document: whole copies, the probability of one more, and the order in which these are given."""
        whole = np.floor(found.rates).astype(np.int64)
        fractions = found.rates - whole
        return whole, fractions, priorities(self.draws(place, "upsample"), fractions)
