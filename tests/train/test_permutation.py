"""Keyed permutations: each position once, another order for another key, no position preferred."""

from __future__ import annotations

import numpy as np
import pytest

from dolma_pipe.train.data.permutation import key_of, permute


@pytest.mark.parametrize("size", [1, 2, 3, 7, 255, 256, 257, 1000, 4097, 100_000])
def test_every_position_appears_exactly_once(size: int) -> None:
    assert sorted(permute(np.arange(size), size, key=99)) == list(range(size))


def test_a_position_can_be_asked_for_alone_and_far_beyond_32_bits() -> None:
    size = 10**13
    positions = np.array([0, 1, 2**33, size - 1])
    together = permute(positions, size, key=5)
    assert [int(permute(positions[i : i + 1], size, key=5)[0]) for i in range(4)] == together.tolist()
    assert len(set(together.tolist())) == 4
    assert together.max() < size


def test_another_key_is_another_order() -> None:
    first, second = (permute(np.arange(1000), 1000, key_of(17, "epoch", epoch)) for epoch in (0, 1))
    assert (first == second).sum() < 10


def test_no_place_is_preferred() -> None:
    size, keys = 100, 2000
    first_places = [int(permute(np.array([0]), size, key_of("uniform", key))[0]) for key in range(keys)]
    counts = np.bincount(first_places, minlength=size)
    chi_square = float(((counts - keys / size) ** 2 / (keys / size)).sum())
    assert chi_square < 149  # the 99.9th percentile for 99 degrees of freedom


def test_neighbours_are_not_kept_together() -> None:
    order = permute(np.arange(5000), 5000, key=1)
    assert (np.abs(np.diff(order)) == 1).sum() < 10


def test_keys_of_different_parts_differ() -> None:
    assert len({key_of("a", "b"), key_of("ab"), key_of("a", "b", 0), key_of("a", "b0")}) == 4
