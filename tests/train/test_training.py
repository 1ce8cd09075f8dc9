"""A run in one process: it learns, it reports, it stops and goes on as if it had not."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from token_folders import random_tokens

from dolma_pipe.errors import ConfigError, DataError, PipeError, TaskError
from dolma_pipe.train.checkpoints import checkpoint
from dolma_pipe.train.config import TrainConfig
from dolma_pipe.train.language_modelling import LanguageModelling
from dolma_pipe.train.loop import TrainResult, train
from dolma_pipe.train.metrics import CheckpointSaved, Event, RunStarted, StepMetrics, read_metrics
from dolma_pipe.train.objective import Loss

MakeConfig = Callable[..., TrainConfig]


def run(config: TrainConfig, listen: Callable[[Event], None] = lambda event: None, force: bool = False) -> TrainResult:
    result = train(config, listen, force)
    assert result is not None
    return result


def losses(config: TrainConfig) -> list[float]:
    return [line.loss for line in read_metrics(config.to)]


def test_the_loss_falls(make_config: MakeConfig) -> None:
    result = run(make_config(steps=60, optimizer__learning_rate=2e-2))
    assert result.last_loss < result.first_loss - 0.5


def test_every_step_leaves_a_line_of_metrics(make_config: MakeConfig) -> None:
    config = make_config()
    run(config)
    lines = [json.loads(line) for line in Path(config.to, "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 13))
    assert [line["tokens"] for line in lines] == [8 * 32 * step for step in range(1, 13)]
    assert set(lines[0]) == {
        "step", "tokens", "batch_size", "sequence_length", "loss", "lr", "grad_norm", "tokens_per_second",
        "data_wait_seconds",
    }  # fmt: skip


def test_listeners_hear_of_the_start_each_step_and_each_checkpoint(make_config: MakeConfig) -> None:
    heard: list[Event] = []
    config = make_config()
    result = run(config, heard.append)
    assert isinstance(heard[0], RunStarted)
    assert heard[0].passes[config.data[0].tokens] == pytest.approx(12 * 8 / 43, rel=0.2)
    assert [event.step for event in heard if isinstance(event, StepMetrics)] == list(range(1, 13))
    assert [event.step for event in heard if isinstance(event, CheckpointSaved)] == [5, 10, 12]
    assert result.checkpoint.endswith("step-00000012")


def test_micro_batches_change_nothing(make_config: MakeConfig) -> None:
    whole, parts = make_config("whole", micro_batch_size=None), make_config("parts", micro_batch_size=1)
    run(whole)
    run(parts)
    assert losses(parts) == pytest.approx(losses(whole), abs=1e-12)


def test_a_run_that_was_stopped_goes_on_exactly(make_config: MakeConfig) -> None:
    whole, stopped = make_config("whole"), make_config("stopped")
    run(whole)

    def stop_at_seven(event: Event) -> None:
        if isinstance(event, StepMetrics) and event.step == 7:
            signal.raise_signal(signal.SIGTERM)

    first = run(stopped, stop_at_seven)
    assert (first.signal, first.step, first.checkpoint[-2:]) == ("SIGTERM", 7, "07")
    second = run(stopped)
    assert (second.signal, second.step, second.trained_steps) == (None, 12, 5)
    assert losses(stopped) == losses(whole)
    last = [Path(config.to, "checkpoints/step-00000012/__0_0.distcp").read_bytes() for config in (whole, stopped)]
    assert last[0] == last[1]


def test_a_run_that_died_repeats_the_steps_since_its_checkpoint(make_config: MakeConfig) -> None:
    whole, died = make_config("whole"), make_config("died")
    run(whole)

    class Death(Exception):
        pass

    def die_at_seven(event: Event) -> None:
        if isinstance(event, StepMetrics) and event.step == 7:
            raise Death

    with pytest.raises(Death):
        run(died, die_at_seven)
    assert len(losses(died)) == 7
    assert run(died).trained_steps == 12 - 5
    assert losses(died) == losses(whole)


def test_a_finished_run_is_not_trained_again(make_config: MakeConfig) -> None:
    run(make_config())
    again = run(make_config())
    assert (again.trained_steps, again.step) == (0, 12)
    assert again.last_loss < again.first_loss


def test_force_starts_anew(make_config: MakeConfig) -> None:
    config = make_config()
    run(config)
    assert run(make_config(optimizer__learning_rate=1e-3), force=True).trained_steps == 12
    assert len(losses(config)) == 12


def test_more_steps_go_on_from_the_end_and_say_what_changed(make_config: MakeConfig) -> None:
    heard: list[Event] = []
    run(make_config())
    assert run(make_config(steps=14), heard.append).trained_steps == 2
    assert isinstance(heard[0], RunStarted)
    assert heard[0].changed == ["steps"]


def test_changed_tokens_are_refused(make_config: MakeConfig, tokens: str) -> None:
    run(make_config())
    random_tokens(Path(tokens), seed=1)
    with pytest.raises(DataError, match=r"the tokens are not those .*--force"):
        run(make_config(steps=20))


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"seed": 1}, DataError, "seed is 1, but .* was trained with 0"),
        ({"sequence_length": 16}, DataError, "sequence_length is 16"),
        ({"model__n_layers": 3}, ConfigError, r"model \(n_layers\) is not that of"),
    ],
)
def test_another_order_or_model_is_refused(
    make_config: MakeConfig, change: dict[str, int], kind: type[PipeError], message: str
) -> None:
    run(make_config())
    with pytest.raises(kind, match=message):
        run(make_config(**change))


def test_tokens_that_have_moved_are_the_same_tokens(make_config: MakeConfig, tmp_path: Path, tokens: str) -> None:
    run(make_config())
    moved = random_tokens(tmp_path / "moved")
    assert run(make_config(steps=14, data=[{"tokens": moved}])).trained_steps == 2


def test_a_loss_that_is_not_a_number_stops_before_the_update(make_config: MakeConfig) -> None:
    config = make_config(optimizer__learning_rate=1e200, optimizer__max_grad_norm=None, schedule__warmup_steps=0)
    with pytest.raises(TaskError, match=r"step \d+: loss .*nan.* the weights were not updated"):
        run(config)
    assert checkpoint.newest(config.to) is None


def test_epochs_end_the_run_with_every_token_seen(make_config: MakeConfig, tokens: str) -> None:
    config = make_config(steps=None, data=[{"tokens": tokens, "epochs": 1}], global_batch_size=5)
    heard: list[Event] = []
    result = run(config, heard.append)
    assert isinstance(heard[0], RunStarted)
    assert result.step == result.steps == heard[0].steps
    assert heard[0].passes[tokens] == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": None}, "when to stop"),
        ({"tokens": 1000}, "both say how long"),
        ({"micro_batch_size": 9}, "exceeds"),
        ({"schedule__warmup_steps": 12}, "warmup_steps is 12"),
        ({"schedule": {"warmup_start_fraction": 0.5}}, "warmup_start_fraction has no effect"),
        ({"optimizer__weight_decay": 0.0, "optimizer__decay_norms": True}, "no effect where weight_decay is 0"),
        ({"log": ["tensorboard", "tensorboard"]}, "stands there twice"),
        ({"optimizer__betas": [1.0, 0.9]}, r"optimizer\.betas"),
        ({"data": [{"tokens": "a", "share": 1, "epochs": 1}]}, "either a share or a number of epochs"),
        ({"data": [{"tokens": "a"}, {"tokens": "b"}]}, "each needs a share"),
        ({"data": [{"tokens": "a", "share": 1}, {"tokens": "a", "share": 2}]}, "listed twice"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(
    make_config: MakeConfig, change: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        run(make_config(**change))


def test_more_steps_than_the_epochs_give_are_refused(make_config: MakeConfig, tokens: str) -> None:
    with pytest.raises(ConfigError, match="the epochs given last for"):
        run(make_config(steps=1000, data=[{"tokens": tokens, "epochs": 1}]))


def test_tokens_that_are_not_there_are_an_error(make_config: MakeConfig, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        run(make_config(data=[{"tokens": str(tmp_path / "nowhere")}]))


def test_a_signal_between_micro_batches_ends_the_step_without_an_update(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, whole = make_config("stopped"), make_config("whole")
    plain, calls = LanguageModelling.loss, list[int]()

    def loss(self: LanguageModelling, model: Any, rows: Any, of: Any) -> Loss:
        calls.append(rows.row_count)
        if len(calls) == 3 * 3 + 2:  # the second of three micro-batches of the fourth step
            signal.raise_signal(signal.SIGTERM)
        return plain(self, model, rows, of)

    with monkeypatch.context() as patched:
        patched.setattr(LanguageModelling, "loss", loss)
        stopped = run(config)
    assert (stopped.signal, stopped.step, len(calls)) == ("SIGTERM", 3, 11)
    run(config)
    run(whole)
    assert losses(config) == losses(whole)


def test_a_second_run_into_the_same_folder_is_refused(make_config: MakeConfig) -> None:
    config = make_config()
    refused: list[str] = []

    def begin_another(event: Event) -> None:
        if isinstance(event, StepMetrics) and event.step == 2:
            with pytest.raises(ConfigError, match=r"run: process \d+ on .* writes there") as error:
                train(config)
            refused.append(str(error.value))

    run(config, begin_another)
    assert len(refused) == 1
    assert len(losses(config)) == 12
    assert run(config).trained_steps == 0
