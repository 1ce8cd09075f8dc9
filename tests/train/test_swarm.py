"""A mixture search, on functions whose best mixture is known, and once with runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_text import text_tokens
from typer.testing import CliRunner, Result

from dolma_pipe.cli import app
from dolma_pipe.config import convert, read_yaml
from dolma_pipe.errors import ConfigError
from dolma_pipe.train.experiments.config import SwarmConfig
from dolma_pipe.train.experiments.mixtures import (
    GRAIN,
    Drawing,
    best,
    caps,
    fit,
    left_out,
    project,
    rank_correlation,
)
from dolma_pipe.train.experiments.swarm import Proxy, search, swarm

NATURAL = np.array([0.5, 0.3, 0.2])


def config(**changes: Any) -> SwarmConfig:
    train = {
        "model": {"d_model": 16, "n_layers": 1, "n_heads": 2, "ffn_hidden": 24}, "sequence_length": 16,
        "global_batch_size": 4, "steps": 3, "optimizer": {"learning_rate": 1e-2}, "device": "cpu",
    }  # fmt: skip
    plain: dict[str, Any] = {
        "to": "swarm", "data": {"web": "w", "books": "b", "code": "c"}, "train": train, "eval": {"texts": ["d"]},
        "runs": 24, "budget": 1000, "kl": 0.0, **changes,
    }  # fmt: skip
    return convert(plain, SwarmConfig, "test")


EVEN = Drawing(strength=(3.0, 3.0), temperature=1.0, max_oversampling=1e9, seed=7)


def drawn(runs: int, how: Drawing = EVEN) -> np.ndarray:
    return np.stack(how.mixtures(NATURAL, runs))


def test_shares_are_drawn_around_the_natural_ones() -> None:
    shares = drawn(800)
    assert shares[0] == pytest.approx(NATURAL)
    assert shares.sum(axis=1) == pytest.approx(1.0)
    assert (shares >= 0).all()
    assert shares.mean(axis=0) == pytest.approx(NATURAL, abs=0.03)
    alpha = 3 * NATURAL  # a Dirichlet's variance
    assert shares.var(axis=0) == pytest.approx(alpha * (3 - alpha) / (9 * 4), rel=0.2)


def test_a_run_has_the_same_shares_however_many_there_are() -> None:
    few, more, others = drawn(6, Drawing()), drawn(30, Drawing()), drawn(6, Drawing(seed=1))
    assert more[:6].tolist() == few.tolist()
    assert others[1:].tolist() != few[1:].tolist()


def test_a_temperature_gives_small_sources_more() -> None:
    shares = drawn(800, EVEN._replace(temperature=0.5))[1:]
    assert shares.mean(axis=0) == pytest.approx(np.sqrt(NATURAL) / np.sqrt(NATURAL).sum(), abs=0.03)


def test_a_spread_of_strengths_gives_mixtures_of_one_source_and_even_ones() -> None:
    shares = drawn(400, Drawing())
    assert (shares.max(axis=1) > 0.99).sum() > 40
    assert (shares.max(axis=1) < 0.6).sum() > 40
    weak, strong = (drawn(100, Drawing(strength=(one, one))).max(axis=1).mean() for one in (0.1, 50.0))
    assert weak > 0.85 > 0.6 > strong


def test_no_two_runs_have_the_same_shares_and_small_shares_are_none() -> None:
    shares = drawn(300, Drawing(strength=(0.1, 0.2)))
    assert len({tuple(row) for row in shares.tolist()}) == 300
    assert (shares == 0).any()
    assert np.allclose(shares / GRAIN, np.rint(shares / GRAIN), atol=1e-6)


def test_no_source_is_tried_at_more_than_so_many_times_its_natural_share() -> None:
    natural = np.array([0.97, 0.02, 0.01])
    shares = np.stack(Drawing(strength=(1.0, 5.0)).mixtures(natural, 200))
    assert (shares[:, 1:] <= 15 * natural[1:] + GRAIN).all()
    assert shares[:, 2].max() > 0.1
    with pytest.raises(ConfigError, match="different mixtures, not 300"):
        Drawing(max_oversampling=1.0001).mixtures(natural, 300)


def test_a_law_is_found_again_from_what_it_says() -> None:
    shares = drawn(30)
    slopes = np.array([-1.0, 0.4, 0.1])
    linear = fit(shares, shares @ (slopes + 3), "linear")
    assert linear.slopes == pytest.approx(slopes + 3)
    law = fit(shares, 0.9 + np.exp(shares @ slopes), "log_linear")
    assert law.predict(shares) == pytest.approx(0.9 + np.exp(shares @ slopes), abs=2e-3)
    losses = 0.9 + np.exp(shares @ slopes)
    assert rank_correlation(losses, left_out(shares, losses, "log_linear")) > 0.99


def test_noise_predicts_nothing() -> None:
    losses = np.random.default_rng(0).uniform(1, 2, 40)
    assert abs(rank_correlation(losses, left_out(drawn(40), losses, "linear"))) < 0.5


@given(st.lists(st.floats(-3, 3), min_size=3, max_size=3), st.lists(st.floats(0.34, 1), min_size=3, max_size=3))
def test_a_projection_is_the_nearest_point_within_the_caps(point: list[float], limits: list[float]) -> None:
    here, most = np.array(point), np.array(limits)
    found = project(here, most)
    assert found.sum() == pytest.approx(1.0)
    assert (found >= 0).all()
    assert (found <= most + 1e-9).all()
    grid = [np.array([a, b, 1 - a - b]) for a in np.linspace(0, 1, 21) for b in np.linspace(0, 1, 21) if a + b <= 1]
    within = [other for other in grid if (other <= most).all()]
    assert all(np.square(found - here).sum() <= np.square(other - here).sum() + 1e-9 for other in within)


def known(shares: np.ndarray) -> dict[str, float]:
    """Two domains that want different sources; their mean is least at a mixture that calculus gives."""
    return {
        "domains/one": float(0.5 + np.exp(-2.0 * shares[0])),
        "domains/two": float(0.5 + np.exp(-2.0 * shares[1] + 0.4)),
    }


def proxies(wanted: SwarmConfig) -> list[Proxy]:
    found = EVEN._replace(seed=1).mixtures(NATURAL, wanted.runs)
    return [Proxy(dict(zip(wanted.data, shares.tolist(), strict=True)), known(shares)) for shares in found]


def test_the_optimum_of_a_known_function_is_found() -> None:
    """exp(-2a) + exp(-2b + 0.4) with a + b = 1 is least where -2a = -2b + 0.4: a = 0.4, b = 0.6."""
    wanted = config(budget=100)
    found = search(wanted, 1000 * NATURAL, proxies(wanted))
    assert list(found.optimum.values()) == pytest.approx([0.4, 0.6, 0.0], abs=0.01)
    assert found.rank_correlation > 0.95
    assert found.predicted < found.predicted_natural
    assert found.epochs["books"] == pytest.approx(0.6 * 100 / 300, rel=0.05)


def test_repetition_caps_bind_the_optimum() -> None:
    wanted = config(budget=1000, max_epochs=1.5)  # books: 300 tokens x 1.5 of 1000
    found = search(wanted, 1000 * NATURAL, proxies(wanted))
    assert found.optimum["books"] == pytest.approx(0.45, abs=1e-6)
    assert found.optimum["web"] == pytest.approx(0.55, abs=0.01)
    assert max(found.epochs.values()) <= 1.5 + 1e-6
    with pytest.raises(ConfigError, match="last for 1,000 tokens"):
        caps(1000 * NATURAL, 1001, 1.0)


def test_a_weight_on_divergence_keeps_the_optimum_near_the_natural_shares() -> None:
    laws = [fit(drawn(30), 2 + drawn(30) @ np.array([-1.0, 0.0, 0.5]), "linear")]
    far, near = (best(laws, NATURAL, np.ones(3), kl) for kl in (0.0, 10.0))
    assert far == pytest.approx([1.0, 0.0, 0.0], abs=1e-6)
    expected = NATURAL * np.exp(-np.array([-1.0, 0.0, 0.5]) / 10)
    assert near == pytest.approx(expected / expected.sum(), abs=1e-4)  # the minimum of a line plus KL is a tilt


def call(*arguments: str) -> Result:
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_the_command_searches_a_mixture_and_writes_it(tmp_path: Path) -> None:
    import msgspec

    data = {
        "cats": text_tokens(tmp_path / "cats", ["the cat in the hat"] * 40),
        "rain": text_tokens(tmp_path / "rain", ["on the other rain"] * 20),
    }
    (tmp_path / "domains").mkdir()
    (tmp_path / "domains" / "cats.jsonl").write_text('{"text": "a cat in a hat"}\n')
    (tmp_path / "mix.yaml").write_text(
        "to: m\nsources:\n"
        "  - {name: cats, dataset: d/cats, steps: [{keep: {long: 'length.characters > 3'}}, {sample: {rate: 0.1}}]}\n"
        "  - {name: rain, dataset: d/rain, steps: []}\n"
    )
    wanted = config(
        to=str(tmp_path / "swarm"), data=data, eval={"texts": [str(tmp_path / "domains")]}, runs=4, budget=200, kl=0.1,
        mix=str(tmp_path / "mix.yaml"),
    )  # fmt: skip
    (tmp_path / "swarm.json").write_bytes(msgspec.json.encode(wanted))
    call("swarm", "-c", str(tmp_path / "swarm.json"), "--part", "4/4")
    assert [run.name for run in (tmp_path / "swarm" / "runs").iterdir()] == ["0003"]
    shown = call("swarm", "-c", str(tmp_path / "swarm.json"))
    assert "rank correlation" in shown.stdout
    result = json.loads((tmp_path / "swarm" / "swarm.json").read_text())
    written = read_yaml(tmp_path / "swarm" / "data.yaml")["data"]
    assert sum(one["share"] for one in written) == pytest.approx(1.0, abs=1e-4)
    sources = read_yaml(tmp_path / "swarm" / "mix.yaml")["sources"]
    assert sources[0]["steps"][-1] == {"sample": {"share": result["optimum"]["cats"], "max_epochs": 4.0}}
    assert len(sources[0]["steps"]) == 2
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "swarm").rglob("*.safetensors")}
    assert json.loads(call("swarm", "-c", str(tmp_path / "swarm.json"), "--json").stdout) == result
    assert {file: file.stat().st_mtime_ns for file in before} == before
    (tmp_path / "pipeline.yaml").write_text("steps: [{swarm: swarm.json}]")
    assert "nothing was left to do" in call("run", "-c", str(tmp_path / "pipeline.yaml")).stdout


def test_a_mix_without_one_of_the_sources_is_refused_before_any_run(tmp_path: Path) -> None:
    data = {name: text_tokens(tmp_path / name, ["the cat"] * 20) for name in ("cats", "rain")}
    (tmp_path / "mix.yaml").write_text("to: m\nsources: [{name: cats, dataset: d}]\n")
    wanted = config(to=str(tmp_path / "swarm"), data=data, runs=4, budget=100, mix=str(tmp_path / "mix.yaml"))
    with pytest.raises(ConfigError, match="no source 'rain'"):
        swarm(wanted)
    assert not (tmp_path / "swarm").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"web": "w"}}, "two or more"),
        ({"runs": 4}, "cannot tell 3 folders apart"),
        ({"strength": [5.0, 0.1]}, "write the smaller one first"),
        ({"data": {"a b": "w", "c": "c"}}, "becomes a folder's"),
    ],
)
def test_what_cannot_be_searched_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(**changes).check()
