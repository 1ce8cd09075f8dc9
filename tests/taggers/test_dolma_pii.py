from __future__ import annotations

from typing import Any

import pytest

from dolma_pipe.batch import make_batch
from dolma_pipe.tagger import load


def pii(text: str) -> dict[str, Any]:
    values = load("dolma_pii").tag(make_batch([text]))
    return {name: column[0].as_py() for name, column in values.items()}


def found(text: str, kind: str) -> list[str]:
    return [text[span["start"] : span["end"]] for span in pii(text)[kind]]


@pytest.mark.parametrize(
    ("text", "kind", "spans"),
    [
        ("Write to jane@example.org, please", "email", [" jane@example.org, "]),
        ("Write to jane@example.org", "email", []),
        ("a@b \n", "email", []),
        ("tel (555) 123-4567", "phone", [" (555) 123-4567"]),
        ("555 123 4567", "phone", []),
        ("version 1.2.3.4 of it", "ip", ["1.2.3.4"]),
        ("256.1.1.1", "ip", ["56.1.1.1"]),
    ],
)
def test_spans_are_those_of_the_toolkit(text: str, kind: str, spans: list[str]) -> None:
    assert found(text, kind) == spans


def test_the_fraction_counts_the_whole_document_too_and_an_empty_one_is_minus_one() -> None:
    assert pii("at 1.2.3.4") == {
        "email": [], "phone": [], "ip": [{"start": 3, "end": 10, "score": 1.0}], "count": 1, "fraction": 1.7
    }  # fmt: skip
    assert pii("")["fraction"] == -1


def test_a_text_of_question_marks_is_not_looked_at() -> None:
    assert pii("1.2.3.4 " + "?" * 10_001)["count"] == 0
