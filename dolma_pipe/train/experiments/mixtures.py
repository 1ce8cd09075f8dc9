"""The mathematics of a mixture search: shares drawn, losses predicted from shares, the best shares within caps.

Shares w_i of k sources add up to 1. A metric's loss is predicted as

    linear       t . w                       RegMix's linear form (Liu et al. 2024)
    log_linear   c + exp(t . w), c >= 0      the data mixing law (Ye et al. 2024), which Olmix fits, too

Both are convex in w, and so is what is minimised: the mean prediction over metrics, plus a weight times the
Kullback-Leibler divergence from the natural shares, which keeps the optimum near what was tried.
"""

from __future__ import annotations

import random
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dolma_pipe.errors import ConfigError
from dolma_pipe.train.data.permutation import key_of

Reals = NDArray[np.float64]
Kind = Literal["log_linear", "linear"]

DIGITS = 4
"""Shares are rounded to so many digits, and less is none at all."""
OFFSETS = 64
STEPS = 4000
TINY = 1e-12


def draw(natural: Reals, number: int, concentration: float, temperature: float, seed: int) -> Reals:
    """The shares of run `number`, which depend on nothing else; run 0 has the natural ones.

    A Dirichlet distribution's, with parameters concentration x k x p_i; p_i is as natural_i to the power `temperature`.
    """
    if number == 0:
        return rounded(natural)
    chance = random.Random(key_of(seed, "swarm", number))
    middle = natural**temperature / (natural**temperature).sum()
    weights = [chance.gammavariate(concentration * len(natural) * float(share), 1.0) for share in middle]
    return rounded(np.array(weights) / sum(weights))


def rounded(shares: Reals) -> Reals:
    """Rounded to `DIGITS`; the largest takes what is left."""
    found = np.round(shares, DIGITS)
    largest = int(found.argmax())
    found[largest] = round(1 - (found.sum() - found[largest]), DIGITS)
    return found


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
