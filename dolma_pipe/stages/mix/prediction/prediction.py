"""What a mix would do, in numbers: `dolma-pipe mix --plan`.

Documents, and bytes of their texts as read, are those of the run. Bytes and tokens as written are estimates where edits
change texts, and tokens are estimates where nobody has counted them; `estimates` says which.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy.typing as npt

from dolma_pipe.stages.mix.config import MixConfig
from dolma_pipe.stages.mix.fates import reasons
from dolma_pipe.stages.mix.prediction import outlook
from dolma_pipe.stages.mix.prediction.foresight import Known, columns_read
from dolma_pipe.stages.mix.prediction.rehearsal import Rehearsal, leave_one_out, rehearsal, surveyed
from dolma_pipe.stages.mix.source import Source
from dolma_pipe.types import Plain

Array = npt.NDArray[Any]


class Quantity(msgspec.Struct, frozen=True):
    """Documents, UTF-8 bytes, tokens with one end-of-text each; None where nobody has measured what it takes."""

    documents: int
    bytes: int | None
    tokens: int | None


class PredictedRule(msgspec.Struct, frozen=True):
    """What a rule drops by itself (`alone`), what no other rule drops (`only`), and what the mix would keep in addition
    without it (`regained`, before splits and samples): other copies of a cluster may give way, so it can be less."""

    alone: Quantity
    only: Quantity
    regained: Quantity


class PredictedSource(msgspec.Struct, frozen=True):
    """What becomes of a source. `dropped` counts each document once, by its reason; `written` counts every copy.

    `share` is what a budget asks of it: target, what is available, and the `epochs` that this makes.
    """

    read: Quantity
    rules: dict[str, PredictedRule]
    dropped: dict[str, Quantity]
    kept: Quantity
    written: Quantity
    splits: dict[str, Quantity]
    share: dict[str, Plain] | None
    estimates: list[str]

    @property
    def never_failed(self) -> list[str]:
        """Rules that drop nothing."""
        return [name for name, rule in self.rules.items() if not rule.alone.documents]


class Prediction(msgspec.Struct, frozen=True):
    """A mix, source by source."""

    sources: dict[str, PredictedSource]


def predict(config: MixConfig, file: str) -> Prediction:
    """Decide everything that the mix would decide, reading attributes alone."""
    with rehearsal(config, file) as stage:
        stage.watch(*leave_one_out(stage))
        stage.decide()
        sums, totals = surveyed(stage), stage.variants.totals()
        changes = iter((totals[:, 1:] - totals[:, :1]).sum(axis=0))
        found = {
            source.name: _source(stage, number, sums[number], [next(changes) for _ in source.rules])
            for number, source in enumerate(stage.sources)
        }
    return Prediction(found)


def _source(stage: Rehearsal, number: int, sums: outlook.Sums, changes: list[Array]) -> PredictedSource:
    source, known = stage.sources[number], stage.known[number]
    splits = len(source.splits)
    alone, only = stage.alone[number], stage.only[number]
    together = common(stage)
    rules = {
        rule.name: PredictedRule(quantity(alone[i], known), quantity(only[i], known), quantity(changes[i], together))
        for i, rule in enumerate(source.rules)
    }
    named = enumerate(reasons(source), splits + 1)
    return PredictedSource(
        read=quantity(sums.fates.sum(axis=0), known),
        rules=rules,
        dropped={name: quantity(sums.fates[fate], known) for fate, name in named},
        kept=quantity(sums.fates[splits], known),
        written=quantity(sums.written[0], known),
        splits={split.name: quantity(sums.fates[splits - 1 - i], known) for i, split in enumerate(source.splits)},
        share=_share(stage, source),
        estimates=list(_estimates(source, known, sums)),
    )


def quantity(sums: Array, known: Known) -> Quantity:
    """Sums of units, as whole numbers."""
    documents = round(sums[0])
    size = round(sums[1]) if known.length else None
    if known.tokens:
        return Quantity(documents, size, round(sums[2]) + known.extra * documents)
    return Quantity(
        documents, size, None if size is None else round(size / known.bytes_per_token) + known.extra * documents
    )


def common(stage: Rehearsal) -> Known:
    """What was measured of all sources."""
    first = stage.known[0]
    return first._replace(
        length=all(known.length for known in stage.known), tokens=first.tokens if stage.units > 2 else None
    )


def _share(stage: Rehearsal, source: Source) -> dict[str, Plain] | None:
    plan = stage.ledger.share_plans(stage.done).get(source.name)
    if plan is None:
        return None
    target = {name: value for name, value in msgspec.to_builtins(plan.target).items() if name != "realised"}
    return {**target, "epochs": round(plan.target.target / max(plan.target.available, 1), 4)}


def _estimates(source: Source, known: Known, sums: outlook.Sums) -> Iterator[str]:
    """What is not exact, and why."""
    tag = f"dolma-pipe tag {source.shards[0].dataset} --taggers"
    if not known.length:
        yield f"bytes and tokens are not known: nobody has measured the length of its documents ({tag} length)"
    elif not known.tokens:
        yield f"tokens are its bytes / {known.bytes_per_token:g}: no set 'tokens' has counted them"
    if sums.edited:
        unit = "which documents, bytes" if source.by_amount else "bytes"
        yield f"{unit} and tokens as written: edits change {sums.edited:,} documents, which are estimated, not made"
    if sums.in_doubt:
        yield (
            f"{sums.in_doubt:,} documents: their edits may leave nothing but white space, which only their texts tell"
        )
    if columns_read(source) != ("id",):
        yield f"nothing, but the documents were read: their {', '.join(columns_read(source)[1:])} decides"
    if source.edits and not known.length:
        yield "documents: what edits leave too little of is not known without lengths"
