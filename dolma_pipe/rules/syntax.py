"""SQL expressions as trees: DuckDB parses them, and writes them out again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import duckdb

from dolma_pipe.errors import ConfigError
from dolma_pipe.rules.expression import Expression

Tree = dict[str, Any]
_PLAIN = re.compile(r"[A-Za-z_]\w*")


def connect() -> duckdb.DuckDBPyConnection:
    """A database in memory that reads no file, sees no Python variable and whose settings nobody changes."""
    connection = duckdb.connect(":memory:", config={"threads": 1, "enable_external_access": "false"})
    connection.execute("SET python_enable_replacements = false")
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET lock_configuration = true")
    return connection


@cache
def parser() -> duckdb.DuckDBPyConnection:
    """The database that nothing but syntax is asked of."""
    return connect()


def parse(expression: Expression) -> Tree:
    """The syntax tree of an expression that is one expression and nothing more."""
    if "\0" in expression.sql:
        raise ConfigError(f"{expression}: not an SQL expression: it holds a NUL")
    query = _query(expression.sql)
    if query.get("error"):
        raise ConfigError(f"{expression}: not an SQL expression: {query['error_message']}")
    if len(query["statements"]) != 1 or _frame(query) != _frame(_query("1")):
        raise ConfigError(f"{expression}: a rule is one scalar expression, not a statement")
    return _selected(query)[0]


def written(tree: Tree) -> str:
    """A tree, or a part of one, as SQL; a column as it is called, since that names its histogram."""
    if tree["class"] == "COLUMN_REF":
        return ".".join(name if _PLAIN.fullmatch(name) else f'"{name}"' for name in tree["column_names"])
    query = _query("1")
    _selected(query)[:] = [tree]
    row = parser().execute("SELECT json_deserialize_sql($1::JSON)", [json.dumps(query)]).fetchone()
    return str(row[0]).removeprefix("SELECT ") if row else ""


def _query(sql: str) -> Tree:
    """A SELECT of one expression."""
    row = parser().execute("SELECT json_serialize_sql($1)", [f"SELECT ({sql}\n)"]).fetchone()
    return json.loads(row[0]) if row else {}


def _selected(query: Tree) -> list[Tree]:
    return query["statements"][0]["node"]["select_list"]


def _frame(query: Tree) -> Any:
    """What surrounds the expressions of the first SELECT, and how many there are."""
    node = {key: value for key, value in query["statements"][0]["node"].items() if key != "select_list"}
    return len(_selected(query)), _without_places(node)


def _without_places(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_places(item) for key, item in value.items() if not key.startswith("query_location")}
    return [_without_places(item) for item in value] if isinstance(value, list) else value


def nodes(value: Any, parameters: frozenset[str] = frozenset()) -> Iterator[tuple[Tree, frozenset[str]]]:
    """Every node of a syntax tree that has a class, with the lambda parameters in force there."""
    if isinstance(value, list):
        for item in value:
            yield from nodes(item, parameters)
    if not isinstance(value, dict):
        return
    if value.get("class") == "LAMBDA":
        names = {node["column_names"][0] for node, _ in nodes(value["lhs"]) if node["class"] == "COLUMN_REF"}
        parameters |= names
    if "class" in value:
        yield value, parameters
    for item in value.values():
        yield from nodes(item, parameters)
