"""Sentences by ICU: counts, spans in code points, abbreviations, wrapped lines."""

from __future__ import annotations

from typing import Any

import plain_definitions as plain
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma_pipe.batch import make_batch
from dolma_pipe.errors import ConfigError, DependencyError
from dolma_pipe.tagger import load

Row = dict[str, Any]


def tag(texts: list[str], **options: Any) -> list[Row]:
    tagger = load({"name": "sentences", **options})
    values = tagger.tag(make_batch(texts))
    columns = [pa.array(values[name], field.type).to_pylist() for name, field in tagger.fields.items()]
    return [dict(zip(tagger.fields, row, strict=True)) for row in zip(*columns, strict=True)]


def found(text: str, **options: Any) -> list[str]:
    [row] = tag([text], spans=True, **options)
    return [text[span["start"] : span["end"]] for span in row["sentences"]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ('"Did he?" She asked. 3.5 is a number.', ['"Did he?"', "She asked.", "3.5 is a number."]),
        ("今天很好。明天呢？后天！", ["今天很好。", "明天呢？", "后天！"]),
        ("यह एक है। यह दो है।", ["यह एक है।", "यह दो है।"]),
        ("هل هذا؟ نعم هذا.", ["هل هذا؟", "نعم هذا."]),
        ("  😀 a title\n\n***\n- and a line  ", ["😀 a title", "- and a line"]),
    ],
)
def test_sentences_of_many_scripts(text: str, expected: list[str]) -> None:
    assert found(text) == expected


def test_counts_by_hand() -> None:
    [row, empty] = tag(['A title\nHe said: "Yes." (No!) Go', " \n... !"])
    assert row == {"sentence_count": 4, "punctuated_sentence_count": 2, "mean_sentence_length": (7 + 15 + 5 + 2) / 4}
    assert empty == {"sentence_count": 0, "punctuated_sentence_count": 0, "mean_sentence_length": 0.0}


def test_abbreviations_of_a_language_end_no_sentence() -> None:
    text = "I met Mrs. Smith. She left."
    assert len(found(text)) == 3
    assert found(text, abbreviations="en") == ["I met Mrs. Smith.", "She left."]
    assert found("Siehe Abb. Nummer 3. Danach geht es.", abbreviations="de")[0] == "Siehe Abb. Nummer 3."


def test_a_newline_ends_a_sentence_unless_lines_are_wrapped() -> None:
    text = "This sentence goes \n on. And\nends.\n \nA new one\n"
    assert len(found(text)) == 5
    assert found(text, wrapped=True) == ["This sentence goes \n on.", "And\nends.", "A new one"]


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(plain.texts, max_size=4), wrapped=st.booleans())
def test_sentences_lie_apart_in_order_and_hold_every_letter(texts: list[str], wrapped: bool) -> None:
    for text, row in zip(texts, tag(texts, spans=True, wrapped=wrapped), strict=True):
        spans = [(span["start"], span["end"]) for span in row["sentences"]]
        covered = [at for start, end in spans for at in range(start, end)]
        assert covered == sorted(set(covered))
        assert {at for at, c in enumerate(text) if c.isalnum()} <= set(covered)
        assert all(text[a:b] == text[a:b].strip() for a, b in spans)
        assert row["sentence_count"] == len(spans)
        assert row["mean_sentence_length"] == (len(covered) / len(spans) if spans else 0.0)
        assert 0 <= row["punctuated_sentence_count"] <= len(spans)


@settings(max_examples=60, deadline=None)
@given(
    parts=st.lists(
        st.sampled_from(
            ["the", " Mrs. ", "Smith", "A. ", " z. B. ", "3.5", "...", "! ", "漢。", "\r\n", "\n", "\n\n", " \n "]
        ),
        min_size=200, max_size=600,
    ),
    wrapped=st.booleans(), language=st.sampled_from([None, "de", "en"]), window=st.sampled_from([300, 700, 1500]),
)  # fmt: skip
def test_a_long_text_has_the_same_sentences_in_windows(
    parts: list[str], wrapped: bool, language: str | None, window: int
) -> None:
    options = {"wrapped": wrapped, "abbreviations": language, "spans": True}
    whole = tag(["".join(parts)], **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("taggers.sentences.WINDOW", window)
        assert tag(["".join(parts)], **options) == whole


def test_long_texts_of_one_kind_take_no_time() -> None:
    texts = [mark * 200_000 for mark in (".", "a. ", "(", "e.g. ", "\n", "! ", "漢")]
    assert [row["sentence_count"] for row in tag(texts, wrapped=True)] == [0, 1, 0, 1, 0, 0, 1]


def test_c4s_page_rule_can_ask_the_library(make_dataset: Any, tmp_path: Any) -> None:
    from typer.testing import CliRunner

    from dolma_pipe.cli import app

    line = "This is a line that stays here. It says two things."
    folder = make_dataset({"a.jsonl": [f"{line}\nmenu | home\n{line} And three.\n", f"{line}\nmenu"]})
    config = tmp_path / "tag.yaml"
    config.write_text(f"datasets: [{folder}]\ntaggers: [c4, {{name: c4_sentences, use: sentences, view: c4}}]\n")
    assert CliRunner().invoke(app, ["tag", "-c", str(config)]).exit_code == 0
    sql = "SELECT c4_sentences.sentence_count AS n FROM documents ORDER BY id"
    output = CliRunner().invoke(app, ["query", sql, folder]).output
    assert [line.strip() for line in output.splitlines() if line.strip().isdigit()] == ["5", "2"]


def test_an_unknown_language_and_a_missing_package_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="ICU knows those of de, en, es, fr, it, pt, ru"):
        load({"name": "sentences", "abbreviations": "th"})
    monkeypatch.setitem(__import__("sys").modules, "icu4py", None)
    with pytest.raises(DependencyError, match=r"pip install 'dolma_pipe\[languages\]'"):
        load("sentences").tag(make_batch(["a"]))
