"""Precision and recall of the `pii` tagger on labelled text, what it finds in prose, and its speed.

    python benchmarks/pii.py --shared DIR

The labels are those of presidio-research (templates with made-up values). A span counts as found when one of ours of
its type overlaps it, as exact when the bounds agree.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from pathlib import Path
from typing import Any

from dolma_pipe.batch import Batch, make_batch
from dolma_pipe.shards import DocumentReader
from dolma_pipe.tagger import load

KINDS = {"email": "EMAIL_ADDRESS", "phone": "PHONE_NUMBER", "ip": "IP_ADDRESS"}
FEWEST_DIGITS = 10
"""A number with fewer digits and no `+` is a local one, which nobody can tell from other numbers."""

Span = tuple[int, int]


def overlap(span: Span, others: list[Span]) -> bool:
    return any(start < span[1] and span[0] < end for start, end in others)


def spans_of(rows: list[dict[str, Any]], kind: str) -> list[list[Span]]:
    return [[(span["start"], span["end"]) for span in row["spans"] if span["type"] == kind] for row in rows]


def print_quality(rows: list[dict[str, Any]]) -> None:
    found = load("pii").tag(make_batch([row["text"] for row in rows]))
    print(f"{len(rows)} labelled texts\n")
    print("| kind | labelled | ours | precision | recall | exact bounds | missed |\n|---|---|---|---|---|---|---|")
    for name, kind in KINDS.items():
        gold = spans_of(rows, kind)
        ours = [[(span["start"], span["end"]) for span in spans] for spans in found[name].to_pylist()]
        pairs = list(zip(rows, gold, ours, strict=True))
        right = sum(overlap(span, labels) for _, labels, spans in pairs for span in spans)
        held = sum(overlap(span, spans) for _, labels, spans in pairs for span in labels)
        exact = sum(span in spans for _, labels, spans in pairs for span in labels)
        missed = [row["text"][s:e] for row, labels, spans in pairs for s, e in labels if not overlap((s, e), spans)]
        total, labelled = sum(map(len, ours)), sum(map(len, gold))
        figures = f"{right / max(total, 1):.3f} | {held / labelled:.3f} | {exact / labelled:.3f}"
        print(f"| {name} | {labelled} | {total} | {figures} | {len(missed)} |")
        if name == "phone":
            print_phones(pairs)


def print_phones(pairs: list[tuple[dict[str, Any], list[Span], list[Span]]]) -> None:
    """Telephone numbers of the forms that the tagger promises: international with `+`, North American."""
    forms = {"with +": (0, 0), "ten digits or more, no +": (0, 0), "fewer digits, no +": (0, 0)}
    for row, labels, spans in pairs:
        for start, end in labels:
            text = row["text"][start:end]
            digits = sum(map(str.isdigit, text))
            form = list(forms)[0 if text.startswith("+") else 1 if digits >= FEWEST_DIGITS else 2]
            forms[form] = (forms[form][0] + 1, forms[form][1] + overlap((start, end), spans))
    for form, (count, held) in forms.items():
        print(f"| - {form} | {count} | | | {held / max(count, 1):.3f} | | {count - held} |")


def print_prose(corpus: Path) -> None:
    """Spans per million characters of every source, and speed."""
    tagger = load("pii")
    tagger.tag(make_batch(["warm"]))
    print("\n| source | MB | e-mail | phone | ip | MB/s |\n|---|---|---|---|---|---|")
    for folder in sorted(corpus.iterdir()):
        batches: list[Batch] = []
        for path in sorted((folder / "documents").iterdir()):
            batches += DocumentReader(str(path))
        size = sum(len(batch.data) for batch in batches)
        began = time.perf_counter()
        results = [tagger.tag(batch) for batch in batches]
        seconds = time.perf_counter() - began
        counts = [sum(len(result[name].values) for result in results) for name in KINDS]
        print(
            f"| {folder.name} | {size / 1e6:.1f} | " + " | ".join(map(str, counts)) + f" | {size / seconds / 1e6:.0f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True, help="folder with pii/ and corpus/")
    shared = parser.parse_args().shared
    for path in sorted((shared / "pii").glob("*.jsonl.gz")):
        print_quality([json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()])
    print_prose(shared / "corpus")


if __name__ == "__main__":
    main()
