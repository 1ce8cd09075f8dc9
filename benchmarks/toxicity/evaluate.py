"""Measure a toxicity model: `python benchmarks/toxicity/evaluate.py --shared DIR [--model toxicity] [--label toxic]`.

Prints, as Markdown, how well held-out lines are told apart at several thresholds, how many lines and documents of clean
text would be called toxic, and what both mean where toxic lines are rare. `--clean-only` prints the clean text's tables
alone, for a model of something else (nsfw, spam).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from comments import CLEAN_TESTED, CLEAN_TRAINED, TOXIC, Line, clean, clean_documents, judged, marked
from train import NEVER_TRAINED

from dolma_pipe import models
from dolma_pipe.accuracy import Scored, at, auc, average_precision
from dolma_pipe.batch import make_batch
from dolma_pipe.classifier.model import as_lines
from dolma_pipe.fasttext import FastText
from dolma_pipe.tagger import load

THRESHOLDS = (0.5, 0.8, 0.9, 0.95)
DOCUMENT_THRESHOLDS = (0.5, 0.9)
PREVALENCES = (100, 1_000, 10_000)
"""One line in so many is toxic."""


def scored(model: FastText, lines: Iterable[Line], label: str = TOXIC) -> Scored:
    held = list(lines)
    texts = as_lines([line.text for line in held], lowercase=True)
    scores = model.predict(make_batch(texts), 1, [label]).selected[:, 0]
    return Scored(scores.astype(np.float64), np.array([line.label == TOXIC for line in held]))


def print_told_apart(model: FastText, shared: Path) -> np.ndarray:
    """Recall at the thresholds over all held-out rows."""
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
    everything = scored(model, held)
    return np.array([at(everything, threshold)[1] for threshold in THRESHOLDS])


def print_false_lines(model: FastText, label: str, shared: Path) -> np.ndarray:
    """False positives per line at the thresholds, in the sources never trained on."""
    ends = " | ".join(f"at {threshold}" for threshold in THRESHOLDS)
    print(f"\n| clean source | lines | {ends} |\n" + "|---" * (2 + len(THRESHOLDS)) + "|")
    rate = np.zeros(len(THRESHOLDS))
    for title, sources in (("held-out documents of", CLEAN_TRAINED), ("never trained on:", CLEAN_TESTED)):
        total, counts = 0, np.zeros(len(THRESHOLDS))
        for source in sources:
            lines = (line for line in clean(shared, (source,)) if line.held_out or source in CLEAN_TESTED)
            found = scored(model, lines, label)
            hits = np.array([(found.scores >= threshold).sum() for threshold in THRESHOLDS])
            print(row(f"{title} {source}", len(found.scores), hits, 1e6))
            total, counts = total + len(found.scores), counts + hits
        print(row(f"**{title} all**", total, counts, 1e6))
        rate = counts / total
    return rate


def print_prevalence(recall: np.ndarray, false_rate: np.ndarray) -> None:
    """Precision where few lines are toxic, by the recall and the false positives found."""
    print("\n| one line toxic in | " + " | ".join(f"precision at {threshold}" for threshold in THRESHOLDS) + " |")
    print("|---" * (1 + len(THRESHOLDS)) + "|")
    for rarity in PREVALENCES:
        precision = recall / (recall + (rarity - 1) * false_rate)
        print(f"| {rarity:,} | " + " | ".join(f"{value:.3f}" for value in precision) + " |")


def print_false_documents(path: str, label: str, shared: Path) -> None:
    """By the tagger itself: the score of a document, and the highest of its lines."""
    tagger = load({"name": "toxicity", "model": path, "label": label})
    ends = " | ".join(f"{what} at {threshold}" for what in ("itself", "a line") for threshold in DOCUMENT_THRESHOLDS)
    print(f"\n| clean source | documents | {ends} |\n" + "|---" * (2 + 2 * len(DOCUMENT_THRESHOLDS)) + "|")
    for title, sources in (("held-out documents of", CLEAN_TRAINED), ("never trained on:", CLEAN_TESTED)):
        total, counts = 0, np.zeros(2 * len(DOCUMENT_THRESHOLDS))
        for source in sources:
            found = [d.text for d in clean_documents(shared, (source,)) if d.held_out or source in CLEAN_TESTED]
            values = tagger.tag(make_batch(found))
            columns = [np.asarray(values[field]) for field in (label, "max_line_score")]
            hits = np.array([(column >= threshold).sum() for column in columns for threshold in DOCUMENT_THRESHOLDS])
            print(row(f"{title} {source}", len(found), hits, 1e3))
            total, counts = total + len(found), counts + hits
        print(row(f"**{title} all**", total, counts, 1e3))


def row(name: str, count: int, hits: np.ndarray, per: float) -> str:
    """False positives per so many lines or documents."""
    digits = 0 if per > 1e3 else 1
    return f"| {name} | {count} | " + " | ".join(f"{hit / count * per:.{digits}f}" for hit in hits) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True, help="folder with toxicity/ and corpus/")
    parser.add_argument("--model", default="toxicity", help="name or path (default: the bundled one)")
    parser.add_argument("--label", default=TOXIC, help="the label that counts (default: toxic)")
    parser.add_argument("--clean-only", action="store_true", help="only how much clean text it calls so")
    options = parser.parse_args()
    path = models.find(options.model)
    model = FastText.open(path)
    recall = None if options.clean_only else print_told_apart(model, options.shared)
    false_rate = print_false_lines(model, options.label, options.shared)
    print_false_documents(path, options.label, options.shared)
    if recall is not None:
        print_prevalence(recall, false_rate)


if __name__ == "__main__":
    main()
