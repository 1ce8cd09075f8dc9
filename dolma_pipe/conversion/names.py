"""What Dolma's attributes are called with us: as they were converted, or as our own taggers measure them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import NamedTuple

from dolma_pipe.config import Config, bundled, convert, read_yaml
from dolma_pipe.conversion.predicates import PARTS, Place

_SET = re.compile(r"([a-z]\w*)\.[a-z]")
_PLAIN = re.compile(r"[A-Za-z_]\w*")


class _Entry(Config, frozen=True):
    """Taggers of Dolma's, and what says the same; `similar` taggers measure the like, by other means."""

    taggers: list[str]
    similar: list[str] = []
    numbers: dict[str, str] = {}
    flags: dict[str, str] = {}
    spans: dict[str, str] = {}


class _Table(Config, frozen=True):
    entries: list[_Entry]


class Ours(NamedTuple):
    """Our expression; `kind` is number, flag or spans."""

    kind: str
    sql: str


@cache
def _entries() -> list[_Entry]:
    path = str(bundled("convert/dolma.yaml"))
    return convert({"entries": read_yaml(path)}, _Table, path).entries


@cache
def _ours() -> dict[str, Ours]:
    found: dict[str, Ours] = {}
    for entry in _entries():
        for tagger in entry.taggers:
            for kind, types in (("number", entry.numbers), ("flag", entry.flags), ("spans", entry.spans)):
                found |= {f"{tagger}__{name}" if tagger else name: Ours(kind, sql) for name, sql in types.items()}
    return found


def ours(key: str) -> Ours | None:
    """What of ours says what a Dolma attribute says; it may begin with the name of an experiment."""
    return _ours().get(key) or _ours().get(key.partition("__")[2])


def taggers_for(tagger: str) -> list[str]:
    """Our taggers that measure what a tagger of Dolma's measures, in the order of the table."""
    found: dict[str, None] = {}
    for entry in _entries():
        if tagger in entry.taggers:
            for sql in (*entry.numbers.values(), *entry.flags.values(), *entry.spans.values()):
                found |= dict.fromkeys(_SET.findall(sql))
    return list(found)


def similar_taggers(tagger: str) -> list[str]:
    """Our taggers that measure something like it, by other means."""
    return [name for entry in _entries() if tagger in entry.taggers for name in entry.similar]


class Attributes:
    """The attribute sets of a stream, and what its filters call them.

    `seen` has the keys of each set that is there; a set that is not there has none.
    """

    def __init__(self, sets: Sequence[str], seen: Mapping[str, set[str]]) -> None:
        self.sets, self.seen = list(sets), seen
        self.unmatched: dict[str, str] = {}

    def __call__(self, place: Place) -> tuple[str, bool]:
        """SQL for a place, and whether it is NULL where the place is not there."""
        if not place.key:
            return "source", True
        found = None if self._holder(place.key) else ours(place.key)
        if found is None:
            return self._dolma(place)
        if found.kind == "spans":
            return self._part(found.sql, place.indices) if place.indices else (f"len({found.sql}) > 0", False)
        if len(place.indices) == 2:
            return (f"CAST({found.sql} AS INTEGER)" if found.kind == "flag" else found.sql), False
        return (_bracketed(found.sql) if found.kind == "flag" else "true"), False

    def spans(self, key: str) -> str:
        """SET.FIELD of the spans that an edit replaces."""
        found = None if self._holder(key) else ours(key)
        return found.sql if found is not None and found.kind == "spans" else self._dolma(Place(key))[0].replace('"', "")

    def _holder(self, key: str) -> str | None:
        """The set that has a key."""
        return next((name for name in self.sets if key in self.seen.get(name, ())), None)

    def _dolma(self, place: Place) -> tuple[str, bool]:
        holder = self._holder(place.key)
        if holder is None:
            holder = self._likely(place.key)
            known = [key for keys in self.seen.values() for key in sorted(keys)]
            guess = difflib.get_close_matches(place.key, known, n=1)
            self.unmatched[place.key] = guess[0] if guess else ""
        return self._part(f"{_quoted(holder)}.{_quoted(place.key)}", place.indices)

    def _likely(self, key: str) -> str:
        """The set that a key would be of: the one that is called like its experiment, else the first."""
        head = key.partition("__")[0]
        return head if head in self.sets or not self.sets else self.sets[0]

    def _part(self, column: str, indices: Sequence[int]) -> tuple[str, bool]:
        text = column + (f"[{indices[0] + 1}]" if indices else "")
        return text + (f".{PARTS[indices[1]]}" if len(indices) == 2 else ""), True


def _quoted(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else '"' + name.replace('"', '""') + '"'


def _bracketed(sql: str) -> str:
    return f"({sql})" if " " in sql else sql
