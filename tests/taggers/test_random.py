from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dolma_pipe.batch import make_batch
from dolma_pipe.errors import ConfigError
from dolma_pipe.tagger import load


def uniform(ids: list[str], **options: Any) -> np.ndarray:
    return load({"name": "random", **options}).tag(make_batch(["text"] * len(ids), ids))["uniform"]


def test_numbers_depend_on_the_id_and_the_seed_alone() -> None:
    ids = [f"doc-{i}" for i in range(100)]
    assert np.array_equal(uniform(ids)[::-1], uniform(ids[::-1]))
    assert np.array_equal(uniform(ids)[40:50], uniform(ids[40:50]))
    assert not np.isin(uniform(ids, seed=1), uniform(ids)).any()


def test_numbers_are_pinned() -> None:
    assert uniform(["a", "b", "漢"]).tolist() == [0.4001846115205936, 0.9595222746472296, 0.22161480042326964]


def test_numbers_are_uniform_between_zero_and_one() -> None:
    found = uniform([str(i) for i in range(20_000)])
    assert found.min() >= 0
    assert found.max() < 1
    counts = np.histogram(found, 20, (0, 1))[0]
    assert ((counts - 1000) ** 2 / 1000).sum() < 43.8  # chi square, 19 degrees of freedom, 0.1 %


def test_a_seed_that_is_no_whole_number_is_refused() -> None:
    with pytest.raises(ConfigError, match="whole number"):
        load({"name": "random", "seed": 0.5})
