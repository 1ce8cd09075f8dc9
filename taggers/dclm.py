"""DCLM's filters of English pages, number for number, where `gopher` and the others have the papers': for
`keep: dclm_refinedweb`. They measure a text without URLs: `{name: dclm, view: dclm}`.

Words are pieces between white space (ASCII's) that begin with a letter or digit, so that "quoted" and (bracketed ones
are none; n-grams are of words at Unicode's boundaries (UAX #29) that do. Lines and paragraphs (between two newlines)
hold a word and have no outer white space. All copies of what repeats count, the first too; of the most frequent
n-grams the longest is taken, and a gram that occurs once is no repetition; characters are those of lines, of
paragraphs or of words.

After that DCLM takes lines out, one kind after the other, with the outer white space of the page each time: more than
half upper case; digits only; a counter ("3 likes"); one word. In lines of at most ten words it cuts `items in cart`
anywhere, `read more` and three characters, whichever, at the end, `sign-in` at the beginning. `removed` are the spans
of all that; with the spans of `dclm_text` they leave the text that DCLM writes:

    - edit: {remove: [dclm_text.removed, dclm.removed]}

Source: DCLM (Li et al. 2024, arXiv 2406.11794), `baselines/mappers/filters/content_filters.py`, `modifiers.py`,
`baselines_configs/dclm_baseline_refinedweb.yaml`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute

from dolma_pipe.batch import Batch, Bytes
from dolma_pipe.kernels import dclm as kernels
from dolma_pipe.kernels import line_kinds, ngrams
from dolma_pipe.kernels.alphabetic import UNICODE_VERSION
from dolma_pipe.kernels.marks import outer_words
from dolma_pipe.kernels.ratios import ratio
from dolma_pipe.kernels.wordbreaks import mark_breaks, word_break_table
from dolma_pipe.languages import word_models
from dolma_pipe.places import in_parts, summed, text_between
from dolma_pipe.tagger import Tagger, count, real, span_array, spans

pc: Any = pyarrow.compute
Span = tuple[int, int]

SHORT = 10
COUNTED = "likes|shares|comments|retweets|reposts|quotes|bookmarks|upvotes|downvotes|downloads|views|followers"
COUNTER = re.compile(rf"^\W*\d(?:,|\.|\d)*[kmb]?\s+(?:{COUNTED})\W*$")
CUTS = tuple(
    re.compile(pattern, re.IGNORECASE) for pattern in (r"\s?items in cart", r"\s?read more...$", r"^sign-in\s?")
)
HINT = rf"(?i)items in cart|read more|sign-in|\pN[,.]*[kmb]?[^\pL\pN]+(?:{COUNTED})"
"""What a line holds in which one of these may match; RE2, which sees all of them at once."""
NO_COUNTER = re.compile(r"\W*[^\W\d]")
BEGINNING = 256
"""Bytes of a long line that tell, nearly always, that it is no counter."""
_FIRST = re.compile(r"(?<![^ \n\r\t\v\f\0])[^ \n\r\t\v\f\0]")
_LOW = (1 << 32) - 1
GOES, READ, ONE, SURE = range(4)
"""Kinds of lines; see `_kinds`."""


class Line(NamedTuple):
    """What is left of a line that lay at `start:end`."""

    start: int
    end: int
    parts: list[Span]


class Dclm(Tagger):
    """Counts, fractions and the spans that go; all 0 or none for a document without words."""

    version = 1
    fields = {
        "word_count": count("words; a page has 50 to 100,000"),
        "symbol_to_word_ratio": real("`#`, `...`, `. . .` and `…` / pieces of `str.split()`"),
        "bullet_line_fraction": real("lines that begin with `●`, `•`, `*` or `-` / lines"),
        "ellipsis_line_fraction": real("lines that end with `...`, `. . .` or `…` / lines"),
        "duplicate_line_fraction": real("lines that occur twice or more / lines"),
        "duplicate_line_character_fraction": real("code points of those / of lines"),
        "duplicate_paragraph_fraction": real("paragraphs that occur twice or more / paragraphs"),
        "duplicate_paragraph_character_fraction": real("code points of those / of paragraphs"),
        **{
            f"top_{n}gram_character_fraction": real(
                f"occurrences of the most frequent {n}-gram * its code points / those of words; 0 if it occurs once"
            )
            for n in ngrams.TOP
        },
        **{
            f"duplicate_{n}gram_character_fraction": real(
                f"code points of words in {n}-grams that occur twice or more, each word once / of words"
            )
            for n in ngrams.REPEATED
        },
        "removed_word_fraction": real("words that go with `removed` / words; a page goes that loses more than 0.05"),
        "removed": spans("lines that go, phrases that are cut, the white space around the page"),
    }

    def __init__(self) -> None:
        self.model_hash = f"unicode-{UNICODE_VERSION} {word_models.identity('unicode')}"

    def tag(self, batch: Batch) -> dict[str, Any]:
        line = batch.filled_lines
        found, line_words = kernels.page_signals(
            batch.data, batch.offsets, line.starts, line.ends, line.offsets, batch.marks,
            line_kinds.bitmap_of(str.isalnum), ngrams.MOST_SLOTS,
        )  # fmt: skip
        return {
            "word_count": found[kernels.WORDS],
            "symbol_to_word_ratio": ratio(found[kernels.SYMBOLS], batch.word_counts),
            "bullet_line_fraction": ratio(found[kernels.BULLETS], found[kernels.LINES]),
            "ellipsis_line_fraction": ratio(found[kernels.ELLIPSES], found[kernels.LINES]),
            **_copies("line", found[kernels.LINES :]),
            **_copies("paragraph", found[kernels.PARAGRAPHS :]),
            **_grams(batch),
            **self._removed(batch, found[kernels.WORDS], line_words),
        }

    def _removed(self, batch: Batch, words: Any, line_words: Any) -> dict[str, Any]:
        """`removed` and its fraction; only lines that hold a phrase are read as Python strings."""
        line, kinds = batch.filled_lines, _kinds(batch)
        stays, cuts = kinds == SURE, Cuts([], [], [])
        gone = np.zeros(len(batch), np.int64)
        for page in np.unique(np.searchsorted(line.offsets, np.flatnonzero(kinds == READ), side="right") - 1).tolist():
            for place, parts, left in _read(batch, kinds, page):
                stays[place] = True
                gone[page] -= left
                cuts.add(page, int(line.places[place]), int(line.chars[place]), parts)
        gone += summed(np.where(stays & (kinds == SURE), 0, line_words), line.offsets)
        gone -= _freed(batch, stays, kinds)
        starts, ends, offsets = kernels.left_out(
            batch.data, batch.offsets, line.starts, line.offsets, batch.marks, stays
        )
        if cuts.pages:
            starts, ends, offsets = cuts.merged(starts, ends, offsets)
        removed = span_array(self.fields["removed"], offsets, starts, ends)
        return {"removed_word_fraction": ratio(gone, words), "removed": removed}


def _copies(kind: str, found: Any) -> dict[str, Any]:
    """From the four rows of lines or of paragraphs."""
    return {
        f"duplicate_{kind}_fraction": ratio(found[1], found[0]),
        f"duplicate_{kind}_character_fraction": ratio(found[3], found[2]),
    }


def _grams(batch: Batch) -> dict[str, Any]:
    marks = mark_breaks(batch.data, batch.offsets, batch.marks, word_break_table(), line_kinds.bitmap_of(str.isalnum))
    top, repeated, size = ngrams.ngram_signals(batch.data, batch.offsets, marks, ngrams.MOST_SLOTS)
    often, longest = top[:, :, ngrams.OCCURRENCES], top[:, :, ngrams.LONGEST]
    covered = np.where(often > 1, often * longest, 0)
    values = {f"top_{n}gram_character_fraction": ratio(covered[:, i], size) for i, n in enumerate(ngrams.TOP)}
    copied = repeated[:, :, ngrams.COPIED]
    return values | {
        f"duplicate_{n}gram_character_fraction": ratio(copied[:, i], size) for i, n in enumerate(ngrams.REPEATED)
    }


def _kinds(batch: Batch) -> Any:
    """What becomes of each line that holds a word: uint8[m].

    GOES: more than half upper case, so it goes first, whatever stands around it. READ: it may be a counter or be cut.
    ONE: one word; it goes, but protects the white space around it until then. SURE: it stays.
    """
    line = batch.filled_lines
    cased, _, words = line_kinds.line_signals(
        batch.data, line.starts, line.ends, batch.marks,
        line_kinds.bitmap_of(str.isupper), line_kinds.bitmap_of(str.isdigit),
    )  # fmt: skip
    kinds = np.where(words > 1, np.uint8(SURE), np.uint8(ONE))
    hinted = np.flatnonzero(np.asarray(pc.match_substring_regex(batch.columns.column("text"), HINT)))
    for page in hinted.tolist():
        rows = np.arange(line.offsets[page], line.offsets[page + 1])
        for some in in_parts(rows, int(batch.offsets[page + 1] - batch.offsets[page])):
            texts = text_between(batch.data, line.starts[some], line.ends[some])
            some = some[np.asarray(pc.match_substring_regex(texts, HINT))]
            kinds[some[words[some] <= SHORT]] = READ
            for place in some[words[some] > SHORT].tolist():
                kinds[place] = READ if _may_count(batch.data[line.starts[place] : line.ends[place]]) else SURE
    kinds[2 * cased.astype(np.int64) > line.chars] = GOES
    return kinds


def _may_count(line: Bytes) -> bool:
    """Whether a long line may be a counter: by its beginning, as a rule."""
    if NO_COUNTER.match(line[:BEGINNING].tobytes().decode(errors="ignore")):
        return False
    return not _no_counter(line.tobytes().decode())


def _freed(batch: Batch, stays: Any, kinds: Any) -> Any:
    """Words that a page has more without the white space that it begins with, of pages that begin with a line that has
    not been read: int64[n]."""
    line = batch.filled_lines
    found, places = np.zeros(len(batch), np.int64), np.flatnonzero(stays)
    pages, first = np.unique(np.searchsorted(line.offsets, places, side="right") - 1, return_index=True)
    chosen = places[first]
    pages, chosen = pages[kinds[chosen] == SURE], chosen[kinds[chosen] == SURE]
    found[pages] = kernels.freed_words(
        batch.data, line.starts[chosen], line.ends[chosen], batch.marks, line_kinds.bitmap_of(str.isalnum)
    )
    return found


def _read(batch: Batch, kinds: Any, page: int) -> Iterator[tuple[int, list[Span], int]]:
    """The lines to READ of a page that stay: each one's number, what is left of it in code points of the line, and how
    many words that are.

    The rules see these lines and, of the others, what they need to know: where the lines that stay in any case begin
    and end, since white space is stripped outside of these, and whether a line of one word stands before or behind.
    """
    line = batch.filled_lines
    shown: list[str] = []
    numbers: dict[int, int] = {}
    at = 0
    for place in _chosen(batch, kinds, page):
        if kinds[place] == READ:
            numbers[at] = place
            text = batch.data[line.starts[place] : line.ends[place]].tobytes().decode()
        else:
            text = "a b" if kinds[place] == SURE else _word(batch, place)
        shown.append(text)
        at += len(text) + 1
    text = "\n".join(shown)
    for left in remaining(text):
        if left.start in numbers:
            parts = [(start - left.start, end - left.start) for start, end in left.parts]
            yield numbers[left.start], parts, count_words(_text(text, left))


def _chosen(batch: Batch, kinds: Any, page: int) -> list[int]:
    """The lines that `_read` shows to the rules."""
    line = batch.filled_lines
    rows = np.arange(line.offsets[page], line.offsets[page + 1])
    sure = rows[kinds[rows] == SURE]
    first, last = (sure[0], sure[-1]) if len(sure) else (rows[-1] + 1, -1)
    ones = rows[(kinds[rows] == ONE) & ((rows < first) | (rows > last))]
    others = np.concatenate((rows[kinds[rows] == READ], sure[:1], sure[-1:]))
    letters = ones[~_is_digits(batch, ones)]
    # of neighbours with one word, one that is no number is enough: it goes after all numbers went
    groups, several = np.searchsorted(np.sort(others), ones), np.searchsorted(np.sort(others), letters)
    enough, kept = np.unique(several, return_index=True)
    return np.unique(np.concatenate((others, letters[kept], ones[~np.isin(groups, enough)]))).tolist()


def _is_digits(batch: Batch, places: Any) -> Any:
    """Which lines have one word of nothing but digits: bool[k]."""
    line = batch.filled_lines
    starts, ends = outer_words(batch.marks, line.starts[places], line.ends[places])
    _, numeric, _ = line_kinds.line_signals(
        batch.data, starts, ends, batch.marks, line_kinds.bitmap_of(str.isupper), line_kinds.bitmap_of(str.isdigit)
    )
    return numeric == line_kinds.chars_in(batch.data, starts.astype(np.int64), ends.astype(np.int64))


def _word(batch: Batch, place: int) -> str:
    """A line of one word as far as the rules look at it: is it a number, and does white space stand around it?"""
    line = batch.filled_lines
    starts, ends = outer_words(batch.marks, line.starts[place : place + 1], line.ends[place : place + 1])
    shown = "1" if _is_digits(batch, np.array([place]))[0] else "a"
    return " " * int(starts[0] > line.starts[place]) + shown + " " * int(ends[0] < line.ends[place])


class Cuts(NamedTuple):
    """What is cut out of lines that stay, in code points of their pages."""

    pages: list[int]
    starts: list[int]
    ends: list[int]

    def add(self, page: int, place: int, size: int, parts: list[Span]) -> None:
        """All but the `parts` of a line of that size."""
        edges = [0, *(edge for part in parts for edge in part), size]
        for start, end in zip(edges[0::2], edges[1::2], strict=True):
            if start < end:
                self.pages.append(page)
                self.starts.append(place + start)
                self.ends.append(place + end)

    def merged(self, starts: Any, ends: Any, offsets: Any) -> tuple[Any, Any, Any]:
        """With the spans that go anyway; those that touch become one."""
        count = len(offsets) - 1
        pages = np.concatenate((np.repeat(np.arange(count), np.diff(offsets)), self.pages)) << 32
        starts, ends = pages + np.concatenate((starts, self.starts)), pages + np.concatenate((ends, self.ends))
        order = np.argsort(starts, kind="stable")
        starts, reached = starts[order], np.maximum.accumulate(ends[order])
        is_first = np.ones(len(starts), np.bool_)
        is_first[1:] = starts[1:] > reached[:-1]
        firsts = np.flatnonzero(is_first)
        starts, ends = starts[firsts], reached[np.append(firsts[1:] - 1, len(reached) - 1)]
        return starts & _LOW, ends & _LOW, np.searchsorted(starts >> 32, np.arange(count + 1))


def remaining(text: str) -> list[Line]:
    """The lines that stay."""
    lines: list[Line] = []
    start = 0
    for content in text.split("\n"):
        lines.append(Line(start, start + len(content), [(start, start + len(content))]))
        start += len(content) + 1
    for stays in (_lower_case, _not_digits, _no_counter):
        lines = _stripped(text, [line for line in lines if stays(_text(text, line))])
    lines = [line for line in lines if line.start == line.end or len(_text(text, line).split()) > 1]
    for pattern in CUTS:
        lines = _stripped(text, _cut(text, lines, pattern))
    return lines


def _lower_case(line: str) -> bool:
    return 2 * sum(map(str.isupper, line)) <= len(line)


def _not_digits(line: str) -> bool:
    return not line or not all(map(str.isdigit, line))


def _no_counter(line: str) -> bool:
    return COUNTER.search(line.lower()) is None


def _text(text: str, line: Line) -> str:
    return "".join(text[start:end] for start, end in line.parts)


def _stripped(text: str, lines: list[Line]) -> list[Line]:
    """Without outer white space: blank lines at either end, and what is white at the ends of the first and last."""
    filled = [place for place, line in enumerate(lines) if _text(text, line).strip()]
    if not filled:
        return []
    lines = lines[filled[0] : filled[-1] + 1]
    lines[0] = _sliced(lines[0], *_bounds(_text(text, lines[0]), str.lstrip))
    lines[-1] = _sliced(lines[-1], *_bounds(_text(text, lines[-1]), str.rstrip))
    return lines


def _bounds(content: str, strip: Callable[[str], str]) -> Span:
    left = len(strip(content))
    return (len(content) - left, len(content)) if strip is str.lstrip else (0, left)


def _sliced(line: Line, begin: int, stop: int) -> Line:
    """The line with only the characters `begin:stop` of what is left of it."""
    kept: list[Span] = []
    at = 0
    for start, end in line.parts:
        low, high = max(begin - at, 0), min(stop - at, end - start)
        if low < high:
            kept.append((start + low, start + high))
        at += end - start
    return line._replace(parts=kept)


def _cut(text: str, lines: list[Line], pattern: re.Pattern[str]) -> list[Line]:
    """Short lines without what matches; those that are blank then go."""
    kept: list[Line] = []
    for line in lines:
        content = _text(text, line)
        if len(content.split()) <= SHORT:
            edges = [0, *(edge for found in pattern.finditer(content) for edge in found.span()), len(content)]
            pieces = [_sliced(line, begin, stop).parts for begin, stop in zip(edges[0::2], edges[1::2], strict=True)]
            line = line._replace(parts=[part for piece in pieces for part in piece])
            if content and not _text(text, line).strip():
                continue
        kept.append(line)
    return kept


def count_words(text: str) -> int:
    """Pieces between white space, as fastText has it, that begin with a letter or digit."""
    return sum(found[0].isalnum() for found in _FIRST.finditer(text))
