"""Train the bundled toxicity model: `python benchmarks/toxicity/train.py --shared DIR --to toxicity.ftz`.

Lower-cased words, pairs of words and character 3- to 5-grams, 16 dimensions, one thread; then the n-grams with the
largest norms are kept and product-quantised. The same inputs and the same fastText build give the same file.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from comments import CLEAN_TRAINED, LONGEST, SHORTEST, TOXIC, Line, clean, judged, marked

from dolma_pipe.classifier import ClassifierConfig
from dolma_pipe.classifier.examples import Example
from dolma_pipe.classifier.model import write_model

SEED = 17
NEVER_TRAINED = "jigsaw_multilabel_sample"

MOST = {("davidson_tweets", TOXIC): 7_000}
"""Tweets that were called toxic are five in six, and many for a single word."""

CLEAN_LINES = 5_000
"""Lines of each clean source; the sources together outnumber the toxic lines, as they do everywhere."""

FEATURES = {"dimension": 16, "min_chars": 3, "max_chars": 5, "word_ngrams": 2, "min_count": 5, "buckets": 400_000}
TRAINING = {"epochs": 8, "learning_rate": 0.3, "quantize": True, "kept_ngrams": 70_000, "lowercase": True, "seed": SEED}


def examples(shared: Path) -> list[Example]:
    groups: dict[tuple[str, str], list[str]] = {}
    for line in (*judged(shared), *marked(shared)):
        if not line.held_out and line.source != NEVER_TRAINED and line.text:
            groups.setdefault((line.source, line.label), []).append(line.text)
    found = [
        Example(label, text)
        for (source, label), texts in sorted(groups.items())
        for text in sample(texts, MOST.get((source, label), len(texts)), f"{source} {label}")
    ]
    for source in CLEAN_TRAINED:
        texts = [cut(line) for line in clean(shared, (source,)) if not line.held_out and len(line.text) >= SHORTEST]
        found += [Example("clean", text) for text in sample(texts, CLEAN_LINES, source)]
    random.Random(SEED).shuffle(found)
    return found


def sample(texts: list[str], count: int, seed: str) -> list[str]:
    return random.Random(f"{SEED} {seed}").sample(texts, min(count, len(texts)))


def cut(line: Line) -> str:
    """The beginning of a line, whole words."""
    if len(line.text) <= LONGEST:
        return line.text
    return line.text[:LONGEST].rpartition(" ")[0] or line.text[:LONGEST]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True, help="folder with toxicity/ and corpus/")
    parser.add_argument("--to", type=Path, required=True, help="the .ftz to write")
    options = parser.parse_args()
    found = examples(options.shared)
    toxic = sum(example.label == TOXIC for example in found)
    print(f"training on {len(found):,} lines, {toxic:,} of them toxic")
    write_model(found, ClassifierConfig(to=str(options.to), **FEATURES, **TRAINING))
    print(f"{options.to}: {options.to.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
