from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from dolma_pipe.batch import make_batch
from dolma_pipe.tagger import load


def repetition(text: str) -> dict[str, Any]:
    tagger = load("gopher_repetition")
    values = tagger.tag(make_batch([text]))
    return {name: pa.array(values[name], field.type)[0].as_py() for name, field in tagger.fields.items()}


@pytest.mark.parametrize(
    ("text", "datatrove"),
    [
        ("a b c d e f", {2: 3, 3: 5, 4: 7}),
        (" ".join(["the cat sat"] * 3), {2: 21, 3: 33, 4: 30}),
        (" ".join(["x y z w v"] * 3), {2: 9, 3: 15, 4: 21}),
    ],
)
def test_the_top_gram_gives_the_characters_that_datatrove_counts(text: str, datatrove: dict[int, int]) -> None:
    found = repetition(text)
    assert datatrove == {
        n: found[f"top_{n}gram_occurrences"] * (found[f"top_{n}gram_characters"] + n - 1) for n in (2, 3, 4)
    }


def test_the_toolkit_fixture_of_dolma() -> None:
    found = repetition("This is a test.")
    assert found["dolma_top_2gram_character_fraction"] == 0.5
    assert found["dolma_top_3gram_character_fraction"] == pytest.approx(0.58333, abs=1e-5)
    assert found["dolma_top_4gram_character_fraction"] == 1.0


def test_repeats_of_a_gram_cover_each_character_once() -> None:
    found = repetition(" ".join(["the cat sat"] * 3))
    assert found["top_3gram_character_fraction"] == 1
    assert found["top_4gram_character_fraction"] == 21 / 27
    assert found["duplicate_5gram_character_fraction"] == 18 / 27
    assert found["duplicate_6gram_character_fraction"] == 18 / 27
    assert found["duplicate_7gram_character_fraction"] == 0
    assert found["dolma_duplicate_5gram_character_fraction"] == 60 / 75


def test_lines_and_paragraphs_count_from_their_second_copy_and_blank_lines_not_at_all() -> None:
    found = repetition("one\ntwo\n\n\none\ntwo\n \t\none\n")
    assert found["duplicate_line_fraction"] == 3 / 5
    assert found["duplicate_line_character_fraction"] == 9 / 25
    assert found["duplicate_paragraph_fraction"] == 1 / 3
    assert found["duplicate_paragraph_character_fraction"] == 7 / 25


def test_dolma_counts_all_copies_and_blank_lines_in_its_first_version() -> None:
    found = repetition("one\n\ntwo\n\none")
    assert found["dolma_duplicate_line_fraction"] == 2 / 3
    assert found["dolma_v1_duplicate_line_fraction"] == 4 / 5
    assert found["dolma_duplicate_line_character_fraction"] == 6 / 9


def test_an_empty_document_repeats_nothing() -> None:
    assert set(repetition("").values()) == {0}


def test_words_that_join_to_the_same_text_are_different_grams() -> None:
    assert repetition("ab c d e f x a bc d e f")["duplicate_5gram_character_fraction"] == 0
