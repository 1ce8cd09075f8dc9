"""Upsampling by a number of each document: in which bucket it is, and how often it is taken.

By percentiles, these are found in three steps. Each shard sums its weights by group and value (`spill`); a source's
sums are put together and divided into buckets of equal weight (`divide`); the curve is solved for what each group is
to have, and averaged over its buckets (`solve`). Documents of one value are in one bucket: values are told apart to one
part in a million.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from dolma_pipe.errors import DataError
from dolma_pipe.mixer import Sample, Upsample
from dolma_pipe.stages.mix.amounts.budget import apportion, redistribute
from dolma_pipe.stages.mix.amounts.cuts import Cut
from dolma_pipe.stages.mix.config import Budget
from dolma_pipe.stages.mix.sections import read_section, write_sections

Array = npt.NDArray[Any]
UInt64s = npt.NDArray[np.uint64]
HALF = Cut(1 << 63)
"""Takes a fraction of `priorities` with just that probability."""
_SIGN = np.uint64(1 << 63)
_COARSE = np.uint64(32)


class Bucket(msgspec.Struct, frozen=True):
    """Documents of a group whose values are `least` or more, up to the next bucket; `key` orders values.

    `weight` is what they hold, in what the mix counts; `rate` how often each is taken.
    """

    least: float
    key: int
    documents: int
    weight: int
    rate: float = 0.0


Groups = dict[str, list[Bucket]]


class Rates(msgspec.Struct, frozen=True):
    """The buckets of a source's groups, and where the draws end of fractions of a copy."""

    groups: Groups
    cut: Cut = HALF


class Standing(NamedTuple):
    """Per document: the number of its group among the names in order, of its bucket (-1: below all), and its rate."""

    groups: Array
    buckets: Array
    rates: Array


def keys(values: Array) -> UInt64s:
    """Whole numbers in the order of the values; what is no number comes first."""
    bits = np.ascontiguousarray(values + 0.0, np.float64).view(np.uint64)
    ordered = np.where(bits & _SIGN != 0, ~bits, bits | _SIGN)
    return np.where(np.isnan(values), np.uint64(0), ordered)


def _value(key: int) -> float:
    """The least value of a key."""
    bits = np.uint64(key ^ (1 << 63)) if key >> 63 else np.uint64(key ^ ((1 << 64) - 1))
    return float(np.array([bits], np.uint64).view(np.float64)[0]) if key else float("-inf")


def table(upsample: Upsample) -> Groups:
    """The buckets of given rates, all in one group; what they hold is not known."""
    least = np.array([value for value, _ in upsample.rates])
    pairs = zip(upsample.rates, keys(least).tolist(), strict=True)
    return {"": [Bucket(value, key, 0, 0, rate) for (value, rate), key in pairs]}


def standing(found: Rates, values: Array, groups: Sequence[str] | None) -> Standing:
    """Where documents stand; `groups` are their groups, None where there is only one."""
    names = sorted(found.groups)
    ordered = keys(values)
    numbers = np.zeros(len(values), np.int64)
    if groups is not None:
        index = {name: number for number, name in enumerate(names)}
        numbers = np.array([index.get(name, -1) for name in groups], np.int64)
    buckets, rates = np.full(len(values), -1, np.int64), np.zeros(len(values))
    for number, name in enumerate(names):
        mine = numbers == number
        bounds = np.array([bucket.key for bucket in found.groups[name]], np.uint64)
        buckets[mine] = np.searchsorted(bounds, ordered[mine], side="right") - 1
        rates[mine] = np.array([*(bucket.rate for bucket in found.groups[name]), 0.0])[buckets[mine]]
    return Standing(numbers, buckets, rates)


def priorities(draws: UInt64s, fractions: Array) -> UInt64s:
    """Draws of which those below 2**63 take each document with its fraction's probability, and which in their order
    take documents in proportion to their fractions up to any target (sequential Poisson sampling, Ohlsson 1998)."""
    scaled = draws.astype(np.float64) / np.where(fractions > 1e-12, fractions, np.nan) / 2
    return np.where(scaled < 2.0**64 - 2048, scaled, 2.0**64 - 2048).astype(np.uint64)


# Percentiles -------------------------------------------------------------------------------------------------------


def spill(stream: Any, groups: Sequence[str], values: Array, weights: Array) -> None:
    """Write the weights of a shard's documents by group and value."""
    names = sorted(set(groups))
    index = {name: number for number, name in enumerate(names)}
    rows = np.empty(len(values), [("group", "<i8"), ("key", "<u8")])
    rows["group"] = [index[name] for name in groups]
    rows["key"] = keys(values) >> _COARSE << _COARSE
    found, where, counts = np.unique(rows, return_inverse=True, return_counts=True)
    sums = np.zeros(len(found), np.int64)
    np.add.at(sums, where, weights)
    encoded = np.frombuffer(msgspec.json.encode(names), np.uint8)
    write_sections(stream, [encoded, found["group"], found["key"], counts.astype(np.int64), sums])


