"""The mathematics of a mixture search: shares drawn, losses predicted from shares, the best shares within caps.

Shares w_i of k sources add up to 1. A metric's loss is predicted as

    linear       t . w                       RegMix's linear form (Liu et al. 2024)
    log_linear   c + exp(t . w), c >= 0      the data mixing law (Ye et al. 2024), which Olmix fits, too

Both are convex in w, and so is what is minimised, Olmix's (Chen et al. 2026, its exact proposer): the mean prediction
over metrics, plus a weight times the Kullback-Leibler divergence from the natural shares, which keeps the optimum near
what was tried, within caps on repetition. We differ from Olmix in the fit: least squares over a grid of c, where it has
Huber's loss and starts at many points. RegMix's other regression, boosted trees, and its optimum, the mean of the 128
best of 100,000 mixtures drawn from Dirichlet(natural shares), are not here: they know no caps, and one metric only.
"""

from __future__ import annotations

import math
import random
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dolma_pipe.errors import ConfigError
from dolma_pipe.train.data.permutation import key_of

Reals = NDArray[np.float64]
Kind = Literal["log_linear", "linear"]

GRAIN = 2e-4
"""Shares are multiples of this, and less is none at all: of a proxy of a billion tokens, a hundred sequences."""
STRENGTHS = 15
CANDIDATES = 1000
OFFSETS = 64
STEPS = 4000
TINY = 1e-12


class Drawing(NamedTuple):
    """Which mixtures are tried; RegMix's (Liu et al. 2024, its `synthesize_mixture.py`), whose values are the defaults.

    Shares are drawn from Dirichlet(s x p). p is proportional to the natural shares to the power `temperature`; s is one
    of fifteen values, evenly spaced in their logarithm between the two of `strength`: small ones give extreme mixtures.
    A mixture that gives any source more than `max_oversampling` times its natural share is drawn again, and so is one
    that was there before, once shares are multiples of `GRAIN`.

    Ours: run 0 has the natural shares, and run n depends on nothing but these, the seed and n (RegMix draws a hundred
    times as many as it wants, and takes some at random). The largest share takes what rounding leaves.
    """

    strength: tuple[float, float] = (0.1, 5.0)
    temperature: float = 0.5
    max_oversampling: float = 15.0
    seed: int = 0

    def mixtures(self, natural: Reals, runs: int) -> list[Reals]:
        """The shares of each of `runs` runs."""
        found = {tuple(first): first for first in [rounded(natural)]}
        for number in range(CANDIDATES * runs):
            if len(found) == runs:
                break
            drawn = self._candidate(natural, number)
            if (drawn <= self.max_oversampling * natural).all():
                shares = rounded(drawn)
                found.setdefault(tuple(shares), shares)
        if len(found) < runs:
            raise ConfigError(f"swarm: strength {self.strength} gives {len(found)} different mixtures, not {runs}")
        return list(found.values())

    def _candidate(self, natural: Reals, number: int) -> Reals:
        chance = random.Random(key_of(self.seed, "swarm", number))
        strength = np.geomspace(*self.strength, STRENGTHS)[chance.randrange(STRENGTHS)]
        middle = natural**self.temperature / (natural**self.temperature).sum()
        # Gamma(a) is Gamma(a + 1) x u^(1/a); by logarithms, since of a small a it is less than a float can be.
        logs = np.array([_log_gamma(chance, strength * float(share)) for share in middle])
        weights = np.exp(logs - logs.max())
        return weights / weights.sum()


def _log_gamma(chance: random.Random, shape: float) -> float:
    return math.log(chance.gammavariate(shape + 1, 1.0)) + math.log(1.0 - chance.random()) / shape


