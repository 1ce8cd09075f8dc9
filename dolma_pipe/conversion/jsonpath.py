"""Filters of Dolma's mixer in JSONPath, as its library reads them: `$.attributes[?(@.k[0][2] >= 0.5 && !@.j)]`.

`@` is the attributes object itself. A comparison of what is not there is false, but `!=`, which is true. (All of this
was tried on dolma 1.2.1.)
"""

from __future__ import annotations

import re
from collections.abc import Callable

from dolma_pipe.conversion.predicates import Always, Both, Compare, Condition, Either, Exists, Not, Place
from dolma_pipe.errors import ConfigError

_FILTER = re.compile(r"\s*\$\.attributes\[\?\((?P<inner>.*)\)\]\s*", re.DOTALL)
_PATH = re.compile(r"\$\.(?P<head>\w+)(?:\.(?P<key>\w+))?\s*")
_TOKEN = re.compile(
    r"\s*(?:(?P<operator>&&|\|\||[<>=!]=|[<>!()])|(?P<path>@(?:\.\w+|\['[^']*'\]|\[\"[^\"]*\"\]|\[\d+\])+)"
    r"|(?P<number>-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)|(?P<text>'[^']*'|\"[^\"]*\"))"
)
_STEP = re.compile(r"\.(\w+)|\['([^']*)'\]|\[\"([^\"]*)\"\]|\[(\d+)\]")
_MIRRORED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "==": "==", "!=": "!="}


def parse(text: str) -> Condition:
    """A filter as a condition; what cannot be one raises `ConfigError`."""
    found = _FILTER.fullmatch(text)
    if found:
        return _Parser(found["inner"], text).whole()
    path = _PATH.fullmatch(text)
    if path and path["head"] == "attributes" and path["key"]:
        return Exists(Place(path["key"]))
    if path and path["head"] in ("id", "text", "source") and not path["key"]:
        return Always()
    raise ConfigError(f"{text}: not a filter on attributes; ours see attributes, id and source only")


class _Parser:
    """Recursive descent: or, and, not, comparison."""

    def __init__(self, inner: str, whole: str) -> None:
        self.text, self.tokens = whole, list[tuple[str, str]]()
        at = 0
        while inner[at:].strip():
            found = _TOKEN.match(inner, at)
            if found is None:
                raise ConfigError(f"{whole}: {inner[at:].strip()[:30]!r} is not understood")
            self.tokens.append((str(found.lastgroup), str(found[str(found.lastgroup)])))
            at = found.end()
        self.tokens.append(("end", ""))

    def whole(self) -> Condition:
        found = self._joined("||", self._and, Either)
        if self.tokens[0][0] != "end":
            raise ConfigError(f"{self.text}: {self.tokens[0][1]!r} is not expected there")
        return found

    def _and(self) -> Condition:
        return self._joined("&&", self._unary, Both)

    def _joined(self, sign: str, part: Callable[[], Condition], kind: type[Both] | type[Either]) -> Condition:
        parts = [part()]
        while self._takes(sign):
            parts.append(part())
        return parts[0] if len(parts) == 1 else kind(tuple(parts))

    def _takes(self, sign: str) -> bool:
        if self.tokens[0] == ("operator", sign):
            self.tokens.pop(0)
            return True
        return False

    def _unary(self) -> Condition:
        if self._takes("!"):
            return Not(self._unary())
        if self._takes("("):
            found = self._joined("||", self._and, Either)
            if not self._takes(")"):
                raise ConfigError(f"{self.text}: a bracket is not closed")
            return found
        return self._comparison()

    def _comparison(self) -> Condition:
        left = self._operand()
        if self.tokens[0][1] not in _MIRRORED or self.tokens[0][0] != "operator":
            if isinstance(left, Place):
                return Exists(left)
            raise ConfigError(f"{self.text}: {left!r} is compared with nothing")
        operator = self.tokens.pop(0)[1]
        right = self._operand()
        if isinstance(right, Place):
            left, right, operator = right, left, _MIRRORED[operator]
        if not isinstance(left, Place) or isinstance(right, Place):
            raise ConfigError(f"{self.text}: compares neither an attribute with a value nor a value with an attribute")
        return Compare(left, operator, right, missing=operator == "!=")

    def _operand(self) -> Place | float | str:
        kind, text = self.tokens.pop(0)
        if kind == "number":
            return float(text)
        if kind == "text":
            return text[1:-1]
        if kind != "path":
            raise ConfigError(f"{self.text}: {text or 'the end'!r} where an attribute or a value is expected")
        steps = [next(part for part in step if part) for step in _STEP.findall(text)]
        return place(steps, self.text)


def place(steps: list[str], text: str) -> Place:
    """`["k", "0", "2"]` as a place."""
    if not steps or steps[0].isdigit() or not all(step.isdigit() for step in steps[1:]) or len(steps) > 3:
        raise ConfigError(f"{text}: {'.'.join(steps)} is no attribute, span, or part of a span")
    indices = tuple(int(step) for step in steps[1:])
    if len(indices) == 2 and indices[1] > 2:
        raise ConfigError(f"{text}: a span has start, end and score: [0], [1] and [2]")
    return Place(steps[0], indices)
