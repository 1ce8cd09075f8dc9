from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from dolma_pipe.batch import make_batch
from dolma_pipe.tagger import load


def gopher(text: str) -> dict[str, Any]:
    tagger = load("gopher")
    values = tagger.tag(make_batch([text]))
    return {name: pa.array(values[name], field.type)[0].as_py() for name, field in tagger.fields.items()}


def test_a_sentence_by_hand() -> None:
    found = gopher("The cat # sat...\n  • on THE mat…\n\n- 42")
    assert found["word_count"] == 10
    assert found["mean_word_length"] == (3 + 3 + 1 + 6 + 1 + 2 + 3 + 4 + 1 + 2) / 10
    assert found["median_word_length"] == 2.5
    assert found["hash_to_word_ratio"] == 0.1
    assert found["ellipsis_to_word_ratio"] == 0.2
    assert found["symbol_to_word_ratio"] == 0.2
    assert found["alphabetic_word_fraction"] == 0.6
    assert (found["line_count"], found["filled_line_count"], found["dolma_line_count"]) == (4, 3, 3)
    assert found["bullet_line_fraction"] == pytest.approx(2 / 3)
    assert found["ellipsis_line_fraction"] == pytest.approx(2 / 3)
    assert (found["dolma_bullet_line_count"], found["dolma_ellipsis_line_count"]) == (1, 1)


def test_an_empty_document_scores_zero_everywhere_but_in_lines() -> None:
    found = gopher("")
    assert {name: value for name, value in found.items() if value} == {"line_count": 1, "dolma_line_count": 1}


def test_stop_words_count_once_in_any_case_and_as_whole_words() -> None:
    found = gopher("The the THE that, thee and/or AND")
    assert found["stop_word_count"] == 2
    assert found["stop_word_exact_count"] == 1
    assert found["stop_word_occurrences"] == 1


def test_letters_of_every_script_make_a_word_alphabetic() -> None:
    assert gopher("слово 漢字 ª 1a ①②③ 😀 ٣ ...")["alphabetic_word_fraction"] == 0.5


def test_a_run_of_dots_is_counted_as_python_counts_it() -> None:
    text = "..... ...... a...b...c .. . . ."
    assert gopher(text)["ellipsis_to_word_ratio"] == text.count("...") / len(text.split())


def test_lengths_are_code_points_however_long_the_words() -> None:
    found = gopher("é" * 300 + " " + "漢" * 500 + " 😀")
    assert found["mean_word_length"] == 267
    assert found["median_word_length"] == 300
