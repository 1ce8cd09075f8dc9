"""The `pii` tagger: precision and recall on labelled text, what it finds per GB of every source, and its speed.

    DOLMA_PIPE_CORPUS=DIR python -m benchmarks.pii

DIR holds pii/*.jsonl.gz (texts with labelled spans) and corpus/. A span counts as right, or as found, when one of the
same kind overlaps it; as exact, when their bounds agree. The labels are those of presidio-research: templates with
made-up values. Keys and tokens are not labelled there: they are planted in real code (planted_secrets.py).
"""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.data import corpus
from benchmarks.planted_secrets import LOOKALIKES, SECRETS, Planted, plant
from dolma_pipe.batch import Batch, make_batch
from dolma_pipe.kernels.secrets import FORMS
from dolma_pipe.pseudonyms import KINDS
from dolma_pipe.shards import DocumentReader
from dolma_pipe.tagger import load

LABELS = {
    "email": "EMAIL_ADDRESS", "phone": "PHONE_NUMBER", "ip": "IP_ADDRESS", "credit_card": "CREDIT_CARD",
    "iban": "IBAN_CODE", "ssn": "US_SSN",
}  # fmt: skip
RULES = ("with +, 00 or 011", "North American form", "told by words")
"""How a telephone number is known: judged by the library, by its form, by the words around it."""
GB = 1e9
CODE = "github_code"
GIVEN = ("assigned", "AWS secret")
"""Kinds of secrets without a form of their own."""
SHOWN = 3
"""Values listed of each kind that were missed, or wrongly found."""

Span = tuple[int, int]


class Text(NamedTuple):
    text: str
    labelled: list[Span]
    ours: list[Span]


def overlap(span: Span, others: list[Span]) -> bool:
    return any(start < span[1] and span[0] < end for start, end in others)


def print_row(*cells: object) -> None:
    print("| " + " | ".join(map(str, cells)) + " |")


def print_header(*cells: str) -> None:
    print_row(*cells)
    print("|" + "---|" * len(cells))


def compared(rows: list[dict[str, Any]]) -> dict[str, list[Text]]:
    """Per kind, each text with the spans labelled and ours."""
    found = load("pii").tag(make_batch([row["text"] for row in rows]))
    return {
        kind: [
            Text(
                row["text"],
                [(span["start"], span["end"]) for span in row["spans"] if span["type"] == label],
                [(span["start"], span["end"]) for span in spans],
            )
            for row, spans in zip(rows, found[kind].to_pylist(), strict=True)
        ]
        for kind, label in LABELS.items()
    }


def print_quality(rows: list[dict[str, Any]]) -> None:
    kinds = compared(rows)
    print(f"{len(rows):,} labelled texts\n")
    print_header("kind", "labelled", "ours", "precision", "recall", "exact bounds")
    for kind, texts in kinds.items():
        print_kind(kind, texts)
    for rule, texts in by_rule(kinds["phone"]).items():
        print_kind(f"phone: {rule}", texts)
    for kind, texts in kinds.items():
        for text in texts:
            for name, spans, others in (("missed", text.labelled, text.ours), ("wrong", text.ours, text.labelled)):
                for start, end in [span for span in spans if not overlap(span, others)]:
                    print(f"{name} {kind}: {text.text[max(0, start - 30) : end + 15]!r}")


def by_rule(texts: list[Text]) -> dict[str, list[Text]]:
    """The texts once for each rule, with the spans of numbers that are known by it."""
    numbers = sorted({text.text[slice(*span)] for text in texts for span in (*text.labelled, *text.ours)})
    alone = load("pii").tag(make_batch(numbers))["phone"].to_pylist()
    rules = {number: rule_of(number, bool(spans)) for number, spans in zip(numbers, alone, strict=True)}
    return {
        rule: [
            Text(text, *([span for span in spans if rules[text[slice(*span)]] == rule] for spans in both))
            for text, *both in texts
        ]
        for rule in RULES
    }


def rule_of(number: str, alone: bool) -> str:
    """`alone`: is it found where nothing stands around it?"""
    if number.startswith(("+", "00", "011")):
        return RULES[0]
    return RULES[1] if alone else RULES[2]


def print_kind(name: str, texts: list[Text]) -> None:
    right = sum(overlap(span, text.labelled) for text in texts for span in text.ours)
    held = sum(overlap(span, text.ours) for text in texts for span in text.labelled)
    exact = sum(span in text.ours for text in texts for span in text.labelled)
    ours, labelled = sum(len(text.ours) for text in texts), sum(len(text.labelled) for text in texts)
    rates = (f"{part / max(whole, 1):.3f}" for part, whole in ((right, ours), (held, labelled), (exact, labelled)))
    print_row(name, labelled, ours, *rates)


