"""Questions of test sets are found in text however they are wrapped, and near misses are not."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from dolma_pipe.batch import make_batch
from dolma_pipe.cli import app
from dolma_pipe.contamination import FORMAT, IndexConfig, build, open_index, read_items
from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.tagger import Tagger, load

QUESTIONS = [
    ("q1", "Which planet of the solar system has the largest moon by volume?", ["Mars", "Jupiter", "Venus"], 1),
    ("q2", "A farmer moved his _ into the old barn because it was much drier.", ["hay", "wheat"], 0),
    ("q3", "Name the river?", ["The river Seine in northern France", "none of these"], 0),
    ("q4", "Too short", ["yes", "no"], 0),
]
PROSE = "Nothing of this has to do with any test, it is about gardens and the weather in a town by the sea. "


@pytest.fixture
def tests(tmp_path: Path) -> str:
    path = tmp_path / "science.test.jsonl"
    rows = [{"id": i, "question": q, "choices": c, "label": n} for i, q, c, n in QUESTIONS]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def index(tests: str, tmp_path: Path) -> str:
    path = str(tmp_path / "science.index")
    build(IndexConfig(tests=[tests], to=path)).made.save(path)
    return path


@pytest.fixture
def tagger(index: str) -> Tagger:
    return load({"name": "contamination", "index": index})


def measure(tagger: Tagger, *texts: str) -> list[dict[str, Any]]:
    values = tagger.tag(make_batch(list(texts)))
    return [dict(zip(values, row, strict=True)) for row in zip(*(list(v) for v in values.values()), strict=True)]


def spans(row: dict[str, Any]) -> list[dict[str, Any]]:
    return row["spans"].as_py()


def test_a_question_with_its_answer_is_found_and_named(tagger: Tagger) -> None:
    text = f"{PROSE}\n{QUESTIONS[0][1]} It is Jupiter.\n{PROSE}"
    [row] = measure(tagger, text)
    [span] = spans(row)
    assert text[span["start"] : span["end"]] == QUESTIONS[0][1].rstrip("?")
    assert (span["task"], span["item"], span["score"], span["answer"], span["words"]) == (
        "science.test",
        "q1",
        1,
        1,
        12,
    )
    assert (row["score"], row["answered_score"], row["longest"]) == (1.0, 1.0, 12)


def test_wrapping_case_spaces_and_punctuation_do_not_hide_a_question(tagger: Tagger) -> None:
    words = QUESTIONS[0][1].upper().split()
    wrapped = "\n> ".join(" - ".join(words[i : i + 3]) for i in range(0, len(words), 3))
    [row] = measure(tagger, f"Für alle: {wrapped} JUPITER")
    assert (row["score"], row["answered_score"]) == (1.0, 1.0)


def test_an_answer_far_away_is_none(tagger: Tagger) -> None:
    [row] = measure(tagger, QUESTIONS[0][1] + " " + PROSE * 20 + " Jupiter")
    assert (row["score"], row["answered_score"]) == (1.0, 0.0)


def test_the_blank_of_a_question_is_filled_with_its_answer(tagger: Tagger) -> None:
    filled, other = measure(tagger, QUESTIONS[1][1].replace("_", "hay"), QUESTIONS[1][1].replace("_", "wheat"))
    assert filled["score"] == 1.0
    assert 0 < other["score"] < 1


def test_a_very_short_question_is_looked_for_with_its_answer(tagger: Tagger) -> None:
    alone, answered = measure(tagger, "Name the river?", "Name the river? The river Seine in northern France.")
    assert alone["score"] == 0
    assert answered["score"] == 1


def test_an_item_without_enough_words_is_left_out_and_said_to_be(tests: str) -> None:
    built = build(IndexConfig(tests=[tests], to="unused"))
    assert [item.id for item in built.left_out] == ["q4"]
    assert built.made.ids == ["q1", "q2", "q3"]


def test_what_a_task_begins_and_ends_every_question_with_is_not_part_of_it(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    asked = [f"{1900 + i} was a year of the number {i * 7}" for i in range(10)]
    path.write_text("".join(json.dumps({"question": f"Question: {q} ?\nAnswer:", "label": "x"}) + "\n" for q in asked))
    built = build(IndexConfig(tests=[str(path)], to="unused"))
    assert set(built.made.lengths.tolist()) == {8}


def test_words_of_a_question_in_other_order_or_far_apart_are_no_match(tagger: Tagger) -> None:
    words = QUESTIONS[0][1].split()
    random.Random(3).shuffle(words)
    rows = measure(tagger, " ".join(words), f" {PROSE * 3} ".join(QUESTIONS[0][1].split()), PROSE, "")
    assert [row["score"] for row in rows] == [0, 0, 0, 0]


def test_phrases_of_the_background_weigh_less(tests: str, make_dataset: Any) -> None:
    dataset = make_dataset({"a.jsonl": [f"{i} Which planet of the solar system is it?" for i in range(50)]})
    plain, weighed = (build(IndexConfig(tests=[tests], to="-", background=b)).made for b in ([], [dataset]))
    common = {key for key, low, high in zip(plain.keys, weighed.weights, plain.weights, strict=True) if low < high}
    assert len(common) == 2  # "which planet of the solar", "planet of the solar system"


def test_the_index_holds_no_word_of_the_test_set(index: str) -> None:
    import zipfile

    with zipfile.ZipFile(index) as stored:
        content = b"".join(stored.read(name) for name in stored.namelist())
    assert b"q1" in content
    for word in (b"planet", b"Jupiter", b"farmer", b"Seine"):
        assert word not in content


def test_a_saved_index_finds_what_the_built_one_finds(index: str, tests: str) -> None:
    built, stored = build(IndexConfig(tests=[tests], to="unused")).made, open_index(index)
    assert all((built.arrays[name] == stored.arrays[name]).all() for name in built.arrays)


def stored(**about: Any) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, about=np.frombuffer(json.dumps(about).encode(), np.uint8))
    return stream.getvalue()


def test_an_index_of_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(stored(format="dolma_pipe contamination index 0"))
    with pytest.raises(DataError, match="holds a 'dolma_pipe contamination index 0', this version reads"):
        open_index(str(tmp_path / "x"))


@pytest.mark.parametrize(
    ("row", "answer"),
    [
        ({"choices": ["north", "south"], "label": 1}, "south"),
        ({"choices": ["north", "south"], "label": "B"}, "south"),
        ({"choices": ["A", "B"], "label": "B"}, "B"),
        ({"choices": ["north", "south"], "label": "I"}, "I"),  # an answer, not the ninth choice
        ({"choices": {"text": ["north", "south"], "label": ["1", "2"]}, "label": "2"}, "south"),
        ({"choices": {"text": ["north", "south"], "label": ["A", "B"]}, "label": "B"}, "south"),
        ({"choices": {"text": ["north", "south"]}, "label": 0}, "north"),
        ({"choices": [], "label": None}, ""),
        ({"label": "forty-two"}, "forty-two"),
    ],
)
def test_an_answer_is_named_in_many_ways(tmp_path: Path, row: Any, answer: str) -> None:
    (tmp_path / "t.jsonl").write_text(json.dumps({"question": "", **row}) + "\n")
    [item] = read_items(IndexConfig(tests=[str(tmp_path / "t.jsonl")], to="unused"))
    assert item.answer == answer


@pytest.mark.parametrize(
    "content", [stored(), stored(format=FORMAT, words=5, tasks=[], ids=[]), b"", b"not a zip", b"PK\x03\x04 cut"]
)
def test_another_file_is_refused_as_index(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(DataError, match="not a contamination index"):
        open_index(str(tmp_path / "x"))


def test_a_row_without_question_is_refused_with_its_fields(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"prompt": "x"}\n')
    with pytest.raises(DataError, match=r"row 1: no text in 'question' \(fields: prompt\)"):
        build(IndexConfig(tests=[str(tmp_path / "t.jsonl")], to="unused"))


def test_no_index_named_is_an_error() -> None:
    with pytest.raises(ConfigError, match="which index"):
        load("contamination").tag(make_batch(["x"]))


def test_the_commands_find_what_was_planted(tests: str, tmp_path: Path, make_dataset: Any) -> None:
    dataset = make_dataset({"a.jsonl": [PROSE, f"{PROSE} {QUESTIONS[0][1]} Jupiter", QUESTIONS[1][1]]})
    made = str(tmp_path / "made.index")
    run = CliRunner().invoke
    shown = run(app, ["contamination", "index", tests, "--to", made], catch_exceptions=False)
    assert "3              1" in shown.output
    tagging = [f"taggers=[{{name: contamination, index: {made}}}]"]
    assert run(app, ["tag", dataset, "--set", *tagging], catch_exceptions=False).exit_code == 0
    shown = run(app, ["contamination", "report", dataset, "--json"], catch_exceptions=False)
    [task] = json.loads(shown.output)
    assert (task["task"], task["items"], task["documents"], task["with_answer"]) == ("science.test", 2, 2, 1)
    assert [match["item"] for match in task["strongest"]] == ["q1", "q2"]
