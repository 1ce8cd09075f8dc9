"""Phases: each its mix, length, batch, learning rate and positions; one order of tokens through all of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from token_folders import random_tokens, stream_of
from torch import Tensor

from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.tokens import MANIFEST, Manifest, Packing
from dolma_pipe.train.checkpoints import checkpoint
from dolma_pipe.train.config import TrainConfig
from dolma_pipe.train.data.chunks import IGNORED
from dolma_pipe.train.data.loader import Batch
from dolma_pipe.train.loop import train
from dolma_pipe.train.metrics import read_metrics
from dolma_pipe.train.phases import START, Position, Progress
from dolma_pipe.train.plan import Plan, make_plan

MakeConfig = Callable[..., TrainConfig]
ANNEAL = {"decay": "linear", "final_fraction": 0.0}


def phased(make_config: MakeConfig, phases: list[dict[str, Any]], run: str = "run", **changes: Any) -> TrainConfig:
    return make_config(run, steps=None, phases=phases, schedule={"decay": "constant"}, **changes)


def batches(plan: Plan) -> list[Batch]:
    """Every step's global batch."""
    found, at = list[Batch](), START
    while at.step < plan.steps:
        phase = plan.phase(at.step + 1)
        first = at.tokens // phase.sequence_length
        found.append(plan.examples.batch(first, phase.global_batch_size, length=phase.sequence_length))
        at = plan.after(at)
    return found


def shown(plan: Plan) -> tuple[list[int], list[int]]:
    """All inputs and labels in the order in which they are shown."""
    pairs = [(batch.inputs.flatten().tolist(), batch.labels.flatten().tolist()) for batch in batches(plan)]
    return [x for inputs, _ in pairs for x in inputs], [x for _, labels in pairs for x in labels]


def test_each_phase_has_its_own_mix_length_batch_and_rate(make_config: MakeConfig, tmp_path: Path, tokens: str) -> None:
    other = random_tokens(tmp_path / "other", seed=1)
    config = phased(
        make_config,
        [
            {"name": "short", "steps": 4, "sequence_length": 16, "global_batch_size": 4},
            {"steps": 2, "schedule": {"warmup_steps": 1, "decay": "linear", "final_fraction": 0.0}},
            {"tokens": 5 * 8 * 32, "data": [{"tokens": other}], "schedule": ANNEAL, "learning_rate": 5e-3},
        ],
    )
    train(config)
    lines = read_metrics(config.to)
    assert [line.sequence_length for line in lines] == [16] * 4 + [32] * 7
    assert [line.batch_size for line in lines] == [4] * 4 + [8] * 7
    assert [line.tokens for line in lines] == [64, 128, 192, 256, *(256 + 256 * n for n in range(1, 8))]
    rates = [1e-2] * 4 + [1e-2, 0.0] + [5e-3 * (1 - n / 5) for n in range(1, 6)]
    assert [line.lr for line in lines] == pytest.approx(rates)
    plan = make_plan(config)
    assert [phase.name for phase in plan.phases] == ["short", "phase 2", "phase 3"]
    assert set(plan.passes) == {tokens, other}
    folders = [plan.examples.documents(row, 1, 32)[0].tokens for row in range(30)]  # pyright: ignore[reportAttributeAccessIssue]
    assert folders == [tokens] * 24 + [other] * 6