def rounded(shares: Reals) -> Reals:
    """As multiples of `GRAIN`, what is less being left out; the largest takes what rounding leaves."""
    kept = np.where(shares < GRAIN, 0.0, shares)
    parts = np.rint(kept / kept.sum() / GRAIN).astype(np.int64)
    parts[int(parts.argmax())] += round(1 / GRAIN) - parts.sum()
    return np.round(parts * GRAIN, 4)


class Law(NamedTuple):
    """How one metric depends on the shares: `offset` + exp(`slopes` . w), or `slopes` . w."""

    kind: Kind
    slopes: Reals
    offset: float

    def predict(self, shares: Reals) -> Reals:
        """Of shares [..., k]."""
        linear = shares @ self.slopes
        return linear if self.kind == "linear" else self.offset + np.exp(linear)

    def gradient(self, shares: Reals) -> Reals:
        return self.slopes if self.kind == "linear" else self.slopes * np.exp(shares @ self.slopes)


def fit(shares: Reals, losses: Reals, kind: Kind) -> Law:
    """Least squares over runs: `shares` [runs, k], `losses` [runs], all positive."""
    if kind == "linear":
        return Law(kind, _solve(shares, losses), 0.0)
    offsets = np.linspace(0.0, 0.98, OFFSETS) * losses.min()
    laws = [Law(kind, _solve(shares, np.log(losses - offset)), float(offset)) for offset in offsets]
    errors = [float(np.square(law.predict(shares) - losses).sum()) for law in laws]
    return laws[int(np.argmin(errors))]


def _solve(shares: Reals, values: Reals) -> Reals:
    return np.linalg.lstsq(shares, values, rcond=None)[0].astype(np.float64)


def left_out(shares: Reals, losses: Reals, kind: Kind) -> Reals:
    """What the other runs predict of each run's loss [runs]."""
    runs = range(len(losses))
    return np.array([fit(np.delete(shares, run, 0), np.delete(losses, run), kind).predict(shares[run]) for run in runs])


def rank_correlation(one: Reals, other: Reals) -> float:
    """Spearman's."""
    ranks = [np.argsort(np.argsort(values, kind="stable"), kind="stable") for values in (one, other)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def caps(tokens: Reals, budget: float, max_epochs: float) -> Reals:
    """The largest share that each source can have in a run of `budget` tokens."""
    found = np.minimum(1.0, tokens * max_epochs / budget)
    if found.sum() < 1:
        most = int(tokens.sum() * max_epochs)
        raise ConfigError(f"swarm: the sources last for {most:,} tokens at {max_epochs:g} epochs; budget is {budget:,}")
    return found


def best(laws: list[Law], natural: Reals, limits: Reals, kl: float) -> Reals:
    """The shares within `limits` that minimise the mean prediction; projected gradient, with steps that shrink."""
    shares = project(natural, limits)
    value, step = _value(laws, shares, natural, kl), 1.0
    for _ in range(STEPS):
        gradient = np.mean([law.gradient(shares) for law in laws], axis=0)
        gradient = gradient + kl * (np.log((shares + TINY) / natural) + 1)
        moved = project(shares - step * gradient, limits)
        after = _value(laws, moved, natural, kl)
        if after < value - 1e-15:
            shares, value, step = moved, after, step * 1.5
        else:
            step /= 2
        if step < 1e-12:
            break
    return shares


def _value(laws: list[Law], shares: Reals, natural: Reals, kl: float) -> float:
    mean = float(np.mean([law.predict(shares) for law in laws]))
    return mean + kl * float((shares * np.log((shares + TINY) / natural)).sum())


def project(point: Reals, limits: Reals) -> Reals:
    """The nearest point with 0 <= w <= limits that adds up to 1, by bisection of what all are lessened by."""
    low, high = float((point - limits).min()) - 1.0, float(point.max())
    for _ in range(100):
        middle = (low + high) / 2
        if np.clip(point - middle, 0.0, limits).sum() > 1:
            low = middle
        else:
            high = middle
    found = np.clip(point - high, 0.0, limits)
    return found / found.sum()
