"""How well scores tell a label from the rest: precision, recall, areas under curves, and where to draw the line."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


class Scored(NamedTuple):
    """Scores of one label and whether a row has it."""

    scores: Scores
    truth: Flags


def at(scored: Scored, threshold: float) -> tuple[float, float, float]:
    """(precision, recall, false-positive rate) of `score >= threshold`; a precision of nothing is 0."""
    found = scored.scores >= threshold
    hits, called = int((found & scored.truth).sum()), int(found.sum())
    positives = int(scored.truth.sum())
    negatives = len(scored.truth) - positives
    return hits / max(called, 1), hits / max(positives, 1), (called - hits) / max(negatives, 1)


def auc(scored: Scored) -> float:
    """Area under the ROC curve: how often a positive scores above a negative, ties counting half."""
    _, groups, sizes = np.unique(scored.scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[groups]
    positives = int(scored.truth.sum())
    pairs = positives * (len(scored.truth) - positives)
    return float((ranks[scored.truth].sum() - positives * (positives + 1) / 2) / pairs) if pairs else math.nan


def average_precision(scored: Scored) -> float:
    """Sum over the distinct thresholds of precision x gain in recall."""
    _, precision, recall = _curve(scored)
    return float((precision * np.diff(recall, prepend=0.0)).sum())


def best_threshold(scored: Scored, min_precision: float | None) -> float:
    """A score that occurs, rounded down to 4 decimals: the best F1, or the highest recall at a precision."""
    thresholds, precision, recall = _curve(scored)
    if min_precision is None:
        best = int(np.argmax(2 * precision * recall / np.maximum(precision + recall, 1e-12)))
    else:
        good = np.flatnonzero(precision >= min_precision)
        best = int(good[-1]) if len(good) else int(np.argmax(precision))
    return math.floor(float(thresholds[best]) * 1e4) / 1e4


def _curve(scored: Scored) -> tuple[Scores, Scores, Scores]:
    """(thresholds descending, precision, recall) at each distinct score."""
    order = np.argsort(-scored.scores, kind="stable")
    scores, hits = scored.scores[order], np.cumsum(scored.truth[order])
    last = np.flatnonzero(np.diff(scores, append=-1.0))
    return scores[last], hits[last] / (last + 1), hits[last] / max(int(scored.truth.sum()), 1)
