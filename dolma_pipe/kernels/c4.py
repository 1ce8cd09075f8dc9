"""C4's line and page rules (Raffel et al. 2020, section 2.2), measured. Case is folded for ASCII only."""

from __future__ import annotations

import numpy as np

from dolma_pipe.kernels import kernel, piece
from dolma_pipe.kernels.hashing import load64, load_tail
from dolma_pipe.kernels.lines import ends_with_dots
from dolma_pipe.kernels.marks import (
    Marks,
    behind_inside,
    ends_in,
    first_inside,
    is_inside,
    own_start,
    word_end,
    word_start,
    words_between,
)
from dolma_pipe.kernels.masks import WIDTH, below, equal, first, is_ascii, letter, most, popcount, without_first
from dolma_pipe.kernels.newlines import line_end, most_filled
from dolma_pipe.kernels.utf8 import chars_between
from dolma_pipe.kernels.words import first_bytes

(
    FILLED, UNPUNCTUATED, DOTTED, UNDER_3_WORDS, UNDER_5_WORDS, LONG_WORD, JAVASCRIPT, POLICY, LOREM_IPSUM, KEPT,
    KEPT_WORDS, SENTENCES, BRACES, ROWS,
) = range(14)  # fmt: skip
"""Rows of what `c4_signals` returns; the first ten are also bits of what is known about one line."""

LONGEST_WORD = 1000
_LINE_FLAWS = 1 << UNPUNCTUATED | 1 << LONG_WORD | 1 << JAVASCRIPT | 1 << POLICY
_CASE = np.uint64(0x2020202020202020)
_ONE, _LAST = np.uint64(1), np.uint64(1 << 63)


def _packed(text: bytes) -> np.uint64:
    return np.uint64(int.from_bytes(text, "little"))


_POLICY, _COOKIES, _USE, _IPSUM = _packed(b"policy"), _packed(b"cookies"), _packed(b"use"), _packed(b"ipsum")
_PRIVACY_, _COOKIE_ = _packed(b"privacy "), _packed(b"cookie ")
_ERMS_OF_, _USES_, _USE_OF_, _USE_ = _packed(b"erms of "), _packed(b"uses "), _packed(b"use of "), _packed(b"use ")
_LOREM_ = _packed(b"lorem ")
_JAVASCRI, _PT = _packed(b"javascri"), _packed(b"pt")
_MR, _MS, _DR, _ST, _MRS, _VS = (_packed(word) for word in (b"mr.", b"ms.", b"dr.", b"st.", b"mrs.", b"vs."))


@piece
def _starts_with(word: np.uint64, wanted: np.uint64, size: int) -> bool:
    """Whether the first `size` bytes are `wanted`."""
    return word << np.uint64(64 - 8 * size) == wanted << np.uint64(64 - 8 * size)


@piece
def _ends_with(word: np.uint64, wanted: np.uint64, size: int) -> bool:
    """Whether the last `size` of eight bytes are `wanted`."""
    return word >> np.uint64(64 - 8 * size) == wanted


@piece
def _bytes_before(data: np.ndarray, at: int, lowest: int) -> np.uint64:
    """The eight bytes before `at` in lower case; what would lie before `lowest` is zero."""
    count = at - lowest
    if count >= 8:
        return load64(data, at - 8) | _CASE
    if count == 0:
        return np.uint64(0)
    return (load_tail(data, lowest, count) | _CASE) << np.uint64(64 - 8 * count)


@piece
def _phrase(data: np.ndarray, start: int, end: int, lowest: int) -> int:
    """The bit of the phrase whose last word begins at `start` (POLICY, LOREM_IPSUM), or 0.

    Phrases match as substrings: their last word may go on ("cookies!"), their first may have begun earlier.
    """
    word = first_bytes(data, start, end) | _CASE
    policy, cookies = _starts_with(word, _POLICY, 6), _starts_with(word, _COOKIES, 7)
    use, ipsum = _starts_with(word, _USE, 3), _starts_with(word, _IPSUM, 5)
    if not (policy or cookies or use or ipsum) or start == lowest or data[start - 1] != 0x20:
        return 0
    before = _bytes_before(data, start, lowest)
    if policy:
        found = before == _PRIVACY_ or _ends_with(before, _COOKIE_, 7)
    elif cookies:
        spaced = start - lowest >= 7 and data[start - 4] == 0x20
        found = _ends_with(before, _USES_, 5) or _ends_with(before, _USE_, 4)
        found = found or (spaced and _ends_with(before, _USE_OF_, 7))
    elif use:
        spaced = start - lowest >= 9 and data[start - 4] == 0x20
        found = spaced and before == _ERMS_OF_ and data[start - 9] | 0x20 == 0x74
    else:
        return 1 << LOREM_IPSUM if _ends_with(before, _LOREM_, 6) else 0
    return 1 << POLICY if found else 0


