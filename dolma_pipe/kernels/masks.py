"""Sixty-four bytes at a time: which of them equal a byte or do not exceed one, as the bits of a word.

Bit i of a mask is byte `at + i`; bits behind the end of the data are 0. LLVM makes a few vector instructions of each
(AVX2, AVX-512, NEON), where a loop over the bytes takes a hundred or more.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.cpython.unsafe import numbers
from numba.extending import intrinsic

from dolma_pipe.kernels import kernel, piece

WIDTH = 64
_leading_zeros: Any = numbers.leading_zeros
_trailing_zeros: Any = numbers.trailing_zeros
_ZERO, _ONE = np.uint64(0), np.uint64(1)
_BYTES = ir.VectorType(ir.IntType(8), WIDTH)
_LANES = ir.VectorType(ir.IntType(32), WIDTH)


def _place(context: Any, builder: Any, kind: Any, array: Any, at: Any) -> Any:
    """The address of `array[at:at + 64]`."""
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [at]), _BYTES.as_pointer())


def _compared(comparison: str, bits: int, context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """`data[at:at + 64] | bits comparison byte` as 64 bits."""
    data, at, byte = arguments
    loaded = builder.load(_place(context, builder, signature.args[0], data, at))
    loaded.align = 1
    if bits:
        loaded = builder.or_(loaded, ir.Constant(_BYTES, [bits] * WIDTH))
    nowhere = ir.Constant(_BYTES, ir.Undefined)
    one = builder.insert_element(nowhere, byte, ir.Constant(ir.IntType(32), 0))
    every = builder.shuffle_vector(one, nowhere, ir.Constant(_LANES, [0] * WIDTH))
    return builder.bitcast(builder.icmp_unsigned(comparison, loaded, every), ir.IntType(WIDTH))


def _mask(comparison: str, bits: int) -> Any:
    """An intrinsic (data, at, byte): `data[at:at + 64] | bits comparison byte`."""

    def typed(_typing: Any, data: Any, at: Any, byte: Any) -> Any:
        return types.uint64(data, types.intp, types.uint8), lambda *call: _compared(comparison, bits, *call)

    return intrinsic(typed)


_equal64, _letter64, _most64 = _mask("==", 0), _mask("==", 0x20), _mask("<=", 0)


def _copy64(_typing: Any, data: Any, at: Any, out: Any, to: Any) -> Any:
    def make(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        loaded = builder.load(_place(context, builder, signature.args[0], arguments[0], arguments[1]))
        stored = builder.store(loaded, _place(context, builder, signature.args[2], arguments[2], arguments[3]))
        loaded.align = stored.align = 1
        return context.get_dummy_value()

    return types.none(data, types.intp, out, types.intp), make


copy64: Any = intrinsic(_copy64)
"""(data, at, out, to): copies `data[at:at + 64]` to `out[to:to + 64]`; both must be there."""


def _popcount(_typing: Any, word: Any) -> Any:
    return types.int64(types.uint64), lambda context, builder, signature, arguments: builder.ctpop(arguments[0])


popcount: Any = intrinsic(_popcount)
"""How many bits of a uint64 are 1."""


@kernel
def _short(data: np.ndarray, at: int, low: int, high: int) -> np.uint64:
    """The bytes of `low` to `high`, in data of less than 64 bytes."""
    found = np.uint64(0)
    for i in range(at, len(data)):
        found |= np.uint64(low <= data[i] <= high) << np.uint64(i - at)
    return found


@piece
def equal(data: np.ndarray, at: int, byte: int) -> np.uint64:
    """The bytes from `at` on that equal `byte`; `0 <= at < len(data)`."""
    last = len(data) - WIDTH
    if at <= last:
        return _equal64(data, at, np.uint8(byte))
    if last >= 0:
        return _equal64(data, last, np.uint8(byte)) >> np.uint64(at - last)
    return _short(data, at, byte, byte)


@piece
def letter(data: np.ndarray, at: int, byte: int) -> np.uint64:
    """The bytes from `at` on that are a letter in either case; `byte` is it in lower case, `0 <= at < len(data)`."""
    last = len(data) - WIDTH
    if at <= last:
        return _letter64(data, at, np.uint8(byte))
    if last >= 0:
        return _letter64(data, last, np.uint8(byte)) >> np.uint64(at - last)
    return _short(data, at, byte, byte) | _short(data, at, byte - 0x20, byte - 0x20)


@piece
def most(data: np.ndarray, at: int, byte: int) -> np.uint64:
    """The bytes from `at` on that are `byte` or less; `0 <= at < len(data)`."""
    last = len(data) - WIDTH
    if at <= last:
        return _most64(data, at, np.uint8(byte))
    if last >= 0:
        return _most64(data, last, np.uint8(byte)) >> np.uint64(at - last)
    return _short(data, at, 0, byte)


@piece
def continuing(data: np.ndarray, at: int) -> np.uint64:
    """The bytes from `at` on that continue a code point, which are 0x80 to 0xBF; `0 <= at < len(data)`."""
    return most(data, at, 0xBF) & ~most(data, at, 0x7F)


@piece
def visible_ascii(data: np.ndarray, at: int) -> np.uint64:
    """The bytes from `at` on that are 0x21 to 0x7F; `0 <= at < len(data)`."""
    return most(data, at, 0x7F) & ~most(data, at, 0x20)


@piece
def first(mask: np.uint64) -> int:
    """The place of the lowest bit of a mask that is not 0."""
    return np.int64(_trailing_zeros(mask))


@piece
def last(mask: np.uint64) -> int:
    """The place of the highest bit of a mask that is not 0."""
    return WIDTH - 1 - np.int64(_leading_zeros(mask))


@piece
def without_first(mask: np.uint64) -> np.uint64:
    """The mask without its lowest bit."""
    return mask & (mask - _ONE)


@piece
def below(count: int) -> np.uint64:
    """The lowest `count` bits, 0 to 64 of them."""
    return (_ONE << np.uint64(count)) - _ONE if count < WIDTH else ~_ZERO


@piece
def is_ascii(data: np.ndarray, start: int, end: int) -> bool:
    """Whether `data[start:end]` has no byte above 0x7F."""
    at = start
    while at < end:
        if ~most(data, at, 0x7F) & below(min(end - at, len(data) - at)):
            return False
        at += WIDTH
    return True
