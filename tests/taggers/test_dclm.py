"""DCLM's numbers equal a definition in plain Python, and its edits leave the text that it writes."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import plain_words
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.fidelity import plain_dclm as plain
from dolma_pipe import blocklists
from dolma_pipe.batch import make_batch
from dolma_pipe.tagger import load

WORDS = ["the", "river", "Two", "10.0.0.1", "example.org/a?b", "http://x.de", "12", "LOUD", "a", "3 likes", "sign-in ",
         "Read more >>", "items in cart", "●", "- x", "...", ". . .", "…", "(y)", "it's", "#", "é.com", "e.g.", "naïve",
         "x" * 260 + ".net", "漢字", "K", "\x1c", "\u3000", "\u200b"]  # fmt: skip
GLUE = [" ", " ", "\n", "\n\n", "\n\n\n", "", ".", "  \n", "\t", "\0"]
pages = st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(GLUE)), max_size=40).map(
    lambda parts: "".join(word + glue for word, glue in parts)
)


def measured(text: str, name: str = "dclm", **options: Any) -> dict[str, Any]:
    tagger = load({"name": name, **options})
    values = tagger.tag(make_batch([text]))
    return {field: pa.array(values[field], kind.type)[0].as_py() for field, kind in tagger.fields.items()}


def without(text: str, spans: list[dict[str, Any]]) -> str:
    for span in reversed(spans):
        text = text[: span["start"]] + text[span["end"] :]
    return text


def tokens(text: str) -> list[str]:
    return re.findall("[^ \n\r\t\v\f\0]+", text)


def unicode_words(text: str) -> list[str]:
    return [piece for chunk in re.split(r"[\s\u200b]+", text) for piece in plain_words.pieces(chunk)]


def domains() -> list[str]:
    public = blocklists.read_text(blocklists.PSL).partition("===BEGIN PRIVATE DOMAINS===")[0]
    rules = [line.split()[0] for line in public.splitlines() if line.strip() and not line.startswith("//")]
    return sorted({rule.rpartition(".")[2].lstrip("!") for rule in rules})


REMOVE = plain.url_removal("|".join(domains()), lambda _: True)


@settings(max_examples=150)
@given(text=pages)
def test_the_text_without_addresses_is_what_the_patterns_leave(text: str) -> None:
    spans = measured(text, "dclm_text")["removed"]
    assert without(text, spans) == re.sub(r"\n{3,}", "\n\n", REMOVE(text))
    assert all(a["end"] <= b["start"] for a, b in pairwise(spans))


def fraction(part: float, whole: float) -> float:
    return part / max(whole, 1)


def expected(text: str) -> dict[str, Any]:
    lines, paragraphs = plain.segments(text, "\n"), plain.segments(text, "\n\n")
    words, left = plain.worded(unicode_words(text)), plain.without_lines(text)
    count = len(plain.worded(tokens(text)))
    return {
        "word_count": count,
        "symbol_to_word_ratio": fraction(sum(map(text.count, plain.SYMBOLS)), len(text.split())),
        "bullet_line_fraction": fraction(sum(line.startswith(plain.BULLETS) for line in lines), len(lines)),
        "ellipsis_line_fraction": fraction(sum(line.endswith(plain.ELLIPSES) for line in lines), len(lines)),
        "duplicate_line_fraction": plain.copies(lines),
        "duplicate_line_character_fraction": plain.copied_characters(lines),
        "duplicate_paragraph_fraction": plain.copies(paragraphs),
        "duplicate_paragraph_character_fraction": plain.copied_characters(paragraphs),
        **{f"top_{n}gram_character_fraction": plain.top(words, n) for n in plain.TOPS},
        **{f"duplicate_{n}gram_character_fraction": plain.repeated(words, n) for n in plain.REPEATS},
        "removed_word_fraction": fraction(count - len(plain.worded(tokens(left))), count),
    }


@settings(max_examples=150)
@given(text=pages)
def test_every_number_and_the_text_that_is_left_equal_their_definition(text: str) -> None:
    found = measured(text)
    assert without(text, found.pop("removed")) == plain.without_lines(text)
    assert found == pytest.approx(expected(text), abs=1e-12)


LONG = ["3 likes", " 12 ", "7", "word", "MUCH LOUDER", "read more...", "sign-in now", "two words", "\u00a0odd one", "",
        "items in cart", " \t", "one more line of eleven words where read more is no phrase",
        "* * * * * * * * * * 3 likes", "9 of ten words or more are in this line of twelve likes"]  # fmt: skip


@settings(max_examples=150)
@given(lines=st.lists(st.sampled_from(LONG), max_size=30))
def test_lines_that_are_not_read_change_nothing(lines: list[str]) -> None:
    text = "\n".join(lines)
    assert without(text, measured(text)["removed"]) == plain.without_lines(text)
    assert measured(text)["removed_word_fraction"] == pytest.approx(expected(text)["removed_word_fraction"], abs=1e-12)


@settings(max_examples=100)
@given(text=pages, more=pages)
def test_a_long_text_is_cut_in_windows_as_in_one(text: str, more: str) -> None:
    text = f"{text} and so on {more}"
    for options in ({}, {"as_published": True}):
        whole = measured(text, "dclm_text", **options)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("taggers.dclm_text.WINDOW", 20)
            assert measured(text, "dclm_text", **options) == whole


def test_an_empty_document_scores_zero_and_loses_nothing() -> None:
    assert not any(measured("").values())
    assert measured("", "dclm_text") == {"removed": []}


def test_as_published_addresses_stay_unless_the_text_begins_with_the_letters_of_a_domain() -> None:
    text = "{} see example.org now"
    for start, removed in (("The river", 1), ("Just", 0), ('"The', 0), ("", 0)):
        assert len(measured(text.format(start), "dclm_text", as_published=True)["removed"]) == removed
    assert len(measured(text.format("Just"), "dclm_text")["removed"]) == 1
