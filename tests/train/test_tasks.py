"""Multiple-choice tasks, against answers computed by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_text import text_tokens, toy_tokenizer
from typer.testing import CliRunner

from dolma_pipe.cli import app
from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.tokens import TokenSet
from dolma_pipe.train.config import TrainConfig
from dolma_pipe.train.evaluation.config import EvalConfig, TaskConfig, open_task
from dolma_pipe.train.evaluation.evaluate import evaluate, standing
from dolma_pipe.train.evaluation.heldout import Windowing
from dolma_pipe.train.evaluation.tasks import Question, judge, questions, score_task, task_file
from dolma_pipe.train.evaluation.text import TextEncoder, stored_with
from dolma_pipe.train.loop import train
from dolma_pipe.train.model.architecture import ModelConfig
from dolma_pipe.train.model.initialisation import materialise
from dolma_pipe.train.model.transformer import Transformer, on_meta

TASKS = ["arc_challenge", "arc_easy", "boolq", "hellaswag", "openbookqa", "piqa", "sciq", "winogrande"]
TASK = TaskConfig(title="a toy", context="{question}", choices="choices", gold="label", score="raw", unconditional="A:")
ASKED = [
    Question([("the cat is", " in the hat"), ("the cat is", " on")], 1),
    Question([("a", " the"), ("a", " cat and the rain"), ("a", " er")], 0),
]


@pytest.fixture(scope="module")
def model() -> Transformer:
    config = ModelConfig(d_model=16, n_layers=2, n_heads=2, ffn_hidden=24, vocab_size=64, padded_vocab_size=64)
    model = on_meta(config, "fp64")
    materialise(model, 3, torch.device("cpu"))
    return model.eval()


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> TextEncoder:
    return TextEncoder(stored_with(TokenSet.open(text_tokens(tmp_path_factory.mktemp("text") / "t", ["the cat"]))))


def log_probability(model: Transformer, context: str, continuation: str) -> float:
    """The definition: one token after the other."""
    tokenizer = toy_tokenizer()
    before, whole = (tokenizer.encode(text).ids for text in (context, context + continuation))
    with torch.no_grad():
        chances = torch.log_softmax(model(torch.tensor([whole]))[0], dim=-1)
    return sum(chances[i - 1, whole[i]].item() for i in range(len(before), len(whole)))


def write_rows(path: Path, rows: list[dict[str, Any]]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_each_scoring_divides_as_it_says() -> None:
    question = Question([("q", " aaaaaaaa"), ("q", " \u00e9\u00e9\u00e9"), ("q", " bb"), ("q", " cccc")], 1)
    logs, tokens, empty = np.array([-6.0, -5.0, -4.0, -4.5]), np.array([3, 4, 1, 2]), np.array([-6.5, -5.1, -4.2, -6.0])
    found = judge(question, logs, tokens, empty)
    # characters 8, 3, 2, 4 and bytes 8, 6, 2, 4
    assert found.chosen == {"raw": 2, "per_character": 0, "per_byte": 0, "per_token": 1, "unconditional": 3}
    assert found.bits_per_byte == pytest.approx(5.0 / math.log(2) / 7)  # 6 bytes and the blank before them
    per_byte = judge(question, np.array([-7.0, -5.0, -4.0, -4.5]), tokens)
    assert (per_byte.chosen["per_character"], per_byte.chosen["per_byte"]) == (0, 1)
    assert "unconditional" not in per_byte.chosen


def test_the_first_of_equal_choices_is_the_answer() -> None:
    question = Question([("q", " a"), ("q", " b")], 1)
    assert judge(question, np.array([-1.0, -1.0]), np.array([1, 1])).chosen["raw"] == 0


def test_choices_are_scored_as_the_definition_says(model: Transformer, encoder: TextEncoder) -> None:
    found = score_task(model, encoder, TASK, ASKED, Windowing(64, 0, 40), items=True)
    assert found.items is not None
    for question, item in zip(ASKED, found.items, strict=True):
        logs = np.array([log_probability(model, *request) for request in question.requests])
        empty = np.array([log_probability(model, "A:", answer) for _, answer in question.requests])
        tokens = [len(toy_tokenizer().encode(answer).ids) for _, answer in question.requests]
        expected = judge(question, logs, np.array(tokens), empty)
        assert item.chosen == expected.chosen
        assert item.bits_per_byte == pytest.approx(expected.bits_per_byte, abs=1e-12)
    assert found.bits_per_byte == pytest.approx(sum(item.bits_per_byte for item in found.items) / 2)
    assert found.accuracy["raw"] == sum(item.chosen["raw"] == item.gold for item in found.items) / 2
    assert found.chance == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert found.truncated == 0


def test_an_empty_context_is_end_of_text(model: Transformer, encoder: TextEncoder) -> None:
    context, continuation = encoder.pair("", " the")
    assert context.tolist() == [0]
    assert continuation.tolist() == toy_tokenizer().encode(" the").ids


def test_blanks_before_the_answer_belong_to_it(encoder: TextEncoder) -> None:
    left, right = encoder.pair("the cat ", "the")
    assert [left.tolist(), right.tolist()] == [toy_tokenizer().encode(text).ids for text in ("the cat", " the")]


def test_a_context_beyond_the_window_is_counted(model: Transformer, encoder: TextEncoder) -> None:
    long = [Question([("the cat " * 9, "the"), ("the cat " * 9, "a")], 0)]
    assert score_task(model, encoder, TASK, long, Windowing(8, 0, 64)).truncated == 2


PUBLISHED: list[tuple[str, dict[str, Any], list[tuple[str, str]], int]] = [
    (
        "arc_easy",
        {"question": "Why?", "choices": {"text": ["so", "not"], "label": ["A", "B"]}, "answerKey": "B"},
        [("Question: Why?\nAnswer:", " so"), ("Question: Why?\nAnswer:", " not")],
        1,
    ),
    (
        "arc_challenge",
        {"question": "Why?", "choices": {"text": ["so", "not"], "label": ["1", "2"]}, "answerKey": "1"},
        [("Question: Why?\nAnswer:", " so"), ("Question: Why?\nAnswer:", " not")],
        0,
    ),
    (
        "boolq",
        {"passage": "Cats purr.", "question": "do cats purr", "answer": True},
        [("Cats purr.\nQuestion: do cats purr?\nAnswer:", answer) for answer in (" no", " yes")],
        1,
    ),
    (
        "hellaswag",
        {
            "activity_label": "Health",
            "ctx_a": "How to sit [title] Sit.",
            "ctx_b": "a man",
            "endings": ["sits [substeps] down.", "is  up."],
            "label": "1",
        },
        [("Health: How to sit.  Sit. A man".replace("  ", " "), answer) for answer in (" sits down.", " is up.")],
        1,
    ),
    (
        "openbookqa",
        {"question_stem": "The sun is", "choices": {"text": ["hot", "wet"], "label": ["A", "B"]}, "answerKey": "A"},
        [("The sun is", " hot"), ("The sun is", " wet")],
        0,
    ),
    (
        "piqa",
        {"goal": "Sit", "sol1": "down", "sol2": "up", "label": 0},
        [("Question: Sit\nAnswer:", " down"), ("Question: Sit\nAnswer:", " up")],
        0,
    ),
    (
        "sciq",
        {
            "support": "Cats purr.",
            "question": "Who?",
            "distractor1": "x",
            "distractor2": "y",
            "distractor3": "z",
            "correct_answer": "cats",
        },
        [("Cats purr.\nQuestion: Who?\nAnswer:", answer) for answer in (" x", " y", " z", " cats")],
        3,
    ),
    (
        "winogrande",
        {"sentence": "The cat fled the dog as _ was afraid.", "option1": "the cat", "option2": "it", "answer": "1"},
        [(f"The cat fled the dog as {who}", " was afraid.") for who in ("the cat", "it")],
        0,
    ),
    (
        "socialiqa",
        {"context": "Tim left.", "question": "Why?", "answerA": "x", "answerB": "y", "answerC": "z", "label": "3"},
        [("Question: Tim left. Why?\nAnswer:", answer) for answer in (" x", " y", " z")],
        2,
    ),
    (
        "csqa",
        {"question": "Where?", "choices": {"label": ["A", "B"], "text": ["here", "there"]}, "answerKey": "A"},
        [("Question: Where?\nAnswer:", " here"), ("Question: Where?\nAnswer:", " there")],
        0,
    ),
]


@pytest.mark.parametrize(("name", "row", "requests", "gold"), PUBLISHED, ids=[case[0] for case in PUBLISHED])
def test_a_published_row_becomes_a_question(
    name: str, row: dict[str, Any], requests: list[tuple[str, str]], gold: int, tmp_path: Path
) -> None:
    _, task = open_task(name)
    assert questions(task, write_rows(tmp_path / "rows.jsonl", [row])) == [Question(requests, gold)]


def test_a_row_that_brings_its_requests_is_taken_as_it_is(tmp_path: Path) -> None:
    row = {
        "requests": [{"context": "Goal: x", "continuation": " y"}, {"context": "z", "continuation": " y"}],
        "label": 1,
    }
    _, task = open_task("piqa")
    found = questions(task, write_rows(tmp_path / "rows.jsonl", [row]))
    assert found == [Question([("Goal: x", " y"), ("z", " y")], 1)]


@pytest.mark.parametrize(
    "row", [{"goal": "x"}, {"goal": "x", "sol1": "a", "sol2": "b", "label": 2}, {"requests": [{}], "label": 0}]
)
def test_a_row_that_is_no_question_is_named(row: dict[str, Any], tmp_path: Path) -> None:
    _, task = open_task("piqa")
    path = write_rows(tmp_path / "rows.jsonl", [{"goal": "x", "sol1": "a", "sol2": "b", "label": 1}, row])
    with pytest.raises(DataError, match=r"rows.jsonl, row 2"):
        questions(task, path)


def test_the_file_of_a_task_is_found_by_its_name(tmp_path: Path) -> None:
    write_rows(tmp_path / "piqa.validation.jsonl", [{}])
    assert task_file(str(tmp_path), "piqa").endswith("piqa.validation.jsonl")
    write_rows(tmp_path / "piqa.jsonl", [{}])
    for name in ("piqa", "arc_easy"):
        with pytest.raises(DataError, match=rf"one file {name}.jsonl"):
            task_file(str(tmp_path), name)


def test_unconditional_scoring_needs_its_context(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("title: x\ncontext: '{q}'\nchoices: c\ngold: g\nscore: unconditional\n")
    with pytest.raises(ConfigError, match="says no context for it"):
        EvalConfig(model="m", tasks=[str(path)], data=str(tmp_path)).check()


@pytest.fixture
def run(make_config: Callable[..., TrainConfig], tmp_path: Path) -> str:
    config = make_config(steps=2, schedule={}, data=[{"tokens": text_tokens(tmp_path / "text", ["the cat"] * 60)}])
    train(config)
    return config.to


def test_the_command_prints_a_line_for_each_task(run: str, tmp_path: Path) -> None:
    write_rows(tmp_path / "data" / "piqa.jsonl", [PUBLISHED[5][1]] * 4)
    (tmp_path / "mine.yaml").write_text("title: x\ncontext: '{q}'\nchoices: c\ngold: g\nscore: raw\nfile: own\n")
    write_rows(tmp_path / "data" / "own.jsonl", [{"q": "the", "c": ["cat", "hat"], "g": 0}])
    arguments = ["eval", "--model", run, "--tasks", f"piqa,{tmp_path}/mine.yaml", "--data", str(tmp_path / "data")]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0, shown.output
    assert [line.split()[0] for line in shown.stdout.splitlines()[2:4]] == ["piqa", "mine"]
    result = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert result["tasks"]["piqa"]["questions"] == 4
    assert set(result["tasks"]["piqa"]["accuracy"]) == {"raw", "per_character", "per_byte", "per_token"}


def test_a_result_of_one_question_stands(run: str, tmp_path: Path) -> None:
    write_rows(tmp_path / "data" / "piqa.jsonl", [PUBLISHED[5][1]])
    to = str(tmp_path / "tasks.json")
    config = EvalConfig(model=run, tasks=["piqa"], data=str(tmp_path / "data"), to=to, device="cpu")
    assert standing(config) is None
    assert evaluate(config) == standing(config)


@pytest.mark.corpus
def test_the_eight_tasks_of_the_olmo_paper_are_read_from_local_files(run: str, corpus: Path) -> None:
    config = EvalConfig(model=run, tasks=TASKS, data=str(corpus / "eval"), sample=3, seed=1)
    result = evaluate(config)
    assert {name: found.questions for name, found in result.tasks.items()} == dict.fromkeys(TASKS, 3)
    assert result == evaluate(config)


@pytest.mark.corpus
def test_templates_and_ready_made_requests_agree_where_the_prompts_are_the_same(corpus: Path, tmp_path: Path) -> None:
    from dolma_pipe.streams import json_objects

    _, task = open_task("winogrande")
    path = task_file(str(corpus / "eval"), "winogrande")
    raw = write_rows(tmp_path / "winogrande.jsonl", [row["raw"] for row in json_objects(path)])
    assert questions(task, raw) == questions(task, path)
