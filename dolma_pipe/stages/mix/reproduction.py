"""A mix made again by its lock: the same inputs by hash, the same definition, or a refusal that names what differs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from dolma_pipe import storage
from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.manifest import Input, Ref
from dolma_pipe.stages.mix.lock import Lock
from dolma_pipe.stages.mix.stage import Mix
from dolma_pipe.types import Plain


def check_lock(stage: Mix, lock: Lock, path: str) -> None:
    """Refuse to make a mix that is not the lock's: before any work, every input is read and hashed."""
    if lock.version != stage.version:
        raise ConfigError(f"{path}: made by version {lock.version} of the mix stage, this is version {stage.version}")
    _check_configuration(stage, lock, path)
    for name, source in lock.sources.items():
        _check_inputs(stage, name, {found.name: found for found in source.inputs}, path)


def check_result(found: Lock, lock: Lock, path: str) -> None:
    """What was made must be what the lock says was made."""
    for name, source in lock.sources.items():
        mine, its = msgspec.to_builtins(found.sources[name]), msgspec.to_builtins(source)
        if mine != its:
            where, one, other = next(_differences(mine, its, f"sources.{name}"))
            raise DataError(
                f"{path}: {where} is {other!r}, but {one!r} came out of equal inputs; "
                "compare the versions of the libraries, and report this"
            )


def _check_configuration(stage: Mix, lock: Lock, path: str) -> None:
    mine: Any = msgspec.json.decode(msgspec.json.encode(stage.ledger.configuration()))
    for where, one, other in _differences(mine, lock.configuration, ""):
        raise ConfigError(f"{stage.docket.file}: {where} is {_shown(one)}, but {path} has {_shown(other)}")


def _differences(one: Plain, other: Plain, where: str) -> Iterator[tuple[str, Plain, Plain]]:
    """Where two values differ, as (path, what one has, what the other has)."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in dict.fromkeys((*one, *other)):
            yield from _differences(one.get(key), other.get(key), f"{where}.{key}" if where else key)
    elif one != other:
        yield where, one, other


def _shown(value: Plain) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 100 else text[:97] + "..."


def _check_inputs(stage: Mix, name: str, locked: dict[str, Input], path: str) -> None:
    refs = {ref.name: ref for ref in _inputs(stage, name)}
    gone = [key for key in locked if key not in refs]
    for missing in sorted(gone, key=lambda key: "/documents/" not in key):
        raise DataError(f"{missing}: {path} was made of it, but it is not there now; bring it back")
    for ref in refs.values():
        if ref.name not in locked:
            raise DataError(f"{ref.path}: new since {path} was made; take it away, or mix without the lock")
        digest = storage.content_hash(ref.path)
        if digest != locked[ref.name].hash:
            raise DataError(
                f"{ref.path}: has changed since {path} was made (its hash was {locked[ref.name].hash}, "
                f"now {digest}); bring the old one back, or mix without the lock"
            )


def _inputs(stage: Mix, name: str) -> Iterator[Ref]:
    """All that the verdicts and the outputs of a source are made of."""
    for place in stage.places:
        source = stage.sources[place.source]
        if source.name == name:
            yield stage.docket.document_ref(place)
            yield from stage.docket.attribute_refs(place, list({**source.verdict_fields, **source.written_fields}))
