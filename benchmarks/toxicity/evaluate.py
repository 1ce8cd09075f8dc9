"""Measure a toxicity model: `python benchmarks/toxicity/evaluate.py --shared DIR [--model toxicity]`.

Prints, as Markdown, how well held-out lines are told apart at several thresholds, and how many lines of clean text
would be called toxic.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from comments import CLEAN_TESTED, CLEAN_TRAINED, TOXIC, Line, clean, judged, marked
from train import NEVER_TRAINED

from dolma_pipe import models
from dolma_pipe.accuracy import Scored, at, auc, average_precision
from dolma_pipe.batch import make_batch
from dolma_pipe.classifier import as_lines
from dolma_pipe.fasttext import FastText

THRESHOLDS = (0.5, 0.8, 0.9, 0.95)


def scored(model: FastText, lines: Iterable[Line]) -> Scored:
    held = list(lines)
    texts = as_lines([line.text for line in held], lowercase=True)
    scores = model.predict(make_batch(texts), 1, [TOXIC]).selected[:, 0]
    return Scored(scores.astype(np.float64), np.array([line.label == TOXIC for line in held]))


def print_told_apart(model: FastText, shared: Path) -> None:
    held = [line for line in (*judged(shared), *marked(shared)) if line.held_out or line.source == NEVER_TRAINED]
    ends = " | ".join(f"P, R at {threshold}" for threshold in THRESHOLDS)
    print(f"| held-out rows of | rows | toxic | AUC | average precision | {ends} |")
    print("|---" * (5 + len(THRESHOLDS)) + "|")
    for source in sorted({line.source for line in held}):
        found = scored(model, (line for line in held if line.source == source))
        cells = " | ".join("{:.3f}, {:.3f}".format(*at(found, threshold)[:2]) for threshold in THRESHOLDS)
        print(
            f"| {source} | {len(found.truth)} | {found.truth.sum()} | {auc(found):.4f} | "
            f"{average_precision(found):.4f} | {cells} |"
        )


def print_false_positives(model: FastText, shared: Path) -> None:
    ends = " | ".join(f"at {threshold}" for threshold in THRESHOLDS)
    print(f"\n| clean source | lines | {ends} |\n" + "|---" * (2 + len(THRESHOLDS)) + "|")
    for title, sources in (("held-out documents of", CLEAN_TRAINED), ("never trained on:", CLEAN_TESTED)):
        total, counts = 0, np.zeros(len(THRESHOLDS))
        for source in sources:
            found = scored(model, (x for x in clean(shared, (source,)) if x.held_out or source in CLEAN_TESTED))
            hits = np.array([(found.scores >= threshold).sum() for threshold in THRESHOLDS])
            print(row(f"{title} {source}", len(found.scores), hits))
            total, counts = total + len(found.scores), counts + hits
        print(row(f"**{title} all**", total, counts))


def row(name: str, lines: int, hits: np.ndarray) -> str:
    """False positives per million lines."""
    return f"| {name} | {lines} | " + " | ".join(f"{hit / lines * 1e6:.0f}" for hit in hits) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True, help="folder with toxicity/ and corpus/")
    parser.add_argument("--model", default="toxicity", help="name or path (default: the bundled one)")
    options = parser.parse_args()
    model = FastText.open(models.find(options.model))
    print_told_apart(model, options.shared)
    print_false_positives(model, options.shared)


if __name__ == "__main__":
    main()
