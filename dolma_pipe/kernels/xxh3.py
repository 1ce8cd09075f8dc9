"""XXH3 (64 bits, seed 0) of messages of 17 to 240 bytes that differ in their middle: what draws are made of.

Equal to the published XXH3_64bits; shorter and longer messages are left to the library.
"""

from __future__ import annotations

import numpy as np

from dolma_pipe.kernels import kernel, piece
from dolma_pipe.kernels.hashing import load64

SHORTEST, LONGEST = 17, 240
_SECRET = np.frombuffer(
    bytes.fromhex(
        "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221b8084674f743248e"
        "e03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8a8fa763fe39c343ff9dcbbc7c70b4f1d8a"
        "51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc8f"
        "f8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
    ),
    np.uint8,
)
_PRIME = np.uint64(0x9E3779B185EBCA87)
_AVALANCHE = np.uint64(0x165667919E3779F9)
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


@piece
def _folded(one: np.uint64, other: np.uint64) -> np.uint64:
    """The halves of the 128-bit product, xored."""
    low, cross = (one & _LOW) * (other & _LOW), (one >> _HALF) * (other & _LOW)
    other_cross = (one & _LOW) * (other >> _HALF)
    middle = (low >> _HALF) + (cross & _LOW) + other_cross
    high = (one >> _HALF) * (other >> _HALF) + (cross >> _HALF) + (middle >> _HALF)
    return high ^ ((middle << _HALF) | (low & _LOW))


@piece
def _mixed(data: np.ndarray, at: int, secret: np.ndarray, place: int) -> np.uint64:
    """Sixteen bytes of the message with sixteen of the secret."""
    return _folded(
        load64(data, at) ^ load64(secret, place), load64(data, at + 8) ^ load64(secret, place + 8)
    )  # fmt: skip


@piece
def _avalanche(state: np.uint64) -> np.uint64:
    state = (state ^ (state >> np.uint64(37))) * _AVALANCHE
    return state ^ (state >> _HALF)


@piece
def _xxh3(data: np.ndarray, length: int, secret: np.ndarray) -> np.uint64:
    """The hash of the first `length` bytes, 17 to 240."""
    state = np.uint64(length) * _PRIME
    if length <= 128:
        for pair in range((length - 1) // 32, -1, -1):
            state += _mixed(data, 16 * pair, secret, 32 * pair)
            state += _mixed(data, length - 16 * (pair + 1), secret, 32 * pair + 16)
        return _avalanche(state)
    for i in range(8):
        state += _mixed(data, 16 * i, secret, 16 * i)
    state = _avalanche(state)
    for i in range(8, length // 16):
        state += _mixed(data, 16 * i, secret, 16 * (i - 8) + 3)
    return _avalanche(state + _mixed(data, length - 16, secret, 119))


@kernel
def framed_hashes(
    head: np.ndarray, data: np.ndarray, offsets: np.ndarray, tail: np.ndarray, secret: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """XXH3 of head, length of the text in eight bytes, text, tail, for every text: uint64[n]; and which of these are
    shorter or longer than it is made for (bool[n]), whose hashes are 0.
    """
    count = len(offsets) - 1
    hashes, left = np.zeros(count, np.uint64), np.zeros(count, np.bool_)
    message = np.zeros(LONGEST, np.uint8)
    begin = len(head) + 8
    message[: min(len(head), LONGEST)] = head[:LONGEST]
    for i in range(count):
        size = offsets[i + 1] - offsets[i]
        length = begin + size + len(tail)
        if length < SHORTEST or length > LONGEST:
            left[i] = True
            continue
        for byte in range(8):
            message[len(head) + byte] = (size >> (8 * byte)) & 255
        message[begin : begin + size] = data[offsets[i] : offsets[i + 1]]
        message[begin + size : length] = tail
        hashes[i] = _xxh3(message, length, secret)
    return hashes, left


def secret() -> np.ndarray:
    """The published constant: an argument, since kernels take no global arrays."""
    return _SECRET
