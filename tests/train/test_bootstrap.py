"""Paired differences over seeds and items, against plain definitions."""

from __future__ import annotations

import math
import random
from statistics import fmean, stdev

import numpy as np
import pytest

from dolma_pipe.train.experiments.bootstrap import Paired, difference, student_t


@pytest.mark.parametrize(
    ("probability", "degrees", "expected"),
    [(0.975, 1, 12.7062), (0.975, 2, 4.30265), (0.975, 4, 2.77645), (0.975, 30, 2.04227), (0.9, 3, 1.63774)],
)
def test_quantiles_of_students_t_are_those_of_the_tables(probability: float, degrees: int, expected: float) -> None:
    assert student_t(probability, degrees) == pytest.approx(expected, rel=1e-4)


def test_a_difference_is_the_sum_of_values_over_the_sum_of_sizes() -> None:
    values, sizes = np.array([[1.0, 3.0], [2.0, 0.0], [0.0, 3.0]]), np.array([2.0, 6.0])
    found = difference([Paired("web", values, sizes)], 0.95)
    assert found.by_seed == pytest.approx([4 / 8, 2 / 8, 3 / 8])
    assert found.mean == pytest.approx(3 / 8)
    assert found.low < found.mean < found.high
    assert found.mean - found.low == pytest.approx(found.high - found.mean)


def test_without_noise_of_items_the_interval_is_students_own() -> None:
    """Items that all say the same: what is left is the t interval of three numbers."""
    by_seed = [0.3, 0.5, 0.1]
    values = np.repeat(np.array(by_seed)[:, None], 20, axis=1)
    found = difference([Paired("web", values, np.ones(20))], 0.95)
    reach = 4.30265 * stdev(by_seed) / math.sqrt(3)
    assert found.high - found.mean == pytest.approx(reach, rel=0.05)


def test_the_standard_error_is_that_of_a_plain_bootstrap() -> None:
    draw = random.Random(3)
    values = [[draw.gauss(0.2, 1) + shift for _ in range(12)] for shift in (0.0, 0.4, -0.3, 0.2)]
    sizes = [draw.uniform(1, 3) for _ in range(12)]
    plain: list[float] = []
    for _ in range(4000):
        items = [draw.randrange(12) for _ in range(12)]
        seeds = [draw.randrange(4) for _ in range(3)]
        plain.append(fmean(sum(values[s][i] for i in items) / sum(sizes[i] for i in items) for s in seeds))
    metric = Paired("web", np.array(values), np.array(sizes))
    assert metric.replicates.std(ddof=1) == pytest.approx(stdev(plain), rel=0.08)


def test_without_noise_of_seeds_the_interval_is_that_of_the_items() -> None:
    items = np.random.default_rng(2).normal(0.1, 1, 60)
    found = difference([Paired("web", np.tile(items, (3, 1)), np.ones(60))], 0.95)
    reach = student_t(0.975, 59) * stdev(items.tolist()) / math.sqrt(60)
    assert found.high - found.mean == pytest.approx(reach, rel=0.05)


def test_the_mean_of_metrics_draws_the_same_seeds_for_all() -> None:
    values = np.repeat(np.array([[0.3], [0.5], [0.1]]), 20, axis=1)
    one, two = Paired("web", values, np.ones(20)), Paired("books", -values, np.ones(20))
    assert difference([one, two], 0.95).high == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(("shift", "verdict"), [(-1.0, "better"), (1.0, "worse"), (0.0, "no decision")])
def test_the_verdict_leaves_open_what_noise_could_have_done(shift: float, verdict: str) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, (3, 50))
    assert difference([Paired("web", noise - noise.mean() + shift, np.ones(50))], 0.95).verdict == verdict


def test_two_mixes_that_do_not_differ_are_rarely_told_apart() -> None:
    draw = np.random.default_rng(1)
    decided = 0
    for number in range(200):
        values = draw.normal(0, 0.3, (3, 1)) + draw.normal(0, 0.3, (1, 10)) + draw.normal(0, 0.3, (3, 10))
        decided += difference([Paired(f"m{number}", values, np.ones(10))], 0.95).verdict != "no decision"
    assert decided <= 20


def test_the_same_numbers_give_the_same_interval() -> None:
    values = np.random.default_rng(0).normal(0, 0.1, (3, 50))
    assert difference([Paired("a", values, np.ones(50))], 0.9) == difference([Paired("a", values, np.ones(50))], 0.9)