@piece
def _holds_javascript(data: np.ndarray, start: int, end: int) -> bool:
    """Whether `data[start:end]` holds "javascript" in any case."""
    for at in range(start, end - 9):
        if data[at] | 0x20 == 0x6A and load64(data, at) | _CASE == _JAVASCRI:
            last = np.uint64(data[at + 8] | 0x20) | np.uint64(data[at + 9] | 0x20) << np.uint64(8)
            if last == _PT:
                return True
    return False


@piece
def _is_closer(data: np.ndarray, start: int, end: int) -> int:
    """Bytes of the closing quote or bracket that ends `data[start:end]`, or 0."""
    byte = data[end - 1]
    if byte == 0x22 or byte == 0x27 or byte == 0x29 or byte == 0x5D:
        return 1
    if end - start >= 3 and data[end - 3] == 0xE2 and data[end - 2] == 0x80 and (byte == 0x99 or byte == 0x9D):
        return 3
    return 0


@piece
def _ends_sentence(data: np.ndarray, start: int, end: int, next_start: int) -> bool:
    """Whether a sentence ends with this word, given where the next word of its line begins."""
    if 0x61 <= data[next_start] <= 0x7A:
        return False
    whole = end
    while end > start and _is_closer(data, start, end) > 0:
        end -= _is_closer(data, start, end)
    if end == start:
        return False
    mark = data[end - 1]
    if mark == 0x21 or mark == 0x3F:
        return True
    if mark != 0x2E:
        return False
    if whole > end:
        return True
    word = first_bytes(data, start, end) | (_CASE >> np.uint64(64 - 8 * min(end - start, 8)))
    return word not in (_MR, _MS, _DR, _ST, _MRS, _VS) and end - start != 2


