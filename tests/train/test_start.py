"""A run may begin with the weights of another one or of a Hugging Face folder, and its model leave in that form."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_tokenizers import write_tokenizer
from token_folders import random_tokens
from typer.testing import CliRunner

from dolma_pipe.cli import app
from dolma_pipe.errors import ConfigError
from dolma_pipe.train.checkpoints import checkpoint
from dolma_pipe.train.config import TrainConfig
from dolma_pipe.train.export import export_model
from dolma_pipe.train.loop import train

MakeConfig = Callable[..., TrainConfig]
CPU = torch.device("cpu")


def weights(run: str) -> dict[str, torch.Tensor]:
    model, _ = checkpoint.open_model(checkpoint.find(run), CPU)
    return dict(model.named_parameters())


@pytest.fixture
def trained(make_config: MakeConfig, tokens: str, tmp_path: Path) -> str:
    write_tokenizer(Path(tokens))
    train(make_config("first", steps=4, precision="fp32"))
    return str(tmp_path / "first")


@pytest.mark.parametrize("form", ["run", "hf"])
def test_a_run_starts_from_the_weights_of_another(
    form: str, trained: str, make_config: MakeConfig, tmp_path: Path
) -> None:
    start = trained
    if form == "hf":
        start = str(tmp_path / "hf")
        export_model(trained, start)
    still = {"optimizer__learning_rate": 1e-30, "optimizer__weight_decay": 0.0, "precision": "fp32", "steps": 4}
    train(make_config("second", start=start, model=None, **still))
    before, after = weights(trained), weights(str(tmp_path / "second"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_model_that_is_not_that_of_the_start_is_refused(trained: str, make_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match=r"model \(n_layers\) is not that of .*first"):
        train(make_config("second", start=trained, model__n_layers=3))


def test_weights_of_another_tokenizer_are_refused(trained: str, make_config: MakeConfig, tmp_path: Path) -> None:
    other = random_tokens(tmp_path / "other", tokenizer="another")
    with pytest.raises(ConfigError, match=r"first.* was trained with another tokenizer than the data's"):
        train(make_config("second", start=trained, model=None, data=[{"tokens": other}], precision="fp32"))


def test_a_run_without_model_or_start_is_refused(make_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match="name an architecture"):
        make_config(model=None).check()


def test_the_commands_export_and_generate(trained: str, tmp_path: Path) -> None:
    to = str(tmp_path / "hf")
    shown = CliRunner().invoke(app, ["export", trained, "--format", "hf", "--to", to, "--json"], catch_exceptions=False)
    facts = json.loads(shown.stdout)
    assert facts["architecture"] == "OlmoForCausalLM"
    assert facts["difference"] <= 1e-5
    assert {path.name for path in Path(to).iterdir()} >= {"config.json", "model.safetensors", "tokenizer.json"}
    again = CliRunner().invoke(app, ["export", trained, "--to", to])
    assert isinstance(again.exception, ConfigError)
    assert "not empty" in str(again.exception)
    first, second = (
        CliRunner()
        .invoke(app, ["generate", trained, "a", "--max-tokens", "5", "--json"], catch_exceptions=False)
        .stdout
        for _ in range(2)
    )
    assert first == second
    assert json.loads(first)["prompt"] == "a"
