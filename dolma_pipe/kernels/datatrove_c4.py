"""C4's rules in the order in which datatrove's C4 filter applies them, on `str.splitlines` lines without citations."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dolma_pipe.kernels import kernel, piece
from dolma_pipe.kernels.alphabetic import is_member
from dolma_pipe.kernels.c4 import (
    JAVASCRIPT,
    LOREM_IPSUM,
    POLICY,
    add_span,
    holds_long_word,
    line_sentences,
    phrases,
)
from dolma_pipe.kernels.linebreaks import next_break
from dolma_pipe.kernels.lines import ends_with_dots
from dolma_pipe.kernels.marks import Marks, behind_inside, first_inside, put_word, words_between
from dolma_pipe.kernels.masks import WIDTH
from dolma_pipe.kernels.utf8 import code_point_at
from dolma_pipe.kernels.whitespace import space_width

_ZERO = np.uint64(0)
LOREM, BRACES, SENTENCES, KEPT, ROWS = range(5)
"""Rows of what `datatrove_c4_signals` returns."""

_DROP, _KEEP, _END_AT_LOREM, _END_AT_BRACE = range(4)
_EDIT = np.frombuffer(b"[edit]", np.uint8)
_NEEDED = np.frombuffer(b"[citation needed]", np.uint8)


class Line(NamedTuple):
    """One line without its citations, for lines that have any, and where those lie."""

    text: np.ndarray  # uint8
    marks: Marks  # words in `text`
    cut_starts: np.ndarray  # int32: citations in the document
    cut_ends: np.ndarray  # int32


class Spans(NamedTuple):
    """Ranges of bytes; `counts[0]` is how many there are."""

    starts: np.ndarray  # int32
    ends: np.ndarray  # int32
    counts: np.ndarray  # int64[1]


@piece
def _equals(data: np.ndarray, at: int, end: int, wanted: np.ndarray) -> bool:
    size = 0
    while size < len(wanted) and at + size < end and data[at + size] == wanted[size]:
        size += 1
    return size == len(wanted)


@piece
def _citation_width(data: np.ndarray, at: int, end: int, decimals: np.ndarray) -> int:
    """Bytes of the `[12]`, `[]`, `[edit]` or `[citation needed]` that begins at the bracket at `at`, or 0."""
    stop = at + 1
    while stop < end:
        code, width = code_point_at(data, stop)
        if code == 0x5D:
            return stop + 1 - at
        if not is_member(code, decimals):
            break
        stop += width
    if _equals(data, at, end, _EDIT):
        return len(_EDIT)
    return len(_NEEDED) if _equals(data, at, end, _NEEDED) else 0


@piece
def _clean(data: np.ndarray, start: int, end: int, line: Line, decimals: np.ndarray) -> tuple[int, int]:
    """Fills `line.text` and the cuts; returns how many bytes and cuts there are."""
    at, size, cuts = start, 0, 0
    while at < end:
        width = _citation_width(data, at, end, decimals) if data[at] == 0x5B else 0
        if width > 0:
            line.cut_starts[cuts], line.cut_ends[cuts] = at, at + width
            cuts += 1
            at += width
        else:
            line.text[size] = data[at]
            size, at = size + 1, at + 1
    return size, cuts


@piece
def _mark(line: Line, size: int) -> None:
    """Marks the words of a cleaned line."""
    for block in range(size // WIDTH + 1):
        line.marks.starts[block], line.marks.inside[block] = _ZERO, _ZERO
    at = 0
    while at < size:
        width = space_width(line.text, at)
        if width > 0:
            at += width
            continue
        start = at
        while at < size and space_width(line.text, at) == 0:
            at += 1
        put_word(line.marks, start, at)


@piece
def _holds(data: np.ndarray, start: int, end: int, byte: int) -> bool:
    found = False
    for at in range(start, end):
        found |= data[at] == byte
    return found


@piece
def _ends_in_mark(data: np.ndarray, start: int, end: int) -> bool:
    """Whether a line ends in `. ? ! " '`, and not in `...`."""
    if start == end:
        return False
    mark = data[end - 1]
    marked = mark == 0x2E or mark == 0x3F or mark == 0x21 or mark == 0x22 or mark == 0x27
    return marked and not ends_with_dots(data, start, end)


@piece
def _verdict(data: np.ndarray, marks: Marks, start: int, end: int) -> int:
    """What the words of the line `data[start:end]` say of it."""
    bits = phrases(data, marks, start, end, start)
    if bits >> LOREM_IPSUM & 1:
        return _END_AT_LOREM
    if bits >> JAVASCRIPT & 1:
        return _DROP
    if _holds(data, start, end, 0x7B):
        return _END_AT_BRACE
    return _DROP if bits >> POLICY & 1 else _KEEP


@piece
def _judge(
    data: np.ndarray, marks: Marks, start: int, end: int, line: Line, decimals: np.ndarray, min_words: int,
    terminal: bool,
) -> tuple[int, int, int]:  # fmt: skip
    """(verdict on the line of the words `data[start:end]`, its sentences if it stays, citations in it)."""
    if holds_long_word(data, marks, start, end):
        return _DROP, 0, 0
    few = words_between(marks, start, end) < min_words
    if not _holds(data, start, end, 0x5B):
        if few or (terminal and not _ends_in_mark(data, start, end)):
            return _DROP, 0, 0
        verdict = _verdict(data, marks, start, end)
        return verdict, line_sentences(data, marks, start, end) if verdict == _KEEP else 0, 0
    size, cuts = _clean(data, start, end, line, decimals)
    if few or (terminal and not _ends_in_mark(line.text, 0, size)):
        return _DROP, 0, 0
    _mark(line, size)
    low = first_inside(line.marks, 0, size)
    sentences = line_sentences(line.text, line.marks, low, behind_inside(line.marks, low, size)) if low < size else 1
    return _verdict(line.text, line.marks, 0, size), sentences, cuts


@piece
def _put(spans: Spans, first: int, start: int, end: int) -> None:
    spans.counts[0] = add_span(spans.starts, spans.ends, spans.counts[0], first, start, end)


@piece
def _join(data: np.ndarray, removed: Spans, breaks: Spans, first: int, cursor: int, start: int) -> None:
    """Makes one newline of what lies between two lines that stay: the first that is there, else one of our own.

    A span that is removed and touches one that is replaced would be merged with it, so it becomes part of it.
    """
    for at in range(cursor, start):
        if data[at] == 0x0A:
            _put(removed, first, cursor, at)
            _put(removed, first, at + 1, start)
            return
    if removed.counts[0] > first and removed.ends[removed.counts[0] - 1] == cursor:
        removed.counts[0] -= 1
        cursor = int(removed.starts[removed.counts[0]])
    breaks.starts[breaks.counts[0]], breaks.ends[breaks.counts[0]] = cursor, start
    breaks.counts[0] += 1


@piece
def _solid_start(data: np.ndarray, start: int, end: int, line: Line, cuts: int) -> int:
    """Where the first character of a line lies that is neither white space nor in a citation; `end` if nowhere."""
    at, cut = start, 0
    while at < end:
        if cut < cuts and line.cut_starts[cut] == at:
            at = line.cut_ends[cut]
            cut += 1
            continue
        width = space_width(data, at)
        if width == 0:
            return at
        at += width
    return end


@piece
def _solid_end(data: np.ndarray, start: int, end: int, line: Line, cuts: int) -> int:
    """Behind the last such character; `start` if there is none."""
    at, cut, solid = start, 0, start
    while at < end:
        if cut < cuts and line.cut_starts[cut] == at:
            at = line.cut_ends[cut]
            cut += 1
            continue
        width = space_width(data, at)
        if width == 0:
            at += 1
            solid = at
        else:
            at += width
    return solid


@piece
def _keep_line(
    data: np.ndarray,
    removed: Spans,
    breaks: Spans,
    first: int,
    cursor: int,
    start: int,
    end: int,
    line: Line,
    cuts: int,
    begun: bool,
) -> int:
    """Marks what goes in front of and inside a line that stays; returns the position behind it."""
    if begun:
        _join(data, removed, breaks, first, cursor, start)
    else:
        start = _solid_start(data, start, end, line, cuts)
        _put(removed, first, cursor, start)
    for cut in range(cuts):
        if breaks.counts[0] > 0 and breaks.ends[breaks.counts[0] - 1] == line.cut_starts[cut]:
            breaks.ends[breaks.counts[0] - 1] = line.cut_ends[cut]
        elif line.cut_starts[cut] >= start:
            _put(removed, first, line.cut_starts[cut], line.cut_ends[cut])
    return end


@piece
def _close(removed: Spans, breaks: Spans, first: int, first_break: int, solid: int, end: int) -> None:
    """Removes everything behind the last character that is no white space."""
    while removed.counts[0] > first and removed.starts[removed.counts[0] - 1] >= solid:
        removed.counts[0] -= 1
    while breaks.counts[0] > first_break and breaks.starts[breaks.counts[0] - 1] >= solid:
        breaks.counts[0] -= 1
    _put(removed, first, solid, end)


@piece
def _count_edges(data: np.ndarray) -> tuple[int, int]:
    """(bytes that may begin a line break, opening brackets): as many spans can end there."""
    breaks, brackets = 0, 0
    for byte in data:
        breaks += (0x0A <= byte <= 0x0D) | (0x1C <= byte <= 0x1E) | (byte == 0xC2) | (byte == 0xE2)
        brackets += byte == 0x5B
    return breaks, brackets


@kernel
def _spans(size: int) -> Spans:
    return Spans(np.empty(size, np.int32), np.empty(size, np.int32), np.zeros(1, np.int64))


@kernel
def _line(size: int) -> Line:
    words = Marks(np.zeros(size // WIDTH + 1, np.uint64), np.zeros(size // WIDTH + 1, np.uint64))
    return Line(np.empty(size, np.uint8), words, np.empty(size // 2 + 1, np.int32), np.empty(size // 2 + 1, np.int32))


@kernel
def datatrove_c4_signals(
    data: np.ndarray, offsets: np.ndarray, marks: Marks, decimals: np.ndarray, min_words: int, terminal: bool
) -> tuple[np.ndarray, Spans, np.ndarray, Spans, np.ndarray]:
    """(int64[ROWS, n], spans to remove, their offsets int64[n + 1], spans that become a newline, theirs).

    LOREM or BRACES is 1 where the loop over lines ended at one with "lorem ipsum" or `{`; SENTENCES and KEPT are of
    the lines that stay. Spans are in bytes of `data`. `decimals` is the bitmap of decimal digits; `terminal` asks for
    a mark at the end of a line.
    """
    found = np.zeros((ROWS, len(offsets) - 1), np.int64)
    longest = 1
    for document in range(len(offsets) - 1):
        longest = max(longest, offsets[document + 1] - offsets[document])
    line = _line(longest)
    most, brackets = _count_edges(data)
    removed, breaks = _spans(2 * (most + len(offsets)) + brackets), _spans(most + len(offsets))
    removed_offsets, break_offsets = np.zeros(len(offsets), np.int64), np.zeros(len(offsets), np.int64)
    for document in range(len(offsets) - 1):
        cursor, high = int(offsets[document]), offsets[document + 1]
        span, solid, begun, start = removed.counts[0], cursor, False, first_inside(marks, cursor, high)
        while start < high:
            stop = next_break(data, start, high)
            end = behind_inside(marks, start, stop)
            verdict, sentences, cuts = _judge(data, marks, start, end, line, decimals, min_words, terminal)
            if verdict == _KEEP:
                found[SENTENCES, document] += sentences
                found[KEPT, document] += 1
                line_end = _solid_end(data, start, end, line, cuts) if cuts > 0 else end
                if begun or line_end > start:
                    cursor = _keep_line(data, removed, breaks, span, cursor, start, end, line, cuts, begun)
                    begun, solid = True, line_end if line_end > start else solid
            elif verdict != _DROP:
                found[LOREM if verdict == _END_AT_LOREM else BRACES, document] = 1
                break
            start = first_inside(marks, stop, high)
        _close(removed, breaks, span, break_offsets[document], solid, high)
        removed_offsets[document + 1], break_offsets[document + 1] = removed.counts[0], breaks.counts[0]
    return found, removed, removed_offsets, breaks, break_offsets
