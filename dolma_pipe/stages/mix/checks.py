"""What a source's steps must not say, or not together."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

import pyarrow as pa

from dolma_pipe.errors import ConfigError
from dolma_pipe.mixer import Dedup, Edit, Part
from dolma_pipe.stages.mix.config import Budget
from dolma_pipe.stages.mix.source import CLUSTER_FIELDS, Fields, Source, Types


def check(source: Source, parts: Sequence[Part], types: Types, where: str) -> None:
    """Refuse a source whose steps cannot all be followed, or have no effect."""
    for dedup in source.dedups:
        _check_listed(dedup.by, types, f"{where}: dedup")
        missing = [name for name in CLUSTER_FIELDS if name not in types[dedup.by]]
        if missing:
            raise ConfigError(
                f"{where}: dedup: {dedup.by!r} has no {missing[0]!r}: it is no set of duplicate documents"
                + _without_clusters(dedup.by, types[dedup.by])
            )
    _check_repeats(source, parts, where)
    if source.keep_after and not source.edits and not source.repeats:
        raise ConfigError(f"{where}: keep_after has no effect without an edit; use a rule instead")
    _check_groups(source, types, where)
    _check_tokens(source, where)
    _check_copies(source, where)
    used = {*source.verdict_fields, *source.written_fields}
    idle = [name for name in types if name not in used]
    if idle:
        raise ConfigError(f"{where}: attributes: no step reads {idle[0]!r}; remove it")


def edited_fields(edits: Sequence[Edit], types: Types, where: str) -> Fields:
    """The span fields of each set that edits read."""
    fields: dict[str, list[str]] = {}
    for edit in edits:
        _check_listed(edit.set_name, types, f"{where}: edit {edit.name}")
        if edit.field not in types[edit.set_name]:
            known = [name for name, kind in types[edit.set_name].items() if _is_spans(kind)]
            raise ConfigError(
                f"{where}: edit: no attribute {edit.name!r} (span fields of {edit.set_name!r}: {', '.join(known)})"
            )
        kind = types[edit.set_name][edit.field]
        if not _is_spans(kind):
            raise ConfigError(f"{where}: edit: {edit.name!r} holds no spans but {kind}")
        if edit.min_score is not None and kind.value_type.get_field_index("score") < 0:
            raise ConfigError(f"{where}: edit: the spans of {edit.name!r} have no score for min_score")
        fields.setdefault(edit.set_name, []).append(edit.field)
    return {name: tuple(sorted(set(found))) for name, found in sorted(fields.items())}


def _is_spans(kind: pa.DataType) -> bool:
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)) or not pa.types.is_struct(kind.value_type):
        return False
    return all(kind.value_type.get_field_index(name) >= 0 for name in ("start", "end"))


def _check_listed(set_name: str, types: Types, where: str) -> None:
    if set_name not in types:
        guess = difflib.get_close_matches(set_name, list(types), n=1)
        hint = f"; did you mean {guess[0]!r}?" if guess else f" (listed: {', '.join(types) or 'none'})"
        raise ConfigError(f"{where}: the attribute set {set_name!r} is not listed under attributes{hint}")


def _without_clusters(name: str, fields: Iterable[str]) -> str:
    """The step for a set that knows which copies are not the first, but not of which cluster: a Bloom filter's."""
    steps = {
        "is_duplicate": f"keep: {{unseen: NOT {name}.is_duplicate}}",
        "duplicate": f"edit: {{remove: {name}.duplicate}}",
    }
    return next((f"; write - {step}" for field, step in steps.items() if field in fields), "")


def _check_repeats(source: Source, parts: Sequence[Part], where: str) -> None:
    order = [part.by for part in parts if isinstance(part, Dedup)]
    for dedup in source.repeats:
        if source.dedups and order.index(dedup.by) < order.index(source.dedups[-1].by):
            raise ConfigError(
                f"{where}: dedup: {dedup.by!r} chooses among the paragraphs of documents that stay; "
                f"put it after the dedup by {source.dedups[-1].by!r}"
            )
        if dedup.max_removed_fraction is not None:
            raise ConfigError(f"{where}: dedup: max_removed_fraction counts documents, {dedup.by!r} holds paragraphs")
        if source.by_amount or source.curved:
            raise ConfigError(
                f"{where}: dedup by {dedup.by!r} changes the sizes that shares and splits by bytes are counted in; "
                f"use edit: {{remove: {dedup.by}.duplicate}}, or make two mixes of this one"
            )
        if dedup.by in source.edited:
            raise ConfigError(f"{where}: {dedup.by!r} is both edited and deduplicated by; remove one of them")