def test_a_length_warm_up_and_a_larger_batch_show_the_same_tokens_in_the_same_order(
    make_config: MakeConfig, tokens: str
) -> None:
    plain = phased(make_config, [{"data": [{"tokens": tokens, "epochs": 1}]}])
    warm = phased(
        make_config,
        [
            {"steps": 6, "sequence_length": 8, "global_batch_size": 4},
            {"steps": 5, "sequence_length": 16, "global_batch_size": 6},
            {"steps": 10, "global_batch_size": 10},
        ],
    )
    inputs, labels = shown(make_plan(warm))
    once, their = shown(make_plan(plain))
    epoch = -(-(len(stream_of(tokens)) - 1) // 32) * 32
    assert len(inputs) > epoch
    assert inputs[:epoch] == once[:epoch]
    assert labels[:epoch] == their[:epoch]
    assert sum(label != IGNORED for label in their) == len(stream_of(tokens)) - 1  # the tail is there, once


def test_a_folder_goes_on_in_the_next_phase_where_it_was(make_config: MakeConfig, tmp_path: Path, tokens: str) -> None:
    other = random_tokens(tmp_path / "other", seed=1)
    config = phased(
        make_config,
        [
            {"steps": 3, "global_batch_size": 7},
            {"data": [{"tokens": other, "share": 1}, {"tokens": tokens, "share": 1}], "steps": 5},
        ],
    )
    plan = make_plan(config)
    found = plan.examples.documents(0, 21 + 40, 32)  # pyright: ignore[reportAttributeAccessIssue]
    seen = [(one.instance, one.token_shard, one.start) for one in found if one.tokens == tokens and one.epoch == 0]
    assert len(seen) == len({place[1:] for place in seen})  # no token twice on the first pass
    assert {place[0] >= 21 for place in seen} == {True, False}
    assert plan.passes[tokens] == pytest.approx((21 + 20) / (len(stream_of(tokens)) / 32), abs=0.05)


def test_a_run_resumed_across_the_border_of_phases_is_the_uninterrupted_one(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    other = random_tokens(tmp_path / "other", seed=1)
    phases = [
        {"steps": 3, "sequence_length": 16, "global_batch_size": 6},
        {"steps": 4, "data": [{"tokens": other}], "rope_scaling": {"kind": "linear", "factor": 2}, "schedule": ANNEAL},
    ]
    whole = phased(make_config, phases, "whole")
    train(whole)
    train(phased(make_config, phases[:1], "cut", sequence_length=32))
    cut = phased(make_config, phases, "cut")
    with pytest.raises(DataError, match=r"sequence_length is 32, but .* was trained with 16"):
        train(cut)  # the first three steps cut chunks of 16
    changes = {"checkpoint": {"every_steps": 2, "keep_last": None}}
    train(phased(make_config, phases, "long", **changes))
    for name in ("step-00000004", "step-00000006", "step-00000007"):
        checkpoint.remove(str(tmp_path / "long" / "checkpoints" / name))
    train(phased(make_config, phases, "long", **changes))
    checkpoint.remove(str(tmp_path / "long" / "checkpoints" / "step-00000007"))
    train(phased(make_config, phases, "long", **changes))
    losses = [[line.loss for line in read_metrics(str(tmp_path / run))] for run in ("whole", "long")]
    assert losses[0] == losses[1]


def test_later_phases_may_be_added_and_changed_but_not_those_that_are_gone(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    other = random_tokens(tmp_path / "other", seed=1)
    first, second = {"steps": 3}, {"steps": 4, "data": [{"tokens": other}]}
    train(phased(make_config, [first]))
    result = train(phased(make_config, [first, second]))
    assert result is not None
    assert (result.step, result.trained_steps) == (7, 4)
    with pytest.raises(DataError, match="tokens are not those"):
        train(phased(make_config, [{"steps": 3, "data": [{"tokens": other}]}, second, first]))
    with pytest.raises(ConfigError, match="the run is in its phase 2, but there are 1"):
        train(phased(make_config, [first]))


def test_a_smaller_batch_from_now_on_ends_after_the_same_tokens(make_config: MakeConfig) -> None:
    before = make_plan(make_config(steps=None, tokens=10 * 8 * 32))
    at = before.after(before.after(before.after(before.after(START))))
    after = make_plan(make_config(steps=None, tokens=10 * 8 * 32, global_batch_size=4), Progress(at, [START]))
    assert (before.steps, after.steps) == (10, 4 + 12)
    end = Position(after.phases[0].last_step, 4 * 256 + 12 * 128)
    assert end.tokens == 10 * 256


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ([{"steps": 1, "sequence_length": 24}, {"steps": 1}], "24 does not divide chunk_length, .* 32"),
        ([{"steps": 1, "sequence_length": 8, "global_batch_size": 1}, {"steps": 1}], "the 8 tokens before end inside"),
        ([{}], "phases.0: nothing says when to stop"),
        ([{"steps": 1, "tokens": 5}], "phases.0: steps and tokens both say"),
        ([{"steps": 1, "schedule": {"decay": "constant", "final_fraction": 0.5}}, {}], "final_fraction has no effect"),
        ([{"steps": 1, "schedule": {"decay": "linear"}}], "schedule has no effect: every phase has its own"),
        ([{"steps": 1, "name": "a"}, {"steps": 1, "name": "a"}], "two are called the same"),
        ([{"steps": 1, "micro_batch_size": 9}], "phases.0: micro_batch_size 9 exceeds the global 8"),
        ([{"steps": 1, "rope_scaling": {"kind": "yarn", "factor": 2}}], "yarn needs original_length"),
        ([{"steps": 1, "rope_scaling": {"kind": "linear", "factor": 2, "beta_fast": 3}}], "beta_fast has no effect"),
    ],
)
def test_phases_that_cannot_work_are_refused(
    make_config: MakeConfig, phases: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make_plan(phased(make_config, phases))


def test_steps_beside_phases_are_refused(make_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match="each phase says how long"):
        make_config(phases=[{"steps": 3}]).check()


def test_sequences_that_documents_were_fitted_into_are_not_cut(make_config: MakeConfig, tokens: str) -> None:
    path = Path(tokens, MANIFEST)
    manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    packing = Packing("best-fit", [32], sequences=1, padding=0)
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(manifest, packing=packing)))
    assert make_plan(make_config()).steps == 12
    warm = [{"steps": 4, "sequence_length": 16}, {"steps": 2}]
    with pytest.raises(ConfigError, match="fitted into sequences of 32, which cannot be cut"):
        make_plan(phased(make_config, warm))
    with pytest.raises(ConfigError, match="train at 32"):
        make_plan(make_config(sequence_length=64))


def test_the_positions_of_a_phase_are_those_of_its_checkpoint(make_config: MakeConfig) -> None:
    scaled = {"rope_scaling": {"kind": "ntk", "factor": 4}, "rope_theta": 500.0}
    config = phased(make_config, [{"steps": 2}, {"steps": 1, **scaled}])
    train(config)
    model, record = checkpoint.open_model(checkpoint.find(config.to), torch.device("cpu"))
    assert record.model.rope_theta == model.rotary.theta == 500.0
    assert record.model.rope_scaling is not None
    ids = torch.arange(1, 31)[None]
    again: Tensor = model(ids)
    model.turn_as(make_plan(config).phases[0].model)
    assert not torch.allclose(again, model(ids))
