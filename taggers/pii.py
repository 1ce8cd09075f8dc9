"""Personal data as spans: addresses, numbers of telephones, cards, accounts and persons, keys and tokens."""

from __future__ import annotations

import functools
import ipaddress
import re
from importlib import metadata
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dolma_pipe.batch import Batch
from dolma_pipe.kernels import pii as kinds
from dolma_pipe.kernels.pii import find_candidates
from dolma_pipe.kernels.secrets import find_secrets
from dolma_pipe.kernels.utf8 import bytes_to_chars
from dolma_pipe.tagger import Field, Tagger, count, span_array, spans

BEFORE, BEHIND = 48, 8
"""Bytes around an IP address that may say what it is."""

GAP = rb"\b[^0-9A-Za-z]{0,4}"
VERSION = rb"v|ver|version|release|rev|build|kernel|firmware"
SECTION = rb"((sub)?(sec(tion)?|para(graph)?)|article|clause|chapter)s?|ec"
LISTED = rb"(([0-9]+\.){2,3}[0-9]+\.?(,|\s+(to|through|thru|and|or))\s+){0,2}"
A_NUMBER = re.compile(rb"\b(" + VERSION + rb"|" + SECTION + rb")" + GAP + LISTED + rb"$", re.I)
"""`version 1.2.3.4`, `EC 4.6.1.1` (an enzyme), `clauses 6.1.2.1 through 6.1.2.3`."""
AN_IDENTIFIER = re.compile(r"2\.5\.(4|29)\.[0-9]{1,2}")
"""Object identifiers of X.520's attributes and X.509's extensions, which code is full of."""
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
        "Telephone numbers: North American (area code and exchange NXX, not N11) in groups, not behind ISBN, ISSN, "
        "DOI, arXiv, PMID or EAN; + and 8 to 15 digits that the country's numbering plan makes possible "
        "(`phonenumbers.is_possible_number`); 00 or 011 and digits in groups, or + and 8 or 9 digits in one, that are "
        "valid there today (`is_valid_number`); "
        "7 to 15 digits in any groups, no date, that a word calls a telephone number: `tel`, `call me at`, `(fax)`; "
        f"an extension belongs to its number; {SPAN}"
    ),
    "ip": spans(
        "IPv4 and IPv6 addresses that are public: `ipaddress` calls them global and not multicast; outside 2000::/3, "
        "from which IPv6 is given out, only in eight groups, most of three digits or more; not behind `version` and "
        f"the like, nor the number of a section's heading, nor an object identifier of X.509; {SPAN}"
    ),
    "credit_card": spans(
        "Payment card numbers: an issuer's prefix and length, a right check digit (Luhn, ISO/IEC 7812), in one group "
        f"or in the groups of a card; one group of other than 14 to 16 digits only behind `card` and the like; {SPAN}"
    ),
    "iban": spans(
        "International bank account numbers: the country's length, the remainder modulo 97 right (ISO 13616), in one "
        f"run or in groups of four; {SPAN}"
    ),
    "ssn": spans(
        "United States social security numbers: AAA-GG-SSSS, area not 000, 666 or 900 to 999, group not 00, serial not "
        f"0000; with spaces or without separators only behind `SSN` or `social security number`; {SPAN}"
    ),
    "secret": spans(
        "Keys and tokens: the documented prefixes of two dozen services (AKIA, ghp_, xoxb-, sk-, AIza ...), JSON web "
        "tokens, paths of Slack's webhooks, armoured private keys with all their lines, and 16 to 256 characters with "
        "the entropy of random ones (3.5 bits each, hexadecimal and UUIDs 3.0), which are no words behind one another, "
        "that are assigned or handed to a name such as `api_key`, `secret`, `token`, `passwd` (a UUID: not to a mere "
        "`token`; none to `nextToken`, `token_hash`, `public_...` and the like) or stand behind `Bearer`; nothing that "
        f"holds `example`; {SPAN}"
    ),
    "count": count("Spans of all kinds together; 0 for an empty document"),
}
MEMBERS = {
    "email": (kinds.EMAIL,),
    "phone": (kinds.PHONE, kinds.INTERNATIONAL, kinds.ABROAD),
    "ip": (kinds.IP,),
    "credit_card": (kinds.CREDIT_CARD,),
    "iban": (kinds.IBAN,),
    "ssn": (kinds.SSN,),
}


class Found(NamedTuple):
    """Spans of a batch, flat and in order: kind, document, and where in the batch's data, or in the document's text."""

    kinds: npt.NDArray[np.int64]
    documents: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]


class Pii(Tagger):
    """Two passes of kernels find candidates, what needs a registry is judged here: linear in the text for any input.

    The first three types are the Dolma toolkit's, but validated and with exact bounds: its patterns take any dotted
    quad, need white space in front of a phone number and behind an e-mail address, and their spans include it.
    """

    version = 3
    fields = FIELDS
    model_hash = f"phonenumbers-{metadata.version('phonenumbers')}"

    def tag(self, batch: Batch) -> dict[str, Any]:
        candidates = in_chars(batch, judged(batch, Found(*find_candidates(batch.data, batch.offsets))))
        documents, starts, ends = find_secrets(batch.data, batch.offsets)
        secrets = in_chars(batch, Found(np.zeros_like(starts), documents, starts, ends))
        found = {name: lists(name, candidates, members, len(batch)) for name, members in MEMBERS.items()}
        found["secret"] = lists("secret", secrets, (0,), len(batch))
        counts = [np.diff(np.asarray(values.offsets)) for values in found.values()]
        return {**found, "count": np.sum(counts, axis=0, dtype=np.int32)}


