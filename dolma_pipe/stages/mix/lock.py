"""`mix.lock.json`: what went into a mix, by hash, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from dolma_pipe import storage
from dolma_pipe.errors import DataError
from dolma_pipe.manifest import Input, Record
from dolma_pipe.mixer import Unit
from dolma_pipe.stages.mix.amounts.upsampling import Bucket, Rates
from dolma_pipe.stages.mix.funnel import BucketCount, Funnel
from dolma_pipe.types import Plain

NAME = "mix.lock.json"


class Target(msgspec.Struct):
    """What a source had to give of the budget, what it had, and what was taken. `asked` is its share of the budget: a
    cap or a redistribution makes another target of it. `is_estimate`: tokens were estimated from bytes."""

    unit: Unit
    asked: int
    target: int
    available: int
    realised: int = 0
    is_estimate: bool = False


class LockedBucket(msgspec.Struct):
    """Documents from `least` up to the next bucket: how often they were to be taken, and how often they were.

    `weight` is what they hold in the mix's unit, `written` the same with all copies; `realised_rate` is the quotient.
    """

    least: float
    rate: float
    realised_rate: float
    documents: int
    copies: int
    weight: int
    written: int


class LockedSource(msgspec.Struct):
    """A source as it was found and what became of it."""

    inputs: list[Input]
    funnel: Funnel
    never_failed: list[str]
    never_applied: list[str] = []
    target: Target | None = None
    upsampled: dict[str, list[LockedBucket]] = {}


class Lock(msgspec.Struct):
    """A realised mix. `definition` fingerprints the configuration, recipes included, without paths."""

    version: int
    definition: str
    seed: int
    configuration: Plain
    sources: dict[str, LockedSource]


def read_lock(folder: str) -> Lock:
    """The lock file of a mixed data set."""
    path = storage.join(folder, NAME)
    if storage.stat(path) is None:
        raise DataError(f"{path}: no such file; {folder} is not what the mix stage writes, or it was not finished")
    return read_lock_file(path)


def read_lock_file(path: str) -> Lock:
    """A lock file, wherever it lies."""
    if storage.stat(path) is None:
        raise DataError(f"{path}: no such lock file")
    try:
        return msgspec.json.decode(storage.read_bytes(path), type=Lock)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise DataError(f"{path}: not a lock file of this version: {error}; run the mix again") from error


def funnel(folder: str) -> dict[str, Funnel]:
    """What became of the documents of each source of a mix."""
    return {name: source.funnel for name, source in read_lock(folder).sources.items()}


def locked(
    name: str, judged: Sequence[Record], written: Sequence[Record], target: Target | None, rates: Rates | None
) -> LockedSource:
    """A source's entry, from the records of its shards; refuses sums that do not agree."""
    total = Funnel()
    inputs: dict[str, Input] = {}
    for record in (*judged, *written):
        inputs |= {found.name: found for found in record.inputs}
    for record in written:
        total += msgspec.convert(record.facts["funnel"], Funnel)
    total.check(name)
    if target is not None:
        kept = {"documents": total.kept.copies, "bytes": total.kept.written_bytes, "tokens": total.kept.written_tokens}
        target.realised = kept[target.unit] or 0
    upsampled = {} if rates is None else {group: _buckets(found, total, group) for group, found in rates.groups.items()}
    named = [inputs[key] for key in sorted(inputs)]
    return LockedSource(named, total, total.never_failed, total.never_applied, target, upsampled)


def _buckets(planned: Sequence[Bucket], total: Funnel, group: str) -> list[LockedBucket]:
    counts = total.upsampled.get(group, [BucketCount() for _ in planned])
    return [
        LockedBucket(
            bucket.least, bucket.rate, round(count.written / count.weight, 6) if count.weight else 0.0,
            count.documents, count.copies, count.weight, count.written,
        )
        for bucket, count in zip(planned, counts, strict=True)
    ]  # fmt: skip
