"""Rules as comparisons with a number that somebody can move: `expression op number`.

Clauses are what a rule is the conjunction of: what is not of that form (OR, CASE, NOT, tests for NULL, comparisons of
two attributes) has none. Thresholds are all numbers of a rule that something is compared with, wherever they stand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

import duckdb
import msgspec
import numpy as np
import numpy.typing as npt

from dolma_pipe.rules import Expression, references

Array = npt.NDArray[Any]

_OPERATORS = {
    "COMPARE_GREATERTHANOREQUALTO": ">=", "COMPARE_GREATERTHAN": ">",
    "COMPARE_LESSTHANOREQUALTO": "<=", "COMPARE_LESSTHAN": "<",
}  # fmt: skip
_PLAIN = re.compile(r"[A-Za-z_]\w*")
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


class _Site(NamedTuple):
    """Where a number stands in a syntax tree, and what is compared with it."""

    sql: str
    operator: str
    value: float
    holder: dict[str, Any]
    key: str
    compared: dict[str, Any]


def clauses(rule: Expression) -> list[Clause] | None:
    """The comparisons that a rule is the conjunction of; None where it is not one."""
    references(rule)  # refuses what is no rule before anything of it is evaluated
    tree = _serialized(rule.sql)
    return _of(tree["statements"][0]["node"]["select_list"][0], tree)


def thresholds(rule: Expression) -> list[Threshold]:
    """Every number that something is compared with, in the order in which they stand."""
    references(rule)
    tree = _serialized(rule.sql)
    return [
        Threshold(site.sql, site.operator, site.value, place, frozenset(_columns(site.compared)))
        for place, site in enumerate(_sites(tree, tree))
    ]


def moved(rule: Expression, place: int, value: float) -> Expression:
    """The rule with another number at one of its thresholds."""
    tree = _serialized(rule.sql)
    number = int(value) if value == int(value) else value
    fresh = _serialized(repr(number))["statements"][0]["node"]["select_list"][0]
    site = list(_sites(tree, tree))[place]
    site.holder[site.key] = fresh
    changed = _sql(tree["statements"][0]["node"]["select_list"][0], tree)
    return msgspec.structs.replace(rule, sql=changed)


def _sites(value: Any, tree: dict[str, Any]) -> Iterator[_Site]:
    if isinstance(value, list):
        for item in value:
            yield from _sites(item, tree)
    if not isinstance(value, dict):
        return
    for left, operator, right in _comparisons(value):
        constants = [key for key in (left, right) if _is_constant(value[key])]
        if len(constants) == 1 and (number := _number(value[constants[0]], tree)) is not None:
            other = right if constants[0] == left else left
            sign = operator if other == left else _MIRRORED[operator]
            yield _Site(_sql(value[other], tree), sign, number, value, constants[0], value[other])
    for item in value.values():
        yield from _sites(item, tree)


def _comparisons(node: dict[str, Any]) -> list[tuple[str, str, str]]:
    if node.get("class") == "BETWEEN":
        return [("input", ">=", "lower"), ("input", "<=", "upper")]
    return [("left", _OPERATORS[node["type"]], "right")] if node.get("type") in _OPERATORS else []


def _columns(node: Any) -> Iterator[str]:
    for item in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _columns(item)
    if isinstance(node, dict) and node.get("class") == "COLUMN_REF":
        yield ".".join(node["column_names"])


def all_hold(found: Sequence[Clause], values: dict[str, Array]) -> Array:
    """bool per row, from the values of each clause's expression."""
    return np.logical_and.reduce([clause.holds(values[clause.sql]) for clause in found])


def _of(node: dict[str, Any], tree: dict[str, Any]) -> list[Clause] | None:
    if node["type"] == "CONJUNCTION_AND":
        parts = [_of(child, tree) for child in node["children"]]
        return None if None in parts else [clause for part in parts for clause in part or ()]
    if node["class"] == "BETWEEN" and node["type"] == "COMPARE_BETWEEN":
        pairs = [(node["input"], ">=", node["lower"]), (node["input"], "<=", node["upper"])]
    elif node["type"] in _OPERATORS:
        pairs = [(node["left"], _OPERATORS[node["type"]], node["right"])]
    else:
        return None
    found = [_compared(left, operator, right, tree) for left, operator, right in pairs]
    return None if None in found else [clause for clause in found if clause is not None]


def _compared(left: dict[str, Any], operator: str, right: dict[str, Any], tree: dict[str, Any]) -> Clause | None:
    if _is_constant(left):
        left, operator, right = right, _MIRRORED[operator], left
    value = _number(right, tree) if _is_constant(right) else None
    return None if value is None or _is_constant(left) else Clause(_sql(left, tree), operator, value)


def _is_constant(node: Any) -> bool:
    if isinstance(node, list):
        return all(_is_constant(item) for item in node)
    if isinstance(node, dict):
        return node.get("class") != "COLUMN_REF" and all(_is_constant(item) for item in node.values())
    return True


@cache
def _parser() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(":memory:", config={"threads": 1, "enable_external_access": "false"})


def _serialized(sql: str) -> dict[str, Any]:
    row = _parser().execute("SELECT json_serialize_sql($1)", [f"SELECT ({sql}\n)"]).fetchone()
    return json.loads(row[0]) if row else {}


def _sql(node: dict[str, Any], tree: dict[str, Any]) -> str:
    """A part of an expression, written out; a column as it is called, since that names its histogram."""
    if node["class"] == "COLUMN_REF":
        return ".".join(name if _PLAIN.fullmatch(name) else f'"{name}"' for name in node["column_names"])
    statement = {**tree["statements"][0], "node": {**tree["statements"][0]["node"], "select_list": [node]}}
    whole = json.dumps({**tree, "statements": [statement]})
    row = _parser().execute("SELECT json_deserialize_sql($1::JSON)", [whole]).fetchone()
    return str(row[0]).removeprefix("SELECT ") if row else ""


def _number(node: dict[str, Any], tree: dict[str, Any]) -> float | None:
    try:
        row = _parser().execute(f"SELECT CAST(({_sql(node, tree)}) AS DOUBLE)").fetchone()
    except duckdb.Error:
        return None
    return None if row is None or row[0] is None or not np.isfinite(row[0]) else float(row[0])
