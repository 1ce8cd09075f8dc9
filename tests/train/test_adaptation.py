"""Instruction tuning and preference optimisation, against values computed by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_text import text_tokens, toy_tokenizer
from typer.testing import CliRunner, Result

from dolma_pipe.cli import app
from dolma_pipe.config import convert
from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.train.adaptation.chat import ChatEncoder, Message, starting_tokenizer
from dolma_pipe.train.adaptation.config import ChatTemplate, DpoConfig, SftConfig
from dolma_pipe.train.adaptation.dpo import PreferenceLoss, dpo, pairs, preference_losses
from dolma_pipe.train.adaptation.sft import AnswerLoss, conversations, sft
from dolma_pipe.train.checkpoints import checkpoint
from dolma_pipe.train.config import DataSource, OptimizerConfig, TrainConfig
from dolma_pipe.train.data.chunks import IGNORED
from dolma_pipe.train.evaluation.config import EvalConfig
from dolma_pipe.train.evaluation.evaluate import evaluate
from dolma_pipe.train.loop import train
from dolma_pipe.train.metrics import read_metrics
from dolma_pipe.train.model.architecture import ModelConfig
from dolma_pipe.train.model.transformer import Transformer
from dolma_pipe.train.objective import Whole
from dolma_pipe.train.parallel import World

CPU = World(0, 1, torch.device("cpu"))
TEMPLATE = {"roles": {"user": ["<|user|>", ""], "assistant": ["<|assistant|>", "\n"]}}
ROWS = [
    {"messages": [{"role": "user", "content": "the cat"}, {"role": "assistant", "content": "in the hat"}]},
    {
        "messages": [
            {"role": "user", "content": "on"},
            {"role": "assistant", "content": "a hat"},
            {"role": "user", "content": "the"},
            {"role": "assistant", "content": "other"},
        ]
    },
    {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "cat"}]},
]
PAIRS = [
    {"prompt": "the cat", "chosen": "in the hat", "rejected": "on"},
    {"prompt": "a", "chosen": "cat", "rejected": "other air"},
    {"prompt": "the rain", "chosen": "on", "rejected": "in the air"},
]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("start")
    config = TrainConfig(
        to=str(folder / "run"),
        model=ModelConfig(d_model=16, n_layers=1, n_heads=2, ffn_hidden=24),
        data=[DataSource(tokens=text_tokens(folder / "text", ["the cat in the hat", "on the other air"] * 20))],
        sequence_length=32,
        global_batch_size=4,
        steps=2,
        optimizer=OptimizerConfig(learning_rate=1e-2),
        precision="fp64",
        device="cpu",
    )
    train(config)
    return config.to


def plain(folder: Path, start: str, rows: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "to": str(folder / "tuned"), "start": start, "data": [str(folder / "data.jsonl")], "template": TEMPLATE,
        "epochs": 4, "sequence_length": 40, "global_batch_size": 3, "optimizer": {"learning_rate": 3e-2},
        "precision": "fp64", "device": "cpu", **changes,
    }  # fmt: skip


def ids(*pieces: str | int) -> list[int]:
    found: list[int] = []
    for piece in pieces:
        found += [piece] if isinstance(piece, int) else toy_tokenizer().encode(piece).ids
    return found


USER, ANSWER, EOS = (toy_tokenizer().token_to_id(name) for name in ("<|user|>", "<|assistant|>", "<|endoftext|>"))


def opened(start: str) -> Transformer:
    return checkpoint.open_model(checkpoint.find(start), torch.device("cpu"))[0]


# Conversations ----------------------------------------------------------------------------------------------------


def encoder_of(start: str, template: Any = TEMPLATE) -> ChatEncoder:
    config = SftConfig(
        to="t",
        start=start,
        data=["d"],
        sequence_length=8,
        global_batch_size=1,
        optimizer=OptimizerConfig(learning_rate=1),
    )
    return ChatEncoder(starting_tokenizer(config), convert(template, ChatTemplate, "test"))


def test_only_answers_and_their_ends_are_labels(start: str) -> None:
    messages = [Message(**message) for message in ROWS[1]["messages"]]
    [found] = encoder_of(start).encode([messages])
    answers = [ids("a hat"), ids("other")]
    tokens = ids(EOS, USER, "on", ANSWER, *answers[0], EOS, "\n", USER, "the", ANSWER, *answers[1], EOS)
    assert [*found.inputs.tolist(), EOS] == tokens
    assert [label for label in found.labels.tolist() if label != IGNORED] == [*answers[0], EOS, *answers[1], EOS]
    counted = found.labels != IGNORED
    assert (found.labels[counted] == np.array(tokens[1:])[counted]).all()
    [last] = encoder_of(start).encode([messages], last_only=True)
    assert [label for label in last.labels.tolist() if label != IGNORED] == [*answers[1], EOS]


def test_a_message_cannot_forge_a_mark(start: str) -> None:
    [found] = encoder_of(start).encode([[Message("user", "a<|assistant|>b"), Message("assistant", "<|endoftext|>")]])
    assert found.inputs.tolist().count(ANSWER) == 1
    assert found.inputs.tolist().count(EOS) == 1  # the one that every document follows


def test_a_template_may_end_answers_with_another_mark(start: str) -> None:
    [found] = encoder_of(start, {**TEMPLATE, "end": "<|user|>"}).encode([[Message("assistant", "cat")]])
    assert found.labels.tolist()[-1] == USER


def test_the_prompt_of_an_answer_is_what_stood_before_it(start: str) -> None:
    messages = [Message("user", "on"), Message("assistant", "a hat"), Message("user", "the")]
    [whole] = encoder_of(start).encode([[*messages, Message("assistant", "other")]])
    prompt = encoder_of(start).prompt(messages)
    assert whole.inputs.tolist()[: len(prompt)] == prompt


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({}, "not a list of messages"),
        ({"messages": [{"role": "user", "content": "a"}]}, "ends with an answer"),
        ({"messages": [{"role": "robot", "content": "a"}]}, "no role 'robot'"),
    ],
)
def test_a_row_that_is_no_conversation_is_named(row: dict[str, Any], message: str, start: str, tmp_path: Path) -> None:
    config = convert(plain(tmp_path, start, [ROWS[0], row]), SftConfig, "test")
    with pytest.raises(DataError, match=f"row 2.*{message}"):
        conversations(config)


# Instruction tuning -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pack", [True, False])
def test_the_loss_is_the_mean_over_the_answers_tokens(pack: bool, start: str, tmp_path: Path) -> None:
    config = convert(plain(tmp_path, start, ROWS, pack=pack), SftConfig, "test")
    examples, counted = conversations(config)
    assert (counted.kept, counted.rows, counted.too_long) == (3, 1 if pack else 3, 0)
    batch = examples.batch(0, 3 if not pack else 1)
    model, objective = opened(start), AnswerLoss(CPU)
    weight = objective.weight(batch)
    total, labels = 0.0, 0
    encoder = encoder_of(start)
    for row in ROWS:
        [one] = encoder.encode([[Message(**message) for message in row["messages"]]])
        with torch.no_grad():
            chances = torch.log_softmax(model(torch.from_numpy(one.inputs)[None])[0], dim=-1)
        places = np.flatnonzero(one.labels != IGNORED)
        total -= sum(chances[place, one.labels[place]].item() for place in places)
        labels += len(places)
    assert weight == labels
    assert objective.loss(model, batch, Whole(weight, 3)).mean.item() == pytest.approx(total / labels, abs=1e-12)


def test_every_pass_has_each_row_once_in_an_order_of_its_own(start: str, tmp_path: Path) -> None:
    config = convert(plain(tmp_path, start, ROWS * 4, pack=False, epochs=2.5), SftConfig, "test")
    examples, _ = conversations(config)
    assert examples.total == 30
    rows = examples.batch(0, 36).labels.tolist()
    epochs = [sorted(rows[start : start + 12]) for start in (0, 12)]
    assert epochs[0] == epochs[1]
    assert rows[:12] != rows[12:24]
    assert all(label == IGNORED for row in rows[30:] for label in row)
    ranks = [examples.batch(3, 8, rank, 2).inputs.tolist() for rank in (0, 1)]
    assert [row for pair in zip(*ranks, strict=True) for row in pair] == examples.batch(3, 8).inputs.tolist()


def test_what_is_too_long_is_left_out_and_counted(start: str, tmp_path: Path) -> None:
    long = {"messages": [{"role": "assistant", "content": "the cat " * 30}]}
    examples, counted = conversations(convert(plain(tmp_path, start, [*ROWS, long]), SftConfig, "test"))
    assert counted.too_long == 1
    assert examples.count == 1
    with pytest.raises(DataError, match="none of 1 conversations fits"):
        conversations(convert(plain(tmp_path, start, [long]), SftConfig, "test"))


def test_tuning_learns_the_answers_and_its_run_is_a_model_like_any_other(start: str, tmp_path: Path) -> None:
    config = convert(plain(tmp_path, start, ROWS, epochs=None, steps=30, pack=False), SftConfig, "test")
    result = sft(config)
    assert result is not None
    assert result.last_loss < result.first_loss / 10
    assert call("generate", config.to, "the cat", "--chat", "--device", "cpu").stdout == "in the hat\n"
    with pytest.raises(ConfigError, match="was tuned on conversations"):
        call("trace", config.to, "--step", "1")
    with pytest.raises(ConfigError, match="was not tuned on conversations"):
        call("generate", start, "the cat", "--chat", "--device", "cpu")
    again = sft(config)
    assert again is not None
    assert again.trained_steps == 0
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "all.jsonl").write_text('{"text": "the cat"}\n')
    found = evaluate(EvalConfig(model=config.to, texts=[str(tmp_path / "texts")], device="cpu"))
    assert found.domains["all"].tokens == len(ids("the cat"))


def test_a_tuning_run_that_was_cut_goes_on_as_if_it_had_not_been(start: str, tmp_path: Path) -> None:
    whole = convert(plain(tmp_path, start, ROWS, to=str(tmp_path / "a"), epochs=None, steps=6), SftConfig, "test")
    part = convert(plain(tmp_path, start, ROWS, to=str(tmp_path / "b"), epochs=None, steps=3), SftConfig, "test")
    rest = convert(plain(tmp_path, start, ROWS, to=str(tmp_path / "b"), epochs=None, steps=6), SftConfig, "test")
    flat = {"schedule": {"decay": "constant"}}
    for config in (whole, part, rest):
        sft(convert({**json.loads(json.dumps(_plain(config))), **flat}, SftConfig, "test"))
    losses = [[line.loss for line in read_metrics(str(tmp_path / name))] for name in "ab"]
    assert losses[0] == pytest.approx(losses[1], abs=1e-9)


def _plain(config: Any) -> Any:
    import msgspec

    return msgspec.to_builtins(config)


# Preferences ------------------------------------------------------------------------------------------------------


def test_the_preference_loss_and_its_gradient_are_the_papers() -> None:
    beta, logs, reference = 0.1, [[-3.0, -5.0], [-4.0, -2.0]], [[-3.5, -4.0], [-4.0, -4.0]]
    policy = torch.tensor(logs, dtype=torch.float64, requires_grad=True)
    losses = preference_losses(beta * (policy - torch.tensor(reference, dtype=torch.float64)))
    margins = [beta * ((-3.0 + 3.5) - (-5.0 + 4.0)), beta * ((-4.0 + 4.0) - (-2.0 + 4.0))]  # 0.15, -0.2
    assert losses.tolist() == pytest.approx([math.log(1 + math.exp(-margin)) for margin in margins])
    losses.sum().backward()
    slopes = [beta / (1 + math.exp(margin)) for margin in margins]
    expected = [[-slopes[0], slopes[0]], [-slopes[1], slopes[1]]]
    assert policy.grad is not None
    assert policy.grad.tolist() == [pytest.approx(row) for row in expected]


@pytest.mark.parametrize("per_token", [False, True])
def test_the_loss_of_pairs_is_computed_from_their_answers_alone(per_token: bool, start: str, tmp_path: Path) -> None:
    config = convert(plain(tmp_path, start, PAIRS, beta=0.3, per_token=per_token), DpoConfig, "test")
    examples, _ = pairs(config)
    objective, model = PreferenceLoss(config, CPU), opened(start)
    batch = examples.batch(0, 4)  # one row more than there are pairs
    weight = objective.weight(examples.batch(0, 3))
    assert weight == 3
    same = objective.loss(model, examples.batch(0, 3), Whole(3, 3)).mean.item()
    assert same == pytest.approx(math.log(2))  # the policy is the reference
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.3)
    objective.report(1)
    found = objective.loss(model, examples.batch(0, 3), Whole(3, 3)).mean.item()
    margins = [
        0.3
        * (_answer(model, objective, row, "chosen", per_token) - _answer(model, objective, row, "rejected", per_token))
        for row in PAIRS
    ]
    assert found == pytest.approx(sum(math.log(1 + math.exp(-margin)) for margin in margins) / 3, abs=1e-10)
    measures = objective.report(2).measures
    assert measures is not None
    assert measures["reward_accuracy"] == pytest.approx(sum(margin > 0 for margin in margins) / 3)
    assert measures["reward_margin"] == pytest.approx(sum(margins) / 3)
    assert len(batch.inputs) == 4


def _answer(model: Transformer, objective: PreferenceLoss, row: dict[str, str], name: str, per_token: bool) -> float:
    """log p - log q of an answer, token by token."""
    prompt, answer = ids(EOS, USER, row["prompt"], ANSWER), ids(row[name], EOS)
    tokens = torch.tensor([prompt + answer])
    total = 0.0
    with torch.no_grad():
        for sign, one in ((1, model), (-1, objective.reference)):
            chances = torch.log_softmax(one(tokens[:, :-1])[0], dim=-1)
            total += sign * sum(chances[len(prompt) - 1 + i, token].item() for i, token in enumerate(answer))
    return total / len(answer) if per_token else total


def test_answers_may_be_given_as_conversations(start: str, tmp_path: Path) -> None:
    said = [{"role": "user", "content": "a"}]
    row = {
        name: [*said, {"role": "assistant", "content": text}] for name, text in (("chosen", "cat"), ("rejected", "on"))
    }
    as_text = [{"prompt": "a", "chosen": "cat", "rejected": "on"}]
    batches = []
    for rows in ([row], as_text):
        batches.append(pairs(convert(plain(tmp_path, start, rows), DpoConfig, "test"))[0].batch(0, 1))
    assert all(torch.equal(*both) for both in zip(*batches, strict=True))
    row["rejected"][0] = {"role": "user", "content": "the"}
    with pytest.raises(DataError, match="different prompts"):
        pairs(convert(plain(tmp_path, start, [row]), DpoConfig, "test"))
    with pytest.raises(DataError, match="neither a text nor messages"):
        pairs(convert(plain(tmp_path, start, [{"prompt": "a", "chosen": "b"}]), DpoConfig, "test"))


def test_preference_optimisation_learns_the_preference(start: str, tmp_path: Path) -> None:
    config = convert(plain(tmp_path, start, PAIRS, epochs=10), DpoConfig, "test")
    result = dpo(config)
    assert result is not None
    assert result.first_loss == pytest.approx(math.log(2))
    last = read_metrics(config.to)[-1]
    assert last.measures is not None
    assert last.measures["reward_accuracy"] == 1.0
    assert last.loss < 0.3


# Commands ---------------------------------------------------------------------------------------------------------


def call(*arguments: str) -> Result:
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_the_commands_tune_a_model_and_then_the_tuned_one(start: str, tmp_path: Path) -> None:
    tuned = plain(tmp_path, start, ROWS)
    (tmp_path / "sft.json").write_text(json.dumps(tuned))
    assert "3 conversations in 1 rows" in call("sft", "-c", str(tmp_path / "sft.json"), "--dry-run").stderr
    assert "step 2 of 2" in call("sft", "-c", str(tmp_path / "sft.json"), "--epochs", "6").stdout
    (tmp_path / "more").mkdir()
    preferred = plain(tmp_path / "more", tuned["to"], PAIRS)
    (tmp_path / "dpo.json").write_text(json.dumps(preferred))
    shown = call("dpo", "-c", str(tmp_path / "dpo.json"), "--beta", "0.5", "--json")
    assert json.loads(shown.stdout)["steps"] == 4


def test_tuning_is_a_step_of_a_pipeline_that_is_done_once(start: str, tmp_path: Path) -> None:
    steps = [{"sft": plain(tmp_path, start, ROWS)}]
    (tmp_path / "pipeline.yaml").write_text(json.dumps({"steps": steps}))
    assert "sft -> " in call("run", "-c", str(tmp_path / "pipeline.yaml")).stdout
    again = call("run", "-c", str(tmp_path / "pipeline.yaml")).stdout
    assert "nothing was left to do: all 1 steps were done before" in again


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": None}, "name the model to tune"),
        ({"data": []}, "no file of JSON lines"),
        ({"steps": 3}, "say with one of them how long"),
        ({"template": {"roles": {"user": ["", ""]}}}, "no role `assistant`"),
        ({"template": "tulip"}, "did you mean 'tulu'"),
    ],
)
def test_what_cannot_be_tuned_is_refused(changes: dict[str, Any], message: str, start: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        convert({**plain(tmp_path, start, ROWS), **changes}, SftConfig, "test").check()


@pytest.mark.parametrize("name", ["tulu", "mistral", "chatml"])
def test_the_bundled_templates_can_be_read(name: str, start: str, tmp_path: Path) -> None:
    assert "user" in convert(plain(tmp_path, start, ROWS, template=name), SftConfig, "test").chat().roles
