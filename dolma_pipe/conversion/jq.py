"""Filters of Dolma's mixer in jq, as they are in use: `.attributes.k[0][2] >= 0.5`, `(.attributes.k | length) > 0`.

and, or, not, comparisons with a number or a text, `// default`, `?`, `length`, `has("k")`, brackets. Anything else is
refused with its place. Where jq fails on what is not there (dolma 1.2.1 then loses the shard), a comparison is false.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from operator import eq, ge, gt, le, lt, ne
from typing import Any, NamedTuple

from dolma_pipe.conversion.jsonpath import place
from dolma_pipe.conversion.predicates import Always, Both, Compare, Condition, Either, Exists, Not, Place
from dolma_pipe.errors import ConfigError

_TOKEN = re.compile(
    r"\s*(?:(?P<path>(?:\.\w+|\.?\[\"[^\"]*\"\]|\[\d+\]|(?<=[\w\]])\?)+\??|\.)"
    r"|(?P<operator>//|[<>=!]=|[<>|()])"
    r"|(?P<number>-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)|(?P<text>\"[^\"]*\")|(?P<empty>\[\])|(?P<word>[a-z_]+))"
)
_STEP = re.compile(r"\.(\w+)|\[\"([^\"]*)\"\]|\[(\d+)\]")
_MIRRORED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "==": "==", "!=": "!="}


class _Path(NamedTuple):
    """Steps from the document; `is_length`: how many there are; `default`: what stands for what is not there."""

    steps: tuple[str, ...]
    is_length: bool = False
    default: float | str | None = None


class _Null(NamedTuple):
    """`null`."""


_Value = _Path | float | str | _Null
_Term = _Value | Both | Either | Not | Compare | Exists | Always


def parse(text: str) -> Condition:
    """A filter as a condition; what cannot be one raises `ConfigError`."""
    parser = _Parser(text)
    found = parser.pipe(_Path(()))
    parser.expect_end()
    return parser.condition(found, is_output=True)


class _Parser:
    """Recursive descent over pipe, or, and, comparison, alternative; `here` is what `.` is."""

    def __init__(self, text: str) -> None:
        self.text, self.tokens = text, list[tuple[str, str]]()
        at = 0
        while text[at:].strip():
            found = _TOKEN.match(text, at)
            if found is None:
                raise ConfigError(f"{text}: {text[at:].strip()[:30]!r} is not understood")
            self.tokens.append((str(found.lastgroup), str(found[str(found.lastgroup)])))
            at = found.end()
        self.tokens.append(("end", ""))

    def expect_end(self) -> None:
        if self.tokens[0][0] != "end":
            raise ConfigError(f"{self.text}: {self.tokens[0][1]!r} is not expected there")

    def _takes(self, kind: str, text: str) -> bool:
        if self.tokens[0] == (kind, text):
            self.tokens.pop(0)
            return True
        return False

    def pipe(self, here: _Path) -> _Term:
        found = self._or(here)
        while self._takes("operator", "|"):
            if self._takes("word", "not"):
                found = Not(self.condition(found))
            elif isinstance(found, _Path):
                found = self._or(found)
            else:
                raise ConfigError(f"{self.text}: only 'not' can follow a condition behind '|'")
        return found

    def _or(self, here: _Path) -> _Term:
        found = self._and(here)
        while self._takes("word", "or"):
            found = Either((self.condition(found), self.condition(self._and(here))))
        return found

    def _and(self, here: _Path) -> _Term:
        found = self._comparison(here)
        while self._takes("word", "and"):
            found = Both((self.condition(found), self.condition(self._comparison(here))))
        return found

    def _comparison(self, here: _Path) -> _Term:
        left = self._alternative(here)
        if self.tokens[0][0] != "operator" or self.tokens[0][1] not in _MIRRORED:
            return left
        operator = self.tokens.pop(0)[1]
        return self._compared(left, operator, self._alternative(here))

    def _compared(self, left: _Term, operator: str, right: _Term) -> Condition:
        if isinstance(right, _Path):
            left, right, operator = right, left, _MIRRORED[operator]
        if not isinstance(left, _Path) or not isinstance(right, (float, str, _Null)):
            raise ConfigError(f"{self.text}: compares neither an attribute with a value nor a value with an attribute")
        if isinstance(right, _Null):
            if operator not in ("==", "!="):
                raise ConfigError(f"{self.text}: null can only be equal or not")
            exists = Exists(self._place(left))
            return exists if operator == "!=" else Not(exists)
        missing = left.default is not None and _holds(left.default, operator, right)
        return Compare(self._place(left), operator, right, missing, left.is_length)

    def _alternative(self, here: _Path) -> _Term:
        found = self._term(here)
        while self._takes("operator", "//"):
            if not isinstance(found, _Path):
                raise ConfigError(f"{self.text}: '//' stands behind an attribute only")
            kind, text = self.tokens.pop(0)
            if kind not in ("number", "text", "empty"):
                raise ConfigError(f"{self.text}: {text!r} behind '//' is not a number, a text or []")
            found = found if kind == "empty" else found._replace(default=_literal(kind, text))
        return found

    def _term(self, here: _Path) -> _Term:
        kind, text = self.tokens.pop(0)
        if kind == "path":
            steps = tuple(next(part for part in step if part) for step in _STEP.findall(text))
            return here._replace(steps=here.steps + steps)
        if kind in ("number", "text"):
            return _literal(kind, text)
        if (kind, text) == ("operator", "("):
            found = self.pipe(here)
            if not self._takes("operator", ")"):
                raise ConfigError(f"{self.text}: a bracket is not closed")
            return found
        if kind == "word":
            return self._word(text, here)
        raise ConfigError(f"{self.text}: {text or 'the end'!r} where an attribute or a value is expected")

    def _word(self, word: str, here: _Path) -> _Term:
        if word == "null":
            return _Null()
        if word == "true":
            return Always()
        if word == "length":
            return here._replace(is_length=True)
        if word == "has" and self._takes("operator", "("):
            _, name = self.tokens.pop(0)
            if self._takes("operator", ")"):
                return Exists(self._place(here._replace(steps=(*here.steps, name[1:-1]))))
        raise ConfigError(f"{self.text}: {word!r} cannot be carried over")

    def condition(self, found: _Term, is_output: bool = False) -> Condition:
        """A value where a condition is expected; as the filter's output, an empty list is false too."""
        if isinstance(found, _Path):
            if found.steps[:1] in (("id",), ("text",)) and not found.is_length:
                return Always()
            return Exists(self._place(found), is_filled=is_output and len(found.steps) == 2)
        if isinstance(found, (int, float, str, _Null)):
            raise ConfigError(f"{self.text}: {found!r} is no condition")
        return found

    def _place(self, path: _Path) -> Place:
        if path.steps == ("source",) and not path.is_length:
            return Place("")
        if path.steps[:1] != ("attributes",):
            name = ".".join(path.steps)
            raise ConfigError(f"{self.text}: .{name} is no attribute; ours see attributes, id and source only")
        return place(list(path.steps[1:]), self.text)


def _literal(kind: str, text: str) -> float | str:
    return float(text) if kind == "number" else text[1:-1]


def _holds(default: float | str, operator: str, value: float | str) -> bool:
    """Does the default hold? Numbers come before texts."""
    left, right = (isinstance(default, str), default), (isinstance(value, str), value)
    if left[0] != right[0]:
        return operator in (("<", "<=", "!=") if right[0] else (">", ">=", "!="))
    compare: dict[str, Callable[[Any, Any], bool]] = {
        "<": lt, "<=": le, ">": gt, ">=": ge, "==": eq, "!=": ne,
    }  # fmt: skip
    return compare[operator](default, value)
