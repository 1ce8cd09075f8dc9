"""The rules of a mix, judged again for the documents of a sample."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dolma_pipe.errors import PipeError
from dolma_pipe.report.sampling import Sample
from dolma_pipe.rules import PLAIN_COLUMNS, Evaluator, Expression, needed_fields, readable
from dolma_pipe.rules.comparisons import Clause, all_hold, clauses

Array = npt.NDArray[Any]


class Judged(NamedTuple):
    """One rule: which documents fail it, and the comparisons it is made of (none where it cannot be moved).

    `values` has the number that each clause compares, by its SQL.
    """

    name: str
    sql: str
    failed: Array
    clauses: list[Clause]
    values: dict[str, Array]


def judge(sample: Sample, rules: dict[str, str]) -> list[Judged]:
    """Every rule over every document of the sample."""
    table = _table(sample, rules)
    return [_judge(Expression(name, sql, "the mix"), table, sample) for name, sql in rules.items()]


def passed(judged: list[Judged], count: int) -> Array:
    """bool per document: no rule failed."""
    return ~np.logical_or.reduce([np.zeros(count, np.bool_), *(rule.failed for rule in judged)])


def _table(sample: Sample, rules: dict[str, str]) -> pa.Table:
    sets = {name: readable((field.name, field.type) for field in struct.type) for name, struct in sample.sets.items()}
    needed = needed_fields([Expression(name, sql, "the mix") for name, sql in rules.items()], sets)
    columns: dict[str, Any] = {"id": sample.ids, "source": sample.sources}
    for name in sorted(set(needed) - set(PLAIN_COLUMNS)):
        struct = sample.sets[name]
        kinds = [field for field in struct.type if field.name in needed[name]]
        narrow = [struct.field(field.name) for field in kinds]
        columns[name] = pa.StructArray.from_arrays(narrow, fields=kinds, mask=struct.is_null())
    return pa.table(columns)


def _judge(rule: Expression, table: pa.Table, sample: Sample) -> Judged:
    holds = _evaluate(rule, table, sample).astype(np.bool_)
    found = clauses(rule) or []
    try:
        values = {c.sql: _evaluate(Expression(rule.name, c.sql, rule.file, "DOUBLE"), table, sample) for c in found}
    except PipeError:
        found, values = [], {}  # a part of it has no value for every document, only the whole has
    if found and not (all_hold(found, values) == holds).all():
        found, values = [], {}  # DuckDB compares in another type
    return Judged(rule.name, rule.sql, ~holds, found, values)


def _evaluate(expression: Expression, table: pa.Table, sample: Sample) -> Array:
    return Evaluator([expression], table.schema).evaluate(table, sample.source.name)[0]
