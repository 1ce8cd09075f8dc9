"""Compiling is told once, and only when something is compiled."""

from __future__ import annotations

from numba import njit

from dolma_pipe.compilation import told_of_compiling


def test_it_is_told_once_for_all_that_is_compiled() -> None:
    told: list[str] = []
    one, two = (njit(lambda x: x) for _ in range(2))
    with told_of_compiling(lambda: told.append("compiling")):
        assert told == []
        assert (one(1), two(2), one(1.5)) == (1, 2, 1.5)
    assert told == ["compiling"]


def test_what_is_compiled_already_is_not_told_again() -> None:
    told: list[str] = []
    one = njit(lambda x: x)
    one(1)
    with told_of_compiling(lambda: told.append("compiling")):
        one(2)
    assert told == []
