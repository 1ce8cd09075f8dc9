"""Nouns that every floor shares."""

from __future__ import annotations

from typing import Any, NamedTuple

Counts = dict[str, int]
"""Named totals of a task or a run; they add."""

Plain = Any
"""A value made of dict, list, str, int, float, bool and None: what YAML and JSON hold."""


class Span(NamedTuple):
    """A half-open range of Unicode code points of a document's original text."""

    start: int
    end: int
    score: float = 1.0


def add_counts(total: Counts, more: Counts) -> Counts:
    """Add `more` into `total`, which is returned."""
    for name, value in more.items():
        total[name] = total.get(name, 0) + value
    return total
