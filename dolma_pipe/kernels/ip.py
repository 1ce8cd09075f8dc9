"""IPv4 and IPv6 addresses by their form; whether one is public is the caller's question."""

from __future__ import annotations

import numpy as np

from dolma_pipe.kernels import piece
from dolma_pipe.kernels.ascii import DIGIT, HEX, LETTER, WORD

_LONGEST = 45
"""Characters of the longest IPv6 address, one with an IPv4 tail."""


@piece
def ipv4_end(data: np.ndarray, low: int, high: int, start: int) -> int:
    """End of the four dotted groups of one to three digits that begin at `start`, or -1.

    `low:high` is the document. The address must stand alone: `1.2.3.4.5`, `v1.2.3.4`, `lib-1.2.3.4` are versions.
    """
    if not _ipv4_opens(data, low, start):
        return -1
    at = start
    for group in range(4):
        first = at
        while at < high and at - first < 4 and DIGIT[data[at]]:
            at += 1
        if at == first or at - first > 3:
            return -1
        if group < 3:
            if at >= high or data[at] != 0x2E:
                return -1
            at += 1
    return at if _ipv4_closes(data, high, at) else -1


@piece
def _ipv4_opens(data: np.ndarray, low: int, start: int) -> bool:
    if start == low:
        return True
    before = data[start - 1]
    if WORD[before] or before == 0x2E:
        return False
    # A letter before the hyphen or slash makes it a version (Chrome/1.2.3.4); a digit, a range or a list.
    return not ((before == 0x2D or before == 0x2F) and start - 2 >= low and LETTER[data[start - 2]])


@piece
def _ipv4_closes(data: np.ndarray, high: int, end: int) -> bool:
    if end == high:
        return True
    if WORD[data[end]]:
        return False
    if end + 1 == high:
        return True
    return not ((data[end] == 0x2E and WORD[data[end + 1]]) or (data[end] == 0x2D and LETTER[data[end + 1]]))


@piece
def ipv6(data: np.ndarray, low: int, floor: int, high: int, colon: int) -> tuple[int, int, int]:
    """(start, end, next) of the IPv6 address around a colon; start is -1 if there is none. Look on at `next`.

    Only its form is checked: hex digits, dots, and seven colons or a doubled one. It begins at `floor` at the earliest.
    """
    start = colon
    while start > floor and colon - start < 5 and HEX[data[start - 1]]:
        start -= 1
    end, colons, doubled = colon, 0, False
    while end < high and (HEX[data[end]] or data[end] == 0x3A or data[end] == 0x2E):
        colons += data[end] == 0x3A
        doubled |= end > colon and data[end] == 0x3A and data[end - 1] == 0x3A
        end += 1
    shown = end
    while shown > colon + 1 and (data[shown - 1] == 0x2E or (data[shown - 1] == 0x3A and data[shown - 2] != 0x3A)):
        colons -= data[shown - 1] == 0x3A
        shown -= 1
    # A long run is left behind at once, so that no byte of it is looked at again; a short one may hold other things.
    following = end if end - start > _LONGEST else colon + 1
    fits = colon - start < 5 and shown - start <= _LONGEST and (colons == 7 or (doubled and colons < 8))
    if not fits or not _stands_alone(data, low, high, start, end):
        return -1, -1, following
    return start, shown, shown


@piece
def _stands_alone(data: np.ndarray, low: int, high: int, start: int, end: int) -> bool:
    if end < high and WORD[data[end]]:
        return False
    if start == low:
        return True
    before = data[start - 1]
    if before == 0x3A:  # `addr:2001:...`, but not the rest of a longer run
        return start - 2 >= low and data[start - 2] != 0x3A and not HEX[data[start - 2]]
    return not (WORD[before] or before == 0x2E)
