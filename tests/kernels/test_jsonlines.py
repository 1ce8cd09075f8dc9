"""The fast reader of JSON lines accepts what the slow judge accepts, says the same of it, and never more."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma_pipe.jsonl import no_repeats
from dolma_pipe.kernels.jsonlines import FIELDS, NULL, find_documents
from dolma_pipe.kernels.jsonstrings import gather_strings

texts = st.text() | st.sampled_from(["", '"', "\\", "\n\t\r\b\f/", "é漢😀\0\x1f\x7f", "x" * 200, "ab\n" * 60])
numbers = st.integers(-(10**25), 10**25) | st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | numbers | texts
values = st.recursive(scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(texts, v, max_size=3), max_leaves=8)
documents = st.fixed_dictionaries(
    {"id": texts | st.integers(-9, 10**20), "text": texts},
    optional={"source": st.none() | texts, "created": texts, "metadata": values, "more": values},
)


def read(lines: bytes) -> list[dict[str, Any] | None]:
    """Each line's fields, None where the kernel does not vouch for it."""
    data = np.frombuffer(bytearray(lines), np.uint8)
    found = find_documents(data)
    columns: dict[str, list[str | None]] = {}
    for field, name in enumerate(FIELDS):
        out, offsets = gather_strings(data, found.fields[field], found.kinds[field], found.sure)
        null = found.kinds[field][found.sure] == NULL
        strings = [out[a:b].tobytes().decode() for a, b in pairwise(offsets)]
        columns[name] = [None if absent else value for value, absent in zip(strings, null, strict=True)]
    rows = iter([dict(zip(FIELDS, row, strict=True)) for row in zip(*columns.values(), strict=True)])
    return [next(rows) if sure else None for sure in found.sure]


def expected(document: dict[str, Any]) -> dict[str, Any]:
    row = {name: document.get(name) for name in FIELDS}
    row["id"] = str(row["id"])
    return row


@settings(max_examples=200, deadline=None)
@given(st.lists(documents, max_size=4), st.booleans(), st.sampled_from([None, 1]))
def test_documents_come_out_as_they_went_in(rows: list[dict[str, Any]], escape: bool, indent: int | None) -> None:
    dumped = [json.dumps(row, ensure_ascii=escape, indent=indent).replace("\n", "\t") for row in rows]
    encoded = [line.encode("utf-8", "replace") for line in dumped]
    whole = [json.loads(line) for line in encoded]
    for found, row in zip(read(b"\n".join(encoded)), whole, strict=True):
        if found is not None:
            metadata = json.loads(found.pop("metadata") or "null")
            wanted = expected(row)
            assert metadata == wanted.pop("metadata")
            assert found == wanted


@pytest.mark.parametrize("document", [
    {"id": "a", "text": "plain"}, {"id": 7, "text": ""},
    {"id": "é", "text": "\n\"\\/😀", "metadata": {"a": [1, -2.5e-7]}},
    {"text": "x", "id": "b", "source": None, "metadata": None, "more": [[], {}, [{}], True, False, None]},
    {"id": "c", "text": "x" * 500 + "\n", "added": "2024", "created": "2023", "source": "s", "metadata": "a string"},
])  # fmt: skip
@pytest.mark.parametrize("escape", [True, False])
def test_ordinary_documents_need_no_judge(document: dict[str, Any], escape: bool) -> None:
    (row,) = read(json.dumps(document, ensure_ascii=escape).encode())
    assert row is not None
    assert (row["id"], row["text"]) == (str(document["id"]), document["text"])
    assert json.loads(row["metadata"] or "null") == document.get("metadata")


def is_document(line: bytes) -> bool:
    """By Python's own decoder, which is more lenient only in what is caught here."""
    try:
        value = json.loads(line.decode(), object_pairs_hook=no_repeats, parse_constant=lambda name: 1 / 0)
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError, ZeroDivisionError):
        return False
    optional = ("source", "added", "created")
    typed = isinstance(value, dict) and isinstance(value.get("text"), str)
    return (
        typed
        and type(value.get("id")) in (str, int)
        and all(isinstance(value.get(o, ""), str | None) for o in optional)
    )


GOOD = json.dumps({"id": "a", "text": 'x\n"\\é😀', "metadata": {"k": [1.5, -3e2, {"z": None}]}, "source": "s"}).encode()
noise = st.sampled_from([
    b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"0", b"-", b".", b"e", b"u", b"\xff", b"\xc3", b"\xed\xa0\x80",
    b"\x00", b"\x1f", b" ", b"n", b"\\ud83d", b'"id":', b'"text":"",', b"1e999",
])  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(GOOD)), st.integers(0, 3), noise), min_size=1, max_size=3))
def test_a_damaged_line_is_never_vouched_for_wrongly(edits: list[tuple[int, int, bytes]]) -> None:
    line = GOOD
    for at, gone, put in edits:
        line = line[:at] + put + line[at + gone :]
    for row in read(line):
        assert row is None or is_document(line)


@pytest.mark.parametrize("line", [
    b'{"id": "a", "text": "x", "text": "y"}', b'{"id": "a", "text": "x", "metadata": {"k": 1, "k": 2}}',
    b'{"id": "a", "te\\u0078t": "x"}', b'{"id": "a", "text": "\\ud800"}', b'{"id": "a", "text": "\\udc00\\ud800"}',
    b'{"id": "a", "text": "\\ud800\\u0041"}', b'{"id": "a", "text": "\\x"}', b'{"id": "a", "text": "\\u12g4"}',
    b'{"id": "a", "text": "a\tb"}', b'{"id": "a", "text": "x", "m": 01}', b'{"id": "a", "text": "x", "m": 1.}',
    b'{"id": "a", "text": "x", "m": NaN}', b'{"id": "a", "text": "x", "m": 1e400}', b'{"id": "a", "text": "x",}',
    b'{"id": "a", "text": "x"} {}', b'{"id": "a", "text": "x"', b'["id", "text"]', b'"id"', b"{}",
    b'{"id": 1.0, "text": ""}', b'{"id": -0, "text": "x"}', b'{"id": true, "text": "x"}', b'{"id": "a", "text": null}',
    b'{"id": "a", "text": "\xed\xa0\x80"}',
    b'{"id": "a", "text": "x", "source": 5}', b'{"id": "a" "text": "x"}', b'{"id": "a", "text": "x", "m": [1 2]}',
    b'{"id": "a", "text": "x", "m": ' + b"[" * 100 + b"]" * 100 + b"}", b'{"id": "a", "text": "x", "m": tru}', b"\x0b",
])  # fmt: skip
def test_what_is_odd_or_broken_is_left_to_the_judge(line: bytes) -> None:
    assert read(line) == [None]


def test_blank_lines_are_none_and_lines_are_counted() -> None:
    data = np.frombuffer(bytearray(b'\n \t\r\n{"id": "a", "text": ""}\r\n\nbad\n  {"id": 1, "text": "x"}  '), np.uint8)
    found = find_documents(data)
    assert list(found.numbers) == [2, 4, 5]
    assert list(found.sure) == [True, False, True]
    assert found.newlines == 5
    assert [data[a:b].tobytes() for a, b in zip(found.starts, found.ends, strict=True)][1] == b"bad"
