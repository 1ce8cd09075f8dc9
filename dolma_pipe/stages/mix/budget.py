"""From shares of a budget to bytes per source."""

from __future__ import annotations

from collections.abc import Mapping

from dolma_pipe.errors import DataError
from dolma_pipe.mixer import Sample
from dolma_pipe.stages.mix.config import Budget


def targets(budget: Budget, samples: Mapping[str, Sample], available: Mapping[str, int]) -> dict[str, int]:
    """Bytes to take from each source; a source offers at most available x max_epochs."""
    offers = {name: int(available[name] * sample.max_epochs) for name, sample in samples.items()}
    wanted = _apportion(budget.bytes or 0, samples)
    short = {name: wanted[name] - offers[name] for name in samples if wanted[name] > offers[name]}
    if short and budget.on_shortfall == "error":
        missing = "; ".join(
            f"{name!r} offers {offers[name]:,} of {wanted[name]:,} bytes "
            f"({available[name]:,} x {samples[name].max_epochs:g}), {short[name]:,} too few"
            for name in short
        )
        raise DataError(
            f"budget: {missing}; raise max_epochs, lower the budget, or say on_shortfall: cap or redistribute"
        )
    if not short or budget.on_shortfall == "cap":
        return {name: min(wanted[name], offers[name]) for name in samples}
    return _redistribute(budget.bytes or 0, samples, offers)


def _apportion(total: int, samples: Mapping[str, Sample]) -> dict[str, int]:
    whole = sum(sample.share or 0.0 for sample in samples.values())
    return {name: round(total * (sample.share or 0.0) / whole) for name, sample in samples.items()}


def _redistribute(total: int, samples: Mapping[str, Sample], offers: Mapping[str, int]) -> dict[str, int]:
    """Sources that cannot reach their target give all they have; the others share what is left, again and again."""
    taken: dict[str, int] = {}
    while True:
        rest = {name: sample for name, sample in samples.items() if name not in taken}
        if not rest:
            return taken
        wanted = _apportion(total - sum(taken.values()), rest)
        short = {name: offers[name] for name in rest if wanted[name] > offers[name]}
        if not short:
            return {**taken, **wanted}
        taken.update(short)