def print_secrets(folder: Path) -> None:
    """What is found of secrets planted in real code, what is taken for one, and what the code itself has."""
    documents = [
        batch.text(i)
        for path in sorted(folder.iterdir())
        for batch in DocumentReader(str(path))
        for i in range(len(batch))
    ]
    texts, planted = plant(documents)
    ours = secrets_in(texts)
    print_planted("secret", texts, {kind: [p for p in planted if p.kind == kind] for kind in SECRETS}, ours)
    print_planted("no secret", texts, {kind: [p for p in planted if p.kind == kind] for kind in LOOKALIKES}, ours)
    print_rates(texts, planted, ours)
    print_found(documents)


def print_rates(texts: list[str], planted: list[Planted], ours: list[list[Span]]) -> None:
    """Precision and recall of all that was planted: of forms that are known, and of what is given to a name."""
    print()
    print_header("planted: all", "secrets", "found", "precision", "recall")
    secrets = [one for one in planted if one.kind in SECRETS]
    places: list[list[Span]] = [[] for _ in texts]
    for one in secrets:
        places[one.document].append((one.start, one.end))
    found = [(number, span) for number, spans in enumerate(ours) for span in spans]
    wrong = [(number, span) for number, span in found if not overlap(span, places[number])]
    for name, is_known in (("keys of known forms", True), ("given to a name", False)):
        mine = [one for one in secrets if one.kind.startswith(GIVEN) is not is_known]
        right = sum(overlap((one.start, one.end), ours[one.document]) for one in mine)
        odd = sum(has_known_form(texts[number][slice(*span)]) is is_known for number, span in wrong)
        print_row(name, len(mine), right, f"{right / max(right + odd, 1):.3f}", f"{right / max(len(mine), 1):.3f}")


def has_known_form(key: str) -> bool:
    return key.startswith((*(prefix for prefix, *_ in FORMS), "eyJ", "-----BEGIN"))


def secrets_in(texts: list[str]) -> list[list[Span]]:
    found = load("pii").tag(make_batch(texts))["secret"].to_pylist()
    return [[(span["start"], span["end"]) for span in spans] for spans in found]


def print_planted(head: str, texts: list[str], kinds: dict[str, list[Planted]], ours: list[list[Span]]) -> None:
    """Of each kind how many were planted, found, and found with these bounds; of secrets what was missed."""
    print()
    print_header(f"planted: {head}", "planted", "found", "exact bounds")
    shown: list[str] = []
    for kind, planted in kinds.items():
        held = [overlap((one.start, one.end), ours[one.document]) for one in planted]
        exact = sum((one.start, one.end) in ours[one.document] for one in planted)
        print_row(kind, len(planted), sum(held), exact)
        odd = [one for one, is_held in zip(planted, held, strict=True) if is_held == (kind in LOOKALIKES)]
        name = "wrong" if kind in LOOKALIKES else "missed"
        shown += [
            f"{name} {kind}: {texts[one.document][max(0, one.start - 30) : one.end + 10][:150]!r}"
            for one in odd[:SHOWN]
        ]
    print(*shown, sep="\n")


def print_found(documents: list[str]) -> None:
    """What is found in code as it is, to be judged by eye."""
    found = [(text, span) for text, spans in zip(documents, secrets_in(documents), strict=True) for span in spans]
    size, lines = sum(len(text.encode()) for text in documents), sum(text.count("\n") + 1 for text in documents)
    rates = f"{len(found) / size * GB:,.0f} per GB, {len(found) / lines * 1e6:.1f} per million lines"
    print(f"\n{CODE} as it is: {size / 1e6:.1f} MB, {lines:,} lines, {len(found)} secrets found: {rates}")
    for text, (start, end) in found:
        print(f"found: {text[max(0, start - 60) : end + 10]!r}")


def print_sources(folder: Path) -> None:
    """Spans per GB of text of every source, and speed of the tagger alone."""
    tagger = load("pii")
    tagger.tag(make_batch(["warm +49 30 1234567"]))
    print()
    print_header("source", "MB", *(f"{kind}/GB" for kind in KINDS), "MB/s")
    totals: list[float] = []
    for source in sorted(folder.iterdir()):
        batches: list[Batch] = []
        for path in sorted((source / "documents").iterdir()):
            batches += DocumentReader(str(path))
        began = time.process_time()
        results = [tagger.tag(batch) for batch in batches]
        seconds = time.process_time() - began
        figures = [sum(len(batch.data) for batch in batches), seconds]
        figures += [sum(len(result[kind].values) for result in results) for kind in KINDS]
        totals = [a + b for a, b in zip(totals or [0] * len(figures), figures, strict=True)]
        print_source(source.name, figures)
    print_source("all", totals)


def print_source(name: str, figures: list[float]) -> None:
    size, seconds, *counts = figures
    per_gb = (f"{count / size * GB:,.0f}" for count in counts)
    print_row(name, f"{size / 1e6:.1f}", *per_gb, f"{size / seconds / 1e6:.0f}")


def main() -> None:
    for path in sorted((corpus() / "pii").glob("*.jsonl.gz")):
        print_quality([json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()])
    print_secrets(corpus() / "corpus" / CODE / "documents")
    print_sources(corpus() / "corpus")


if __name__ == "__main__":
    main()
