"""Personal data as spans: e-mail addresses, telephone numbers, public IP addresses."""

from __future__ import annotations

import functools
import ipaddress
import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dolma_pipe.batch import Batch
from dolma_pipe.kernels.pii import BARE, EMAIL, IP, PHONE, find_candidates
from dolma_pipe.kernels.utf8 import bytes_to_chars
from dolma_pipe.tagger import Field, Tagger, count, span_array, spans

BEFORE, BEHIND = 24, 8
"""Bytes around a candidate that may say what it is."""

NO_PHONE = re.compile(rb"\b(isbn|issn|doi|arxiv|pmid|ean)\b", re.I)
GAP = rb"\b[^0-9A-Za-z]{0,4}"
A_PHONE = re.compile(
    rb"(phone|tel|mobile|cell|fax|call|text|sms|whatsapp)" + GAP + rb"((at|no|number)" + GAP + rb")?$", re.I
)
VERSION = rb"v|ver|version|release|rev|build|((sub)?(sec(tion)?|para(graph)?)|article|clause|chapter)s?"
A_VERSION = re.compile(rb"\b(" + VERSION + rb")" + GAP + rb"$", re.I)
A_LINE_START = re.compile(rb"(^|\n)[ \t]*$")
A_HEADING = re.compile(rb"\.?[ \t]+(\xe2\x80\x9c|[\"'(])?[A-Z]")

ALLOCATED = ipaddress.ip_network("2000::/3")
"""The only part of IPv6 from which public addresses are given out; elsewhere `a::b` would be one."""

SPAN = "code points of the text; score is 1.0; surrounding punctuation and white space are left out; empty list if none"

FIELDS: dict[str, Field] = {
    "email": spans(
        "E-mail addresses: RFC 5321 without quoted local parts and address literals, accented Latin, Greek and "
        f"Cyrillic letters allowed (RFC 6531), the last label alphabetic or punycode and no file ending; {SPAN}"
    ),
    "phone": spans(
        "Telephone numbers: North American (area code and exchange NXX, not N11) in groups, or ten bare digits behind "
        "a word such as `call`; international ones as + and 8 to 15 digits under an existing calling code (E.164); an "
        f"extension belongs to its number; not behind ISBN, ISSN, DOI, arXiv, PMID or EAN; {SPAN}"
    ),
    "ip": spans(
        "IPv4 and IPv6 addresses that are public: `ipaddress` calls them global, not multicast, IPv6 within 2000::/3; "
        f"not behind `version` and the like, nor the number of a section's heading; {SPAN}"
    ),
    "count": count("Spans of all three kinds together: what Dolma's rule compares with 5; 0 for an empty document"),
}


class Pii(Tagger):
    """Candidates come from one pass of a kernel and are validated here; linear in the text for any input.

    The types are the Dolma toolkit's, but validated and with exact bounds: its patterns take any dotted quad, need
    white space in front of a phone number and behind an e-mail address, and their spans include it.
    """

    version = 1
    fields = FIELDS

    def tag(self, batch: Batch) -> dict[str, Any]:
        kinds, documents, starts, ends = find_candidates(batch.data, batch.offsets)
        held = validated(batch, kinds, documents, starts, ends)
        kinds, documents, starts, ends = kinds[held], documents[held], starts[held], ends[held]
        edges = bytes_to_chars(batch.data, batch.offsets, np.repeat(documents, 2), np.stack((starts, ends), 1).ravel())
        found: dict[str, Any] = {}
        for name, members in (("email", (EMAIL,)), ("phone", (PHONE, BARE)), ("ip", (IP,))):
            chosen = np.isin(kinds, members)
            found[name] = located(FIELDS[name], len(batch), documents[chosen], edges[0::2][chosen], edges[1::2][chosen])
        found["count"] = np.bincount(documents, minlength=len(batch)).astype(np.int32)
        return found


def located(field: Field, length: int, documents: Any, starts: Any, ends: Any) -> pa.ListArray:
    """Spans, each of which knows its document, as one list per document."""
    offsets = np.zeros(length + 1, np.int32)
    np.cumsum(np.bincount(documents, minlength=length), out=offsets[1:])
    return span_array(field, offsets, starts, ends)


def validated(batch: Batch, kinds: Any, documents: Any, starts: Any, ends: Any) -> npt.NDArray[np.bool_]:
    """Which candidates are what they look like; e-mail addresses were checked by the kernel."""
    held = kinds == EMAIL
    unsure = np.flatnonzero(~held)
    if len(unsure) == 0:
        return held
    raw = batch.data.data
    lows = np.maximum(batch.offsets[documents], starts - BEFORE)
    highs = np.minimum(batch.offsets[documents + 1], ends + BEHIND)
    columns = (column[unsure].tolist() for column in (kinds, lows, starts, ends, highs))
    held[unsure] = [
        is_address(bytes(raw[low:start]), bytes(raw[start:end]).decode(), bytes(raw[end:high]))
        if kind == IP
        else is_phone(kind == BARE, bytes(raw[low:start]))
        for kind, low, start, end, high in zip(*columns, strict=True)
    ]
    return held


@functools.lru_cache(maxsize=1 << 14)
def is_phone(bare: bool, before: bytes) -> bool:
    """Does the text in front leave a number what its form suggests? Bare digits need a word that calls them one."""
    return not (bare and A_PHONE.search(before) is None) and NO_PHONE.search(before) is None


@functools.lru_cache(maxsize=1 << 14)
def is_address(before: bytes, text: str, behind: bytes) -> bool:
    """Public, and neither behind `version` nor, where its numbers are small, the number of a section with a heading."""
    if not is_public(text) or A_VERSION.search(before):
        return False
    small = sum(len(number) == 1 for number in text.split(".")) >= 3
    return not (small and A_LINE_START.search(before) and A_HEADING.match(behind))


def is_public(text: str) -> bool:
    """A globally routable unicast address, by the registries that this Python's `ipaddress` knows.

    Of IPv6 only what is allocated, and what names an interface: `2006::` has too few groups for that.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and (address not in ALLOCATED or len(text.strip(":").split(":")) < 3):
        return False
    return address.is_global and not address.is_multicast
