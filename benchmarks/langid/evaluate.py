"""The bundled language model beside lid.176 on rows that neither training saw: `python benchmarks/langid/evaluate.py`.

`recall` is the share of English documents with P(en) at or above the threshold, `accuracy` the share of rows whose
first label is right, `false English` the share of other languages' rows with P(en) at or above the threshold.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import fasttext
from passages import ENGLISH_TESTED, ENGLISH_TRAINED, PARALLEL, Passage, chosen_languages, english, mixed, parallel, web

THRESHOLD = 0.5
MOST = 1_500
"""Documents of one source at most: the first in order of their group's hash."""
LENGTHS = ((20, 50), (50, 100), (100, 200), (200, 500), (500, 2_000))
NOT_PROSE = frozenset(("github_code",))


class Judge:
    """One model: P(en) and first label of texts."""

    def __init__(self, path: Path) -> None:
        self.model = fasttext.load_model(str(path))
        self.labels = {label.removeprefix("__label__") for label in self.model.labels}
        self.seconds, self.bytes = 0.0, 0

    def judge(self, text: str) -> tuple[str, float]:
        began = time.perf_counter()
        labels, scores = self.model.predict(text.replace("\n", " "), k=-1)
        self.seconds += time.perf_counter() - began
        self.bytes += len(text.encode())
        return labels[0].removeprefix("__label__"), dict(zip(labels, scores, strict=True)).get("__label__en", 0.0)


def by_source(passages: Iterable[Passage]) -> dict[str, list[Passage]]:
    chance = random.Random(17)
    groups: dict[str, list[Passage]] = {}
    for passage in passages:
        groups.setdefault(passage.source, []).append(passage)
    return {name: chance.sample(rows, min(MOST, len(rows))) for name, rows in sorted(groups.items())}


def recall(judge: Judge, texts: list[str]) -> float:
    return sum(judge.judge(text)[1] >= THRESHOLD for text in texts) / len(texts)


def print_english(judges: list[Judge], sources: dict[str, list[Passage]], seen: bool) -> None:
    kinds = "held-out documents of sources trained on" if seen else "sources never trained on"
    print(f"\nEnglish, {kinds}: recall at P(en) >= {THRESHOLD}\n")
    print("| source | documents | bundled | lid.176 |\n|---|---|---|---|")
    totals = [0.0] * len(judges)
    count = 0
    for name, rows in sources.items():
        texts = [row.text for row in rows]
        found = [recall(judge, texts) for judge in judges]
        print_row(name, len(texts), found)
        if name not in NOT_PROSE:
            count += len(texts)
            totals = [total + part * len(texts) for total, part in zip(totals, found, strict=True)]
    print_row("**all but code**", count, [total / count for total in totals])


def print_row(name: str, count: int, figures: Iterable[float]) -> None:
    print(f"| {name} | {count} | " + " | ".join(f"{figure:.4f}" for figure in figures) + " |")


def pieces(rows: list[Passage], shortest: int, longest: int) -> Iterator[str]:
    """One piece of each document, its length uniform between the two, cut between words."""
    chance = random.Random(f"{shortest}")
    for row in rows:
        text = " ".join(row.text.split())
        length = chance.randrange(shortest, longest)
        if len(text) >= length:
            start = text.rfind(" ", 0, chance.randrange(len(text) - length + 1) + 1) + 1
            yield text[start : start + length]


def print_lengths(judges: list[Judge], rows: list[Passage]) -> None:
    print("\nPieces of the English documents above (code left out), by length: recall\n")
    print("| characters | pieces | bundled | lid.176 |\n|---|---|---|---|")
    for shortest, longest in LENGTHS:
        texts = list(pieces(rows, shortest, longest))
        print_row(f"{shortest} to {longest}", len(texts), [recall(judge, texts) for judge in judges])


def print_languages(judges: list[Judge], sources: dict[str, list[Passage]]) -> None:
    print("\nOther languages, held-out rows: accuracy, mean over languages of it, false English\n")
    print("| source | rows | bundled | lid.176 | mean, bundled | mean, lid.176 | false English, bundled | lid.176 |")
    print("|---|---|---|---|---|---|---|---|")
    for name, rows in sources.items():
        judged = [[judge.judge(row.text) for row in rows] for judge in judges]
        right = [[found[0] == row.language for found, row in zip(one, rows, strict=True)] for one in judged]
        accuracy = [sum(one) / len(one) for one in right]
        macro = [mean_by_language(rows, one) for one in right]
        false = [sum(found[1] >= THRESHOLD for found in one) / len(one) for one in judged]
        print_row(name, len(rows), (*accuracy, *macro, *false))


def mean_by_language(rows: list[Passage], right: list[bool]) -> float:
    found: dict[str, list[bool]] = {}
    for row, one in zip(rows, right, strict=True):
        found.setdefault(row.language, []).append(one)
    return sum(sum(one) / len(one) for one in found.values()) / len(found)


def agreed(pages: Iterable[Passage], judge: Judge) -> Iterator[Passage]:
    """Pages without those whose declared language lid.176 contradicts with 0.8 or more (a template's default)."""
    for page in pages:
        labels, scores = judge.model.predict(page.text.replace("\n", " "))
        if labels[0] == f"__label__{page.language}" or scores[0] < 0.8:
            yield page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True, help="folder with lid/, corpus/, web/, models/")
    parser.add_argument("--model", type=Path, default=Path("dolma_pipe/models/langid.ftz"))
    options = parser.parse_args()
    judges = [Judge(options.model), Judge(options.shared / "models" / "lid.176.ftz")]
    languages = chosen_languages(options.shared, judges[1].labels)
    pages = list(agreed(web(options.shared), judges[1]))
    multilingual = [row for row in (*parallel(options.shared, languages), *mixed(options.shared)) if row.held_out]
    trained = [row for row in english(options.shared, ENGLISH_TRAINED) if row.held_out]
    seen = by_source([*trained, *(row for row in multilingual if row.language == "en" and row.source not in PARALLEL)])
    unseen = by_source([*english(options.shared, ENGLISH_TESTED), *(page for page in pages if page.language == "en")])
    print_english(judges, seen, seen=True)
    print_english(judges, unseen, seen=False)
    prose = [rows for name, rows in (*seen.items(), *unseen.items()) if name not in NOT_PROSE]
    print_lengths(judges, [row for rows in prose for row in rows])
    others = [row for row in (*multilingual, *pages) if row.language != "en"]
    print_languages(judges, by_source(others))
    for judge, name in zip(judges, ("bundled", "lid.176"), strict=True):
        print(f"\n{name}: {judge.bytes / judge.seconds / 1e6:.1f} MB/s, all scores of every document")


if __name__ == "__main__":
    main()
