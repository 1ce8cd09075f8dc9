"""Why a document is, or is not, in a mix: what every rule says of it, its duplicates, its edits, its copies.

Everything is read from what lies there: the configuration from the mix's lock, attributes and documents from the data
sets it was made of, copies from its provenance. A mix that has not been made has no copies yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from dolma_pipe.attributes import AttributeReader
from dolma_pipe.batch import Batch
from dolma_pipe.editing import Editor
from dolma_pipe.errors import DataError, PipeError
from dolma_pipe.rules import Evaluator, Expression, references
from dolma_pipe.rules.comparisons import thresholds
from dolma_pipe.shards import DocumentReader
from dolma_pipe.stages.mix.explanation import inquiry
from dolma_pipe.stages.mix.explanation.inquiry import Asked, Deduped, Found
from dolma_pipe.stages.mix.explanation.stories import ClusterStory, Compared, CopyStory, EditStory, RuleStory, Story
from dolma_pipe.stages.mix.explanation.whereabouts import Written, is_written, rejected, written
from dolma_pipe.stages.mix.fates import ALIVE, Place
from dolma_pipe.stages.mix.fates import reasons as causes
from dolma_pipe.stages.mix.prediction.rehearsal import Rehearsal
from dolma_pipe.stages.mix.source import COPIES
from dolma_pipe.stages.mix.verdicts import EMPTY, SHORT, remains
from dolma_pipe.types import Plain

MOST_COPIES = 20


class Foretold(NamedTuple):
    """What a mix will do with a row: why it is dropped (None: it is not), the split that takes it, its copies."""

    reason: str | None
    split: str | None
    copies: int


def explain(
    sources: Sequence[Asked],
    document: str,
    home: str | None,
    tokens: Sequence[str] = (),
    decided: Rehearsal | None = None,
) -> list[Story]:
    """The story of every row with that id; `home` is what the mix wrote, else `decided` knows what it would do."""
    return [_story(sources, found, document, home, tokens, decided) for found in inquiry.find(sources, document)]


def foretell(decided: Rehearsal, found: Found) -> Foretold:
    """What becomes of a row, of a mix that has decided everything."""
    place = _place(decided, found)
    source, court = decided.sources[place.source], decided.court()
    fate = court.fates(place, len(source.splits))
    copies = int(court.copies(place, fate)[found.row])
    number = int(fate[found.row])
    if number == ALIVE:
        return Foretold(None, None, copies)
    return (
        Foretold(None, source.splits[-1 - number].name, 1)
        if number < 0
        else Foretold(causes(source)[number - 1], None, 0)
    )


def _place(decided: Rehearsal, found: Found) -> Place:
    wanted = (found.source.name, found.shard)
    return next(p for p in decided.places if (decided.sources[p.source].name, p.shard) == wanted)


def _repeated(decided: Rehearsal, found: Found, text: str) -> list[EditStory]:
    """The copies of paragraphs that a document loses to better ones."""
    stories: list[EditStory] = []
    for name, removals in decided.court().removals(_place(decided, found)).items():
        reader = AttributeReader(found.source.path(name, found.shard), name, [COPIES])
        row = 0
        while (ids := reader.upcoming()) is not None and row <= found.row:
            lost = removals.only(reader.read(ids))
            if found.row < row + len(ids):
                spans: list[Any] = lost.field(COPIES)[found.row - row].as_py()
                bounds = [(span["start"], span["end"]) for span in spans]
                stories += [EditStory(f"{name}.{COPIES}", start, end, text[start:end]) for start, end in bounds]
            row += len(ids)
    return stories


def _story(
    sources: Sequence[Asked], found: Found, document: str, home: str | None, tokens: Sequence[str],
    decided: Rehearsal | None,
) -> Story:  # fmt: skip
    source = found.source
    batch = _document(found)
    judged = [_judged(rule, found, batch) for rule in source.rules]
    failing = [rule.name for rule in judged if not rule.holds]
    edits, left = _edits(found, batch)
    clusters = [
        story for dedup in source.dedups if (story := _cluster(sources, found, dedup, home, decided)) is not None
    ]
    places = written(home, source.name, found.shard, found.row, source.splits, tokens) if home else []
    if home:
        known = rejected(home, source.name, found.shard, found.row)
        reasons = [] if places else known or failing or left or _lost(found, clusters)
        fate = _fate(places)
    else:
        future = foretell(decided, found) if decided is not None else Foretold(None, None, 1)
        reasons = failing or ([future.reason] if future.reason else [])
        edits += _repeated(decided, found, batch.text(0)) if decided is not None and not reasons else []
        fate = _would_be(future, reasons)
    return Story(
        document, source.name, found.shard.dataset, found.shard.name, found.row, fate, reasons, judged, clusters, edits,
        places,
    )  # fmt: skip


def _would_be(future: Foretold, reasons: Sequence[str]) -> str:
    if reasons:
        return "would be dropped"
    if future.split:
        return f"would be held out in {future.split}"
    return "would be kept" + (f", {future.copies} times" if future.copies > 1 else "")


def _document(found: Found) -> Batch:
    """The document itself."""
    for batch in DocumentReader(found.shard, ("id", "text", "source", "created")):
        if found.row < batch.first_row + len(batch):
            place = found.row - batch.first_row
            return Batch(batch.shard, found.row, batch.columns.slice(place, 1))
    raise DataError(f"{found.shard.path}: no row {found.row}; the data set has changed since it was measured")


def _fate(places: Sequence[Written]) -> str:
    splits = list(dict.fromkeys(place.split for place in places if place.split))
    return f"held out in {', '.join(splits)}" if splits else "kept" if places else "dropped"


# Rules ------------------------------------------------------------------------------------------------------------


def _judged(rule: Expression, found: Found, batch: Batch) -> RuleStory:
    table = _table(rule, found, batch)
    compared = [
        Compared(at.sql, at.operator, at.value, _value(Expression(rule.name, at.sql, rule.file, "DOUBLE"), table))
        for at in thresholds(rule)
    ]
    holds = _value(rule, table)
    return RuleStory(rule.name, rule.sql, None if holds is None else bool(holds), _values(rule, table), compared)


def _table(rule: Expression, found: Found, batch: Batch) -> pa.Table:
    columns: dict[str, Any] = {name: batch.columns.column(name) for name in ("id", "source", "created")}
    heads = {path[0] for path in references(rule)} - set(columns)
    return pa.table({**columns, **{name: found.values(name) for name in sorted(heads)}})


def _value(expression: Expression, table: pa.Table) -> Plain:
    """What an expression yields, None for NULL."""
    try:
        found = Evaluator([expression], table.schema).evaluate(table, "this document")[0][0]
    except PipeError:
        return None
    return found.item() if isinstance(found, np.generic) else found


def _values(rule: Expression, table: pa.Table) -> dict[str, Plain]:
    found: dict[str, Plain] = {}
    for path in sorted(references(rule)):
        value = table.column(path[0])[0].as_py()
        for name in path[1:]:
            value = value.get(name) if isinstance(value, dict) else None
        found[".".join(path)] = value
    return found


def passes(found: Found) -> bool:
    """Does every rule of its source hold?"""
    batch = _document(found)
    return all(_value(rule, _table(rule, found, batch)) for rule in found.source.rules)


# Duplicates -------------------------------------------------------------------------------------------------------


def _cluster(
    sources: Sequence[Asked], found: Found, dedup: Deduped, home: str | None, decided: Rehearsal | None
) -> ClusterStory | None:
    values: Any = inquiry.plain(found.values(dedup.by)) or {}
    cluster = values.get("cluster")
    if cluster is None:
        return None
    among = sources if dedup.scope == "mix" else [found.source]
    among = [source for source in among if any(other.by == dedup.by for other in source.dedups)]
    members = inquiry.members(among, dedup.by, str(cluster))
    chosen = [found, *(member for member in members if member[1:] != found[1:] or member.source != found.source)]
    copies = [_copy(member, home, decided) for member in chosen[:MOST_COPIES]]
    return ClusterStory(dedup.by, str(cluster), dedup.prefer, len(members), copies)


def _copy(member: Found, home: str | None, decided: Rehearsal | None) -> CopyStory:
    source = member.source
    stays = None
    if home:
        stays = is_written(home, source.name, member.shard, [member.row], source.splits)[0]
    elif decided is not None:
        stays = foretell(decided, member).reason is None
    name = _document(member).ids[0].as_py()
    return CopyStory(source.name, member.shard.name, member.row, name, passes(member), stays)


def _lost(found: Found, clusters: Sequence[ClusterStory]) -> list[str]:
    """Why a document that passes is not there: another copy is, or it was not drawn."""
    others = [story.by for story in clusters if any(copy.stays for copy in story.copies[1:])]
    if others:
        return others[:1]
    return ["not_sampled"] if found.source.is_sampled else [story.by for story in clusters][:1]


# Edits ------------------------------------------------------------------------------------------------------------


def _edits(found: Found, batch: Batch) -> tuple[list[EditStory], list[str]]:
    """The regions that edits replace, and why the document is dropped if too little is left."""
    source = found.source
    if not source.edits:
        return [], []
    attributes = {edit.set_name: found.values(edit.set_name) for edit in source.edits}
    measured = [(inquiry.plain(attributes[edit.set_name]) or {}).get(edit.field) is not None for edit in source.edits]
    editor = Editor([edit for edit, there in zip(source.edits, measured, strict=True) if there])
    if not editor.edits:
        return [], []
    edited = editor.apply(batch, attributes, np.ones(1, np.bool_))
    _, starts, ends, winners = edited.merged
    text = batch.text(0)
    regions = zip(starts.tolist(), ends.tolist(), winners.tolist(), strict=True)
    stories = [EditStory(editor.edits[winner].name, start, end, text[start:end]) for start, end, winner in regions]
    reasons = {EMPTY: "empty_after_edit", SHORT: "keep_after"}
    return stories, [reasons[left] for left in remains(edited, source.keep_after).tolist() if left in reasons]
