"""What an expression reads, and what it must not hold: all that makes its value depend on more than one document."""

from __future__ import annotations

import difflib
from functools import cache

from dolma_pipe.errors import ConfigError
from dolma_pipe.rules.expression import Expression
from dolma_pipe.rules.syntax import nodes, parse, parser

_CLASSES = frozenset(
    ("COLUMN_REF", "CONSTANT", "COMPARISON", "CONJUNCTION", "OPERATOR", "FUNCTION", "CAST", "CASE", "BETWEEN",
     "COLLATE", "LAMBDA", "TYPE")
)  # fmt: skip
_REFUSED = {
    "SUBQUERY": "a subquery", "WINDOW": "a window function", "STAR": "*", "PARAMETER": "a parameter",
    "POSITIONAL_REFERENCE": "a column by position", "DEFAULT": "DEFAULT",
}  # fmt: skip
# what DuckDB calls consistent, in this release or an older one, and is not
_IMPURE = frozenset(("current_localtime", "current_localtimestamp", "current_setting", "getvariable"))


def references(expression: Expression) -> set[tuple[str, ...]]:
    """The columns an expression names, as paths (`("gopher", "word_count")`); refuses what a rule must not hold."""
    found: set[tuple[str, ...]] = set()
    for node, parameters in nodes(parse(expression)):
        kind = node["class"]
        if kind not in _CLASSES:
            raise ConfigError(f"{expression}: a rule must not hold {_REFUSED.get(kind, kind.lower())}")
        if kind == "FUNCTION":
            problem = _function_problem(node["function_name"].lower())
            if problem:
                raise ConfigError(f"{expression}: {problem}")
        if kind == "COLUMN_REF" and node["column_names"][0] not in parameters:
            found.add(tuple(node["column_names"]))
    return found


@cache
def _functions() -> dict[str, tuple[set[str], set[str], str | None]]:
    """Name -> kinds, stabilities, macro body of every function DuckDB has built in."""
    rows = parser().execute("SELECT function_name, function_type, stability, macro_definition FROM duckdb_functions()")
    known: dict[str, tuple[set[str], set[str], str | None]] = {}
    for name, kind, stability, body in rows.fetchall():
        kinds, stabilities, macro = known.get(name, (set[str](), set[str](), None))
        known[name] = (kinds | {kind}, stabilities | {stability or "CONSISTENT"}, macro or body)
    return known


@cache
def _function_problem(name: str) -> str | None:
    """Why a function cannot stand in a rule; None when it can."""
    if name not in _functions():
        guesses = difflib.get_close_matches(name, list(_functions()), n=1)
        return f"no function {name!r}" + (f"; did you mean {guesses[0]!r}?" if guesses else "")
    kinds, stabilities, body = _functions()[name]
    if "aggregate" in kinds:
        return f"{name!r} is an aggregate; a rule sees one document (for a list, use list_{name} or the like)"
    if "scalar" not in kinds and "macro" not in kinds:
        return f"{name!r} is a {sorted(kinds)[0]} function; a rule is a scalar expression"
    if stabilities != {"CONSISTENT"} or name in _IMPURE:
        return f"{name!r} is volatile: its value does not depend on the document alone"
    return _macro_problem(name, body) if "scalar" not in kinds else None


def _macro_problem(name: str, body: str | None) -> str | None:
    try:
        for node, _ in nodes(parse(Expression(name, body or "", "DuckDB"))):
            problem = _function_problem(node["function_name"].lower()) if node["class"] == "FUNCTION" else None
            clock = node["class"] == "COLUMN_REF" and node["column_names"][0].lower().startswith("current_")
            if problem or clock or node["class"] not in _CLASSES:
                return f"{name!r} is not allowed: {problem or 'it reads the clock or a table'}"
    except ConfigError:
        return f"{name!r} is not allowed in a rule"
    return None
