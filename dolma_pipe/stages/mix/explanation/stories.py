"""The story of a document in a mix, as plain data: rules, duplicates, edits, copies."""

from __future__ import annotations

import msgspec

from dolma_pipe.stages.mix.explanation.whereabouts import Written
from dolma_pipe.types import Plain


class Compared(msgspec.Struct, frozen=True):
    """A number of a rule, and what was compared with it."""

    sql: str
    operator: str
    threshold: float
    value: Plain


class RuleStory(msgspec.Struct, frozen=True):
    """What a rule says; `holds` is None where it is NULL, which is an error. `values` are those of its attributes."""

    name: str
    sql: str
    holds: bool | None
    values: dict[str, Plain]
    compared: list[Compared]


class CopyStory(msgspec.Struct, frozen=True):
    """A copy of the document in its cluster; `passes` every rule, `stays`: is in the mix."""

    source: str
    shard: str
    row: int
    id: str
    passes: bool
    stays: bool | None


class ClusterStory(msgspec.Struct, frozen=True):
    """Its duplicates by one set: `size` copies, some of which are listed in `copies`; the preferred ones stay."""

    by: str
    cluster: str
    prefer: str
    size: int
    copies: list[CopyStory]


class EditStory(msgspec.Struct, frozen=True):
    """Characters `start` to `end` of the text, which an edit replaces."""

    edit: str
    start: int
    end: int
    text: str


class Story(msgspec.Struct, frozen=True):
    """All about one row. `fate` is kept, held out, dropped, or what would be; `reasons` are those of a drop."""

    id: str
    source: str
    dataset: str
    shard: str
    row: int
    fate: str
    reasons: list[str]
    rules: list[RuleStory]
    clusters: list[ClusterStory]
    edits: list[EditStory]
    written: list[Written]
