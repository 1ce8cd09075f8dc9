"""`dolma-pipe train` and `dolma-pipe eval`."""

from __future__ import annotations

import json
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner, Result

from dolma_pipe import train as training
from dolma_pipe.cli import app
from dolma_pipe.errors import ConfigError, DependencyError


@pytest.fixture
def config(tmp_path: Path, tokens: str) -> str:
    settings: dict[str, Any] = {
        "to": str(tmp_path / "run"),
        "model": {"d_model": 16, "n_layers": 1, "n_heads": 2, "ffn_hidden": 24, "tie_embeddings": True},
        "data": [{"tokens": tokens}],
        "sequence_length": 32,
        "global_batch_size": 4,
        "steps": 4,
        "optimizer": {"learning_rate": 1e-2},
        "device": "cpu",
    }
    path = tmp_path / "run.json"
    path.write_bytes(msgspec.json.encode(settings))
    return str(path)


def call(*arguments: str) -> Result:
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_results_go_to_standard_output_and_progress_to_standard_error(config: str) -> None:
    result = call("train", "-c", config)
    assert result.exit_code == 0
    assert "step 4 of 4" in result.stdout
    assert "step 1 of 4" in result.stderr
    assert "nothing to do" in call("train", "-c", config).stdout


def test_a_flag_beats_a_setting_and_a_setting_beats_the_file(config: str, tmp_path: Path) -> None:
    arguments = ("train", "-c", config, "--set", "steps=9", "--set", "sequence_length=16", "--steps", "2", "--json")
    result = json.loads(call(*arguments, "--to", str(tmp_path / "other")).stdout)
    assert (result["steps"], result["tokens"]) == (2, 2 * 4 * 16)
    assert (tmp_path / "other" / "metrics.jsonl").exists()


def test_a_dry_run_says_what_would_be_trained(config: str, tokens: str, tmp_path: Path) -> None:
    plan = json.loads(call("train", "-c", config, "--dry-run", "--json").stdout)
    assert plan["parameters"] == 128 * 16 + 4 * 16 * 16 + 3 * 16 * 24
    assert (plan["steps"], plan["tokens_per_step"]) == (4, 128)
    assert plan["passes"][tokens] == pytest.approx(0.4, abs=0.2)
    assert not (tmp_path / "run").exists()


def test_an_unknown_key_is_refused_with_a_guess(config: str) -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'warmup_step' at schedule \(did you mean 'warmup_steps'\?\)"):
        call("train", "-c", config, "--set", "schedule.warmup_step=1")


def test_without_torch_the_error_names_the_extra(config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def find_nothing(name: str) -> ModuleSpec | None:
        return None

    monkeypatch.setattr(training, "find_spec", find_nothing)
    for command in (("train", "-c", config), ("eval", "--model", "run", "--tokens", "tokens")):
        with pytest.raises(DependencyError, match=r"pip install 'dolma_pipe\[train\]'"):
            call(*command)


def test_bits_per_byte_are_shown_by_source(config: str, tokens: str, tmp_path: Path) -> None:
    call("train", "-c", config)
    shown = call("eval", "--model", str(tmp_path / "run"), "--tokens", tokens).stdout
    assert [line.split()[0] for line in shown.splitlines()[1:]] == ["source", "books", "web", "all"]
    result = json.loads(
        call("eval", "--model", str(tmp_path / "run"), "--tokens", tokens, "--limit", "3", "--json").stdout
    )
    assert result["overall"]["documents"] == 3
