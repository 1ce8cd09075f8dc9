"""Steps whose loss or gradient is not finite, or far above the last ones, are skipped, named, and remembered."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from token_folders import Row, write_shards

from dolma_pipe.errors import TaskError
from dolma_pipe.train.checkpoints import checkpoint
from dolma_pipe.train.config import DataSource, SkipConfig, TrainConfig
from dolma_pipe.train.data.chunks import IGNORED, TokenRange
from dolma_pipe.train.data.loader import Loader
from dolma_pipe.train.language_modelling import LanguageModelling
from dolma_pipe.train.loop import train
from dolma_pipe.train.metrics import Event, StepSkipped, read_metrics
from dolma_pipe.train.objective import Loss
from dolma_pipe.train.spikes import GuardState, SpikeGuard

MakeConfig = Callable[..., TrainConfig]


def test_a_spike_is_what_lies_so_many_deviations_above_the_window() -> None:
    guard = SpikeGuard(SkipConfig(spike_sigma=3, window=8), GuardState())
    for step, loss in enumerate((1.0, 1.2, 0.8, 1.1), start=1):
        assert guard.judge(step, loss, 0.5 + loss / 10) is None
    reason = guard.judge(5, 5.0, 0.6)
    assert reason is not None
    assert reason.startswith("loss 5 is above 1.025 + 3 x")
    assert guard.judge(6, 1.0, 9.0) is not None
    assert guard.state.losses == [1.0, 1.2, 0.8, 1.1]  # the spikes are no part of what is usual
    assert guard.state.skipped == [5, 6]
    again = SpikeGuard(SkipConfig(spike_sigma=3, window=8), guard.state)
    assert again.judge(7, 5.0, 0.6) is not None


def test_before_half_a_window_only_what_is_not_finite_is_skipped() -> None:
    guard = SpikeGuard(SkipConfig(spike_sigma=3, window=8), GuardState())
    for step, loss in enumerate((1.0, 1.1, 90.0), start=1):
        assert guard.judge(step, loss, 1.0) is None
    assert guard.judge(4, math.nan, 1.0) == "loss nan, gradient norm 1.0"
    assert guard.judge(5, 1.0, math.inf) == "loss 1.0, gradient norm inf"


def test_a_phase_begins_with_a_window_of_its_own() -> None:
    guard = SpikeGuard(SkipConfig(spike_sigma=3, window=8), GuardState([1.0] * 8, [1.0, 1.1] * 4, [3]))
    guard.begin_anew()
    assert guard.judge(9, 50.0, 50.0) is None
    assert guard.state.skipped == [3]


def test_too_many_skips_within_a_window_are_an_error() -> None:
    guard = SpikeGuard(SkipConfig(window=4, most=2), GuardState())
    for step in (1, 2, 7, 8):
        assert guard.judge(step, math.nan, 1.0) is not None
    with pytest.raises(TaskError, match=r"skip 3 in 4 steps, and skip\.most allows 2"):
        guard.judge(9, math.nan, 1.0)


BAD = 7


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss that is not a number wherever a label is the token that nobody should learn."""
    plain = LanguageModelling.loss

    def loss(self: LanguageModelling, model: Any, rows: Any, whole: Any) -> Loss:
        mean, extra = plain(self, model, rows, whole)
        return Loss(mean * math.nan if bool((rows.labels == BAD).any()) else mean, extra)

    monkeypatch.setattr(LanguageModelling, "loss", loss)


@pytest.fixture
def spoiled(tmp_path: Path) -> str:
    """Documents of which one holds the bad token."""
    draw = np.random.default_rng(0)
    rows = [Row([*draw.integers(8, 64, 30).tolist(), 0]) for _ in range(24)]
    rows[13] = Row([9, BAD, 9, BAD, 10, 0], source="bad")
    return write_shards(tmp_path / "spoiled", [rows[:10], rows[10:]])


