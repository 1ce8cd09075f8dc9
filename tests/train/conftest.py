"""One thread (two would wait for each other on a busy machine), and a configuration that trains in a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from token_folders import random_tokens

from dolma_pipe.config import convert
from dolma_pipe.train.config import TrainConfig

MakeConfig = Callable[..., TrainConfig]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def tokens(tmp_path: Path) -> str:
    return random_tokens(tmp_path / "tokens")


@pytest.fixture
def make_config(tmp_path: Path, tokens: str) -> MakeConfig:
    """A small run in `run`; keyword arguments are its YAML keys, dotted ones written `optimizer__eps`."""

    def make(run: str = "run", **changes: Any) -> TrainConfig:
        return convert(settings(str(tmp_path / run), tokens, **changes), TrainConfig, "test")

    return make


def settings(to: str, folder: str, **changes: Any) -> dict[str, Any]:
    """The plain configuration that `make_config` reads."""
    plain: dict[str, Any] = {
        "to": to,
        "model": {"d_model": 16, "n_layers": 2, "n_heads": 2, "ffn_hidden": 24, "tie_embeddings": True},
        "data": [{"tokens": folder}],
        "sequence_length": 32,
        "global_batch_size": 8,
        "micro_batch_size": 3,
        "steps": 12,
        "optimizer": {"learning_rate": 1e-2},
        "schedule": {"warmup_steps": 3},
        "checkpoint": {"every_steps": 5, "keep_last": None},
        "precision": "fp64",
        "device": "cpu",
    }
    for key, value in changes.items():
        section, _, name = key.rpartition("__")
        (plain[section] if section else plain)[name] = value
    return plain
