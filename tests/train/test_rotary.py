"""Scaled rotary positions are those of transformers, and the published formulas."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from dolma_pipe.train.model.architecture import RopeScaling
from dolma_pipe.train.model.rotary import Rotary

WIDTH, THETA, LENGTH = 32, 10_000.0, 96


def table(scaling: RopeScaling | None, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    return Rotary(WIDTH, THETA, scaling).table(LENGTH, like=torch.zeros(1, dtype=dtype))


@pytest.mark.parametrize(
    ("scaling", "theirs"),
    [
        (RopeScaling(kind="linear", factor=4.0), {"rope_type": "linear"}),
        (RopeScaling(kind="yarn", factor=4.0, original_length=64), {"rope_type": "yarn"}),
        (
            RopeScaling(kind="yarn", factor=4.0, original_length=64, beta_fast=16, beta_slow=2),
            {"rope_type": "yarn", "beta_fast": 16, "beta_slow": 2},
        ),
        (
            RopeScaling(kind="llama3", factor=4.0, original_length=64, high_frequency_factor=8),
            {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 8.0},
        ),
    ],
    ids=["linear", "yarn", "yarn with betas", "llama3"],
)
def test_scaled_positions_are_those_of_transformers(scaling: RopeScaling, theirs: dict[str, Any]) -> None:
    parameters = {"factor": 4.0, "rope_theta": THETA, "original_max_position_embeddings": 64, **theirs}
    config = LlamaConfig(
        hidden_size=WIDTH * 2, num_attention_heads=2, max_position_embeddings=256, rope_parameters=parameters
    )
    frequencies, factor = ROPE_INIT_FUNCTIONS[theirs["rope_type"]](config, torch.device("cpu"))
    angles = torch.outer(torch.arange(LENGTH, dtype=torch.float32), frequencies.float())
    cos, sin = table(scaling)
    torch.testing.assert_close(cos, angles.cos() * factor, atol=1e-5, rtol=0)
    torch.testing.assert_close(sin, angles.sin() * factor, atol=1e-5, rtol=0)


def test_ntk_divides_the_slowest_frequency_and_leaves_the_fastest() -> None:
    positions = torch.arange(LENGTH, dtype=torch.float32)
    cos, _ = table(RopeScaling(kind="ntk", factor=8.0))
    torch.testing.assert_close(cos[:, 0], positions.cos())
    slowest = THETA ** -((WIDTH - 2) / WIDTH) / 8
    torch.testing.assert_close(cos[:, -1], (positions * slowest).cos())


def test_a_factor_of_one_changes_nothing() -> None:
    for kind in ("linear", "ntk", "yarn", "llama3"):
        length = 64 if kind in ("yarn", "llama3") else None
        scaled = table(RopeScaling(kind=kind, factor=1.0, original_length=length), torch.float64)
        for ours, plain in zip(scaled, table(None, torch.float64), strict=True):
            torch.testing.assert_close(ours, plain, atol=1e-12, rtol=0)


def test_yarn_makes_attention_sharper_by_the_published_factor() -> None:
    cos, _ = table(RopeScaling(kind="yarn", factor=4.0, original_length=64))
    assert cos[0, 0].item() == pytest.approx(0.1 * math.log(4) + 1)
