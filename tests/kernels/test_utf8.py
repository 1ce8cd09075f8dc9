from __future__ import annotations

import numpy as np
import plain_definitions as plain
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma_pipe.batch import make_batch
from dolma_pipe.kernels import utf8


def arrays(documents: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    sizes = np.cumsum([0, *map(len, documents)])
    return np.frombuffer(b"".join(documents), np.uint8), sizes.astype(np.int64)


def first_undecodable(documents: list[bytes]) -> int:
    for index, document in enumerate(documents):
        try:
            document.decode()
        except UnicodeDecodeError:
            return index
    return -1


raw = (
    st.binary(max_size=12)
    | plain.texts.map(str.encode)
    | st.tuples(plain.texts, st.binary(max_size=3)).map(lambda pair: pair[0].encode() + pair[1])
)


@settings(max_examples=300, deadline=None)
@given(documents=st.lists(raw, max_size=5))
def test_validation_agrees_with_python(documents: list[bytes]) -> None:
    assert utf8.validate(*arrays(documents)) == first_undecodable(documents)


@pytest.mark.parametrize(
    "bad",
    [b"\x80", b"\xc0\xaf", b"\xc1\xbf", b"\xc3", b"\xe0\x80\x80", b"\xe2\x82", b"\xed\xa0\x80", b"\xed\xbf\xbf",
     b"\xf0\x80\x80\x80", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xff", b"12345678\xe2\x28\xa1"],
)  # fmt: skip
def test_malformed_bytes_are_found(bad: bytes) -> None:
    assert utf8.validate(*arrays([b"fine", b"0123456789 " + bad, b"fine"])) == 1


def test_a_code_point_cut_by_a_document_boundary_is_malformed_on_both_sides() -> None:
    assert utf8.validate(*arrays([b"\xc3", b"\xa9"])) == 0
    assert utf8.validate(*arrays([b"ok", b"\xa9"])) == 1


@given(texts=st.lists(plain.texts, max_size=5))
def test_code_points_are_counted_per_document(texts: list[str]) -> None:
    batch = make_batch(texts)
    assert utf8.count_chars(batch.data, batch.offsets).tolist() == [len(text) for text in texts]


@settings(deadline=None)
@given(texts=st.lists(plain.texts, min_size=1, max_size=4), shuffled=st.randoms(use_true_random=False))
def test_positions_map_to_bytes_and_back_in_any_order(texts: list[str], shuffled: object) -> None:
    batch = make_batch(texts)
    places = [(document, char) for document, text in enumerate(texts) for char in range(len(text) + 1)]
    for _ in range(2):
        documents, chars = (np.array(part, np.int64) for part in zip(*places, strict=True))
        expected = [batch.offsets[d] + len(texts[d][:c].encode()) for d, c in places]
        found = utf8.chars_to_bytes(batch.data, batch.offsets, documents, chars)
        assert found.tolist() == expected
        assert utf8.bytes_to_chars(batch.data, batch.offsets, documents, found).tolist() == chars.tolist()
        shuffled.shuffle(places)  # type: ignore[attr-defined]


def test_a_code_point_outside_its_document_has_no_byte() -> None:
    batch = make_batch(["aé", "b"])
    documents, chars = np.array([0, 0, 0, 1, 1]), np.array([-1, 2, 3, 1, 2])
    assert utf8.chars_to_bytes(batch.data, batch.offsets, documents, chars).tolist() == [-1, 3, -1, 4, -1]
