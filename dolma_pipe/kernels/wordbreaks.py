"""Words at the boundaries of Unicode's default rules (UAX #29, section 4.1; WB3c to WB999).

The rules look at the Word_Break property of a code point, of the two before it and of the next, where Extend, Format
and ZWJ belong to what stands before them (WB4). There is no dictionary in them: an ideograph, a hiragana or a Thai
consonant with its marks is a piece of its own, and so is a punctuation mark.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import regex

from dolma_pipe.kernels import kernel, piece
from dolma_pipe.kernels.alphabetic import is_member
from dolma_pipe.kernels.hashing import hash64
from dolma_pipe.kernels.marks import WINDOW, Marks, next_words, put_word
from dolma_pipe.kernels.utf8 import code_point_at

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]

(
    OTHER, LETTER, HEBREW, NUMERIC, KATAKANA, CONNECTOR, FLAG, EXTEND, JOINER, SINGLE_QUOTE, DOUBLE_QUOTE, MID_NUM_LET,
    MID_LETTER, MID_NUM,
) = range(14)  # fmt: skip
"""Values of Word_Break; EXTEND is Extend and Format, FLAG is Regional_Indicator, CONNECTOR is ExtendNumLet."""

PICTURE, DICTIONARY = 0x10, 0x20
"""Further bits: Extended_Pictographic, and what ICU splits by rules of its own (scripts without spaces, Hangul)."""

_CLASSES = {
    LETTER: r"\p{WB=ALetter}", HEBREW: r"\p{WB=Hebrew_Letter}", NUMERIC: r"\p{WB=Numeric}",
    KATAKANA: r"\p{WB=Katakana}", CONNECTOR: r"\p{WB=ExtendNumLet}", FLAG: r"\p{WB=Regional_Indicator}",
    EXTEND: r"[\p{WB=Extend}\p{WB=Format}]", JOINER: r"\p{WB=ZWJ}", SINGLE_QUOTE: r"\p{WB=Single_Quote}",
    DOUBLE_QUOTE: r"\p{WB=Double_Quote}", MID_NUM_LET: r"\p{WB=MidNumLet}", MID_LETTER: r"\p{WB=MidLetter}",
    MID_NUM: r"\p{WB=MidNum}",
}  # fmt: skip
_BITS = {
    PICTURE: r"\p{Extended_Pictographic}",
    DICTIONARY: r"[\p{lb=Complex_Context}\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}\p{sc=Hangul}\p{WB=Katakana}]",
}
_SPACE = 0x200B
_NONE = -1


@cache
def word_break_table() -> np.ndarray:
    """uint8[1114112]: each code point's Word_Break value and bits, by the Unicode version of the `regex` package."""
    codes = np.array([code for code in range(0x110000) if not 0xD800 <= code < 0xE000])
    everything = "".join(map(chr, codes.tolist()))
    table = np.zeros(0x110000, np.uint8)
    for value, pattern in (*_CLASSES.items(), *_BITS.items()):
        members = np.array([match.start() for match in regex.finditer(pattern, everything)], np.int64)
        table[codes[members]] |= value
    return table


@piece
def _next(data: np.ndarray, start: int, end: int, table: np.ndarray) -> int:
    """Word_Break of the next code point that is not ignored, or `_NONE`."""
    at = start
    while at < end:
        code, width = code_point_at(data, at)
        value = int(table[code]) & 15
        if value != EXTEND and value != JOINER:
            return value
        at += width
    return _NONE


@piece
def _is_letter(value: int) -> bool:
    return value in (LETTER, HEBREW)


@piece
def _is_mid(value: int, other: int) -> bool:
    return value in (other, MID_NUM_LET, SINGLE_QUOTE)


@piece
def _joins(last: int, before: int, value: int) -> bool:
    """Whether no boundary lies between `last` and `value`, by rules that look back only; `before` stands before."""
    letter, numeric = _is_letter(value), value == NUMERIC
    if letter or numeric:
        if _is_letter(last) or last in (NUMERIC, CONNECTOR):  # WB5, WB8 to WB10, WB13b
            return True
        if letter and _is_letter(before) and _is_mid(last, MID_LETTER):  # WB7
            return True
        if value == HEBREW and last == DOUBLE_QUOTE and before == HEBREW:  # WB7c
            return True
        return numeric and before == NUMERIC and _is_mid(last, MID_NUM)  # WB11
    if value == KATAKANA:
        return last == KATAKANA or last == CONNECTOR  # WB13, WB13b
    if value == CONNECTOR:
        return _is_letter(last) or last == NUMERIC or last == KATAKANA or last == CONNECTOR  # WB13a
    return value == SINGLE_QUOTE and last == HEBREW  # WB7a


@piece
def _bridges(data: np.ndarray, after: int, end: int, table: np.ndarray, last: int, value: int) -> bool:
    """The same for rules that look at what follows: WB6, WB7b, WB12."""
    if _is_letter(last) and _is_mid(value, MID_LETTER):
        return _is_letter(_next(data, after, end, table))
    if last == HEBREW and value == DOUBLE_QUOTE:
        return _next(data, after, end, table) == HEBREW
    if last == NUMERIC and _is_mid(value, MID_NUM):
        return _next(data, after, end, table) == NUMERIC
    return False


