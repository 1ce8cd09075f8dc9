"""Rules: named SQL expressions over the attributes of one document.

A rule is a scalar predicate that DuckDB evaluates over Arrow tables which hold
one struct column per attribute set, plus `id` and `source`: `gopher.word_count
BETWEEN 50 AND 100000`. Whatever a rule can get wrong is refused before any
work: aggregates, windows, subqueries, statements, functions whose value is not
a function of their arguments, attributes that nobody wrote. A rule that yields
NULL for a document is an error, unless it says COALESCE or IS NULL.
"""

from __future__ import annotations

import atexit
import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, Literal

import duckdb
import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.types import Plain

PLAIN_COLUMNS = ("id", "source")
"""What an expression may name beside attribute sets: the document's own id and source."""

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
TABLE = "documents"

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


LONGEST_SHOWN = 200
"""Characters of an expression that a message shows."""


class Expression(msgspec.Struct, frozen=True):
    """A named scalar expression; `file` is where it was written, `type` what it must yield. A rule yields BOOLEAN; what
    is to be VARCHAR may be anything and is cast."""

    name: str
    sql: str
    file: str
    type: Literal["BOOLEAN", "DOUBLE", "VARCHAR"] = "BOOLEAN"

    def __str__(self) -> str:
        sql = self.sql.strip()
        return f"{self.file}: rule {self.name!r} ({sql if len(sql) <= LONGEST_SHOWN else sql[:LONGEST_SHOWN] + ' ...'})"


def named(name: str, sql: Plain, file: str) -> Expression:
    """A rule under a name that can also name a folder."""
    if not isinstance(sql, str) or not sql.strip():
        raise ConfigError(f"{file}: rule {name!r}: expected an SQL expression, found {sql!r}")
    if not NAME.fullmatch(name):
        raise ConfigError(f"{file}: rule {name!r}: a name has letters, digits, '_', '-' and '.' only")
    return Expression(name, sql, file)


# What an expression says ------------------------------------------------------------------------------------------


@cache
def _parser() -> duckdb.DuckDBPyConnection:
    return _connect()


def _connect() -> duckdb.DuckDBPyConnection:
    """A database in memory that reads no file, sees no Python variable and whose settings nobody changes."""
    connection = duckdb.connect(":memory:", config={"threads": 1, "enable_external_access": "false"})
    connection.execute("SET python_enable_replacements = false")
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET lock_configuration = true")
    return connection


def _parse(expression: Expression) -> dict[str, Any]:
    """The syntax tree of an expression that is one expression and nothing more."""
    if "\0" in expression.sql:
        raise ConfigError(f"{expression}: not an SQL expression: it holds a NUL")
    tree = _serialize(f"SELECT ({expression.sql}\n)")
    if tree.get("error"):
        raise ConfigError(f"{expression}: not an SQL expression: {tree['error_message']}")
    frame = _serialize("SELECT (1\n)")
    if len(tree["statements"]) != 1 or _frame(tree) != _frame(frame):
        raise ConfigError(f"{expression}: a rule is one scalar expression, not a statement")
    return tree["statements"][0]["node"]["select_list"][0]


def _serialize(sql: str) -> dict[str, Any]:
    row = _parser().execute("SELECT json_serialize_sql($1)", [sql]).fetchone()
    return json.loads(row[0]) if row else {}


def _frame(tree: dict[str, Any]) -> Any:
    """What surrounds the expressions of the first SELECT, and how many there are."""
    node = dict(tree["statements"][0]["node"])
    selected = node.pop("select_list", ())
    return len(selected), _without_places(node)


def _without_places(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_places(item) for key, item in value.items() if not key.startswith("query_location")}
    return [_without_places(item) for item in value] if isinstance(value, list) else value


def _nodes(value: Any, parameters: frozenset[str] = frozenset()) -> Iterator[tuple[dict[str, Any], frozenset[str]]]:
    """Every node of a syntax tree that has a class, with the lambda parameters in force there."""
    if isinstance(value, list):
        for item in value:
            yield from _nodes(item, parameters)
    if not isinstance(value, dict):
        return
    if value.get("class") == "LAMBDA":
        names = {node["column_names"][0] for node, _ in _nodes(value["lhs"]) if node["class"] == "COLUMN_REF"}
        parameters |= names
    if "class" in value:
        yield value, parameters
    for item in value.values():
        yield from _nodes(item, parameters)


def references(expression: Expression) -> set[tuple[str, ...]]:
    """The columns an expression names, as paths (`("gopher", "word_count")`); refuses what a rule must not hold."""
    found: set[tuple[str, ...]] = set()
    for node, parameters in _nodes(_parse(expression)):
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
    rows = _parser().execute("SELECT function_name, function_type, stability, macro_definition FROM duckdb_functions()")
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
        for node, _ in _nodes(_parse(Expression(name, body or "", "DuckDB"))):
            problem = _function_problem(node["function_name"].lower()) if node["class"] == "FUNCTION" else None
            clock = node["class"] == "COLUMN_REF" and node["column_names"][0].lower().startswith("current_")
            if problem or clock or node["class"] not in _CLASSES:
                return f"{name!r} is not allowed: {problem or 'it reads the clock or a table'}"
    except ConfigError:
        return f"{name!r} is not allowed in a rule"
    return None


# What an expression may name --------------------------------------------------------------------------------------


