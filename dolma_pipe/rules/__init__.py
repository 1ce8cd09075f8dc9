"""Rules: named SQL expressions over the attributes of one document.

A rule is a scalar predicate that DuckDB evaluates over Arrow tables which hold
one struct column per attribute set, plus `id` and `source`: `gopher.word_count
BETWEEN 50 AND 100000`. Whatever a rule can get wrong is refused before any
work: aggregates, windows, subqueries, statements, functions whose value is not
a function of their arguments, attributes that nobody wrote. A rule that yields
NULL for a document is an error, unless it says COALESCE or IS NULL.
"""

from dolma_pipe.rules.evaluation import Evaluator, evaluator
from dolma_pipe.rules.expression import NAME, Expression, named
from dolma_pipe.rules.fields import PLAIN_COLUMNS, needed_fields, readable
from dolma_pipe.rules.references import references

__all__ = [
    "NAME",
    "PLAIN_COLUMNS",
    "Evaluator",
    "Expression",
    "evaluator",
    "named",
    "needed_fields",
    "readable",
    "references",
]
