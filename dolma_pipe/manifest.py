"""What a finished task left behind: one record, written last, that says from what it was made and what came out.

A record holds only what inputs and definition determine, so equal runs leave equal records. When the inputs were
last seen (size and mtime) lies beside it in `stat/`, which no hash and no comparison covers.
"""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

import msgspec

from dolma_pipe import storage
from dolma_pipe.config import fingerprint
from dolma_pipe.errors import DataError, PipeError
from dolma_pipe.types import Plain


class Ref(NamedTuple):
    """A file that outputs depend on; `name` is free of path prefixes and goes into the record."""

    name: str
    path: str


class Input(msgspec.Struct, frozen=True):
    name: str
    size: int
    hash: str


class Output(msgspec.Struct, frozen=True):
    """A published file; `path` is relative to the folder that holds `_manifest`."""

    path: str
    rows: int
    bytes: int
    hash: str


class Record(msgspec.Struct, frozen=True):
    stage: str
    task: str
    definition: str
    inputs: list[Input]
    outputs: list[Output]
    counts: dict[str, int]
    facts: dict[str, Plain] = {}

    def digest(self) -> str:
        """Fingerprint of everything in the record: put it into the definition of what is made from the outputs."""
        return fingerprint(self)


MANIFEST = "_manifest"


def root_of(record_path: str) -> str:
    """The folder that holds `_manifest`, to which output paths are relative."""
    return record_path.partition(f"/{MANIFEST}/")[0]


def _stat_path(record_path: str) -> str:
    root, _, name = record_path.partition(f"/{MANIFEST}/")
    return storage.join(root, MANIFEST, "stat", name)


def read(record_path: str) -> Record | None:
    """The record at a path, None where there is none; an unreadable one is an error."""
    stored = storage.read_if_there(record_path)
    if stored is None:
        return None
    try:
        return msgspec.json.decode(stored, type=Record)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise DataError(f"{record_path}: not a manifest record: {error}; remove it to do its task again") from error


def write(
    files: storage.Publication,
    record_path: str,
    record: Record,
    inputs: tuple[Ref, ...],
    stamps: dict[str, storage.Stat],
) -> None:
    """Write a record of published outputs; `stamps` are the inputs' stats from before they were read."""
    seen = {ref.name: list(stamps[ref.name]) for ref in inputs if ref.name in stamps}
    root = storage.join(root_of(record_path), MANIFEST)
    files.write_bytes(_stat_path(record_path), msgspec.json.encode(seen), root, durable=False)
    files.write_bytes(record_path, msgspec.json.format(msgspec.json.encode(record), indent=1), root)


def announce(files: storage.Publication, record_path: str, record: Record, durable: bool) -> None:
    """Write the record of outputs that are about to appear, before the first of them; `write` replaces it."""
    root = storage.join(root_of(record_path), MANIFEST)
    files.write_bytes(record_path, msgspec.json.encode(record), root, durable, first=True)


def inputs_stand(record: Record, record_path: str, inputs: tuple[Ref, ...], rehash: bool = False) -> bool:
    """Are the inputs those of the record? Size and stamp decide; where they differ (or `rehash`), the content does."""
    if [ref.name for ref in inputs] != [known.name for known in record.inputs]:
        return False
    stamps = _stamps(record_path)
    moved = False
    for ref, known in zip(inputs, record.inputs, strict=True):
        found = storage.stat(ref.path)
        if found is None or found.size != known.size:
            return False
        if rehash or stamps.get(ref.name) != list(found):
            if storage.content_hash(ref.path) != known.hash:
                return False
            stamps[ref.name] = list(found)
            moved = True
    if moved:
        root = storage.join(root_of(record_path), MANIFEST)
        with contextlib.suppress(OSError, PipeError):  # it saves the next run some reading, and no more
            storage.write_bytes(_stat_path(record_path), msgspec.json.encode(stamps), root, durable=False)
    return True


def _stamps(record_path: str) -> dict[str, Any]:
    stored = storage.read_if_there(_stat_path(record_path))
    return {} if stored is None else msgspec.json.decode(stored)


def outputs_stand(record: Record, record_path: str) -> bool:
    """Are the outputs there, with the size they were published with?"""
    root = root_of(record_path)
    for output in record.outputs:
        found = storage.stat(storage.join(root, output.path))
        if found is None or found.size != output.bytes:
            return False
    return True
