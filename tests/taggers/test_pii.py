"""Personal data: what is a span and what is not, and that the bounds are exact."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma_pipe.batch import make_batch
from dolma_pipe.tagger import load

KINDS = ("email", "phone", "ip")


def found(texts: list[str]) -> list[dict[str, list[str]]]:
    """Per text and kind, the pieces of the text that the spans cover."""
    columns = load("pii").tag(make_batch(texts))
    rows: list[dict[str, list[str]]] = [{} for _ in texts]
    for kind in KINDS:
        for row, text, spans in zip(rows, texts, columns[kind].to_pylist(), strict=True):
            assert all(span["score"] == 1.0 for span in spans)
            if spans:
                row[kind] = [text[span["start"] : span["end"]] for span in spans]
    assert columns["count"].tolist() == [sum(map(len, row.values())) for row in rows]
    return rows


EMAILS = [
    ("write to ann@example.com.", ["ann@example.com"]),
    ("<ann.o-brien+news@mail.example.co.uk>,", ["ann.o-brien+news@mail.example.co.uk"]),
    ("ann@example.com", ["ann@example.com"]),
    ("a@b.co;c@d.org", ["a@b.co", "c@d.org"]),
    ("mailto:ANN@EXAMPLE.COM?subject=x", ["ANN@EXAMPLE.COM"]),
    ("well...ann@example.com...", ["ann@example.com"]),
    ("ann@example.com.Then she left", ["ann@example.com"]),
    ("news@yuma.ACNS.ColoState.EDU", ["news@yuma.ACNS.ColoState.EDU"]),
    ("ann@example.com-", ["ann@example.com"]),
    ("(ann@example.com)", ["ann@example.com"]),
    (".ann@example.com", ["ann@example.com"]),
    ("jörg@müller.de", ["jörg@müller.de"]),
    ("почта@пример.рф", ["почта@пример.рф"]),
    ("ann@xn--mller-kva.xn--p1ai", ["ann@xn--mller-kva.xn--p1ai"]),
    ("联系ann@example.com。谢谢", ["ann@example.com"]),
    ("😀ann@example.com😀", ["ann@example.com"]),
    ("\u0301ann@example.com\u0301", ["ann@example.com"]),
    ("e\u0301ann@example.com", ["e\u0301ann@example.com"]),
    ("ann@localhost", []),
    ("ann@10.0.0.1", []),
    ("ann.@example.com", []),
    ("ann@.example.com", []),
    ("ann@-example.com", []),
    ("@ann@social.example", []),
    ("@", []),
    ("ann@", []),
    ("@example.com", []),
    ("icon@2x.png background@3x.jpg", []),
    ("package@1.2.3", []),
    ("x" * 65 + "@example.com", []),
    ("x" * 64 + "@example.com", ["x" * 64 + "@example.com"]),
    ("ann@" + "y" * 64 + ".com", []),
]

PHONES = [
    ("call (212) 555-1234.", ["(212) 555-1234"]),
    ("(212)555-1234", ["(212)555-1234"]),
    ("212-555-1234,212.555.1235", ["212-555-1234", "212.555.1235"]),
    ("212 555 1234", ["212 555 1234"]),
    ("212/555-1234", ["212/555-1234"]),
    ("1-800-555-2345", ["1-800-555-2345"]),
    ("+1 (212) 555-1234", ["+1 (212) 555-1234"]),
    ("+12125551234", ["+12125551234"]),
    ("212-555-1234 x56", ["212-555-1234 x56"]),
    ("212-555-1234 ext. 5678", ["212-555-1234 ext. 5678"]),
    ("212-555-1234 extra", ["212-555-1234"]),
    ("212\u00a0555\u20111234", ["212\u00a0555\u20111234"]),
    ("Tel: +49 (0)30 123456-78", ["+49 (0)30 123456-78"]),
    ("(+49 30 12345678)", ["+49 30 12345678"]),
    ("+44 20 7946 0958 (office)", ["+44 20 7946 0958"]),
    ("+91-9876543210", ["+91-9876543210"]),
    ("+33 1 23 45 67 89", ["+33 1 23 45 67 89"]),
    ("☎️212-555-1234☎️", ["212-555-1234"]),
    ("电话212-555-1234。", ["212-555-1234"]),
    ("call 2125551234", ["2125551234"]),
    ("Phone: 2125551234", ["2125551234"]),
    ("order 2125551234", []),
    ("112-555-1234", []),
    ("212-155-1234", []),
    ("911-555-1234 411-555-1234", []),
    ("212-555-12345", []),
    ("5212-555-1234", []),
    ("1.212-555-1234-9", []),
    ("x212-555-1234", []),
    ("$212 555 1234", []),
    ("123 212 555 1234 999", []),
    ("+1 234", []),
    ("+1.2345678901", []),
    ("+1000000000 points", []),
    ("+999 1234 5678", []),
    ("a+49 30 12345678", []),
    ("++49 30 12345678", []),
    ("+49 1234 5678 9012 3456", []),
    ("ISBN 212-555-1234", []),
    ("ISBN 978-0-306-40615-7 and 0-306-40615-2", []),
    ("doi: 10.1038/212-555-1234", []),
    ("2024-05-06 12:30:45.123456", []),
]

ADDRESSES = [
    ("from 93.184.216.34.", ["93.184.216.34"]),
    ("8.8.8.8", ["8.8.8.8"]),
    ("http://93.184.216.34:8080/", ["93.184.216.34"]),
    ("93.184.216.34-93.184.216.40", ["93.184.216.34", "93.184.216.40"]),
    ("[93.184.216.34]", ["93.184.216.34"]),
    ("👍93.184.216.34👍", ["93.184.216.34"]),
    ("host:93.184.216.34", ["93.184.216.34"]),
    ("2001:4860:4860::8888, ", ["2001:4860:4860::8888"]),
    ("[2606:4700:4700::1111]:443", ["2606:4700:4700::1111"]),
    ("addr:2a00:1450:4001:81b:0:0:0:200e.", ["2a00:1450:4001:81b:0:0:0:200e"]),
    ("2001:4860:4860::8888: reply", ["2001:4860:4860::8888"]),
    ("192.168.1.1 10.0.0.1 172.16.5.4 127.0.0.1 169.254.1.1 0.0.0.0 255.255.255.255", []),
    ("203.0.113.7 224.0.0.251 2001:db8::1 fe80::1 ::1 fc00::1", []),
    ("256.1.1.1 1.2.3 1.2.3.400 01.02.03.04", []),
    ("1.2.3.4.5", []),
    ("93.184.216.34.5 5.93.184.216.34", []),
    ("1234.1.1.1 1.1.1.1234", []),
    ("v8.8.4.4 version 8.8.4.4 Version: 8.8.4.4 Chrome/88.8.44.4 lib-8.8.4.4 8.8.4.4-rc1 8.8.4.4b", []),
    ("2.3.1.4 Structural work\n  6.2.1.2. “The Contractor”, see Article 6.2.1.1 or clauses 6.2.1.1", []),
    ("std::vector a::b abc::def 12:30:45 00:1a:2b:3c:4d:5e", []),
    ("1:2:3:4:5:6:7:8:9 2001:4860:4860::8888::1 2006::", []),
]


@pytest.mark.parametrize(("text", "expected"), EMAILS)
def test_email_addresses_are_found_whole_and_nothing_else_is(text: str, expected: list[str]) -> None:
    assert found([text])[0].get("email", []) == expected


@pytest.mark.parametrize(("text", "expected"), PHONES)
def test_telephone_numbers_are_found_whole_and_nothing_else_is(text: str, expected: list[str]) -> None:
    assert found([text])[0] == ({"phone": expected} if expected else {})


@pytest.mark.parametrize(("text", "expected"), ADDRESSES)
def test_public_ip_addresses_are_found_whole_and_nothing_else_is(text: str, expected: list[str]) -> None:
    assert found([text])[0] == ({"ip": expected} if expected else {})


def test_empty_documents_have_no_spans_and_count_zero() -> None:
    columns = load("pii").tag(make_batch(["", " \n", ""]))
    assert [columns[kind].to_pylist() for kind in KINDS] == [[[], [], []]] * 3
    assert columns["count"].tolist() == [0, 0, 0]


def test_a_batch_without_documents_gives_empty_columns() -> None:
    columns = load("pii").tag(make_batch([]))
    assert [len(columns[name]) for name in (*KINDS, "count")] == [0, 0, 0, 0]


def test_documents_do_not_reach_into_one_another() -> None:
    assert found(["ann", "@example.com", "93.184", ".216.34", "212-555-", "1234"]) == [{}] * 6
    assert found(["ann@example.com", "93.184.216.34"]) == [{"email": ["ann@example.com"]}, {"ip": ["93.184.216.34"]}]


def test_count_is_the_number_of_spans_of_all_kinds() -> None:
    text = "ann@example.com, bob@example.org, 212-555-1234, 93.184.216.34"
    assert load("pii").tag(make_batch([text]))["count"].tolist() == [4]


@pytest.mark.parametrize(
    "piece", ["@", "1", ".", "1.", "a@", "+", "(", ":", "a.a@", "212-", "+4", "1 ", "f:", "x@-", "a", "é@", "()"]
)
def test_long_runs_of_signs_and_digits_hold_nothing(piece: str) -> None:
    assert found([piece * (1_000_000 // len(piece))]) == [{}]


VALUES = {
    "email": ["ann@example.com", "jörg.b+x@müller.example.de"],
    "phone": ["(212) 555-1234", "+49 30 1234567"],
    "ip": ["93.184.216.34", "2a00:1450:4001:81b::200e"],
}
PROSE = st.text(st.characters(exclude_characters="0123456789@+", exclude_categories=["Cs"]), max_size=12)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(PROSE, st.sampled_from([(kind, value) for kind in KINDS for value in VALUES[kind]])), max_size=5)
)
def test_offsets_are_code_points_whatever_stands_between(parts: list[tuple[str, tuple[str, str]]]) -> None:
    # The commas keep what stands before a value from speaking of it ("version ").
    text = "".join(f"{prose},,,,,, {value} ,," for prose, (_, value) in parts)
    expected = {kind: [value for _, (of, value) in parts if of == kind] for kind in KINDS}
    assert found([text]) == [{kind: values for kind, values in expected.items() if values}]


@pytest.mark.corpus
def test_labelled_text_is_found_with_the_precision_and_recall_that_the_docs_state(corpus: Path) -> None:
    lines = gzip.decompress((corpus / "pii" / "presidio_synth_v2.jsonl.gz").read_bytes()).splitlines()
    rows = [json.loads(line) for line in lines]
    columns = load("pii").tag(make_batch([row["text"] for row in rows]))
    for kind, label in (("email", "EMAIL_ADDRESS"), ("ip", "IP_ADDRESS"), ("phone", "PHONE_NUMBER")):
        labelled = [{(s["start"], s["end"]) for s in row["spans"] if s["type"] == label} for row in rows]
        ours = [{(span["start"], span["end"]) for span in spans} for spans in columns[kind].to_pylist()]
        right = sum(len(a & b) for a, b in zip(labelled, ours, strict=True))
        assert right == sum(map(len, ours))
        assert right / sum(map(len, labelled)) >= {"email": 1.0, "ip": 0.92, "phone": 0.27}[kind]


def test_positions_are_the_same_for_any_split_into_batches() -> None:
    texts = [text for text, _ in (*EMAILS, *PHONES, *ADDRESSES)]
    whole = found(texts)
    assert [row for start in np.arange(0, len(texts), 7) for row in found(texts[start : start + 7])] == whole
