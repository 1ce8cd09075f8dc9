"""The Dolma toolkit's `pii_regex_with_counts_fast_v2`, number for number; for data of our own use `pii`.

Its patterns are applied paragraph by paragraph (a line with its newline, if it holds more than white space) and differ
from `pii` in this: an e-mail address needs white space behind it, spans take neighbouring white space and punctuation
along, telephone numbers are North American by form only and may begin a longer number, any dotted quad is an IP
address. Texts with more than 10,000 question marks are not looked at. As in the toolkit, a line of nothing but `@`,
dots and brackets takes time that grows with the square of its length.

Source: dolma 1.2.1, `taggers/pii.py`, `FastPiiRegex`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from dolma_pipe.batch import Batch
from dolma_pipe.tagger import Field, Tagger, count, real, spans

EMAIL = re.compile(r"[.\s@,?!;:)(]*([^\s@]+@[^\s@,?!;:)(]+?)[.\s@,?!;:)(]?\s")
PHONE = re.compile(r"\s+\(?(\d{3})\)?[-. ]*(\d{3})[-. ]?(\d{4})")
BYTE = "(?:25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)"
IP = re.compile(rf"(?:{BYTE}\.){{3}}{BYTE}")
PARAGRAPH = re.compile(r"[^\n]*\n|[^\n]+$")
MOST_QUESTION_MARKS = 10_000

FIELDS: dict[str, Field] = {
    "email": spans("`EMAIL_ADDRESS`; empty list if none"),
    "phone": spans("`PHONE_NUMBER`; empty list if none"),
    "ip": spans("`IP_ADDRESS`; empty list if none"),
    "count": count("`doc_count`: spans of all three kinds; 0 for an empty document"),
    "fraction": real("`doc_frac`: code points in spans / of the text, plus 1 for a span of its own; -1 if empty"),
}

Span = tuple[int, int]


class DolmaPii(Tagger):
    """Spans with the score 1, and two numbers of the whole document."""

    version = 1
    fields = FIELDS

    def tag(self, batch: Batch) -> dict[str, Any]:
        rows = [measure(text) for text in batch.texts()]
        return {name: pa.array([row[name] for row in rows], field.type) for name, field in FIELDS.items()}


def measure(text: str) -> dict[str, Any]:
    """The fields of one document."""
    kinds: dict[str, list[Span]] = {"email": [], "phone": [], "ip": []}
    for start, paragraph in _paragraphs(text):
        for kind, found in (("email", _emails(paragraph)), ("phone", _phones(paragraph)), ("ip", _ips(paragraph))):
            kinds[kind] += [(start + low, start + high) for low, high in found]
    total = sum(map(len, kinds.values()))
    covered = sum(end - start for found in kinds.values() for start, end in found) + len(text)
    listed = {
        kind: [{"start": start, "end": end, "score": 1.0} for start, end in found] for kind, found in kinds.items()
    }
    return {**listed, "count": total, "fraction": round(covered / len(text), 5) if text else -1.0}


def _paragraphs(text: str) -> Iterator[tuple[int, str]]:
    if text.count("?") > MOST_QUESTION_MARKS:
        return
    for match in PARAGRAPH.finditer(text):
        if not match[0].isspace():
            yield match.start(), match[0]


def _emails(paragraph: str) -> Iterator[Span]:
    for match in EMAIL.finditer(paragraph) if "@" in paragraph else ():
        addressee, _, domain = match[1].partition("@")
        if addressee != "(" and "." in domain:
            yield match.span()


def _phones(paragraph: str) -> Iterator[Span]:
    return (match.span() for match in PHONE.finditer(paragraph))


def _ips(paragraph: str) -> Iterator[Span]:
    return (match.span() for match in IP.finditer(paragraph) if "." in paragraph)
