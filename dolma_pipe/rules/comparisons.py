"""Rules as comparisons with a number that somebody can move: `expression op number`.

Clauses are what a rule is the conjunction of: what is not of that form (OR, CASE, NOT, tests for NULL, comparisons of
two attributes) has none. Thresholds are all numbers of a rule that something is compared with, wherever they stand.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import duckdb
import msgspec
import numpy as np
import numpy.typing as npt

from dolma_pipe.rules.expression import Expression
from dolma_pipe.rules.references import references
from dolma_pipe.rules.syntax import Tree, nodes, parse, parser, written

Array = npt.NDArray[Any]

_OPERATORS = {
    "COMPARE_GREATERTHANOREQUALTO": ">=", "COMPARE_GREATERTHAN": ">",
    "COMPARE_LESSTHANOREQUALTO": "<=", "COMPARE_LESSTHAN": "<",
}  # fmt: skip
_MIRRORED = {">=": "<=", ">": "<", "<=": ">=", "<": ">"}
_COMPARE: dict[str, Any] = {
    ">=": np.greater_equal, ">": np.greater, "<=": np.less_equal, "<": np.less,
}  # fmt: skip


class Clause(NamedTuple):
    """`sql` compared with a number; a document that fails it fails the rule."""

    sql: str
    operator: str
    value: float

    def holds(self, values: Array) -> Array:
        """bool per value."""
        return _COMPARE[self.operator](values, self.value)


class Threshold(NamedTuple):
    """`sql` compared with a number; `place` is which of the rule's thresholds it is, `attributes` what `sql` reads."""

    sql: str
    operator: str
    value: float
    place: int
    attributes: frozenset[str]


class _Comparison(NamedTuple):
    """`tree` compared with a number, which stands in `holder` under `key`."""

    tree: Tree
    operator: str
    value: float
    holder: Tree
    key: str


def clauses(rule: Expression) -> list[Clause] | None:
    """The comparisons that a rule is the conjunction of; None where it is not one."""
    references(rule)  # refuses what is no rule before anything of it is evaluated
    return _conjunction(parse(rule))


def thresholds(rule: Expression) -> list[Threshold]:
    """Every number that something is compared with, in the order in which they stand."""
    references(rule)
    return [
        Threshold(written(found.tree), found.operator, found.value, place, frozenset(_columns(found.tree)))
        for place, found in enumerate(_anywhere(parse(rule)))
    ]


def moved(rule: Expression, place: int, value: float) -> Expression:
    """The rule with another number at one of its thresholds."""
    tree = parse(rule)
    found = list(_anywhere(tree))[place]
    number = int(value) if value == int(value) else value
    found.holder[found.key] = parse(msgspec.structs.replace(rule, sql=repr(number)))
    return msgspec.structs.replace(rule, sql=written(tree))


def all_hold(found: Sequence[Clause], values: dict[str, Array]) -> Array:
    """bool per row, from the values of each clause's expression."""
    return np.logical_and.reduce([clause.holds(values[clause.sql]) for clause in found])


def _conjunction(tree: Tree) -> list[Clause] | None:
    if tree["type"] == "CONJUNCTION_AND":
        parts = [_conjunction(child) for child in tree["children"]]
        return None if None in parts else [clause for part in parts for clause in part or ()]
    found = list(_comparisons(tree))
    if not found or len(found) < len(_sides(tree)) or tree["type"] == "COMPARE_NOT_BETWEEN":
        return None
    return [Clause(written(one.tree), one.operator, one.value) for one in found]


def _anywhere(value: Any) -> Iterator[_Comparison]:
    if isinstance(value, dict):
        yield from _comparisons(value)
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _anywhere(item)


def _comparisons(tree: Tree) -> Iterator[_Comparison]:
    """Those that a node makes of something with a number."""
    for left, operator, right in _sides(tree):
        if _is_constant(tree[left]) == _is_constant(tree[right]):
            continue
        other, key, sign = (right, left, _MIRRORED[operator]) if _is_constant(tree[left]) else (left, right, operator)
        value = _number(tree[key])
        if value is not None:
            yield _Comparison(tree[other], sign, value, tree, key)


def _sides(tree: Tree) -> list[tuple[str, str, str]]:
    """What a node compares, and how: keys of its parts."""
    if tree.get("class") == "BETWEEN":
        return [("input", ">=", "lower"), ("input", "<=", "upper")]
    return [("left", _OPERATORS[tree["type"]], "right")] if tree.get("type") in _OPERATORS else []


def _columns(tree: Tree) -> set[str]:
    return {".".join(node["column_names"]) for node, _ in nodes(tree) if node["class"] == "COLUMN_REF"}


def _is_constant(tree: Tree) -> bool:
    return not _columns(tree)


def _number(tree: Tree) -> float | None:
    try:
        row = parser().execute(f"SELECT CAST(({written(tree)}) AS DOUBLE)").fetchone()
    except duckdb.Error:
        return None
    return None if row is None or row[0] is None or not np.isfinite(row[0]) else float(row[0])
