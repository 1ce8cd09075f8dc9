"""The funnel of a mix from its lock: what was read, what each kind of step left, what the token shards hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dolma_pipe.tokens import Manifest, Totals

Amount = dict[str, float]
EDITED = ("empty_after_edit", "keep_after")


def stages(lock: Mapping[str, Any], shards: Mapping[str, Totals]) -> list[dict[str, Any]]:
    """The stages, each with documents, bytes and (where shards are known) tokens by source.

    Tokens of stages before the shards are their bytes at the rate of the source's shards: `is_estimate`.
    """
    found = [
        _stage(lock, shards, "read", "Read", ()),
        _stage(lock, shards, "rules", "Passes every rule", ("rules",)),
        _stage(lock, shards, "dedup", "No better copy", ("rules", *_dedups(lock))),
        _stage(lock, shards, "edit", "Left after edits", ("rules", *_dedups(lock), *EDITED)),
        _stage(lock, shards, "sample", "Sampled", ("rules", *_dedups(lock), *EDITED, "over_limit", "not_sampled")),
        _kept(lock, shards),
    ]
    found = [stage for stage, before in zip(found, [None, *found], strict=False) if _differs(stage, before)]
    return [*found, _shards(shards)] if shards else found


def _differs(stage: dict[str, Any], before: dict[str, Any] | None) -> bool:
    """Steps that took nothing away are not shown."""
    return before is None or stage["key"] in ("rules", "kept") or stage["amounts"] != before["amounts"]


def _dedups(lock: Mapping[str, Any]) -> list[str]:
    names = [d["by"] for source in lock["configuration"]["sources"].values() for d in source["dedups"]]
    return list(dict.fromkeys(names))


def _stage(
    lock: Mapping[str, Any], shards: Mapping[str, Totals], key: str, label: str, lost: tuple[str, ...]
) -> dict[str, Any]:
    amounts: dict[str, Amount] = {}
    for name, source in lock["sources"].items():
        funnel = source["funnel"]
        gone = [funnel["dropped"][reason] for reason in lost if reason in funnel["dropped"]]
        left = {unit: funnel["read"][unit] - sum(amount[unit] for amount in gone) for unit in ("documents", "bytes")}
        amounts[name] = left | _tokens(left["bytes"], shards.get(name))
    return {"key": key, "label": label, "amounts": amounts, "is_estimate": True}


def _kept(lock: Mapping[str, Any], shards: Mapping[str, Totals]) -> dict[str, Any]:
    amounts: dict[str, Amount] = {}
    for name, source in lock["sources"].items():
        kept = source["funnel"]["kept"]
        amounts[name] = {"documents": kept["copies"], "bytes": kept["written_bytes"]}
        amounts[name] |= _tokens(kept["written_bytes"], shards.get(name))
    return {"key": "kept", "label": "Written for training", "amounts": amounts, "is_estimate": True}


def _tokens(size: int, totals: Totals | None) -> Amount:
    return {} if totals is None or not totals.bytes else {"tokens": round(size * totals.tokens / totals.bytes)}


def _shards(shards: Mapping[str, Totals]) -> dict[str, Any]:
    amounts = {
        name: {"documents": totals.documents, "bytes": totals.bytes, "tokens": totals.tokens}
        for name, totals in shards.items()
    }
    return {"key": "shards", "label": "In token shards", "amounts": amounts, "is_estimate": False}


def totals_of(manifests: list[Manifest]) -> dict[str, Totals]:
    """What several token folders hold of each source."""
    found: dict[str, Totals] = {}
    for manifest in manifests:
        for name, totals in manifest.sources.items():
            old = found.get(name, Totals(0, 0, 0))
            found[name] = Totals(*(a + b for a, b in zip(_plain(old), _plain(totals), strict=True)))
    return found


def _plain(totals: Totals) -> tuple[int, int, int]:
    return totals.documents, totals.tokens, totals.bytes


def reasons(lock: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Why documents are missing, largest first: each document once, and for rules `alone` and `only` beside it."""
    found: list[dict[str, Any]] = []
    for name, source in lock["sources"].items():
        for reason, amount in source["funnel"]["dropped"].items():
            if amount["documents"]:
                found.append({"source": name, "reason": reason, **amount})
    return sorted(found, key=lambda reason: (-reason["documents"], reason["source"], reason["reason"]))
