"""Checkpoints are saved while training goes on, and a run may die at any point of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import torch

from dolma_pipe import storage
from dolma_pipe.errors import ConfigError, TaskError
from dolma_pipe.train.checkpoints import checkpoint, saving
from dolma_pipe.train.config import CheckpointConfig, TrainConfig
from dolma_pipe.train.loop import train
from dolma_pipe.train.metrics import CheckpointSaved, Event, StepMetrics, read_metrics

MakeConfig = Callable[..., TrainConfig]


def steps(config: TrainConfig) -> list[int]:
    return [checkpoint.step_of(folder) for folder in checkpoint.complete(config.to)]


def test_training_goes_on_while_a_checkpoint_is_written(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(steps=9, schedule={"decay": "constant"})
    release, heard, publish = threading.Event(), list[Event](), saving.publish

    def slow(partial: str, folder: str, record: checkpoint.CheckpointRecord) -> None:
        assert release.wait(30)
        publish(partial, folder, record)

    def listen(event: Event) -> None:
        heard.append(event)
        if isinstance(event, StepMetrics) and event.step == 8:
            release.set()

    monkeypatch.setattr(saving, "publish", slow)
    train(config, listen)
    saved = [event.step for event in heard if isinstance(event, CheckpointSaved)]
    assert saved == [5, 9]
    assert [type(event) for event in heard].index(CheckpointSaved) > [
        isinstance(event, StepMetrics) and event.step == 8 for event in heard
    ].index(True)
    model, record = checkpoint.open_model(checkpoint.complete(config.to)[0], torch.device("cpu"))
    now = make_config("now", steps=5, schedule={"decay": "constant"})
    train(now)
    other, _ = checkpoint.open_model(checkpoint.find(now.to), torch.device("cpu"))
    assert record.step == 5
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)  # the weights of step 5, not of when they reached the disk


def test_the_foreground_saves_the_same_bytes(make_config: MakeConfig) -> None:
    behind, before = make_config("behind", steps=5), make_config("before", steps=5, checkpoint__background=False)
    train(behind)
    train(before)
    found = [Path(checkpoint.find(config.to), "__0_0.distcp").read_bytes() for config in (behind, before)]
    assert found[0] == found[1]


@pytest.mark.parametrize("point", ["save_tensors", "publish", "record"])
def test_a_save_that_breaks_off_leaves_the_checkpoint_before(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    config, whole = make_config(), make_config("whole")
    train(whole)
    with monkeypatch.context() as patched:
        owner, name = (storage, "write_bytes") if point == "record" else (saving, point)
        original = getattr(owner, name)

        def fail(*arguments: object) -> object:
            if any("step-00000010" in str(argument) for argument in arguments):
                raise OSError("no space left on device")
            return original(*arguments)

        patched.setattr(owner, name, fail)
        with pytest.raises(TaskError, match=r"could not be saved: no space left on device; .*step-00000005 stands"):
            train(config)
    assert steps(config) == [5]
    result = train(config)
    assert result is not None
    assert result.trained_steps == 12 - 5
    assert steps(config) == [5, 10, 12]
    assert [line.loss for line in read_metrics(config.to)] == [line.loss for line in read_metrics(whole.to)]


@pytest.mark.parametrize("background", [True, False])
def test_a_full_disk_is_told_in_a_line(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, background: bool
) -> None:
    def fail(stream: object, data: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dolma_pipe.storage.direct.DirectFile.write", fail)
    with pytest.raises(TaskError, match=r"could not be saved: .*No space left on device; none stands") as error:
        train(make_config(steps=5, checkpoint__background=background))
    assert "\n" not in str(error.value)


DYING = """
import os, signal, sys
import msgspec
from dolma_pipe import storage
from dolma_pipe.config import convert
from dolma_pipe.train.config import TrainConfig
from dolma_pipe.train.loop import train

write = storage.write_bytes

def die(path, *rest):
    if path.endswith("step-00000010/checkpoint.json"):
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, *rest)

storage.write_bytes = die
train(convert(msgspec.json.decode(sys.argv[1]), TrainConfig, "test"))
"""


def test_a_run_killed_in_the_middle_of_a_save_goes_on_from_the_one_before(make_config: MakeConfig) -> None:
    config, whole = make_config(), make_config("whole")
    command = [sys.executable, "-c", DYING, msgspec.json.encode(config).decode()]
    killed = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert Path(config.to, "checkpoints/step-00000010").exists()
    assert steps(config) == [5]
    train(config)
    train(whole)
    assert [line.loss for line in read_metrics(config.to)] == [line.loss for line in read_metrics(whole.to)]


def test_some_older_checkpoints_stay_for_good(make_config: MakeConfig) -> None:
    config = make_config(checkpoint={"every_steps": 2, "keep_last": 1, "keep_every_steps": 4}, steps=11)
    train(config)
    assert steps(config) == [4, 8, 11]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"every_steps": 4, "keep_every_steps": 6}, "keep_every_steps 6 is no multiple of every_steps 4"),
        ({"keep_last": None, "keep_every_steps": 1000}, "has no effect where keep_last is null"),
    ],
)
def test_what_would_keep_nothing_is_refused(changes: dict[str, int | None], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CheckpointConfig(**changes).check()  # pyright: ignore[reportArgumentType]