@piece
def _letters_end(data: np.ndarray, start: int, end: int) -> int:
    """Position of the first byte of `data[start:end]` that is no ASCII letter, or `end`."""
    at = start
    while at < end and 0x61 <= (data[at] | 0x20) <= 0x7A:
        at += 1
    return at


@piece
def _piece_end(data: np.ndarray, start: int, end: int, table: np.ndarray) -> tuple[int, int]:
    """(position after the piece at `start`, its code points); U+200B ends it."""
    code, width = code_point_at(data, start)
    value = int(table[code])
    last, before, flags, joined = value & 15, _NONE, int((value & 15) == FLAG), (value & 15) == JOINER
    at, chars = start + width, 1
    while at < end:
        if last == LETTER and data[at] < 0x80:
            stop = _letters_end(data, at, end)
            if stop > at:
                at, chars, before, joined = stop, chars + stop - at, LETTER, False
                continue
        code, width = code_point_at(data, at)
        if code == _SPACE:
            break
        value = int(table[code])
        kind = value & 15
        if kind in (EXTEND, JOINER):
            joined = kind == JOINER
        else:
            pair = kind == FLAG and flags % 2 == 1  # WB15, WB16
            picture = joined and value & PICTURE != 0  # WB3c
            if not (pair or picture or _joins(last, before, kind)):  # noqa: SIM102
                if not _bridges(data, at + width, end, table, last, kind):
                    break
            flags = flags + 1 if kind == FLAG else 0
            last, before, joined = kind, last, False
        at, chars = at + width, chars + 1
    return at, chars


@kernel
def holds_dictionary(data: np.ndarray, starts: np.ndarray, ends: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Which words hold a code point with the DICTIONARY bit: bool[m]."""
    found = np.zeros(len(starts), np.bool_)
    for word in range(len(starts)):
        at, end = starts[word], ends[word]
        while at < end:
            if data[at] < 0xE0:  # no such code point lies below U+0800
                at += 1
                continue
            code, width = code_point_at(data, at)
            if table[code] & DICTIONARY != 0:
                found[word] = True
                break
            at += width
    return found


@kernel
def split_breaks(
    data: np.ndarray, starts: np.ndarray, ends: np.ndarray, chars: np.ndarray, offsets: np.ndarray, table: np.ndarray,
    given: np.ndarray, given_starts: np.ndarray, given_ends: np.ndarray,
) -> Arrays:  # fmt: skip
    """The pieces of every word, in the form of `segment.split_words`, whose output the first arrays are.

    Where `given[word]`, its pieces are those of `given_starts`/`given_ends` that lie within it (ascending, of all given
    words). U+200B, a space without width, parts pieces and is in none.
    """
    most = 0
    for word in range(len(starts)):
        most += chars[word]
    found_starts, found_ends, found_chars = np.empty(most, np.int32), np.empty(most, np.int32), np.empty(most, np.int32)
    hashes, found_offsets = np.empty(most, np.uint64), np.zeros(len(offsets), np.int64)
    count, next_given = 0, 0
    for document in range(len(offsets) - 1):
        for word in range(offsets[document], offsets[document + 1]):
            at, end = starts[word], ends[word]
            while at < end:
                first = at
                if given[word]:
                    if next_given == len(given_starts) or given_starts[next_given] >= end:
                        break
                    first, at = given_starts[next_given], given_ends[next_given]
                    next_given += 1
                    size = _chars(data, first, at)
                elif at + 3 <= end and data[at] == 0xE2 and data[at + 1] == 0x80 and data[at + 2] == 0x8B:
                    at += 3
                    continue
                else:
                    at, size = _piece_end(data, at, end, table)
                found_starts[count], found_ends[count], found_chars[count] = first, at, size
                hashes[count] = hash64(data, first, at)
                count += 1
        found_offsets[document + 1] = count
    return found_starts[:count], found_ends[:count], found_chars[:count], hashes[:count], found_offsets


@kernel
def mark_breaks(data: np.ndarray, offsets: np.ndarray, marks: Marks, table: np.ndarray, members: np.ndarray) -> Marks:
    """The pieces of every word that begin with a member of the bitmap, as marks."""
    found = Marks(np.zeros_like(marks.starts), np.zeros_like(marks.inside))
    starts, ends = np.empty(WINDOW, np.int32), np.empty(WINDOW, np.int32)
    for document in range(len(offsets) - 1):
        place = offsets[document]
        while place < offsets[document + 1]:
            count, place = next_words(marks, place, offsets[document + 1], starts, ends)
            for word in range(count):
                at, end = np.int64(starts[word]), np.int64(ends[word])
                while at < end:
                    first = at
                    if at + 3 <= end and data[at] == 0xE2 and data[at + 1] == 0x80 and data[at + 2] == 0x8B:
                        at += 3
                        continue
                    at, _ = _piece_end(data, at, end, table)
                    code, _ = code_point_at(data, first)
                    if is_member(code, members):
                        put_word(found, first, at)
    return found


@piece
def _chars(data: np.ndarray, start: Any, end: Any) -> int:
    count = 0
    for at in range(start, end):
        count += (data[at] & 0xC0) != 0x80
    return count
