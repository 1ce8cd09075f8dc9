"""The sources of a mix, from what its YAML says. Whatever can be wrong with them is found here, before any work."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import TypeVar

import pyarrow as pa

from dolma_pipe import storage
from dolma_pipe.attributes import AttributeReader, attribute_path, attribute_sets
from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.mixer import Dedup, Edit, KeepAfter, Limit, Part, Sample, Split, load_step
from dolma_pipe.rules import NAME, Evaluator, Expression, needed_fields, readable
from dolma_pipe.shards import Shard, document_shards
from dolma_pipe.stages.mix import checks
from dolma_pipe.stages.mix.amounts.counting import Counting, counting
from dolma_pipe.stages.mix.config import MixConfig, SourceConfig
from dolma_pipe.stages.mix.source import COPIES, Source, looked_at, schema_of
from dolma_pipe.stages.mix.taken_down import taken_down
from dolma_pipe.tagger import available

DEDUPED = ("dedup_url", "dedup_text", "dedup_paragraph", "dedup_substring", "dedup_minhash")
"""What `dolma-pipe dedup` calls its sets, unless told otherwise."""


def resolve_sources(config: MixConfig, file: str) -> list[Source]:
    """The sources of a mix; raises `ConfigError` or `DataError` for whatever cannot work."""
    if not config.sources:
        raise ConfigError(f"{file}: sources: a mix needs at least one")
    names = [source.name for source in config.sources]
    for name in names:
        if not NAME.fullmatch(name) or name[0] in "_.":
            raise ConfigError(
                f"{file}: source {name!r}: a name has letters, digits, '_', '-' and '.', the first a letter or digit"
            )
        if names.count(name) > 1:
            raise ConfigError(f"{file}: two sources are called {name!r}; rename one")
    counted = counting(config.budget, file)
    sources = [_resolve(source, config, counted, f"{file}: source {source.name!r}", file) for source in config.sources]
    checks.check_budget(config.budget, sources, file)
    checks.check_splits(sources, file)
    return sources


def _resolve(config: SourceConfig, mix: MixConfig, counted: Counting, where: str, file: str) -> Source:
    if storage.join(config.dataset) == storage.join(mix.to):
        raise ConfigError(f"{where}: dataset and 'to' are the same folder; write the mix elsewhere")
    shards = tuple(document_shards(config.dataset, config.include, config.exclude))
    root = config.attributes_from or storage.join(config.dataset, "attributes")
    readers = {name: _reader(root, name, shards, where) for name in _distinct(config.attributes, "attributes", where)}
    types = {name: reader.types for name, reader in readers.items()}
    parts = [*taken_down(config.dataset, mix.to), *parts_of(config.steps, where, file)]
    edits, dedups = [edit.seeded(mix.seed) for edit in _of(Edit, parts)], _of(Dedup, parts)
    samples, floors, limits = _of(Sample, parts), _of(KeepAfter, parts), _of(Limit, parts)
    expressions = [*_of(Expression, parts), *(dedup.prefer for dedup in dedups if dedup.prefer is not None)]
    expressions += [found for sample in samples if sample.upsample for found in looked_at(sample.upsample)]
    needed = needed_fields(expressions, {name: readable(fields.items()) for name, fields in types.items()})
    plain = {name for name in needed if name not in types} | (
        {"created"} if any(dedup.date for dedup in dedups) else set()
    )
    source = Source(
        name=config.name,
        attributes=root,
        shards=shards,
        rules=tuple(_of(Expression, parts)),
        edits=tuple(edits),
        keep_after=max((floor.min_characters for floor in floors), default=0),
        dedups=tuple(dedup for dedup in dedups if COPIES not in types.get(dedup.by, {})),
        splits=tuple(_of(Split, parts)),
        sample=samples[0] if samples else None,
        judged={name: tuple(sorted(fields)) for name, fields in sorted(needed.items()) if name in types},
        edited=checks.edited_fields(edits, types, where),
        plain=tuple(sorted(plain)),
        stars=tuple(dedup.by for dedup in dedups if "near" in types.get(dedup.by, {})),
        repeats=tuple(dedup for dedup in dedups if COPIES in types.get(dedup.by, {})),
        limit=limits[0] if limits else None,
        counting=counted,
        tokens_set=_tokens_set(readers, counted),
        read_limit=mix.limit,
    )
    checks.check(source, parts, types, where)
    Evaluator(source.expressions, schema_of(source, types))
    return source


def parts_of(steps: Iterable[object], where: str, file: str) -> list[Part]:
    """What the steps of a source say, in order; refuses what cannot be said twice, or not in this order."""
    parts: list[Part] = []
    for step in steps:
        parts += load_step(step, file).parts()  # pyright: ignore[reportArgumentType]
    samples = _of(Sample, parts)
    if len(samples) > 1:
        raise ConfigError(f"{where}: {len(samples)} sampling steps; a source has at most one")
    if samples and not isinstance(parts[-1], Sample):
        raise ConfigError(f"{where}: the sampling step is the last one; move it to the end of steps")
    for kind, key in ((Expression, "rules"), (Edit, "edits"), (Split, "splits")):
        _distinct([part.name for part in _of(kind, parts)], key, where)
    _distinct([part.by for part in _of(Dedup, parts)], "dedup", where)
    for kind, key in ((KeepAfter, "keep_after"), (Limit, "limit")):
        if len(_of(kind, parts)) > 1:
            raise ConfigError(f"{where}: {key} is given twice; keep one of them")
    return parts


def _distinct(names: Sequence[str], key: str, where: str) -> Sequence[str]:
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{where}: {key}: {name!r} appears twice; rename or remove one")
    return names


P = TypeVar("P")


def _of(kind: type[P], parts: Iterable[Part]) -> list[P]:
    return [part for part in parts if isinstance(part, kind)]


def _measure(set_name: str, shard: Shard) -> str:
    """The command that writes a set, if its name tells."""
    if set_name in available():
        return f"; measure it: dolma-pipe tag {shard.dataset} --taggers {set_name}"
    if set_name in DEDUPED:
        return f"; find them: dolma-pipe dedup {shard.dataset} --by {set_name.removeprefix('dedup_')}"
    return ""


def _reader(root: str, set_name: str, shards: Sequence[Shard], where: str) -> AttributeReader:
    """The set's first file, which knows its fields; every shard must have one."""
    for shard in shards:
        path = attribute_path(root, set_name, shard)
        if storage.stat(path) is None:
            known = attribute_sets(root)
            if set_name in known:
                raise DataError(
                    f"{path}: no such attribute file; run the stage that writes {set_name!r} for this shard"
                )
            guess = difflib.get_close_matches(set_name, known, n=1)
            hint = f"; did you mean {guess[0]!r}?" if guess else f" (there are: {', '.join(known) or 'none'})"
            raise ConfigError(f"{where}: attributes: no set {set_name!r} in {root}{hint}{_measure(set_name, shard)}")
    return AttributeReader(attribute_path(root, set_name, shards[0]), set_name)


def _tokens_set(readers: dict[str, AttributeReader], counted: Counting) -> str | None:
    """A listed set that has every document's tokens by the budget's tokenizer."""
    for name, reader in readers.items():
        about, kind = reader.about, reader.types.get("count")
        whole = about.get("tagger") == "tokens" and not about.get("view") and not about.get("only_where")
        same = counted.tokenizer is not None and about.get("model_hash") == counted.tokenizer.hash
        if whole and same and kind is not None and pa.types.is_integer(kind):
            return name
    return None