def needed_fields(expressions: Iterable[Expression], sets: Mapping[str, Sequence[str]]) -> dict[str, set[str]]:
    """Fields per attribute set (and `id`, `source` with none) that the expressions read.

    `sets` are the attribute sets at hand and their fields; naming any other is a `ConfigError` with candidates.
    """
    needed: dict[str, set[str]] = {}
    for expression in expressions:
        for path in references(expression):
            head, field = path[0], path[1] if len(path) > 1 else None
            if head not in sets:
                if head in PLAIN_COLUMNS and field is None:
                    needed.setdefault(head, set())
                    continue
                raise ConfigError(f"{expression}: {_unknown(path, sets)}")
            if field is not None and field not in sets[head]:
                raise ConfigError(f"{expression}: {_unknown(path, sets)}")
            needed.setdefault(head, set()).update(sets[head] if field is None else [field])
    return needed


def readable(fields: Iterable[tuple[str, pa.DataType]]) -> list[str]:
    """Names of the fields that a rule can read: DuckDB has no half-precision numbers, so no vectors."""
    return [name for name, kind in fields if not pa.types.is_fixed_size_list(kind)]


def _unknown(path: tuple[str, ...], sets: Mapping[str, Sequence[str]]) -> str:
    given = ".".join(path[:2])
    known = {f"{name}.{field}": name for name, fields in sets.items() for field in fields}
    close = [full for full in known if full.split(".", 1)[1] == path[-1] and len(path) == 1]
    close += difflib.get_close_matches(given, [*known, *PLAIN_COLUMNS], n=3, cutoff=0.5)
    guess = f"; did you mean {' or '.join(dict.fromkeys(close))}?" if close else ""
    if len(path) > 1 and path[0] in sets:
        return f"no attribute {given!r}: {path[0]!r} has {', '.join(sets[path[0]])}{guess}"
    listed = ", ".join(sets) or "none"
    return f"no attribute {given!r} (attribute sets that this source lists: {listed}){guess}"


# Evaluation -------------------------------------------------------------------------------------------------------


class Evaluator:
    """Expressions bound to a schema, evaluated together in one SELECT per table.

    `schema` has the columns the expressions name. An expression that does not fit it is a `ConfigError`.
    """

    def __init__(self, expressions: Sequence[Expression], schema: pa.Schema) -> None:
        self.expressions = list(expressions)
        self._connection = _connect()
        self._connection.register(TABLE, schema.empty_table())
        for expression in self.expressions:
            self._bind(expression)
        self._select = _select(self.expressions)

    def _bind(self, expression: Expression) -> None:
        references(expression)
        try:
            rows = self._connection.execute(f"DESCRIBE {_select([expression], cast=False)}").fetchall()
        except duckdb.Error as error:
            raise ConfigError(f"{expression}: {_first_line(error)}") from error
        found = str(rows[0][1])
        if expression.type == "BOOLEAN" and found != "BOOLEAN":
            raise ConfigError(
                f"{expression}: yields {found}, a rule must yield true or false: compare it with something"
            )
        if expression.type == "DOUBLE" and not _NUMERIC.match(found):
            raise ConfigError(f"{expression}: yields {found}, expected a number")

    def evaluate(self, table: pa.Table, shard: str) -> list[npt.NDArray[Any]]:
        """One array per expression (bool or float64), a value per row; `table` has the schema's columns and `id`."""
        if not self.expressions:
            return []
        self._connection.register(TABLE, table)
        try:
            found = self._connection.execute(self._select).fetchnumpy()
        except duckdb.Error as error:
            raise DataError(f"{self._culprit()} fails in {shard}: {_first_line(error)}") from error
        finally:
            self._connection.unregister(TABLE)
        columns = [found[f"e{index}"] for index in range(len(self.expressions))]
        for expression, column in zip(self.expressions, columns, strict=True):
            if np.ma.is_masked(column):
                row = int(np.flatnonzero(np.ma.getmaskarray(column))[0])
                raise DataError(
                    f"{expression} is NULL for document {table['id'][row].as_py()!r} of {shard}; "
                    "say what a missing value means with coalesce(..., ...) or IS NULL"
                )
        return [np.ma.getdata(column) for column in columns]

    def _culprit(self) -> Expression:
        for expression in self.expressions:
            try:
                self._connection.execute(_select([expression])).fetchnumpy()
            except duckdb.Error:
                return expression
        return self.expressions[0]


@lru_cache(maxsize=64)
def evaluator(expressions: tuple[Expression, ...], schema: pa.Schema) -> Evaluator:
    """An `Evaluator`, made once per process for the same expressions over the same schema."""
    return Evaluator(expressions, schema)


atexit.register(evaluator.cache_clear)  # else DuckDB complains on standard error about what is still open

_NUMERIC = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?$|DOUBLE$|FLOAT$|DECIMAL|BOOLEAN$")


def _select(expressions: Sequence[Expression], cast: bool = True) -> str:
    columns = [
        f"CAST(({expression.sql}\n) AS {expression.type}) AS e{index}" if cast else f"({expression.sql}\n) AS e{index}"
        for index, expression in enumerate(expressions)
    ]
    return f"SELECT {', '.join(columns)} FROM {TABLE}"


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    shown = [lines[0], *(line for line in lines[1:2] if line.startswith("Candidate"))]
    return "; ".join(shown)
