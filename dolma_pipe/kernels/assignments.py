"""Whether a value is given to a name that tells of a secret: `api_key = "..."`, `--token ...`, `Bearer ...`."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dolma_pipe.kernels import piece
from dolma_pipe.kernels.ascii import DIGIT, LETTER, WORD, table

NAMES = (
    "token", "secret", "passw", "pwd", "apikey", "accesskey", "accountkey", "authkey", "sharedkey", "masterkey",
    "credential", "privatekey", "signingkey", "encryptionkey",
)  # fmt: skip
"""What the name of a secret contains, small letters, without separators; the first also names what identifies."""
HARMLESS = (
    "public", "tokeniz", "revision", "checksum", "digest", "fingerprint", "hash", "nexttoken", "pagetoken",
    "continuationtoken", "synctoken", "requesttoken", "changetoken", "idempotency", "tokentype", "tokenname", "tokenid",
    "keyid", "secretname", "secretarn", "secretsmanager",
)  # fmt: skip
"""What the name of something else contains, whatever else it contains."""


def _spelled(words: Sequence[str]) -> npt.NDArray[Any]:
    """A row of bytes per word, zeros behind it."""
    rows = np.zeros((len(words), max(map(len, words))), np.uint8)
    for row, word in zip(rows, words, strict=True):
        row[: len(word)] = list(word.encode())
    return rows


_NAMES, _HARMLESS = _spelled(NAMES), _spelled(HARMLESS)
_VALUE = np.frombuffer(b"value", np.uint8).copy()
_BEARER = np.int64(int.from_bytes(b"bearer", "big"))
_NAME = table(string.ascii_letters + string.digits + "_-.")
_LONGEST_NAME = 40
_OPENS_VALUE = table("\"'`")
_BETWEEN_NAME = table(" \t\"'])\\")
_BEFORE_VALUE = table(" \t\r\n\"'")
_FURTHEST_NAME = 40
"""Bytes between a name and the word `value` at most: `name: TOKEN`, and in the next line `value: ...`."""
_ENDS_VALUE = table(" \t\r\n;,&)}]'\"`#<\\|")


@piece
def is_assigned(data: np.ndarray, low: int, high: int, start: int, end: int, weak: bool) -> bool:
    """Is the value `start:end`, in quotes or not, given to a name that tells of a secret, or behind `Bearer`?

    `weak`: a value that may just identify something, of which a mere `token` does not tell enough.
    """
    quoted = start > low and _OPENS_VALUE[data[start - 1]]
    escaped = quoted and start - 2 >= low and data[start - 2] == 0x5C and end < high and data[end] == 0x5C  # \"
    if quoted:
        if end + escaped >= high or data[end + escaped] != data[start - 1]:
            return False
    elif end < high and not _ENDS_VALUE[data[end]]:
        return False
    at = start - quoted - escaped
    before = at
    while at > low and before - at < 4 and (data[at - 1] == 0x20 or data[at - 1] == 0x09):
        at -= 1
    if at == low:
        return False
    if data[at - 1] == 0x3E and at == start and end < high and data[end] == 0x3C:  # <name>value<
        return _tells(data, low, at - 1, weak)
    if data[at - 1] == 0x3E:  # =>
        at -= 1
    if at > low and (data[at - 1] == 0x3D or data[at - 1] == 0x3A):  # = :
        at -= 1
        at -= at > low and data[at - 1] == 0x3A  # :=
    elif quoted and at > low and _is_argument(data, low, at):
        at -= 1
    else:
        return at < before and (_is_bearer(data, low, at) or _is_flag(data, low, at, weak))
    after = at
    while at > low and after - at < 6 and _BETWEEN_NAME[data[at - 1]]:
        at -= 1
    return _tells(data, low, _real_name(data, low, at), weak)


@piece
def _is_argument(data: np.ndarray, low: int, at: int) -> bool:
    """Does `(` end at `at`, or `,` behind a first argument: `setToken("...")`, `set("token", "...")`?"""
    if data[at - 1] != 0x2C:
        return data[at - 1] == 0x28
    if at - 2 < low or not _OPENS_VALUE[data[at - 2]]:
        return False
    start = _name_start(data, low, at - 2)
    return start - 2 >= low and data[start - 1] == data[at - 2] and data[start - 2] == 0x28


@piece
def _real_name(data: np.ndarray, low: int, end: int) -> int:
    """End of the name in front of the word `value` that ends at `end`: `key="TOKEN" value=`; else `end`."""
    at = end - len(_VALUE)
    if at <= low or not _BEFORE_VALUE[data[at - 1]]:
        return end
    for i in range(len(_VALUE)):
        if data[at + i] | 0x20 != _VALUE[i]:
            return end
    floor = max(low, at - _FURTHEST_NAME)
    while at > floor and _BEFORE_VALUE[data[at - 1]]:
        at -= 1
    return at


@piece
def _is_bearer(data: np.ndarray, low: int, end: int) -> bool:
    """The authentication scheme of RFC 6750."""
    if end - low < 6:
        return False
    packed = np.int64(0)
    for at in range(end - 6, end):
        packed = packed << 8 | np.int64(data[at] | 0x20)
    return packed == _BEARER and (end - 6 == low or not WORD[data[end - 7]])


@piece
def _is_flag(data: np.ndarray, low: int, end: int, weak: bool) -> bool:
    """An option of a command line: `--api-key`."""
    start = _name_start(data, low, end)
    return start < end and data[start] == 0x2D and _tells(data, low, end, weak)


@piece
def _name_start(data: np.ndarray, low: int, end: int) -> int:
    start = end
    while start > low and end - start < _LONGEST_NAME and _NAME[data[start - 1]]:
        start -= 1
    return start


@piece
def _tells(data: np.ndarray, low: int, end: int, weak: bool) -> bool:
    """Does the name that ends at `end` contain one of `NAMES`, and none of `HARMLESS`?"""
    start = _name_start(data, low, end)
    if start > low and data[start - 1] == 0x3A and data[end] == 0x3A:  # arn:...:secret:NAME is no assignment
        return False
    found = False
    for at in range(start, end):
        for name in range(len(_HARMLESS)):
            if _spells(data, at, end, _HARMLESS[name]):
                return False
        for name in range(int(weak), len(_NAMES)):
            found |= _spells(data, at, end, _NAMES[name])
    return found


@piece
def _spells(data: np.ndarray, at: int, end: int, letters: np.ndarray) -> bool:
    """Do the letters (small, zeros behind them) stand at `at`, in any case, perhaps with separators between?"""
    i = 0
    while i < len(letters) and letters[i] > 0 and at < end:
        if data[at] | 0x20 == letters[i]:
            i += 1
        elif i == 0 or LETTER[data[at]] or DIGIT[data[at]]:
            return False
        at += 1
    return i == len(letters) or letters[i] == 0
