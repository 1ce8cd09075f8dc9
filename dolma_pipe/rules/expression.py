"""What a rule is before anybody reads it: an SQL expression under a name, and where it was written."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from dolma_pipe.errors import ConfigError
from dolma_pipe.types import Plain

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
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
