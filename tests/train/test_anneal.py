"""`dolma-pipe train --anneal-from`: a source tried in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from token_folders import random_tokens
from typer.testing import CliRunner

from dolma_pipe.cli import app
from dolma_pipe.errors import ConfigError
from dolma_pipe.train.anneal import anneal
from dolma_pipe.train.checkpoints import checkpoint
from dolma_pipe.train.config import TrainConfig
from dolma_pipe.train.loop import train
from dolma_pipe.train.metrics import read_metrics
from dolma_pipe.train.plan import make_plan
from dolma_pipe.train.trace import trace

MakeConfig = Callable[..., TrainConfig]


def call(*arguments: str) -> dict[str, object]:
    return json.loads(CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False).stdout)


@pytest.fixture
def base(make_config: MakeConfig) -> str:
    config = make_config("base", steps=6, schedule={"decay": "constant"})
    train(config)
    return config.to


def test_a_source_is_tried_in_one_line(base: str, tmp_path: Path, tokens: str) -> None:
    other, to = random_tokens(tmp_path / "other", seed=1), str(tmp_path / "annealed")
    result = call(
        "train", "--anneal-from", base, "--source", other, "--share", "0.5", "--anneal-tokens", "2048", "--to", to
    )
    assert (result["step"], result["trained_steps"]) == (14, 8)
    lines = read_metrics(to)
    assert [line.step for line in lines] == list(range(7, 15))
    assert [line.lr for line in lines] == pytest.approx([1e-2 * (1 - n / 8) for n in range(1, 9)])
    assert checkpoint.read_record(checkpoint.find(base)).step == 6  # the base stays
    seen = [one for step in range(7, 15) for one in trace(to, step)]
    assert {one.tokens for one in seen} == {tokens, other}
    before = {(one.token_shard, one.start) for step in range(1, 7) for one in trace(base, step) if not one.epoch}
    again = {(one.token_shard, one.start) for one in seen if one.tokens == tokens and not one.epoch}
    assert not before & again  # the base data go on where they were
    assert call("train", "--anneal-from", base, "--source", other, "--anneal-tokens", "2048", "--to", to)[
        "trained_steps"
    ] == 0  # fmt: skip


def test_an_anneal_begins_with_the_state_of_the_run(base: str, tmp_path: Path) -> None:
    to = str(tmp_path / "same")
    config = anneal(base, None, 0.5, 256, to)
    plan = make_plan(config, checkpoint.read_record(checkpoint.find(base)).progress)
    assert (plan.steps, len(plan.phases)) == (7, 2)
    call("train", "--anneal-from", base, "--anneal-tokens", "256", "--to", to, "--set", "phases.1.learning_rate=1e-30")
    cpu = torch.device("cpu")
    for one, two in zip(
        checkpoint.open_model(checkpoint.find(base), cpu)[0].parameters(),
        checkpoint.open_model(checkpoint.find(to), cpu)[0].parameters(),
        strict=True,
    ):
        assert torch.allclose(one, two, atol=1e-12)


def test_an_anneal_that_is_given_no_folder_lies_beside_its_run(base: str, tmp_path: Path) -> None:
    result = call("train", "--anneal-from", base, "--source", random_tokens(tmp_path / "maths", seed=5))
    assert result["to"] == f"{base}-anneal-{checkpoint.read_record(checkpoint.find(base)).step}-maths-0.5"
    assert str(call("train", "--anneal-from", base, "--anneal-tokens", "256")["to"]).endswith("-own-mix")


def test_an_anneal_cuts_the_chunks_of_its_run(make_config: MakeConfig, tmp_path: Path) -> None:
    phases = [{"steps": 4, "sequence_length": 16}, {"steps": 2}]
    config = make_config("long", steps=None, phases=phases, schedule={}, checkpoint={"every_steps": 2})
    train(config)
    to = str(tmp_path / "annealed")
    early = str(tmp_path / "long" / "checkpoints" / "step-00000002")
    assert call("train", "--anneal-from", early, "--anneal-tokens", "256", "--to", to)["trained_steps"] == 2
    assert [line.sequence_length for line in read_metrics(to)] == [16, 16]


def test_shares_of_the_base_are_lessened_in_proportion(make_config: MakeConfig, tmp_path: Path, tokens: str) -> None:
    other, third = random_tokens(tmp_path / "other", seed=1), random_tokens(tmp_path / "third", seed=2)
    data = [{"tokens": tokens, "share": 3}, {"tokens": other, "share": 1}]
    config = make_config("mixed", steps=3, data=data, schedule={})
    train(config)
    shares = {one.tokens: one.share for one in anneal(config.to, third, 0.2, 99, "x").phases[-1].data or []}
    assert shares == pytest.approx({tokens: 0.6, other: 0.2, third: 0.2})
    shares = {one.tokens: one.share for one in anneal(config.to, other, 0.2, 99, "x").phases[-1].data or []}
    assert shares == pytest.approx({tokens: 0.6, other: 0.4})
    assert len(anneal(config.to, third, 1.0, 99, "x").phases[-1].data or []) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--source", "x", "--steps", "3", "--to", "y"], "--steps has no effect with --anneal-from"),
        (["--share", "0.5", "--to", "y"], "--share is that of a --source"),
        (["--source", "x", "--share", "2", "--to", "y"], "share 2.0: give a part"),
    ],
)
def test_what_cannot_be_annealed_is_refused(base: str, arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CliRunner().invoke(app, ["train", "--anneal-from", base, *arguments], catch_exceptions=False)


def test_a_source_without_an_anneal_is_refused(tokens: str) -> None:
    with pytest.raises(ConfigError, match="--source has an effect only with --anneal-from"):
        CliRunner().invoke(app, ["train", "-c", "demo", "--source", tokens], catch_exceptions=False)


def test_a_rate_that_is_zero_already_cannot_be_annealed(make_config: MakeConfig) -> None:
    config = make_config("cold", steps=3, schedule={"decay": "linear", "final_fraction": 0.0})
    train(config)
    with pytest.raises(ConfigError, match="anneal from an earlier checkpoint"):
        anneal(config.to, None, 0.5, None, "x")
