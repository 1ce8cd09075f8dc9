"""Tombstones: ids of documents that were taken down, in `_tombstones.jsonl` of a data set or a token folder.

`dolma-pipe take-down` leaves them. What reads a data set, or writes into the folder, leaves these documents out ever
after: ingest, mix, tokenize, and training straight from documents.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from dolma_pipe import storage
from dolma_pipe.errors import DataError

NAME = "_tombstones.jsonl"


class Tombstone(msgspec.Struct, frozen=True):
    """One line of the file."""

    id: str


_decoder = msgspec.json.Decoder(Tombstone)


def read(folder: str) -> set[str]:
    """The ids whose tombstones lie in a folder."""
    path = storage.join(folder, NAME)
    if not storage.is_file(path):
        return set()
    try:
        return {tombstone.id for tombstone in _decoder.decode_lines(storage.read_bytes(path))}
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise DataError(f"{path}: not a list of tombstones: {error}; repair it by hand") from error


def add(folder: str, ids: Iterable[str]) -> int:
    """Add tombstones to those of a folder; how many are new."""
    before = read(folder)
    after = before | set(ids)
    if after != before:
        lines = [msgspec.json.encode(Tombstone(name)) + b"\n" for name in sorted(after)]
        storage.write_bytes(storage.join(folder, NAME), b"".join(lines))
    return len(after) - len(before)
