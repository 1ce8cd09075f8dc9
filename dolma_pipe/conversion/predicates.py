"""Conditions on a document's attributes, whatever they were written in, and the SQL that says the same.

A place is an attribute (`k`), its i-th span (`k[i]`), or a part of that span (`k[i][2]`: start, end, score). What
compares a place that is not there is false, unless `missing` says otherwise; so a rule is never NULL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

PARTS = ("start", "end", "score")
_OPPOSITE = {"<": ">=", ">=": "<", ">": "<=", "<=": ">", "==": "!=", "!=": "=="}


class Place(NamedTuple):
    """`key` and up to two indices; the key `""` is the document's own `source`."""

    key: str
    indices: tuple[int, ...] = ()


class Compare(NamedTuple):
    """A place, or how many spans it has, compared with a number or a text."""

    place: Place
    operator: str
    value: float | str
    missing: bool = False
    is_length: bool = False


class Exists(NamedTuple):
    """Something is there (`is_filled`: and is no empty list)."""

    place: Place
    is_filled: bool = False


class Not(NamedTuple):
    inner: Condition


class Both(NamedTuple):
    parts: tuple[Condition, ...]


class Either(NamedTuple):
    parts: tuple[Condition, ...]


class Always(NamedTuple):
    """True of every document."""


Condition = Compare | Exists | Not | Both | Either | Always
Names = Callable[[Place], tuple[str, bool]]
"""The SQL of a place, and whether it is NULL where the place is not there."""


def keys(condition: Condition) -> Iterator[str]:
    """The attributes that a condition names, in order."""
    if isinstance(condition, (Compare, Exists)):
        yield condition.place.key
    elif isinstance(condition, Not):
        yield from keys(condition.inner)
    elif isinstance(condition, (Both, Either)):
        for part in condition.parts:
            yield from keys(part)


def negated(condition: Condition) -> Condition:
    """The opposite, with no Not around it but that of an Exists."""
    if isinstance(condition, Compare):
        return condition._replace(operator=_OPPOSITE[condition.operator], missing=not condition.missing)
    if isinstance(condition, Not):
        return simplified(condition.inner)
    if isinstance(condition, Both):
        return simplified(Either(tuple(negated(part) for part in condition.parts)))
    if isinstance(condition, Either):
        return simplified(Both(tuple(negated(part) for part in condition.parts)))
    return Not(condition)


def simplified(condition: Condition) -> Condition:
    """The same without guards that its comparisons imply: `k && k[0] && k[0][2] < 5` is `k[0][2] < 5`."""
    if isinstance(condition, Not):
        return negated(condition.inner)
    if not isinstance(condition, (Both, Either)):
        return condition
    kind = type(condition)
    parts: list[Condition] = []
    for part in map(simplified, condition.parts):
        parts += part.parts if isinstance(part, (Both, Either)) and type(part) is kind else [part]
    if kind is Both and Always() in parts:
        parts = [part for part in parts if part != Always()] or [Always()]
    parts = [part for part in dict.fromkeys(parts) if not _is_guard(part, parts, kind is Both)]
    return parts[0] if len(parts) == 1 else kind(tuple(parts))


def _is_guard(part: Condition, parts: list[Condition], is_both: bool) -> bool:
    """Is a part implied by another one (in a conjunction), or does its opposite imply another (in a disjunction)?"""
    if is_both and isinstance(part, Exists):
        return any(_implies(other, part.place, False) for other in parts)
    if not is_both and isinstance(part, Not) and isinstance(part.inner, Exists):
        return any(_implies(other, part.inner.place, True) for other in parts)
    return False


def _implies(other: Condition, place: Place, missing: bool) -> bool:
    """Does a comparison say by itself what holds where the place is not there?"""
    if not isinstance(other, Compare) or other.is_length or other.missing != missing:
        return False
    return other.place.key == place.key and other.place.indices[: len(place.indices)] == place.indices


def sql(condition: Condition, names: Names) -> str:
    """An SQL predicate that is never NULL."""
    if isinstance(condition, Always):
        return "true"
    if isinstance(condition, Compare):
        return _comparison(condition, names)
    if isinstance(condition, Exists):
        found, is_nullable = names(condition.place)
        if condition.is_filled:
            return f"coalesce(len({found}), 0) > 0" if is_nullable else found
        return f"{found} IS NOT NULL" if is_nullable else found
    if isinstance(condition, Not):
        inner = sql(condition.inner, names)
        return inner.replace("IS NOT NULL", "IS NULL") if inner.endswith("IS NOT NULL") else f"NOT ({inner})"
    word = " AND " if isinstance(condition, Both) else " OR "
    return word.join(_wrapped(part, condition, names) for part in condition.parts)


def _wrapped(part: Condition, outer: Condition, names: Names) -> str:
    text = sql(part, names)
    return f"({text})" if isinstance(part, (Both, Either)) and type(part) is not type(outer) else text


def _comparison(found: Compare, names: Names) -> str:
    place, is_nullable = names(found.place)
    left = f"coalesce(len({place}), 0)" if found.is_length else place
    value = "'" + found.value.replace("'", "''") + "'" if isinstance(found.value, str) else _number(found.value)
    operator = {"==": "=", "!=": "<>"}.get(found.operator, found.operator)
    text = f"{left} {operator} {value}"
    return f"coalesce({text}, {'true' if found.missing else 'false'})" if is_nullable and not found.is_length else text


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
