"""Is one data set's models' loss lower than another's? Paired differences, with what seeds and test items leave open.

A metric of a run is sum(values) / sum(sizes) over test items: bits over bytes for a domain; for a task each question's
bits per byte over 1, a mean. Runs are paired by seed, which sets initialisation and order, and items are the same in
all of them. A replicate draws seeds and, for all of them, items, both with replacement; of S seeds it draws S - 1,
which makes the variance of their mean unbiased (Rao and Wu 1988). The interval is the difference plus or minus the
replicates' standard deviation times Student's t: with three seeds, percentiles of replicates would promise far more
than three numbers can know. What the seeds make of the variance has S - 1 degrees of freedom, what the n items make of
it n - 1; together they have Satterthwaite's (1946).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from dolma_pipe.train.data.permutation import key_of

REPLICATES = 2000

Reals = NDArray[np.float64]


class Difference(msgspec.Struct, frozen=True):
    """A metric of one mix minus that of another: its mean over seeds, each seed's, and the interval around it."""

    mean: float
    low: float
    high: float
    by_seed: list[float]

    @property
    def verdict(self) -> str:
        """Of a loss: the lower the better."""
        if self.high < 0:
            return "better"
        return "worse" if self.low > 0 else "no decision"


class Paired:
    """Differences of one metric: `values` [seeds, items], over `sizes` [items]."""

    def __init__(self, name: str, values: Reals, sizes: Reals, seed: int = 0) -> None:
        self.items = len(sizes)
        self.by_seed: Reals = values.sum(axis=1) / sizes.sum()
        self.replicates = _replicates(values, sizes, key_of(seed, "items", name), key_of(seed, "seeds"))


def difference(metrics: Sequence[Paired], confidence: float) -> Difference:
    """The mean of one or several metrics' differences; replicate r of each draws the same seeds."""
    by_seed: Reals = np.mean([metric.by_seed for metric in metrics], axis=0)
    replicates: Reals = np.mean([metric.replicates for metric in metrics], axis=0)
    mean, variance = float(by_seed.mean()), float(replicates.var(ddof=1))
    degrees = _degrees(variance, by_seed, min(metric.items for metric in metrics))
    reach = student_t(0.5 + confidence / 2, degrees) * math.sqrt(variance)
    return Difference(mean, mean - reach, mean + reach, by_seed.tolist())


def _degrees(variance: float, by_seed: Reals, items: int) -> float:
    """Of a variance of which the seeds' part is known, and the items' is the rest."""
    of_seeds = min(variance, float(by_seed.var(ddof=1)) / len(by_seed))
    of_items = variance - of_seeds
    parts = of_seeds**2 / (len(by_seed) - 1) + of_items**2 / max(1, items - 1)
    return variance**2 / parts if parts else len(by_seed) - 1


def _replicates(values: Reals, sizes: Reals, items_key: int, seeds_key: int) -> Reals:
    seeds, items = values.shape
    weights = _counts(items, items, items_key)
    by_seed = weights @ values.T / (weights @ sizes)[:, None]
    return (by_seed * _counts(seeds, seeds - 1, seeds_key)).sum(axis=1) / (seeds - 1)


def _counts(of: int, draws: int, key: int) -> Reals:
    """How often each of `of` is drawn, in every replicate [replicates, of]."""
    raw = np.random.Philox(key=key).random_raw(REPLICATES * draws).reshape(REPLICATES, draws)
    flat = (raw % np.uint64(of)).astype(np.int64) + of * np.arange(REPLICATES)[:, None]
    return np.bincount(flat.ravel(), minlength=REPLICATES * of).reshape(REPLICATES, of).astype(np.float64)


def student_t(probability: float, degrees: float) -> float:
    """The quantile of Student's t: the t below which a share `probability` (above one half) of it lies."""
    angles = np.linspace(0.0, math.pi / 2, 20_001)  # t = sqrt(degrees) tan(angle); the density is cos^(degrees - 1)
    density = np.cos(angles) ** (degrees - 1)
    whole = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    angle = np.interp(2 * probability - 1, whole / whole[-1], angles)
    return math.sqrt(degrees) * math.tan(float(angle))
