"""`mix.lock.json`: what went into a mix, by hash, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from dolma_pipe import storage
from dolma_pipe.errors import DataError
from dolma_pipe.manifest import Input, Record
from dolma_pipe.stages.mix.funnel import Funnel
from dolma_pipe.types import Plain

NAME = "mix.lock.json"


class Target(msgspec.Struct):
    """Bytes that a source had to give, those it had, and those that were taken."""

    target_bytes: int
    available_bytes: int
    realised_bytes: int


class LockedSource(msgspec.Struct):
    """A source as it was found and what became of it."""

    inputs: list[Input]
    funnel: Funnel
    never_failed: list[str]
    target: Target | None = None


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
    try:
        return msgspec.json.decode(storage.read_bytes(path), type=Lock)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise DataError(f"{path}: not a lock file of this version: {error}; run the mix again") from error


def funnel(folder: str) -> dict[str, Funnel]:
    """What became of the documents of each source of a mix."""
    return {name: source.funnel for name, source in read_lock(folder).sources.items()}


def locked(name: str, judged: Sequence[Record], written: Sequence[Record], target: Target | None) -> LockedSource:
    """A source's entry, from the records of its shards; refuses sums that do not agree."""
    total = Funnel()
    inputs: dict[str, Input] = {}
    for record in (*judged, *written):
        inputs |= {found.name: found for found in record.inputs}
    for record in written:
        total += msgspec.convert(record.facts["funnel"], Funnel)
    total.check(name)
    if target is not None:
        target.realised_bytes = total.kept.written_bytes
    return LockedSource([inputs[key] for key in sorted(inputs)], total, total.never_failed, target)