def divide(paths: Sequence[str], buckets: int) -> Groups:
    """Buckets of about equal weight of every group of a source, from what its shards spilled."""
    parts: dict[str, list[Array]] = {}
    for path in paths:
        names = msgspec.json.decode(read_section(path, 0, np.uint8).tobytes(), type=list[str])
        owners, found = read_section(path, 1, np.int64), [read_section(path, 2, np.uint64)]
        found += [read_section(path, section, np.int64).astype(np.uint64) for section in (3, 4)]
        for number, name in enumerate(names):
            parts.setdefault(name, []).append(np.array([column[owners == number] for column in found]))
    return {name: _divided(np.concatenate(found, axis=1), buckets) for name, found in sorted(parts.items())}


def _divided(columns: Array, buckets: int) -> list[Bucket]:
    """`columns` are keys, documents and weights; a value is in the bucket in which the middle of its weight lies."""
    distinct, where = np.unique(columns[0], return_inverse=True)
    documents, weights = np.zeros((2, len(distinct)), np.int64)
    np.add.at(documents, where, columns[1].astype(np.int64))
    np.add.at(weights, where, columns[2].astype(np.int64))
    middles = np.cumsum(weights) - weights / 2
    numbers = np.minimum((middles * buckets / max(int(weights.sum()), 1)).astype(np.int64), buckets - 1)
    firsts = np.flatnonzero(np.diff(numbers, prepend=-1))
    sums = [np.add.reduceat(column, firsts).tolist() for column in (documents, weights)]
    bounds = [0, *distinct[firsts[1:]].tolist()]  # what is below every value is in the first
    lowest = distinct[firsts].tolist()
    found = zip(bounds, lowest, *sums, strict=True)
    return [Bucket(_value(low), key, count, weight) for key, low, count, weight in found]


# The curve ---------------------------------------------------------------------------------------------------------


def solve(upsample: Upsample, means: Mapping[str, float], groups: Groups) -> Groups:
    """The groups with a rate for each bucket, so that a group's mean is that of `means`."""
    return {name: _rated(upsample, means[name], buckets) for name, buckets in groups.items()}


def _rated(upsample: Upsample, mean: float, buckets: Sequence[Bucket]) -> list[Bucket]:
    whole = sum(bucket.weight for bucket in buckets)
    if not mean or not whole:
        return list(buckets)
    power = upsample.max_epochs * (1 - upsample.start) / mean - 1
    edges = np.cumsum([0, *(bucket.weight for bucket in buckets)]) / whole
    integral = mean * (np.maximum(edges - upsample.start, 0) / (1 - upsample.start)) ** (max(power, 0.0) + 1)
    widths = np.diff(edges)
    rates = np.divide(np.diff(integral), widths, out=np.zeros(len(widths)), where=widths > 0).round(12)
    return [msgspec.structs.replace(found, rate=rate) for found, rate in zip(buckets, rates.tolist(), strict=True)]


def group_means(
    sample: Sample, groups: Groups, target: int | None, budget: Budget | None, name: str
) -> dict[str, float]:
    """How often documents of each group are taken in the mean; `target` is what the source is to give of a budget."""
    upsample, available = sample.upsample, {group: sum(b.weight for b in found) for group, found in groups.items()}
    whole = sum(available.values())
    total = float(target) if target is not None else (sample.epochs or 0.0) * whole
    if upsample is None or not upsample.shares:
        mean = total / whole if whole else 0.0
        return dict.fromkeys(groups, min(mean, sample.max_epochs))
    shares = _shares_of(dict(upsample.shares), available, name)
    wanted = _granted(round(total), shares, {g: int(available[g] * sample.max_epochs) for g in shares}, budget, name)
    return {group: wanted[group] / available[group] if available[group] else 0.0 for group in groups}


def _shares_of(shares: dict[str, float], available: Mapping[str, int], name: str) -> dict[str, float]:
    for group in {**shares, **available}:
        if group not in shares:
            raise DataError(f"source {name!r}: upsample: groups has no share for {group!r}, which documents are in")
        if group not in available:
            known = ", ".join(sorted(available)) or "none"
            raise DataError(f"source {name!r}: upsample: groups: no document is in {group!r} (groups: {known})")
    return shares


def _granted(
    total: int, shares: Mapping[str, float], offers: Mapping[str, int], budget: Budget | None, name: str
) -> dict[str, int]:
    wanted = apportion(total, shares)
    short = {group: wanted[group] - offers[group] for group in shares if wanted[group] > offers[group]}
    how = budget.on_shortfall if budget is not None else "error"
    if short and how == "error":
        missing = "; ".join(f"{g!r} offers {offers[g]:,} of {wanted[g]:,}, {few:,} too few" for g, few in short.items())
        raise DataError(
            f"source {name!r}: upsample: {missing}; raise max_epochs, lower start or epochs, give other groups, or say "
            "on_shortfall: cap or redistribute in the budget"
        )
    if how == "redistribute":
        return redistribute(total, shares, offers)
    return {group: min(wanted[group], offers[group]) for group in shares}