def _check_groups(source: Source, types: Types, where: str) -> None:
    """The attributes that splits draw by."""
    for split in source.splits:
        if split.attribute is None:
            continue
        set_name, field = split.attribute
        at = f"{where}: split {split.name!r}"
        _check_listed(set_name, types, at)
        kind = types[set_name].get(field)
        if kind is None:
            raise ConfigError(
                f"{at}: by: no attribute '{set_name}.{field}' ({set_name!r} has {', '.join(types[set_name])})"
            )
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise ConfigError(f"{at}: by: '{set_name}.{field}' is no name but {kind}")


def _check_tokens(source: Source, where: str) -> None:
    if "tokens" in source.units and not source.counting.knows_tokens:
        raise ConfigError(
            f"{where}: an amount in tokens, but by which tokenizer? Say budget: {{tokenizer: FILE}}, or "
            "budget: {bytes_per_token: 4.2} for an estimate"
        )


def _check_copies(source: Source, where: str) -> None:
    """Further copies of a shard are called `<stem>.copy1`: no shard may be called that."""
    stems = {shard.stem for shard in source.shards}
    for shard in source.shards if source.sample is not None else ():
        stem, found, number = shard.stem.rpartition(".copy")
        if found and number.isdigit() and stem in stems:
            raise ConfigError(f"{where}: {shard.path} has the name of a copy of {stem}; rename it, or do not sample")


def check_splits(sources: Sequence[Source], file: str) -> None:
    """Groups that reach over the mix are on one side only if every source splits them alike."""
    for source in sources:
        for number, split in enumerate(source.splits):
            others = [other for other in sources if split.scope == "mix" and split not in other.splits[number:][:1]]
            if others:
                raise ConfigError(
                    f"{file}: split {split.name!r} of source {source.name!r} is by {split.by!r} over the whole mix, "
                    f"but source {others[0].name!r} does not have the same step in that place; give it, or say "
                    "scope: source"
                )


def check_budget(budget: Budget | None, sources: Sequence[Source], file: str) -> None:
    """A budget is there for what needs one, and is needed."""
    shared = [source for source in sources if source.shared]
    total = None if budget is None else budget.tokens or budget.bytes or budget.documents
    if shared and total is None:
        raise ConfigError(
            f"{file}: source {shared[0].name!r} samples a share, but there is no budget; give budget: {{bytes: N}}, "
            "{tokens: N, tokenizer: FILE} or {documents: N}"
        )
    if budget is None:
        return
    counts_tokens = any("tokens" in source.units for source in sources)
    if not shared and (total is not None or not (counts_tokens or budget.tokenizer or budget.bytes_per_token)):
        raise ConfigError(f"{file}: budget has no effect: no source samples a share of it")
    proportional = [source for source in shared if source.sample is not None and source.sample.is_proportional]
    if 0 < len(proportional) < len(shared):
        given = next(source for source in shared if source not in proportional)
        raise ConfigError(
            f"{file}: source {proportional[0].name!r} takes the share that it has, source {given.name!r} a given one; "
            "say 'available' for all or for none"
        )
    if budget.temperature != 1 and not proportional:
        raise ConfigError(f"{file}: budget: temperature has no effect without a source of share: available")
    if not 0 < budget.temperature <= 1000:
        raise ConfigError(f"{file}: budget: temperature: {budget.temperature} is not a positive number up to 1000")
    least = sum(source.sample.min_share for source in proportional if source.sample is not None)
    if least > 1:
        raise ConfigError(f"{file}: the sources' min_share add up to {least:g}, more than the whole budget")
