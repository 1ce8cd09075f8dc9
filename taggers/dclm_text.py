"""What DCLM cuts from a page before it judges it: URLs, and newlines beyond two in a row. The view `dclm` is the rest.

A URL is a name with a top-level domain, with or without a scheme and a path, or an IPv4 address, together with the
white space before it, up to ten characters. `file.py` is one (Paraguay), `e.g.` is none; the domain stands in lower
case. Newlines are counted after that, as there.

The released code looks for names only in texts that begin with the letters of a top-level domain, in any case
("The ...", Thailand; not "Just ..."): it asks `match` where it means `search`. `as_published: true` does so too.

Source: DCLM (Li et al. 2024, arXiv 2406.11794), `baselines/mappers/modifiers.py`, url_removal_modifier and
newline_removal_modifier. Its list of top-level domains is IANA's of about 2020; ours is the bundled public suffix
list's.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from dolma_pipe import blocklists, storage
from dolma_pipe.batch import Batch, Bytes
from dolma_pipe.tagger import Tagger, span_array, spans

Span = tuple[int, int]

LONGEST_NAME = 256
SCHEMES = ("https://", "http://", "ftp://")
_NAME = frozenset("-abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@:%._+~#=")
_AFTER = re.compile(r"[-a-zA-Z0-9()@:%_+.~#?&/=]*")
_DOT = re.compile(r"\.(\w+)")
_SPACE_BEFORE = re.compile(r"\s{0,10}\Z")
_NUMBER = re.compile(r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]")
_ADDRESS = re.compile(
    rf"\s{{0,10}}\b(?:(?:https?|ftp)://)?(?:[0-2]?[0-9]{{1,2}}\.){{3}}[0-2]?[0-9]{{1,2}}{_AFTER.pattern}"
)
_LETTERS = re.compile(rb"(?<=[ \n])[A-Za-z]{1,50}(?=[ \n]{1,9}[A-Za-z]{1,50}[ \n])")
WINDOW = 1 << 20
_NEWLINES = re.compile(r"(?<=\n\n)\n+")


class DclmText(Tagger):
    """What is cut; none for an empty document."""

    version = 1
    fields = {"removed": spans("URLs with the white space before them, and newlines beyond two in a row")}

    def __init__(self, *, as_published: bool = False) -> None:
        self.as_published = as_published
        self.model_hash = storage.content_hash(blocklists.PSL)

    def tag(self, batch: Batch) -> dict[str, Any]:
        found = [self.removed(batch.data[a:b]) for a, b in pairwise(batch.offsets.tolist())]
        offsets = np.cumsum([0, *map(len, found)])
        edges = np.array([edge for one in found for span in one for edge in span], np.int64)
        return {"removed": span_array(self.fields["removed"], offsets, edges[0::2], edges[1::2])}

    def removed(self, data: Bytes) -> list[Span]:
        """What is cut from a text, in code points of it."""
        start = data[:LONGEST_NAME].tobytes().decode(errors="ignore")
        named = not self.as_published or begins_with_domain(start)
        cut: list[Span] = []
        at, shift, is_joined = 0, 0, False
        while at < len(data):
            stop = _window_end(data, at)
            text = str(data[at:stop].data, "utf-8")
            found, several = cuts(text, named)
            cut += [(start + shift, end + shift) for start, end in found]
            at, shift, is_joined = stop, shift + len(text), is_joined or several
        return joined(cut, ()) if is_joined else cut


def _window_end(data: Bytes, start: int) -> int:
    """The end of about a megabyte of text, between two words of letters: both stay, so what is cut on either side of
    the white space between them does not depend on the other side."""
    between = _LETTERS.search(data.data, start + WINDOW) if start + WINDOW < len(data) else None
    return between.end() if between else len(data)


def cuts(text: str, named: bool) -> tuple[list[Span], bool]:
    """What is cut from a text, in its own places: one step after the other, each from what the last one left; and
    whether there was more than the first."""
    cut, several = list(names(text)) if named else [], False
    for pattern, hint in ((_ADDRESS, _NUMBER), (_NEWLINES, _NEWLINES)):
        left = without(text, cut)
        if hint.search(left):
            cut, several = joined(cut, [found.span() for found in pattern.finditer(left)]), True
    return cut, several


@cache
def top_level_domains() -> frozenset[str]:
    """Those of the bundled public suffix list, without private ones."""
    public = blocklists.read_text(blocklists.PSL).partition("===BEGIN PRIVATE DOMAINS===")[0]
    rules = [line.split()[0] for line in public.split("\n") if line.strip() and not line.startswith("//")]
    return frozenset(rule.rpartition(".")[2].lstrip("!") for rule in rules)


def begins_with_domain(text: str) -> bool:
    """Whether the first letters of a text are those of a top-level domain, in any case."""
    known = top_level_domains()
    start = text[: max(map(len, known))].lower()
    return any(start[:length] in known for length in range(1, len(start) + 1))


def names(text: str) -> Iterator[Span]:
    """Names with a top-level domain, what follows them, a scheme and white space before them; from left to right."""
    known, behind = top_level_domains(), 0
    for dot in _DOT.finditer(text):
        at = start = dot.start()
        if dot[1] not in known:
            continue
        while start > behind and text[start - 1] in _NAME:
            start -= 1
        if start == at:
            continue
        begin = _beginning(text, behind, start) if at - start <= LONGEST_NAME else at - LONGEST_NAME
        end = _AFTER.match(text, _name_end(text, max(start, begin), dot, known))
        behind = end.end() if end else dot.end()
        yield begin, behind


def _name_end(text: str, start: int, dot: re.Match[str], known: frozenset[str]) -> int:
    """Behind the last top-level domain of the name that begins at `start`; `dot` is its first one."""
    stop = found = dot.end()
    while stop < len(text) and text[stop] in _NAME:
        stop += 1
    for other in _DOT.finditer(text, dot.end()):
        if other.start() >= stop or other.start() - start > LONGEST_NAME:
            break
        found = other.end() if other[1] in known else found
    return found


def _beginning(text: str, behind: int, start: int) -> int:
    """Where a scheme before `start` and the white space before that begin, not before `behind`."""
    for scheme in SCHEMES:
        if text.startswith(scheme, max(start - len(scheme), behind)) and start - len(scheme) >= behind:
            start -= len(scheme)
            break
    space = _SPACE_BEFORE.search(text[max(behind, start - 10) : start])
    return start - len(space[0]) if space else start


def without(text: str, cut: list[Span]) -> str:
    """The text that is left."""
    edges = [0, *(edge for span in cut for edge in span), len(text)]
    return "".join(text[a:b] for a, b in zip(edges[0::2], edges[1::2], strict=True)) if cut else text


def joined(cut: list[Span], more: Iterable[Span]) -> list[Span]:
    """`cut` and spans of the text that it leaves, in places of the whole text; those that touch become one."""
    sizes = [0, *accumulate(end - start for start, end in cut)]
    begins = [start - size for (start, _), size in zip(cut, sizes, strict=False)]

    def place(at: int) -> int:
        return at + sizes[bisect_right(begins, at)]

    merged: list[Span] = []
    for start, end in sorted([*cut, *((place(start), place(end - 1) + 1) for start, end in more)]):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
