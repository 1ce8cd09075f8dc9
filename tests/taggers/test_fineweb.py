from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from dolma_pipe.batch import make_batch
from dolma_pipe.errors import ConfigError
from dolma_pipe.tagger import load


def fineweb(text: str, **options: Any) -> dict[str, Any]:
    tagger = load({"name": "fineweb", **options})
    values = tagger.tag(make_batch([text]))
    return {name: pa.array(values[name], field.type)[0].as_py() for name, field in tagger.fields.items()}


def test_a_page_by_hand() -> None:
    found = fineweb("A short line.\n\nA line that is longer than thirty code points\nA short line.\n  \nmenu?\n")
    assert found["filled_line_count"] == 4
    assert found["punctuated_line_fraction"] == 3 / 4
    assert found["short_line_fraction"] == 3 / 4
    assert found["duplicate_line_character_fraction"] == 13 / (13 + 45 + 13 + 2 + 5)
    assert found["newline_to_word_ratio"] == 6 / 16


def test_an_empty_document_scores_zero() -> None:
    assert set(fineweb("").values()) == {0}


@pytest.mark.parametrize("mark", [".", "?", "!", "。", "؟", "।", "…।"])
def test_marks_of_all_scripts_end_a_line(mark: str) -> None:
    assert fineweb(f"a line{mark}")["punctuated_line_fraction"] == 1


@pytest.mark.parametrize("mark", ['."', "…", ". ", ":", ""])
def test_quotes_ellipses_and_white_space_do_not(mark: str) -> None:
    assert fineweb(f"a line{mark}")["punctuated_line_fraction"] == 0


def test_lines_are_equal_only_with_their_white_space() -> None:
    assert fineweb("same\nsame ")["duplicate_line_character_fraction"] == 0


def test_the_length_of_a_short_line_is_an_option() -> None:
    assert fineweb("abc\nabcd", short_length=3)["short_line_fraction"] == 0.5
    with pytest.raises(ConfigError, match="short_length is -1"):
        load({"name": "fineweb", "short_length": -1})
