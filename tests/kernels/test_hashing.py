from __future__ import annotations

import random

import numpy as np
import pytest
import xxhash

from dolma_pipe.kernels.hashing import hash64_ranges, hash128_ranges

TEXT = b"The quick brown fox jumps over the lazy dog"


def hashes(texts: list[bytes]) -> tuple[list[int], list[tuple[int, int]]]:
    ends = np.cumsum([len(text) for text in texts])
    starts = ends - [len(text) for text in texts]
    data = np.frombuffer(b"".join(texts), np.uint8)
    pairs = hash128_ranges(data, starts, ends).tolist()
    return hash64_ranges(data, starts, ends).tolist(), [tuple(pair) for pair in pairs]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", (0x0, 0x0)),
        (b"h", (0xD6FCB2BB61CB4523, 0x0C8326973886D703)),
        (b"hello", (0xCBD8A7B341BD9B02, 0x5B1E906A48AE1D19)),
        (b"hello wo", (0xF9D2C3093A3E3698, 0x45E9804B38277826)),
        (TEXT, (0xE34BBC7BBC071B6C, 0x7A433CA9C49A9347)),
    ],
)
def test_the_128_bit_hash_is_murmur3_x64(text: bytes, expected: tuple[int, int]) -> None:
    assert hashes([text])[1] == [expected]


def test_the_64_bit_hash_of_whole_groups_is_that_of_xxh64() -> None:
    for size in (0, 8, 16, 24):
        assert hashes([TEXT[:size]])[0] == [xxhash.xxh64_intdigest(TEXT[:size])]


def test_the_64_bit_hash_never_changes() -> None:
    found, _ = hashes([b"", b"a", b"the", b"12345678", b"123456789", TEXT])
    assert found == [
        0xEF46DB3751D8E999, 0xA563C3D1B633E001, 0xBA16F442FD8A224E,
        0xD2D02F08CF7CFD4A, 0xB515F388A5F43855, 0x5DF8C4F1E400D80A,
    ]  # fmt: skip


def test_hashes_do_not_depend_on_what_lies_around() -> None:
    for size in range(40):
        text = TEXT[:size]
        alone = hashes([text])
        for around in (b"", b"\0", b"\xff" * 9):
            both = hashes([around, text, around])
            assert (both[0][1], both[1][1]) == (alone[0][0], alone[1][0])


def test_one_changed_byte_or_a_padded_zero_changes_the_hash() -> None:
    texts = {TEXT[:size] + bytes(zeros) for size in range(40) for zeros in range(3)}
    texts |= {TEXT[:i] + bytes([TEXT[i] ^ 1 << bit]) + TEXT[i + 1 :] for i in range(len(TEXT)) for bit in range(8)}
    short, long = hashes(sorted(texts))
    assert len(set(short)) == len(set(long)) == len(texts)


def test_each_bit_of_the_hash_depends_on_each_byte() -> None:
    generator = random.Random(5)
    for size in (1, 3, 8, 11, 40):
        texts = [bytes(generator.randrange(256) for _ in range(size)) for _ in range(400)]
        for place in range(size):
            changed = [t[:place] + bytes([t[place] ^ 0x10]) + t[place + 1 :] for t in texts]
            flips = np.array(hashes(texts)[0], np.uint64) ^ np.array(hashes(changed)[0], np.uint64)
            share = [np.mean(flips >> np.uint64(bit) & np.uint64(1)) for bit in range(64)]
            assert min(share) > 0.3
            assert max(share) < 0.7