@pytest.mark.usefixtures("poisoned")
def test_a_step_that_is_not_finite_is_skipped_and_its_documents_are_named(
    make_config: MakeConfig, spoiled: str
) -> None:
    heard: list[Event] = []
    config = make_config(data=[{"tokens": spoiled}], global_batch_size=4, micro_batch_size=None)
    result = train(config, heard.append)
    assert result is not None
    assert result.step == 12
    skipped = [line for line in read_metrics(config.to) if line.skipped]
    events = [event for event in heard if isinstance(event, StepSkipped)]
    assert [line.step for line in skipped] == [event.step for event in events]
    assert len(skipped) >= 2  # every pass meets it again
    assert all("d3" in {one.id for one in event.documents if one.token_shard == "shard-00001"} for event in events)
    told = [json.loads(line) for line in Path(config.to, "skipped.jsonl").read_text().splitlines()]
    assert {(one["step"], one["document"]["id"]) for one in told} >= {(events[0].step, "d3")}
    model, _ = checkpoint.open_model(checkpoint.find(config.to), torch.device("cpu"))
    assert all(torch.isfinite(weight).all() for weight in model.parameters())


@pytest.mark.usefixtures("poisoned")
def test_quarantined_documents_are_shown_no_more_also_after_resuming(make_config: MakeConfig, spoiled: str) -> None:
    changes: dict[str, Any] = {
        "data": [{"tokens": spoiled}], "global_batch_size": 4, "micro_batch_size": None, "steps": 18,
        "skip": {"quarantine": True}, "checkpoint": {"every_steps": 1, "keep_last": None}, "schedule": {},
    }  # fmt: skip
    whole, cut = make_config("whole", **changes), make_config("cut", **changes)
    train(whole)
    lines = read_metrics(whole.to)
    assert sum(line.skipped is not None for line in lines) == 1  # three passes, one meeting
    step = next(line.step for line in lines if line.skipped)
    record = checkpoint.read_record(checkpoint.find(whole.to))
    assert TokenRange(spoiled, "shard-00001", 93, 99) in record.excluded
    train(cut)
    for folder in checkpoint.complete(cut.to):
        if checkpoint.step_of(folder) > step + 1:
            checkpoint.remove(folder)
    train(cut)
    assert [line.loss for line in read_metrics(cut.to)] == pytest.approx([line.loss for line in lines], nan_ok=True)
    assert Path(cut.to, "skipped.jsonl").read_text() == Path(whole.to, "skipped.jsonl").read_text()


def test_excluded_tokens_are_padding_and_no_labels(spoiled: str) -> None:
    loader = Loader([DataSource(tokens=spoiled, epochs=1)], 32, 0)
    total = loader.order.total
    assert total is not None
    before = loader.batch(0, total)
    found = [one for one in loader.documents(0, total, 32) if one.source == "bad"]
    assert loader.exclude(found) == [TokenRange(spoiled, "shard-00001", 93, 99)]
    after = loader.batch(0, total)
    lost = (before.labels != IGNORED) & (after.labels == IGNORED)
    assert sorted(before.labels[lost].tolist()) == [0, BAD, BAD, 9, 9, 10]
    assert not (after.inputs == BAD).any()
    assert (before.labels[~lost] == after.labels[~lost]).all()
    assert (before.inputs != after.inputs).sum() == 5  # its end-of-text was padding already


def test_documents_that_were_taken_down_are_no_labels(tmp_path: Path) -> None:
    folder = write_shards(
        tmp_path / "t", [[Row([5, 6, 0]), Row([0, 0, 0, 0], masked=True)], [Row([0, 0], masked=True), Row([8, 9, 0])]]
    )
    batch = Loader([DataSource(tokens=folder, epochs=1)], 16, 0).batch(0, 1)
    assert batch.labels[0, :11].tolist() == [6, 0, *[IGNORED] * 6, 8, 9, 0]


def test_a_spike_leaves_the_weights_as_they_were(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    judge = SpikeGuard.judge

    def no_sixth(self: SpikeGuard, step: int, loss: float, norm: float) -> str | None:
        return "the sixth" if step == 6 else judge(self, step, loss, norm)

    monkeypatch.setattr(SpikeGuard, "judge", no_sixth)
    config = make_config(checkpoint={"every_steps": 1, "keep_last": None}, steps=7)
    train(config)
    saved = [checkpoint.step_of(folder) for folder in checkpoint.complete(config.to)]
    assert saved == [1, 2, 3, 4, 5, 7]
    lines = read_metrics(config.to)
    assert [line.skipped for line in lines] == [None] * 5 + ["the sixth", None]
    assert msgspec.to_builtins(lines[5])["loss"] != lines[4].loss