def in_chars(batch: Batch, found: Found) -> Found:
    """The spans in code points of their documents."""
    edges = np.stack((found.starts, found.ends), 1).ravel()
    chars = bytes_to_chars(batch.data, batch.offsets, np.repeat(found.documents, 2), edges)
    return found._replace(starts=chars[0::2], ends=chars[1::2])


def lists(name: str, found: Found, members: tuple[int, ...], length: int) -> pa.ListArray:
    """The spans of some kinds as one list per document, of which there are `length`."""
    mine = np.isin(found.kinds, members)
    offsets = np.zeros(length + 1, np.int32)
    np.cumsum(np.bincount(found.documents[mine], minlength=length), out=offsets[1:])
    return span_array(FIELDS[name], offsets, found.starts[mine], found.ends[mine])


def judged(batch: Batch, found: Found) -> Found:
    """The candidates that are what they look like, with their ends; the kernel has settled most kinds."""
    held = np.isin(found.kinds, (kinds.IP, kinds.INTERNATIONAL, kinds.ABROAD), invert=True)
    unsure = np.flatnonzero(~held)
    if len(unsure) == 0:
        return found
    raw, ends = batch.data.data, found.ends.copy()
    lows = np.maximum(batch.offsets[found.documents], found.starts - BEFORE)
    highs = np.minimum(batch.offsets[found.documents + 1], found.ends + BEHIND)
    columns = (column[unsure].tolist() for column in (found.kinds, lows, found.starts, found.ends, highs))
    for index, kind, low, start, end, high in zip(unsure.tolist(), *columns, strict=True):
        if kind == kinds.IP:
            held[index] = is_address(bytes(raw[low:start]), bytes(raw[start:end]).decode(), bytes(raw[end:high]))
        else:
            length = number_length(bytes(raw[start:end]), kind == kinds.ABROAD)
            held[index], ends[index] = length > 0, start + length
    return Found(found.kinds[held], found.documents[held], found.starts[held], ends[held])


def is_address(before: bytes, text: str, behind: bytes) -> bool:
    """Public, and neither behind `version` and the like nor, where its numbers are small, that of a heading."""
    if not is_public(text) or A_NUMBER.search(before) or AN_IDENTIFIER.fullmatch(text):
        return False
    lengths = sorted(map(len, text.split(".")))
    small = lengths[:2] == [1, 1] and lengths[-1] < 3
    return not (small and A_LINE_START.search(before) and A_HEADING.match(behind))


@functools.lru_cache(maxsize=1 << 14)
def is_public(text: str) -> bool:
    """A globally routable unicast address, by the registries that this Python's `ipaddress` knows.

    What looks like an IPv6 address may be something else: `2006::` has too few groups to name an interface, and
    outside of what is allocated `a::b` is a name in C++, eight pairs of digits are a device's hardware address.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        groups = text.strip(":").split(":")
        wide = len(groups) == 8 and sum(len(group) >= 3 for group in groups) > 4
        if len(groups) < 3 or not (wide or address in ALLOCATED):
            return False
    return address.is_global and not address.is_multicast


EXTENSION = re.compile(rb" ?(x|ext\.?) ?[0-9]+$", re.I)
LAST_GROUP = re.compile(rb"[^0-9]+[0-9]+$")
PREFIX = re.compile(rb"^(\+|00|011)[^0-9]?")
AN_AMOUNT = re.compile(rb"\+[0-9]{8,9}")
"""Digits in one group, so few that they may count something else."""
FEWEST_DIGITS = 8


@functools.lru_cache(maxsize=1 << 14)
def number_length(text: bytes, strict: bool) -> int:
    """Bytes of `text` that are a telephone number: all, or, where that has too many digits, without its last groups."""
    main = EXTENSION.sub(b"", text)
    strict |= AN_AMOUNT.fullmatch(main) is not None
    if is_dialled(main, strict):
        return len(text)
    while (shorter := LAST_GROUP.sub(b"", main)) != main:
        main = shorter
        if is_dialled(main, strict):
            return len(main)
    return 0


def is_dialled(text: bytes, strict: bool) -> bool:
    """Is it a number that its country's plan makes possible, or, if `strict`, one that is valid there today?

    Plans change, and text is old: of the numbers with a + in mail of the nineties a tenth is not valid any more.
    """
    digits = re.sub(rb"[^0-9]", b"", PREFIX.sub(b"", text)).decode()
    if len(digits) < FEWEST_DIGITS:
        return False
    import phonenumbers

    known = phonenumbers.COUNTRY_CODE_TO_REGION_CODE
    size = next((size for size in (1, 2, 3) if int(digits[:size]) in known), 0)
    national = digits[size:]
    for trunk in ("", "0"):  # +44 (0)20 ...: the zero is dialled within the country only
        rest = national.removeprefix(trunk)
        zeros = len(rest) - len(rest.lstrip("0"))
        number = phonenumbers.PhoneNumber(
            country_code=int(digits[:size] or 0), national_number=int(rest or 0),
            italian_leading_zero=zeros > 0 or None, number_of_leading_zeros=zeros or None,
        )  # fmt: skip
        if phonenumbers.is_valid_number(number) if strict else is_possible(number):
            return True
    return False


def is_possible(number: Any) -> bool:
    """Has it the length of a number with its area code?"""
    import phonenumbers

    reason = phonenumbers.is_possible_number_with_reason(number)
    return reason == phonenumbers.ValidationResult.IS_POSSIBLE
