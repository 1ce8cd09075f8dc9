"""`python -m benchmarks.fidelity [--documents N] [--characters N]`: tables of agreement with the peers' own packages.

`--freeze FOLDER` writes documents made for the purpose with the peers' answers, for tests that run without the peers.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.fidelity import decisions, kept, made, ours, sample, values
from benchmarks.fidelity.ours import Attributes
from benchmarks.measure import table

AGREEMENT = ["", "kept by both", "dropped by both", "same reason", "only we keep", "only they keep", "% agree"]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fidelity", description=__doc__)
    parser.add_argument("--documents", type=int, default=100, help="documents of each source at most")
    parser.add_argument("--characters", type=int, default=300_000, help="characters of each source, about")
    parser.add_argument("--freeze", type=Path, help="folder for the documents made for tests")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fidelity-") as name:
        if chosen.freeze:
            freeze(chosen.freeze, Path(name))
        else:
            compare(sample.texts(chosen.documents, chosen.characters), Path(name))


def freeze(folder: Path, work: Path) -> None:
    """documents.json, and what each peer says of them, a list for each number or decision."""
    texts = made.texts()
    found = {
        "documents": texts,
        "dolma": values.frozen(sample.ask("dolma", texts, work)),
        "datatrove": decisions.frozen(sample.ask("datatrove", texts, work, "whitespace")),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in found.items():
        (folder / f"{name}.json").write_text(_one_a_line(content), "utf-8")


def _one_a_line(content: list[str] | dict[str, Any]) -> str:
    if isinstance(content, list):
        return "[\n" + ",\n".join(map(_compact, content)) + "\n]\n"
    return "{\n" + ",\n".join(f"{_compact(key)}:{_compact(value)}" for key, value in content.items()) + "\n}\n"


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))


def compare(texts: list[str], work: Path) -> None:
    attributes = ours.measure(texts)
    size = sum(map(len, texts))
    print(f"{len(texts):,} documents, {size:,} characters: the first documents of each source of the corpus")
    _print_numbers(texts, attributes, work)
    _print_decisions(texts, attributes, work)
    header = ["", "we keep", "they keep", "only we", "only they"]
    table("One rule in two ways: documents kept, of all", header, kept.alone(attributes))
    table("Whole recipes: documents kept, of all", header, kept.recipes(attributes))


def _print_numbers(texts: list[str], attributes: Attributes, work: Path) -> None:
    answers = sample.ask("dolma", texts, work)
    found = values.differences(values.frozen(answers), rows_of(attributes))
    shown = [[name, len(texts), f"{gap:.1e}", len(unlike)] for name, gap, unlike in found]
    table("Dolma 1.2.1: numbers", ["attribute", "documents", "largest difference", "over 1e-5"], shown)


def rows_of(attributes: Attributes) -> list[dict[str, Any]]:
    """The attributes as one mapping per document: set -> field -> value."""
    columns = {name: column.to_pylist() for name, column in attributes.items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _print_decisions(texts: list[str], attributes: Attributes, work: Path) -> None:
    mine = {**decisions.of_filters(attributes), **decisions.of_chains(attributes)}
    for splitter, about in (("whitespace", "split at white space"), ("default", "split by its default, spaCy")):
        answers = sample.ask("datatrove", texts, work, splitter)
        theirs = decisions.frozen(answers)
        rows = [[name, *decisions.agreement(reasons, theirs[name])] for name, reasons in mine.items()]
        table(f"datatrove 0.10.1, words {about}: decisions", AGREEMENT, rows)
        for name, digests in decisions.written(texts, attributes).items():
            pairs = [pair for pair in zip(digests, theirs[name], strict=True) if pair[1]]
            print(f"{name}: rewritten alike {sum(a == b for a, b in pairs)} of the {len(pairs)} that datatrove keeps")


if __name__ == "__main__":
    main()
