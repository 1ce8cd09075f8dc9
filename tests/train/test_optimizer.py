"""Learning rates, decay groups, clipping limits."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from dolma_pipe.errors import ConfigError
from dolma_pipe.train.config import OptimizerConfig, ScheduleConfig
from dolma_pipe.train.model.architecture import ModelConfig
from dolma_pipe.train.model.transformer import on_meta
from dolma_pipe.train.optimizer import build_optimizer, learning_rate, max_grad_norm

COSINE = ScheduleConfig(decay="cosine", warmup_steps=10)
WSD = ScheduleConfig(decay="linear", warmup_steps=10, decay_fraction=0.2, final_fraction=0.0)
LINEAR = ScheduleConfig(decay="linear", warmup_steps=10, final_fraction=0.0)


@pytest.mark.parametrize(
    ("schedule", "step", "rate"),
    [
        (COSINE, 1, 0.19),  # a tenth of the peak, and a tenth of the way up
        (COSINE, 5, 0.55),
        (COSINE, 10, 1.0),
        (COSINE, 60, 0.55),  # half way down to a tenth
        (COSINE, 110, 0.1),
        (COSINE, 500, 0.1),
        (LINEAR, 35, 0.75),
        (LINEAR, 110, 0.0),
        (ScheduleConfig(warmup_steps=10, warmup_start_fraction=0.0), 5, 0.5),
        (ScheduleConfig(final_fraction=1.0), 50, 1.0),
        (WSD, 5, 0.55),
        (WSD, 10, 1.0),
        (WSD, 88, 1.0),  # the last fifth of 110 steps decays
        (WSD, 99, 0.5),
        (WSD, 110, 0.0),
        (ScheduleConfig(decay="sqrt", decay_fraction=0.5, final_fraction=0.0), 55, 1.0),
        (ScheduleConfig(decay="sqrt", decay_fraction=0.5, final_fraction=0.0), 99, 1 - math.sqrt(0.8)),
        (ScheduleConfig(decay="constant", warmup_steps=10), 110, 1.0),
        (ScheduleConfig(decay="inverse_sqrt", warmup_steps=10), 10, 1.0),
        (ScheduleConfig(decay="inverse_sqrt", warmup_steps=10), 40, 0.5),
    ],
)
def test_learning_rates_are_the_published_ones(schedule: ScheduleConfig, step: int, rate: float) -> None:
    assert learning_rate(schedule, 4e-4, step, steps=110) == pytest.approx(4e-4 * rate)


@pytest.mark.parametrize("decay", ["constant", "inverse_sqrt"])
def test_a_final_rate_of_a_schedule_that_has_none_is_refused(decay: Any) -> None:
    with pytest.raises(ConfigError, match=f"final_fraction has no effect on a schedule that is {decay}"):
        ScheduleConfig(decay=decay, final_fraction=0.0).check()


def model(tied: bool) -> torch.nn.Module:
    config = ModelConfig(d_model=16, n_layers=1, n_heads=2, ffn_hidden=24, tie_embeddings=tied)
    return on_meta(config.with_vocabulary(64))


@pytest.mark.parametrize(("decay_embeddings", "undecayed"), [(False, 1), (True, 0)])
def test_embeddings_are_decayed_only_when_asked(decay_embeddings: bool, undecayed: int) -> None:
    config = OptimizerConfig(learning_rate=1e-3, decay_embeddings=decay_embeddings)
    groups = build_optimizer(model(tied=False), config).param_groups
    sizes = {group["weight_decay"]: len(group["params"]) for group in groups}
    assert sizes.get(0.0, 0) == undecayed
    assert sizes[0.1] == 9 - undecayed  # 4 of attention, 3 of the feed-forward, embedding, head


def test_tied_weights_are_one_parameter() -> None:
    groups = build_optimizer(model(tied=True), OptimizerConfig(learning_rate=1e-3)).param_groups
    assert sum(len(group["params"]) for group in groups) == 8


def test_clipping_is_looser_during_its_warm_up() -> None:
    config = OptimizerConfig(learning_rate=1e-3, max_grad_norm=2.0, clip_warmup_steps=3, clip_warmup_factor=10.0)
    assert [max_grad_norm(config, step) for step in (1, 3, 4)] == [20.0, 20.0, 2.0]
    assert max_grad_norm(OptimizerConfig(learning_rate=1e-3, max_grad_norm=None), 1) is None


def test_half_a_clipping_warm_up_is_refused() -> None:
    with pytest.raises(ConfigError, match="only together"):
        OptimizerConfig(learning_rate=1e-3, clip_warmup_steps=3).check()


def test_a_decay_of_less_than_a_step_is_the_last_step() -> None:
    schedule = ScheduleConfig(decay="linear", warmup_steps=2, decay_fraction=0.01)
    assert [learning_rate(schedule, 1.0, step, 10) for step in (2, 3, 9, 10)] == [1.0, 1.0, 1.0, 0.1]
