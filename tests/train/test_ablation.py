"""Mixes compared by the models that they make."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_text import text_tokens
from typer.testing import CliRunner, Result

from dolma_pipe.cli import app
from dolma_pipe.cli.ablate import verdict
from dolma_pipe.config import convert
from dolma_pipe.errors import ConfigError
from dolma_pipe.train.evaluation.evaluate import EvalResult
from dolma_pipe.train.evaluation.heldout import Score
from dolma_pipe.train.evaluation.tasks import QuestionScore, TaskScore
from dolma_pipe.train.experiments.ablation import AblationResult, ablate, compare
from dolma_pipe.train.experiments.config import AblationConfig

Measured = dict[tuple[str, int], EvalResult]


@pytest.fixture
def plain(tmp_path: Path) -> dict[str, Any]:
    """A comparison of two folders that hold the same words, and other ones."""
    cats, rain = ["the cat in the hat", "a cat on the hat"] * 30, ["on the other rain", "an air in rain"] * 30
    (tmp_path / "domains").mkdir()
    lines = "".join(json.dumps({"text": text}) + "\n" for text in cats[:6])
    (tmp_path / "domains" / "cats.jsonl").write_text(lines)
    train = {
        "model": {"d_model": 16, "n_layers": 1, "n_heads": 2, "ffn_hidden": 24},
        "sequence_length": 16, "global_batch_size": 4, "steps": 6, "optimizer": {"learning_rate": 2e-2},
        "device": "cpu",
    }  # fmt: skip
    return {
        "to": str(tmp_path / "ablation"),
        "mixes": {"rain": text_tokens(tmp_path / "rain", rain), "cats": text_tokens(tmp_path / "cats", cats)},
        "train": train,
        "eval": {"texts": [str(tmp_path / "domains")], "device": "cpu"},
    }


def measured(make: Callable[[str, int], list[float]], config: AblationConfig) -> Measured:
    """Results of runs whose questions have the bits per byte that `make` says."""
    found: Measured = {}
    for mix in config.mixes:
        for seed in config.seeds:
            items = [QuestionScore({"raw": 0}, 0, bits) for bits in make(mix, seed)]
            task = TaskScore(
                questions=len(items), truncated=0, chance=0.5, score="raw", accuracy={"raw": 1.0},
                standard_error=0.0, bits_per_byte=0.0, items=items,
            )  # fmt: skip
            score = Score(documents=2, items=[(float(seed + 1), 4), (2.0, 4)])
            found[mix, seed] = EvalResult(
                model=mix, step=1, window=8, overlap=0, tasks={"toy": task}, domains={"web": score}
            )
    return found


def judged(plain: dict[str, Any], shifts: dict[str, float], noise: float) -> AblationResult:
    config = convert({**plain, "mixes": dict.fromkeys(shifts, plain["mixes"]["cats"])}, AblationConfig, "test")
    draw = np.random.default_rng(0)
    return compare(config, measured(lambda mix, _: (1 + shifts[mix] + draw.normal(0, noise, 40)).tolist(), config))


def test_a_mix_that_is_lower_on_every_question_is_best(plain: dict[str, Any]) -> None:
    result = judged(plain, {"base": 0.0, "better": -0.2}, noise=0.01)
    assert (result.best, result.undecided, result.judged_by) == ("better", [], "tasks")
    found = {one.metric: one for one in result.comparisons}
    assert found["tasks/toy"].difference.mean == pytest.approx(-0.2, abs=0.01)
    assert found["tasks/toy"].verdict == "better"
    assert found["domains/web"].difference.mean == 0.0
    assert found["domains/web"].verdict == "no decision"
    assert result.mixes["base"].bits_per_byte["domains/web"] == pytest.approx(
        [(s + 3) / 8 / np.log(2) for s in range(3)]
    )
    assert verdict(result) == "verdict: better is best, by mean bits per byte over tasks"


def test_noise_leaves_no_decision(plain: dict[str, Any]) -> None:
    result = judged(plain, {"base": 0.0, "same": -0.01}, noise=0.3)
    assert result.best is None
    assert sorted(result.undecided) == ["base", "same"]
    assert verdict(result).startswith("verdict: no decision between ")


def test_of_three_mixes_those_that_are_told_apart_drop_out(plain: dict[str, Any]) -> None:
    result = judged(plain, {"worse": 1.0, "one": 0.0, "two": 0.0}, noise=0.05)
    assert sorted(result.undecided) == ["one", "two"]
    assert {one.verdict for one in result.comparisons if one.metric == "tasks"} == {"better"}


def call(*arguments: str) -> Result:
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_the_command_trains_measures_and_does_nothing_twice(plain: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "ablate.json"
    path.write_text(json.dumps(plain))
    assert call("ablate", "-c", str(path), "--part", "2/6").stdout == ""
    assert [run.name for run in (tmp_path / "ablation" / "runs").iterdir()] == ["rain-seed1"]
    shown = call("ablate", "-c", str(path))
    assert "seen" in shown.stdout
    assert shown.stdout.splitlines()[-1].startswith("verdict: ")
    result = json.loads((tmp_path / "ablation" / "ablation.json").read_text())
    assert len(result["mixes"]["cats"]["bits_per_byte"]["domains/cats"]) == 3
    assert result["mixes"]["cats"]["passes"] == {plain["mixes"]["cats"]: pytest.approx(0.58, abs=0.3)}
    files = {file: file.stat().st_mtime_ns for file in (tmp_path / "ablation").rglob("step-*/*")}
    files |= {file: file.stat().st_mtime_ns for file in (tmp_path / "ablation" / "evals").iterdir()}
    again = json.loads(call("ablate", "-c", str(path), "--json").stdout)
    assert again == result
    assert {file: file.stat().st_mtime_ns for file in files} == files


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mixes": {"a": "x"}}, "needs two or more"),
        ({"seeds": [0, 1]}, "three or more"),
        ({"baseline": "c"}, "not among the mixes"),
        ({"mixes": {"a/b": "x", "c": "y"}}, "becomes a folder's"),
        ({"mixes": {"a": "x.yaml", "c": "y"}}, "tokenize says how"),
        ({"train": {}}, "missing"),
    ],
)
def test_what_cannot_be_compared_is_refused(plain: dict[str, Any], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        convert({**plain, **changes}, AblationConfig, "test").check()


def test_an_experiment_is_no_work_for_several_ranks(plain: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="start it without torchrun"):
        ablate(convert(plain, AblationConfig, "test"))


def test_mixes_of_two_tokenizers_are_not_compared(plain: dict[str, Any], tmp_path: Path) -> None:
    from token_folders import random_tokens

    plain["mixes"]["other"] = random_tokens(tmp_path / "other")
    with pytest.raises(ConfigError, match="differ in tokenizer"):
        ablate(convert(plain, AblationConfig, "test"))
