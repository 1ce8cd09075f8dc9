from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from dolma_pipe.batch import make_batch
from dolma_pipe.errors import ConfigError
from dolma_pipe.tagger import load


def c4(text: str, **options: Any) -> dict[str, Any]:
    tagger = load({"name": "c4", **options})
    values = tagger.tag(make_batch([text]))
    return {name: pa.array(values[name], field.type)[0].as_py() for name, field in tagger.fields.items()}


def kept(text: str, **options: Any) -> str:
    """The text without the lines that C4 removes."""
    for span in reversed(c4(text, **options)["removed_lines"]):
        text = text[: span["start"]] + text[span["end"] :]
    return text


@pytest.mark.parametrize(
    "line",
    ["It ends well.", "Does it end?", "It does end!", 'He said "it ends"', "  It is indented.  ", "Şu cümle biter."],
)
def test_a_line_that_ends_in_a_mark_stays(line: str) -> None:
    assert kept(f"menu\n{line}\n") == f"{line}\n"


@pytest.mark.parametrize(
    "line",
    ["It just stops", "It trails off...", "Two words.", "", " \t", "Please enable JavaScript now.",
     "x" * 1001 + " is too long.",
     "Read our Privacy Policy now.", "See the terms of use.", "We use cookies here.", "This site uses cookies.",
     "By the use of cookies.", "Our cookie policy applies.", "We used it (end)", "It ends。"],
)  # fmt: skip
def test_a_line_with_a_flaw_goes(line: str) -> None:
    assert kept(f"{line}\nThis one stays here.\n{line}") == "This one stays here.\n"


def test_a_phrase_across_lines_or_documents_is_no_phrase() -> None:
    assert c4("This is about privacy\npolicy of the state.")["policy_line_count"] == 0
    values = load("c4").tag(make_batch(["our privacy ", "policy is that.", "lorem ", "ipsum"]))
    assert values["policy_line_count"].tolist() == [0, 0, 0, 0]
    assert values["has_lorem_ipsum"].tolist() == [False] * 4


def test_page_rules_see_lines_that_go() -> None:
    assert c4("Lorem IPSUM")["has_lorem_ipsum"] is True
    assert c4("function() {")["has_curly_brace"] is True
    assert c4("It is fine.")["has_curly_brace"] is False


@pytest.mark.parametrize(
    ("line", "sentences"),
    [
        ("One thing is said.", 1),
        ("One thing. Another thing! A third?", 3),
        ('He said "Stop." Then he left.', 2),
        ("Mr. Smith met Dr. J. Jones vs. nobody.", 1),
        ("It was 3.14 e.g. less than four.", 1),
        ("Is it so? it is.", 1),
    ],
)
def test_sentences_of_a_line(line: str, sentences: int) -> None:
    assert c4(line)["sentence_count"] == sentences


def test_the_arxiv_numbers_are_an_option() -> None:
    text = "Three words here.\nHere there are five words.\n"
    assert (c4(text)["kept_line_count"], c4(text, min_words=5)["kept_line_count"]) == (2, 1)
    assert kept(text, min_words=5) == "Here there are five words.\n"


def test_no_words_at_all_is_refused() -> None:
    with pytest.raises(ConfigError, match="min_words is 0"):
        load({"name": "c4", "min_words": 0})


def test_neighbouring_lines_make_one_span_in_code_points() -> None:
    spans = c4("é😀\n\nmenu\nThis line stays here.\n…")["removed_lines"]
    assert spans == [{"start": 0, "end": 9, "score": 1.0}, {"start": 31, "end": 32, "score": 1.0}]
