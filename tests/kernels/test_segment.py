from __future__ import annotations

import numpy as np
import plain_definitions as plain
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma_pipe.batch import Segments, make_batch
from dolma_pipe.kernels.hashing import hash64_ranges


def pieces(texts: list[str], segments: Segments) -> list[list[str]]:
    """The segments of each text as strings; their lengths in code points and their hashes are checked on the way."""
    data = make_batch(texts).data.tobytes()
    found = [data[s:e].decode() for s, e in zip(segments.starts, segments.ends, strict=True)]
    assert list(segments.chars) == [len(piece) for piece in found]
    return [found[a:b] for a, b in zip(segments.offsets, segments.offsets[1:], strict=False)]


@settings(max_examples=200, deadline=None)
@given(texts=st.lists(plain.texts, max_size=6))
def test_words_are_what_str_split_makes(texts: list[str]) -> None:
    assert pieces(texts, make_batch(texts).words) == [text.split() for text in texts]


@settings(max_examples=200, deadline=None)
@given(texts=st.lists(plain.texts, max_size=6))
def test_lines_are_what_splitting_at_newlines_makes(texts: list[str]) -> None:
    assert pieces(texts, make_batch(texts).lines) == [text.split("\n") for text in texts]


def test_hard_texts_split_as_python_splits_them() -> None:
    batch = make_batch(plain.HARD_TEXTS)
    assert pieces(plain.HARD_TEXTS, batch.words) == [text.split() for text in plain.HARD_TEXTS]
    assert pieces(plain.HARD_TEXTS, batch.lines) == [text.split("\n") for text in plain.HARD_TEXTS]


@pytest.mark.parametrize("around", ["{}", "a{}b", "a{}{}b", "{}b", "a{}", "é{}é", "longer than eight{}bytes"])
def test_exactly_the_white_space_of_str_isspace_separates_words(around: str) -> None:
    codes = [*range(0x3100), *range(0xD7F0, 0xD800), *range(0xE000, 0xE010), 0xFEFF, 0xFFFD, 0x1F600, 0xE0020, 0x10FFFF]
    texts = [around.replace("{}", chr(code)) for code in codes]
    assert pieces(texts, make_batch(texts).words) == [text.split() for text in texts]


def test_words_hash_alike_wherever_they_stand() -> None:
    batch = make_batch(["word " * 3, "\nword", "another word of the end word"])
    alike = [h for h, s, e in zip(batch.words.hashes, batch.words.starts, batch.words.ends, strict=True) if e - s == 4]
    assert len(set(alike)) == 1
    assert len(alike) == 6


def test_segment_hashes_are_hash64_of_their_bytes() -> None:
    batch = make_batch(plain.HARD_TEXTS)
    for segments in (batch.words, batch.lines):
        assert np.array_equal(segments.hashes, hash64_ranges(batch.data, segments.starts, segments.ends))


def test_a_batch_of_one_splits_as_a_batch_of_many() -> None:
    many = make_batch(plain.HARD_TEXTS)
    for index, text in enumerate(plain.HARD_TEXTS):
        one, start = make_batch([text]), many.offsets[index]
        here = slice(many.words.offsets[index], many.words.offsets[index + 1])
        assert np.array_equal(one.words.starts, many.words.starts[here] - start)
        assert np.array_equal(one.words.hashes, many.words.hashes[here])
