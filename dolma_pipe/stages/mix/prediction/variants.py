"""What would stay if the rules were others: the same documents under many variants of the rules at once.

Documents without duplicates are added up as they come. Those in clusters are kept, with a bit per variant that says
whether they pass, until all shards have been seen; then each variant chooses its survivors, by the order of preference
that the mix has for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dolma_pipe.kernels.stars import survivors
from dolma_pipe.stages.mix.copies import clusters, stars
from dolma_pipe.stages.mix.copies.clusters import Group

Array = npt.NDArray[Any]


class Place(NamedTuple):
    """Whose rows are judged: the index of the source, the shard's number among all, the first row."""

    source: int
    shard: int
    row: int


class Ballot(NamedTuple):
    """Who passes: bool[rows] under every variant, and the rows that pass under some variant besides those."""

    base: Array
    more: Mapping[int, Array]


class Members(NamedTuple):
    """The documents of a group of dedups: where each is among all clustered ones, and what is compared."""

    documents: Array
    copies: Array
    texts: stars.Copies | None


class Variants:
    """Adds up what stays of each source under each variant; the first one is the rules as they are."""

    def __init__(self, groups: Sequence[Group], sources: int, count: int, units: int) -> None:
        self.groups, self.count = groups, count
        self._sums = np.zeros((sources, count, units))
        self._members: list[list[Members]] = [[] for _ in groups]
        self._sources: list[Array] = []
        self._units: list[Array] = []
        self._alive: list[Array] = []
        self._clustered = 0

    def add(
        self, place: Place, ballot: Ballot, units: Sequence[Array], verdict: dict[str, Any], standings: Sequence[int]
    ) -> None:
        """Rows of a shard: who passes, what is summed of them, and their verdict (see verdicts.py).

        `standings` has the place of the source among those that each of its dedups prefers.
        """
        any_alive = ballot.base.copy()
        for rows in ballot.more.values():
            any_alive[rows] = True
        is_clustered = self._is_clustered(place, verdict, any_alive)
        self._sums[place.source] += [unit[ballot.base & ~is_clustered].sum() for unit in units]
        for variant, rows in ballot.more.items():
            alone = rows[~is_clustered[rows]]
            self._sums[place.source, variant] += [unit[alone].sum() for unit in units]
        if is_clustered.any():
            self._remember(place, verdict, is_clustered, standings)
            self._remember_ballot(place, ballot, is_clustered, units)

    def _remember_ballot(self, place: Place, ballot: Ballot, is_clustered: Array, units: Sequence[Array]) -> None:
        chosen = np.flatnonzero(is_clustered)
        numbers = np.cumsum(is_clustered) - 1
        alive = np.repeat(ballot.base[None, chosen], self.count, axis=0)
        for variant, rows in ballot.more.items():
            alive[variant, numbers[rows[is_clustered[rows]]]] = True
        self._alive.append(np.packbits(alive, axis=0))
        self._sources.append(np.full(len(chosen), place.source, np.int32))
        self._units.append(np.stack([unit[chosen] for unit in units]))
        self._clustered += len(chosen)

    def _is_clustered(self, place: Place, verdict: dict[str, Any], any_alive: Array) -> Array:
        """Living rows that are in a cluster of some dedup."""
        found = np.zeros(len(any_alive), np.bool_)
        for group in self.groups:
            if place.source in group.members:
                found |= np.asarray(verdict[f"cluster{group.members[place.source]}"].is_valid())
        return found & any_alive

    def _remember(self, place: Place, verdict: dict[str, Any], chosen: Array, standings: Sequence[int]) -> None:
        numbers = self._clustered + np.cumsum(chosen) - 1
        for members, group in zip(self._members, self.groups, strict=True):
            if place.source not in group.members:
                continue
            dedup = group.members[place.source]
            where = (place.shard, standings[dedup])
            texts = stars.copies(verdict, dedup, chosen, *where) if group.stars else None
            found = texts.copies if texts else clusters.copies(verdict, dedup, chosen, *where)
            documents = numbers[found["row"]]
            found["row"] += place.row
            members.append(Members(documents, found, texts))

    @cached_property
    def contests(self) -> list[Contest]:
        """The groups of dedups, once every row has been added."""
        return [Contest(members, group.stars) for members, group in zip(self._members, self.groups, strict=True)]

    @cached_property
    def _packed(self) -> Array:
        return np.concatenate([np.empty((-(-self.count // 8), 0), np.uint8), *self._alive], axis=1)

    def alive(self, variant: int) -> Array:
        """Which of the clustered documents pass under a variant: bool[documents]."""
        return (self._packed[variant // 8] >> np.uint8(7 - variant % 8) & np.uint8(1)).astype(np.bool_)

    def totals(self) -> Array:
        """float64[sources, variants, units] of what stays."""
        sums = self._sums.copy()
        if not self._clustered:
            return sums
        sources, units = np.concatenate(self._sources), np.concatenate(self._units, axis=1)
        for variant in range(self.count):
            alive = self.alive(variant)
            for contest in self.contests:
                contest.settle(alive)
            stays = np.flatnonzero(alive)
            for unit, weights in enumerate(units):
                sums[:, variant, unit] += np.bincount(sources[stays], weights=weights[stays], minlength=len(sums))
        return sums


class Contest:
    """One group of dedups: its copies in order of cluster and preference."""

    def __init__(self, members: Sequence[Members], is_star: bool) -> None:
        kind = stars.COPY if is_star else clusters.COPY
        copies = np.concatenate([np.empty(0, kind), *(found.copies for found in members)])
        order = _by_preference(copies)
        self._shards, self._rows = copies["shard"][order], copies["row"][order]
        self._documents = np.concatenate([np.empty(0, np.int64), *(found.documents for found in members)])[order]
        first, second = copies["key0"][order], copies["key1"][order]
        is_other = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
        self._clusters = np.cumsum(np.concatenate([[False], is_other])) if len(order) else order
        texts = [found.texts for found in members if found.texts is not None]
        self._texts = _joined(texts).take(order) if is_star else None

    def settle(self, alive: Array) -> Array:
        """Mark those that do not stay, of the clustered documents, as not alive; which of the copies these are."""
        living = np.flatnonzero(alive[self._documents])
        if self._texts is None:
            found = self._clusters[living]
            stays = np.concatenate([[True], found[1:] != found[:-1]]) if len(found) else np.empty(0, np.bool_)
        else:
            stays = _survive(self._texts.take(living), self._clusters[living])
        lost = living[~stays]
        alive[self._documents[lost]] = False
        return lost

    def rows(self, copies: Array, shard: int) -> Array:
        """The rows of those copies that lie in a shard."""
        return np.sort(self._rows[copies[self._shards[copies] == shard]])


def _by_preference(copies: Array) -> Array:
    """The order of `clusters.by_preference`, of copies in the order of the data: what is alike is not compared."""
    wanted = [copies["rank"], -copies["prefer"], copies["source"], copies["key1"], copies["key0"]]
    return np.lexsort([column for column in wanted if len(column) and (column != column[0]).any()] or [copies["rank"]])


def _joined(parts: Sequence[stars.Copies]) -> stars.Copies:
    found = np.concatenate([np.empty(0, stars.COPY), *(part.copies for part in parts)])
    near = np.concatenate([np.empty(0, np.int32), *(part.near for part in parts)])
    counts = np.concatenate([np.empty(0, np.int64), *(np.diff(part.bounds) for part in parts)])
    return stars.Copies(found, near, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))


def _survive(found: stars.Copies, keys: Array) -> Array:
    """Which of the ordered copies of stars stay."""
    begins = np.flatnonzero(keys[1:] != keys[:-1]) + 1
    bounds = np.concatenate([[0], begins, [len(keys)]]).astype(np.int64)
    texts = np.ascontiguousarray(found.copies["text"])
    largest = int(max(found.near.max(initial=0), texts.max(initial=0)))
    return survivors(bounds, texts, found.near, found.bounds, largest)
