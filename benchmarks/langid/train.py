"""Train the bundled language model: `python benchmarks/langid/train.py --shared DIR --to langid.ftz`.

Character 1- to 4-grams and frequent words, 16 dimensions, soft-max, one thread; then the n-grams with the largest
norms are kept and product-quantised (fastText's own `quantize`). The same inputs and the same fastText build give the
same file.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import fasttext
from passages import ENGLISH_TRAINED, Passage, chosen_languages, english, mixed, parallel

SEED = 17
SAMPLES = 1_500
"""Training lines of each language; `ENGLISH_SAMPLES` of English."""
ENGLISH_SAMPLES = 45_000
SHORTEST, LONGEST = 16, 2_000
"""Characters of a training line, drawn uniformly on a logarithmic scale."""
LOWER, UPPER = 0.10, 0.04
"""Shares of the lines that are put in lower and in upper case."""

BORROWED = 0.25
"""Share of the longer lines of other languages that carry some English, as web pages do, and stay what they are."""

FEATURES = {"dim": 16, "minn": 1, "maxn": 4, "minCount": 200, "bucket": 1_000_000}
TRAINING = {"loss": "softmax", "epoch": 6, "lr": 0.4}
QUANTISATION = {"cutoff": 100_000, "dsub": 2, "qnorm": True}


def lines(passages: list[Passage], count: int, seed: str) -> Iterator[str]:
    """`count` pieces of the passages, every source as often as the next, long and short."""
    chance = random.Random(seed)
    sources: dict[str, list[str]] = {}
    for passage in passages:
        sources.setdefault(passage.source, []).append(" ".join(passage.text.split()))
    names = sorted(sources)
    for turn in range(count):
        length = int(SHORTEST * (LONGEST / SHORTEST) ** chance.random())
        yield cased(piece(sources[names[turn % len(names)]], length, chance), chance)


def piece(texts: list[str], length: int, chance: random.Random) -> str:
    """About `length` characters from a random place, cut between words; short texts are strung together."""
    text = chance.choice(texts)
    while len(text) < length:
        text += " " + chance.choice(texts)
    start = chance.randrange(len(text) - length + 1)
    start = text.rfind(" ", 0, start) + 1 if start else 0
    end = text.rfind(" ", start, start + length + 1)
    return text[start : end if end > start + length // 2 else start + length]


def cased(text: str, chance: random.Random) -> str:
    draw = chance.random()
    if draw < LOWER:
        return text.lower()
    return text.upper() if draw < LOWER + UPPER else text


def with_english(line: str, english_lines: list[str], chance: random.Random) -> str:
    """The line, now and then with up to a fifth of its length of English in front of it or behind it."""
    if len(line) < 5 * SHORTEST or chance.random() >= BORROWED:
        return line
    borrowed = chance.choice(english_lines)[: chance.randrange(SHORTEST, len(line) // 5 + 1)]
    return f"{borrowed} {line}" if chance.random() < 0.5 else f"{line} {borrowed}"


def training_lines(shared: Path) -> list[str]:
    languages = chosen_languages(shared, known_labels(shared))
    pool: dict[str, list[Passage]] = {}
    everything = (*parallel(shared, languages), *mixed(shared), *english(shared, ENGLISH_TRAINED))
    for passage in everything:
        if not passage.held_out:
            pool.setdefault(passage.language, []).append(passage)
    english_lines = list(lines(pool.pop("en"), ENGLISH_SAMPLES, f"{SEED} en"))
    result = [f"__label__en {line}\n" for line in english_lines]
    for language in sorted(pool):
        chance = random.Random(f"{SEED} {language} borrowed")
        for line in lines(pool[language], SAMPLES, f"{SEED} {language}"):
            result.append(f"__label__{language} {with_english(line, english_lines, chance)}\n")
    random.Random(SEED).shuffle(result)
    return result


def known_labels(shared: Path) -> set[str]:
    model = fasttext.load_model(str(shared / "models" / "lid.176.ftz"))
    return {label.removeprefix("__label__") for label in model.labels}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True, help="folder with lid/, corpus/, models/")
    parser.add_argument("--to", type=Path, required=True, help="the .ftz to write")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "train.txt"
        source.write_text("".join(training_lines(options.shared)), encoding="utf-8")
        print(f"training on {source.stat().st_size / 1e6:.1f} MB")
        model = fasttext.train_supervised(str(source), thread=1, seed=SEED, verbose=1, **FEATURES, **TRAINING)
        model.save_model(str(options.to.with_suffix(".bin")))
        model.quantize(input=str(source), thread=1, verbose=1, **QUANTISATION)
        model.save_model(str(options.to))
    print(f"{options.to}: {options.to.stat().st_size:,} bytes, {len(model.labels)} languages")


if __name__ == "__main__":
    main()
