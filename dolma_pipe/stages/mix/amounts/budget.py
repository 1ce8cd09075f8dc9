"""From shares of a budget to amounts per source."""

from __future__ import annotations

from collections.abc import Mapping

from dolma_pipe.errors import DataError
from dolma_pipe.mixer import Sample
from dolma_pipe.stages.mix.config import Budget


def targets(
    budget: Budget, samples: Mapping[str, Sample], available: Mapping[str, int], limit: int | None = None
) -> dict[str, int]:
    """What to take from each source, in the budget's unit; a source offers at most available x max_epochs.

    `limit` are the documents read of each shard, which an error names.
    """
    unit = "tokens" if budget.tokens else "bytes" if budget.bytes else "documents"
    offers = {name: int(available[name] * sample.max_epochs) for name, sample in samples.items()}
    wanted = asked(budget, samples, available)
    short = {name: wanted[name] - offers[name] for name in samples if wanted[name] > offers[name]}
    if short and budget.on_shortfall == "error":
        missing = "; ".join(
            f"{name!r} offers {offers[name]:,} of {wanted[name]:,} {unit} "
            f"({available[name]:,} x {samples[name].max_epochs:g}), {short[name]:,} too few"
            for name in short
        )
        cure = "raise max_epochs, lower the budget, or say on_shortfall: cap or redistribute"
        if limit is not None:
            cure = f"of every shard only the first {limit:,} documents are read: say --set budget.on_shortfall=cap"
        raise DataError(f"budget: {missing}; {cure}")
    if not short or budget.on_shortfall == "cap":
        return {name: min(wanted[name], offers[name]) for name in samples}
    return redistribute(_total(budget), _shares(samples, available, budget.temperature), offers)


def asked(budget: Budget, samples: Mapping[str, Sample], available: Mapping[str, int]) -> dict[str, int]:
    """The share of each source, in the budget's unit, whether it has as much or not."""
    return apportion(_total(budget), _shares(samples, available, budget.temperature)) if available else {}


def _total(budget: Budget) -> int:
    return budget.tokens or budget.bytes or budget.documents or 0


def _shares(samples: Mapping[str, Sample], available: Mapping[str, int], temperature: float) -> dict[str, float]:
    """The shares that are given; or those that follow from what is there, flattened by the temperature."""
    if not any(sample.is_proportional for sample in samples.values()):
        return {name: sample.share or 0.0 for name, sample in samples.items()}
    sizes = {name: float(available[name]) ** (1 / temperature) for name in samples}
    whole = sum(sizes.values()) or 1.0
    # a machine's power function may err in the last bit
    shares = {name: round(size / whole, 12) for name, size in sizes.items()}
    return _raised(shares, {name: sample.min_share for name, sample in samples.items()})


def _raised(shares: Mapping[str, float], least: Mapping[str, float]) -> dict[str, float]:
    """Shares (of 1) with none below its least; the others give in proportion to what they have."""
    fixed: dict[str, float] = {}
    while True:
        rest = {name: share for name, share in shares.items() if name not in fixed}
        scale = (1 - sum(fixed.values())) / (sum(rest.values()) or 1.0)
        low = {name: least[name] for name, share in rest.items() if share * scale < least[name]}
        if not low:
            return {**fixed, **{name: share * scale for name, share in rest.items()}}
        fixed.update(low)


def apportion(total: int, shares: Mapping[str, float]) -> dict[str, int]:
    """A total divided by shares, which need not add up to anything."""
    whole = sum(shares.values()) or 1.0
    return {name: round(total * share / whole) for name, share in shares.items()}


def redistribute(total: int, shares: Mapping[str, float], offers: Mapping[str, int]) -> dict[str, int]:
    """What cannot reach its target gives all it has; the others share what is left, again and again."""
    taken: dict[str, int] = {}
    while True:
        rest = {name: share for name, share in shares.items() if name not in taken}
        if not rest:
            return taken
        wanted = apportion(total - sum(taken.values()), rest)
        short = {name: offers[name] for name in rest if wanted[name] > offers[name]}
        if not short:
            return {**taken, **wanted}
        taken.update(short)
