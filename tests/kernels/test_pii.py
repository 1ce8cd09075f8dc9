"""Kernels for personal data against their definitions in plain Python, on arbitrary Unicode."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import plain_pii as plain
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma_pipe.batch import make_batch
from dolma_pipe.kernels.pii import find_candidates
from dolma_pipe.kernels.secrets import find_secrets

DIGITS = st.text("0123456789", min_size=1, max_size=5)
NUMBERS = [
    "212", "555", "1234", "(212)", "800", "411", "(0)", "+49", "+1", "+44 20", "001", "011", "0049", "00", "2125551234",
    "4111111111111111", "4111 1111", "5555-5555-5555-4444", "378282246310005", "3782 822463 10005", "30569309025904",
    "4222222222222", "6304000000000000", "123-45-6789", "078 05 1120", "666-12-3456", "987654321", "123456789",
    "DE89370400440532013000", "DE89 3704 0044 0532 0130 00", "GB82 WEST 1234 5698 7654 32", "gb82west12345698765432",
    "NO9386011117947", "93.184.216.34", "1.2.3.4", "192.168.1.1", "2001:4860:4860::8888", "a:b:c:d:e:f:1:2", "::1",
    "2014-12-05", "23.09.2014", "2009-2014", "19", "20", "x12", "ext. 5", "0", "1", "12", "9999",
]  # fmt: skip
SIGNS = [
    " ", "  ", "-", "--", ".", "..", "/", "//", "(", ")", "+", "@", ":", "::", ",", "\n", "\t", "#", "$", "%", "_", "=",
    "\u00a0", "\u2011", "\u202f", "x", "e", "é", "я", "\u0301", "漢", "😀", "A", "z", ";", "|", "<", ">", "]", "?", '"',
]  # fmt: skip
WORDS = [
    "tel", "Tel", "TEL", "phone", "call me at ", "reach us ", "at", "office:", "Office: ", "fax", "(home)", "work",
    "téléphone", "Téléphone", "ISBN", "card number is ", "card", "my", "SSN", "social security number ", "телефон",
    "Телефон", "☎", "电话", "：", "             ", "number", "contact", "message on my registered ", "desk",
    "telephonetelephone", "，", "、",
]  # fmt: skip
PLACES = [
    "ann", "ann@example.com", "@example.org", "jörg@müller.de", "example.com.Then", "a.b-c+d%e", "x.png", "xn--p1ai",
    "xn--", "ann..bob@x.org", "y" * 62, "z" * 33 + "é" * 16, "mail.", "-a.b", "a-.b", "@ann@", "É", "почта@пример.рф",
]  # fmt: skip
SECRETS = [
    "ghp_", "AKIA", "AIza", "sk-", "SG.", "ya29.", "xoxb-", "eyJ", "dop_v1_", "hf_", "glpat-", "aB3dE5gH1jK2mN4pQ7sT",
    "0123456789abcdef" * 2, "Q7X2M4Z6K3W5R2T4", "x" * 16, "eyJhbGciOiJIUzI1NiJ9", "api_key", "apiKey", "SECRET",
    "token", "public", "password", "Bearer ", "=", " = ", ": ", "=>", " := ", "'", '"', "\\", "`", "/", "+", "==", "(",
    '"token", "', "value", "value=", ",", "<", ">", " --", "hooks.slack.com/services/T", "example", "_", "next", "hash",
    "0f8fad5b-d9cb-469f-a165-70867728950e", "Handler", "ConfigStore", ":", "Xy", "com/services/",
    "-----BEGIN PRIVATE KEY-----\n", "-----BEGIN RSA PRIVATE KEY-----", "-----END RSA PRIVATE KEY-----", "-----", "-",
    "BEGIN PRIVATE KEY-----", "-----END CERTIFICATE-----", "MIIEpAIBAAKCAQEA7bq5c9ZpT3gS" * 2 + "\n", " " * 260, "\n",
]  # fmt: skip


def joined(*vocabulary: list[str]) -> st.SearchStrategy[str]:
    pieces = st.sampled_from([piece for pieces in vocabulary for piece in pieces])
    return st.lists(pieces | pieces | DIGITS | st.text(max_size=3), max_size=14).map("".join)


TEXTS = joined(NUMBERS, SIGNS, WORDS) | joined(PLACES, SIGNS) | joined(NUMBERS, SIGNS, WORDS, PLACES) | st.text()
CODE = joined(SECRETS, SIGNS) | joined(SECRETS) | st.text()


@settings(max_examples=1500, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=3))
def test_candidates_are_those_of_the_definition(texts: list[str]) -> None:
    batch = make_batch(texts)
    kinds, documents, starts, ends = find_candidates(batch.data, batch.offsets)
    found: list[list[tuple[int, int, int]]] = [[] for _ in texts]
    for kind, document, start, end in zip(kinds, documents, starts, ends, strict=True):
        low = batch.offsets[document]
        found[document].append((int(kind), int(start - low), int(end - low)))
    assert found == [plain.candidates(text.encode()) for text in texts]


@settings(max_examples=1500, deadline=None)
@given(st.lists(CODE, min_size=1, max_size=3))
def test_secrets_are_those_of_the_definition(texts: list[str]) -> None:
    batch = make_batch(texts)
    documents, starts, ends = find_secrets(batch.data, batch.offsets)
    found: list[list[tuple[int, int]]] = [[] for _ in texts]
    for document, start, end in zip(documents, starts, ends, strict=True):
        low = batch.offsets[document]
        found[document].append((int(start - low), int(end - low)))
    assert found == [plain.keys_and_tokens(text.encode()) for text in texts]


def test_no_text_is_read_more_than_in_proportion_to_its_length() -> None:
    here = Path(__file__).parent
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, str(here / "pii_work.py")], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for piece, (once, twice) in json.loads(done.stdout).items():
        assert twice <= 2.1 * once, piece
        assert once <= 500 * 1000, piece
