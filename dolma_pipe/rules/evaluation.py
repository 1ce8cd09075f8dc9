"""The values of expressions for the documents of a table."""

from __future__ import annotations

import atexit
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.rules.expression import Expression
from dolma_pipe.rules.references import references
from dolma_pipe.rules.syntax import connect

TABLE = "documents"


class Evaluator:
    """Expressions bound to a schema, evaluated together in one SELECT per table.

    `schema` has the columns the expressions name. An expression that does not fit it is a `ConfigError`.
    """

    def __init__(self, expressions: Sequence[Expression], schema: pa.Schema) -> None:
        self.expressions = list(expressions)
        self._connection = connect()
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
