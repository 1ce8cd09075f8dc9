"""Steps are told to TensorBoard and to Weights & Biases (which works offline) as well."""

from __future__ import annotations

from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dolma_pipe.errors import DependencyError
from dolma_pipe.train import writers
from dolma_pipe.train.config import TrainConfig
from dolma_pipe.train.loop import train
from dolma_pipe.train.metrics import read_metrics

MakeConfig = Callable[..., TrainConfig]


@pytest.mark.filterwarnings("ignore")
def test_tensorboard_holds_the_numbers_of_every_step_once(make_config: MakeConfig) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(make_config(log=["tensorboard"], steps=4, source_loss_every=2))
    config = make_config(log=["tensorboard"], steps=6, source_loss_every=2)
    train(config)
    events = EventAccumulator(str(Path(config.to, "tensorboard")))
    events.Reload()
    losses = events.Scalars("train/loss")
    lines = read_metrics(config.to)
    assert [event.step for event in losses] == [1, 2, 3, 4, 5, 6]
    assert [event.value for event in losses] == pytest.approx([line.loss for line in lines])
    assert [event.step for event in events.Scalars("sources/web/first/bits_per_byte")] == [2, 4, 6]


def test_weights_and_biases_gets_one_run_that_goes_on(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    begun: list[dict[str, Any]] = []
    logged: list[tuple[int, dict[str, float]]] = []
    ended: list[bool] = []
    session = SimpleNamespace(log=lambda values, step: logged.append((step, values)), finish=lambda: ended.append(True))
    fake = SimpleNamespace(init=lambda **settings: begun.append(settings) or session)
    real = writers.import_module
    monkeypatch.setattr(writers, "import_module", lambda name: fake if name == "wandb" else real(name))
    monkeypatch.setattr(writers, "find_spec", lambda name: ModuleSpec(name, None))
    config = make_config(log=["wandb"], steps=4)
    train(config)
    lines = read_metrics(config.to)
    assert [(step, values["train/loss"]) for step, values in logged] == [(line.step, line.loss) for line in lines]
    assert logged[0][1]["train/tokens"] == 256
    assert begun[0]["dir"] == str(tmp_path / "run")
    assert (begun[0]["resume"], ended) == ("allow", [True])


def test_a_package_that_is_not_there_is_named_before_any_work(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find_nothing(name: str) -> None:
        return None

    monkeypatch.setattr(writers, "find_spec", find_nothing)
    config = make_config(log=["wandb"])
    with pytest.raises(DependencyError, match=r"pip install 'dolma_pipe\[wandb\]'"):
        train(config)
    assert not Path(config.to).exists()
