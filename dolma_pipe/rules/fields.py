"""The attributes at hand against those that rules name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa

from dolma_pipe.errors import ConfigError
from dolma_pipe.rules.expression import Expression
from dolma_pipe.rules.references import references

PLAIN_COLUMNS = ("id", "source")
"""What an expression may name beside attribute sets: the document's own id and source."""


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
    if len(path) > 1 and not difflib.get_close_matches(path[0], sets, n=1):
        guess = f"; measure {path[0]!r} if nobody has, and add it to the list"
    listed = ", ".join(sets) or "none"
    return f"no attribute {given!r} (attribute sets that this source lists: {listed}){guess}"