@piece
def phrases(data: np.ndarray, marks: Marks, start: int, end: int, lowest: int) -> int:
    """The bits of the phrases and of "javascript" in the line `data[start:end]`."""
    bits = 0
    for block in range(start // WIDTH, (end + WIDTH - 1) // WIDTH):
        at = block * WIDTH
        here = below(min(end - at, WIDTH)) & ~below(max(start - at, 0))
        o, s, p = letter(data, at, 0x6F), letter(data, at, 0x73), letter(data, at, 0x70)
        found = (letter(data, at, 0x63) | p) & (o >> _ONE | _LAST)  # cookies, policy
        found |= letter(data, at, 0x75) & (s >> _ONE | _LAST)  # use
        found |= letter(data, at, 0x69) & (p >> _ONE | _LAST)  # ipsum
        found &= marks.starts[block] & here
        while found:
            word = at + first(found)
            found = without_first(found)
            bits |= _phrase(data, word, word_end(marks, word), lowest)
        found = letter(data, at, 0x6A) & here
        while found:
            place = at + first(found)
            found = without_first(found)
            bits |= _holds_javascript(data, place, min(place + 10, end)) << JAVASCRIPT
    return bits


@piece
def holds_long_word(data: np.ndarray, marks: Marks, start: int, end: int) -> bool:
    """Whether a word of `data[start:end]` has more than LONGEST_WORD code points, and so as many bytes."""
    for place in range(start + LONGEST_WORD, end, LONGEST_WORD):
        if is_inside(marks, place):
            first_byte, last_byte = own_start(marks, place), word_end(marks, place)
            if last_byte - first_byte > LONGEST_WORD and chars_between(data, first_byte, last_byte) > LONGEST_WORD:
                return True
    return False


@piece
def _line_bits(data: np.ndarray, marks: Marks, start: int, end: int, words: int, lowest: int) -> int:
    """What is known about a line whose words are `data[start:end]`, of a document that begins at `lowest`."""
    mark = data[end - 1]
    dotted = ends_with_dots(data, start, end)
    punctuated = (mark == 0x2E or mark == 0x3F or mark == 0x21 or mark == 0x22) and not dotted
    bits = 1 << FILLED | dotted << DOTTED
    bits |= (not punctuated) << UNPUNCTUATED
    bits |= (words < 3) << UNDER_3_WORDS | (words < 5) << UNDER_5_WORDS
    return bits | phrases(data, marks, start, end, lowest) | holds_long_word(data, marks, start, end) << LONG_WORD


@piece
def _may_end_sentence(data: np.ndarray, at: int) -> np.uint64:
    """The bytes from `at` on that are a mark or a closing quote or bracket, or the last byte of one."""
    found = most(data, at, 0x22) & ~most(data, at, 0x20)  # ! and "
    found |= equal(data, at, 0x2E) | equal(data, at, 0x3F) | equal(data, at, 0x27)
    return found | equal(data, at, 0x29) | equal(data, at, 0x5D) | equal(data, at, 0x99) | equal(data, at, 0x9D)


@piece
def line_sentences(data: np.ndarray, marks: Marks, start: int, end: int) -> int:
    """Sentences of a line whose words are `data[start:end]`; its last word ends one, whatever it is."""
    count, before = 1, np.uint64(0)
    for block in range(start // WIDTH, (end - 1) // WIDTH + 1):
        at = block * WIDTH
        closing = _may_end_sentence(data, at)
        found = ends_in(marks, block) & (closing << _ONE | before) & ~below(max(start + 1 - at, 0))
        found &= below(min(end - at, WIDTH))
        before = closing >> np.uint64(63)
        while found:
            place = at + first(found)
            found = without_first(found)
            count += _ends_sentence(data, own_start(marks, place - 1), place, word_start(marks, place))
    return count


@piece
def _count_braces(data: np.ndarray, start: int, end: int) -> int:
    count = 0
    for at in range(start, end, WIDTH):
        count += popcount(equal(data, at, 0x7B) & below(min(end - at, WIDTH)))
    return count


@piece
def add_span(starts: np.ndarray, ends: np.ndarray, count: int, first: int, start: int, end: int) -> int:
    """Appends a span, or lengthens the last one of the document (whose spans begin at `first`) when they touch."""
    if start == end:
        return count
    if count > first and ends[count - 1] == start:
        ends[count - 1] = end
        return count
    starts[count], ends[count] = start, end
    return count + 1


@kernel
def c4_signals(
    data: np.ndarray, offsets: np.ndarray, marks: Marks, min_words: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(int64[ROWS, n], and the removed lines as spans in code points: starts, ends, offsets int64[n + 1]).

    Lines that hold a word: FILLED; of these UNPUNCTUATED do not end in `. ? ! "` or end in `...` (DOTTED), ... POLICY
    and LOREM_IPSUM hold such a phrase; KEPT pass every line rule and have `min_words`; KEPT_WORDS and SENTENCES are
    theirs. BRACES are all `{` of the document. A removed line takes its newline along; neighbours make one span.
    """
    found, spans, most = np.zeros((ROWS, len(offsets) - 1), np.int64), 0, 1
    for document in range(len(offsets) - 1):
        most += most_filled(data, offsets[document], offsets[document + 1]) + 1
    span_starts, span_ends = np.empty(most, np.int32), np.empty(most, np.int32)
    span_offsets = np.zeros(len(offsets), np.int64)
    for document in range(len(offsets) - 1):
        low, high = offsets[document], offsets[document + 1]
        found[BRACES, document] = _count_braces(data, low, high)
        place, at, plain = 0, low, is_ascii(data, low, high)
        while at <= high:
            stop = line_end(data, at, high)
            next_place = place + (stop - at if plain else chars_between(data, at, stop)) + (stop < high)
            start, end, bits, words = first_inside(marks, at, stop), stop, 0, 0
            if start < end:
                end = behind_inside(marks, start, end)
                words = words_between(marks, start, end)
                bits = _line_bits(data, marks, start, end, words, low)
            if words >= max(min_words, 1) and bits & _LINE_FLAWS == 0:
                bits |= 1 << KEPT
                found[KEPT_WORDS, document] += words
                found[SENTENCES, document] += line_sentences(data, marks, start, end)
            else:
                spans = add_span(span_starts, span_ends, spans, span_offsets[document], place, next_place)
            for row in range(KEPT + 1 if bits else 0):
                found[row, document] += bits >> row & 1
            place, at = next_place, stop + 1
        span_offsets[document + 1] = spans
    return found, span_starts[:spans], span_ends[:spans], span_offsets
