"""What never became a document: unreadable rows in `_quarantine/`, files that `ingest` skipped in `_skipped/`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice

import msgspec

from dolma_pipe import storage

FOLDER, SKIPPED = "_quarantine", "_skipped"
MOST_ROWS = 20_000
"""Rows that are looked at; a line may hold 64 KiB of its document."""
SHOWN = 3


class _Row(msgspec.Struct):
    file: str
    reason: str
    line: int | None = None


def commonest(homes: Iterable[str]) -> str:
    """`580 times the field 'id' is missing (first: a.jsonl line 1); ...` of the quarantines of some folders, or ""."""
    times: dict[str, int] = {}
    firsts: dict[str, _Row] = {}
    for row in islice(_rows(homes), MOST_ROWS):
        kind = re.sub(r"\d+", "N", row.reason)
        times[kind] = times.get(kind, 0) + 1
        firsts.setdefault(kind, row)
    kinds = sorted(times, key=lambda kind: -times[kind])
    told = [f"{_times(times[kind])}{firsts[kind].reason} (first: {_place(firsts[kind])})" for kind in kinds[:SHOWN]]
    return "; ".join([*told, *([f"and {len(kinds) - SHOWN} other reasons"] if len(kinds) > SHOWN else [])])


def unread(dataset: str) -> Iterator[tuple[str, str]]:
    """FILE or FILE#LINE, and why there is no document, of everything that a data set left out when it was made."""
    for folder, what in ((SKIPPED, "skipped"), (FOLDER, "not readable")):
        for row in _rows([dataset], folder):
            yield row.file if row.line is None else f"{row.file}#{row.line}", f"{what}: {row.reason}"


def _rows(homes: Iterable[str], name: str = FOLDER) -> Iterator[_Row]:
    decoder = msgspec.json.Decoder(_Row)
    for home in homes:
        folder = storage.join(home, name)
        for path in storage.listing(folder) if storage.exists(folder) else ():
            with storage.open_read(storage.join(folder, path)) as stream:
                yield from (decoder.decode(line) for line in stream)


def _times(count: int) -> str:
    return "" if count == 1 else f"{count:,} times "


def _place(row: _Row) -> str:
    return row.file if row.line is None else f"{row.file} line {row.line}"
