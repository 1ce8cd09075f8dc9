from __future__ import annotations

from typing import Any

import plain_datatrove as plain
import plain_definitions
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma_pipe.batch import make_batch
from dolma_pipe.errors import ConfigError
from dolma_pipe.tagger import load

marks = st.sampled_from(["[1]", "[]", "[edit]", "[citation needed]", "[x]", "[", "...", "'", ".", "\x85", "\u2028"])
pieces = marks | plain_definitions.words | plain_definitions.glue
texts = (st.lists(pieces, max_size=40).map("".join) | plain_definitions.texts).filter(
    lambda text: not any(0xD800 <= ord(char) < 0xE000 for char in text)
)


def measure(text: str, **options: Any) -> dict[str, Any]:
    tagger = load({"name": "datatrove_c4", **options})
    values = tagger.tag(make_batch(["before.", text, "after"]))
    return {name: pa.array(values[name], field.type)[1].as_py() for name, field in tagger.fields.items()}


def written(text: str, **options: Any) -> str:
    """The text after the edits that the tagger marks."""
    found = measure(text, **options)
    edits = [(span, "") for span in found["removed"]] + [(span, "\n") for span in found["breaks"]]
    for span, new in sorted(edits, key=lambda edit: edit[0]["start"], reverse=True):
        text = text[: span["start"]] + new + text[span["end"] :]
    return text


@pytest.mark.parametrize("terminal", [True, False])
@settings(max_examples=150, deadline=None)
@given(text=texts)
def test_fields_and_edits_equal_their_definition(terminal: bool, text: str) -> None:
    expected = plain.datatrove_c4(text, terminal)
    found = measure(text, terminal_punctuation=terminal)
    left = written(text, terminal_punctuation=terminal)
    assert {**{name: found[name] for name in expected if name != "written"}, "written": left} == expected


def test_page_rules_do_not_see_lines_that_went_before() -> None:
    assert measure("menu { of lorem ipsum\nThis line stays here.")["curly_brace"] is False
    assert measure("This one { goes with its page.")["curly_brace"] is True
    assert measure("We like javascript { very much.")["curly_brace"] is False


def test_the_first_page_rule_that_is_met_ends_the_loop() -> None:
    found = measure("This one stays.\nThis has a { in it.\nThis has lorem ipsum in it.\nThis is not seen.")
    assert (found["curly_brace"], found["lorem_ipsum"], found["kept_line_count"]) == (True, False, 1)


def test_citations_are_cut_before_a_line_is_judged() -> None:
    assert written("It is so.[12]\nIt is so. [12]\nIt is[citation needed] not so!") == "It is so.\nIt is not so!"


def test_a_break_that_is_no_newline_becomes_one_together_with_what_touches_it() -> None:
    found = measure("It is so.[1]\u2028It is not.\x85[2]Nor is it.")
    assert [(span["start"], span["end"]) for span in found["breaks"]] == [(9, 13), (23, 27)]
    assert found["removed"] == []


def test_lines_without_a_mark_stay_where_fineweb_keeps_them() -> None:
    text = "A menu of things\n  It is so. \n"
    assert (written(text), written(text, terminal_punctuation=False)) == ("It is so.", "A menu of things\nIt is so.")


def test_no_words_at_all_is_refused() -> None:
    with pytest.raises(ConfigError, match="min_words is 0"):
        load({"name": "datatrove_c4", "min_words": 0})
