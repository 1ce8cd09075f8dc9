"""A draw is XXH3 of the framed parts, whichever way it is computed."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma_pipe import draws as module
from dolma_pipe.draws import draws
from dolma_pipe.kernels.xxh3 import framed_hashes, secret


def plain(seed: int, purpose: str, source: str, name: str, copy: int) -> int:
    parts = [part.encode() for part in (str(seed), purpose, source, name, str(copy))]
    return xxhash.xxh3_64_intdigest(b"".join(len(part).to_bytes(8, "little") + part for part in parts))


@given(st.lists(st.text(max_size=90), max_size=8), st.integers(0, 9), st.text(max_size=20))
def test_one_by_one_and_all_at_once_are_equal(names: list[str], copy: int, source: str) -> None:
    expected = [plain(17, "sample", source, name, copy) for name in names]
    assert draws(17, "sample", source, pa.array(names, pa.string()), copy).tolist() == expected
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MANY", 0)
        assert draws(17, "sample", source, pa.array(names, pa.string()), copy).tolist() == expected


@settings(max_examples=3)
@given(st.binary(min_size=400, max_size=400))
def test_every_length_is_hashed_as_published(data: bytes) -> None:
    for head in (0, 9, 33):
        texts = [data[head : head + size] for size in range(250)]
        offsets = np.cumsum([0, *map(len, texts)])
        joined = np.frombuffer(b"".join(texts), np.uint8)
        ends = np.frombuffer(data[:head], np.uint8), np.frombuffer(data[-3:], np.uint8)
        found, left = framed_hashes(ends[0], joined, offsets, ends[1], secret())
        for text, value, is_left in zip(texts, found.tolist(), left.tolist(), strict=True):
            message = data[:head] + len(text).to_bytes(8, "little") + text + data[-3:]
            assert is_left == (not 17 <= len(message) <= 240)
            assert is_left or value == xxhash.xxh3_64_intdigest(message)


def test_a_slice_of_ids_has_its_own_draws() -> None:
    names = pa.array([f"document {number}" for number in range(5000)])
    whole = draws(1, "p", "s", names)
    assert draws(1, "p", "s", names.slice(700)).tolist() == whole[700:].tolist()
