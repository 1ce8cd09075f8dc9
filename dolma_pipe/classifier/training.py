"""From examples to a model and its figures on texts that it never saw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from dolma_pipe import storage
from dolma_pipe.accuracy import Scored, at, auc, average_precision, best_threshold
from dolma_pipe.batch import make_batch
from dolma_pipe.classifier.config import ClassifierConfig, check
from dolma_pipe.classifier.examples import (
    CALIBRATION,
    HELD_OUT,
    TRAINING,
    Example,
    check_sides,
    chosen,
    read,
    side_of,
)
from dolma_pipe.classifier.model import as_lines, write_model
from dolma_pipe.fasttext import FastText


class Figures(msgspec.Struct, frozen=True):
    """One label against the rest, on held-out rows; precision, recall and F1 at `threshold`, and at 0.5."""

    label: str
    rows: int
    positives: int
    auc: float
    average_precision: float
    threshold: float
    precision: float
    recall: float
    f1: float
    false_positive_rate: float
    precision_at_half: float
    recall_at_half: float


class Trained(msgspec.Struct, frozen=True):
    """What a training run made: the file, how many examples each side had by label, and the figures."""

    path: str
    bytes: int
    training: dict[str, int]
    calibration: dict[str, int]
    held_out: dict[str, int]
    figures: list[Figures]


def train(config: ClassifierConfig, say: Callable[[str], None] = lambda _: None) -> Trained:
    """Read, split, train on one thread, measure; the same examples give the same file, in whatever order they come."""
    check(config)
    examples = chosen(read(config), config)
    sides: tuple[list[Example], ...] = ([], [], [])
    for example in examples:
        sides[side_of(example.text, config)].append(example)
    check_sides(sides, config)
    say(f"training on {len(sides[TRAINING]):,} of {len(examples):,} examples")
    write_model(sides[TRAINING], config)
    FastText.open.cache_clear()  # another model may have had this path
    model = FastText.open(config.to)
    figures: list[Figures] = []
    for label in sorted(model.labels):
        scored = [_scored(model, label, sides[side], config) for side in (CALIBRATION, HELD_OUT)]
        figures.append(measured(label, scored[0], scored[1], config))
    training, calibration, held_out = map(_counts, sides)
    return Trained(config.to, storage.size(config.to), training, calibration, held_out, figures)


def _counts(examples: Sequence[Example]) -> dict[str, int]:
    return dict(sorted(Counter(e.label for e in examples).items()))


def _scored(model: FastText, label: str, examples: Sequence[Example], config: ClassifierConfig) -> Scored:
    lines = as_lines([e.text for e in examples], config.lowercase)
    scores = model.predict(make_batch(lines), 1, [label]).selected[:, 0].astype(np.float64)
    return Scored(scores, np.array([e.label == label for e in examples]))


def measured(label: str, calibration: Scored, held_out: Scored, config: ClassifierConfig) -> Figures:
    threshold = best_threshold(calibration, config.min_precision)
    precision, recall, false_positives = at(held_out, threshold)
    half = at(held_out, 0.5)
    total = precision + recall
    return Figures(
        label=label,
        rows=len(held_out.truth),
        positives=int(held_out.truth.sum()),
        auc=round(auc(held_out), 6),
        average_precision=round(average_precision(held_out), 6),
        threshold=threshold,
        precision=round(precision, 6),
        recall=round(recall, 6),
        f1=round(2 * precision * recall / total, 6) if total else 0.0,
        false_positive_rate=round(false_positives, 6),
        precision_at_half=round(half[0], 6),
        recall_at_half=round(half[1], 6),
    )
