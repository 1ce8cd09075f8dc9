"""What shapes a mix, as plain data without a path: for its tasks to depend on, and for the lock."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from dolma_pipe.mixer import Sample, Upsample
from dolma_pipe.stages.mix.config import MixConfig
from dolma_pipe.stages.mix.source import Source, preference
from dolma_pipe.types import Plain


def configuration(config: MixConfig, sources: Sequence[Source]) -> Plain:
    """All that shapes a mix besides its inputs, recipes written out."""
    budget = msgspec.to_builtins(config.budget)
    if config.budget is not None:
        budget["tokenizer"] = sources[0].counting.about["tokenizer"]
    return {
        "seed": config.seed,
        "budget": budget,
        "compression": config.compression,
        "keep_rejected": config.keep_rejected,
        "sources": {source.name: _source(source) for source in sources},
        **({} if config.limit is None else {"limit": config.limit}),
    }


def _source(source: Source) -> Plain:
    dedups = (*source.dedups, *source.repeats)
    prefer = [found.sql if (found := preference(dedup)) else "first" for dedup in dedups]
    return {
        "rules": dict(_rules(source)),
        "dedups": [
            {"by": dedup.by, "prefer": wanted, "sources": list(dedup.sources), "scope": dedup.scope}
            for dedup, wanted in zip(dedups, prefer, strict=True)
        ],
        "edits": msgspec.to_builtins(source.edits),
        "keep_after": source.keep_after,
        "splits": msgspec.to_builtins(source.splits),
        "limit": msgspec.to_builtins(source.limit.amount if source.limit is not None else None),
        "sample": _sample(source.sample),
    }


def _rules(source: Source) -> list[tuple[str, str]]:
    return [(rule.name, rule.sql) for rule in source.rules]


def _sample(sample: Sample | None) -> Plain:
    """What a sampling step says, without what it does not."""
    if sample is None:
        return None
    share = "available" if sample.is_proportional else sample.share
    said = {"epochs": sample.epochs, "share": share, "max_epochs": sample.max_epochs, "min_share": sample.min_share}
    found: dict[str, Plain] = {name: value for name, value in said.items() if value}
    return found | ({"upsample": _upsample(sample.upsample)} if sample.upsample is not None else {})


def _upsample(upsample: Upsample) -> Plain:
    if upsample.rates:
        return {"by": upsample.value.sql, "rates": [list(pair) for pair in upsample.rates]}
    return {
        "by": upsample.value.sql,
        "group": upsample.group.sql if upsample.group is not None else None,
        "start": upsample.start,
        "max_epochs": upsample.max_epochs,
        "buckets": upsample.buckets,
        "groups": dict(upsample.shares),
    }


def read_limit(source: Source) -> list[Plain]:
    """What a limited run adds to definitions."""
    return [] if source.read_limit is None else ["limit", source.read_limit]


def verdict(source: Source) -> Plain:
    """What shapes the verdicts of a source besides its inputs."""
    dedups = (*source.dedups, *source.repeats)
    prefer = [found.sql if (found := preference(dedup)) else None for dedup in dedups]
    return [
        _rules(source),
        [dedup.by for dedup in dedups],
        prefer,
        source.verdict_fields,
        source.document_columns,
        [source.edits, source.keep_after] if source.measured else [],
        [source.counting.about, source.tokens_set] if source.counted else [],
        [split.by for split in source.splits],
        [expression.sql for expression in source.expressions[len(source.rules) :]],
        *read_limit(source),
    ]
