"""A Bloom filter as a folder: `filter.json` says what it holds and how, `bits-00000` ... are its ranges of blocks.

Its size follows from how many keys are expected and how many of those that it has not seen it may take for seen. Keys
fall on blocks unevenly (Putze, Sanders and Singler 2007, "Cache-, Hash- and Space-Efficient Bloom Filters"), which is
counted in; with blocks of 4 KiB it costs less than 1 % of the size.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np
import numpy.typing as npt

from dolma_pipe import storage
from dolma_pipe.config import Config
from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.kernels.bloom import BLOCK_BITS, BLOCK_WORDS
from dolma_pipe.types import Plain

FORMAT = 1
HASH = "MurmurHash3_x64_128"
HEADER = "filter.json"
BLOCK_BYTES = BLOCK_BITS // 8
MOST_BLOCKS = (1 << 32) - 1
ERROR_RATE = 1e-6
Words = npt.NDArray[np.uint64]


class BloomRules(Config, frozen=True):
    """Which filter is asked and which is written.

    `seen`: a filter of earlier runs; a key that is in it is a duplicate. `save`: where a filter of those keys and of
    this run's is written, and then a key that comes earlier in this run makes a duplicate too; without it nothing is
    remembered, and only `seen` counts. A new filter is made for `expected` different keys, of which it takes one that
    it has not seen for seen with a probability of at most `error_rate` (1e-6 unless given); `seed` chooses the bits.
    A filter that continues `seen` has its size and its seed, and its `error_rate` unless another is given.
    """

    seen: str | None = None
    save: str | None = None
    expected: float | None = None
    error_rate: float | None = None
    seed: int | None = None


def check(rules: BloomRules) -> BloomRules:
    """The rules, unless they make no sense."""
    if rules.seen is None and rules.save is None:
        raise ConfigError("bloom: names no filter; give seen: (to ask), save: (to write one) or both")
    if rules.seen is not None and rules.save is not None and storage.join(rules.seen) == storage.join(rules.save):
        raise ConfigError(f"bloom: seen and save are both {rules.save}; a filter is never changed: save a new one")
    shaped = ("expected", "seed") if rules.seen is not None else ()
    for name in (*shaped, *(("error_rate",) if rules.save is None else ())):
        if getattr(rules, name) is not None:
            raise ConfigError(f"bloom.{name}: has no effect: {rules.seen} says it; remove it")
    if rules.seen is None and (rules.expected is None or rules.expected < 1 or rules.expected % 1):
        raise ConfigError(
            f"bloom.expected: {rules.expected} is no number of keys; a new filter is sized for so many different ones"
        )
    if rules.error_rate is not None and not 0 < rules.error_rate < 1:
        raise ConfigError(f"bloom.error_rate: {rules.error_rate} is not between 0 and 1")
    if rules.seed is not None and not 0 <= rules.seed < 1 << 64:
        raise ConfigError(f"bloom.seed: {rules.seed} is not from 0 to 2^64 - 1")
    return rules


class Shape(msgspec.Struct, frozen=True):
    """`blocks` of BLOCK_BITS each, in `ranges` equal parts, and `probes` bits set for each key; `seed` shapes them."""

    blocks: int
    ranges: int
    probes: int
    seed: int

    @property
    def range_blocks(self) -> int:
        return self.blocks // self.ranges


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `filter.json` says.

    `hash` makes keys of the values that `keys` describes. `added`: keys that were added and not taken for seen.
    `error_rate` may be reached, `estimated_error_rate` follows from `bits_set`. `hashes`: xxh3-128 of the files of
    bits. `definition` fingerprints what the filter was made from.
    """

    format: int
    hash: str
    keys: dict[str, Plain]
    block_bits: int
    shape: Shape
    expected: int
    error_rate: float
    added: int
    bits_set: int
    estimated_error_rate: float
    hashes: list[str]
    definition: str


def bits_name(number: int) -> str:
    return f"bits-{number:05d}"


def read_header(folder: str) -> Header:
    """What a filter says about itself; a `ConfigError` where there is none, or one that this version cannot read."""
    path = storage.join(folder, HEADER)
    if storage.stat(path) is None:
        raise ConfigError(f"{folder}: no Bloom filter: there is no {HEADER} in it")
    try:
        header = msgspec.json.decode(storage.read_bytes(path), type=Header)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"{path}: not the header of a Bloom filter: {error}") from error
    if (header.format, header.hash, header.block_bits) != (FORMAT, HASH, BLOCK_BITS):
        raise ConfigError(f"{path}: a filter of format {header.format} with {header.hash}, which this version has not")
    return header


def read_range(folder: str, header: Header, number: int) -> Words:
    """The blocks of one range, to be changed at will: a file is mapped, and written pages are private copies."""
    path = storage.join(folder, bits_name(number))
    size = header.shape.range_blocks * BLOCK_BYTES
    if storage.size(path) != size or storage.content_hash(path) != header.hashes[number]:
        raise DataError(f"{path}: not what {HEADER} says it is: cut short or damaged; copy the filter again")
    if storage.is_remote(path):
        return np.frombuffer(bytearray(storage.read_bytes(path)), "<u8")
    return np.asarray(np.memmap(path, "<u8", "c"))


def empty_range(shape: Shape) -> Words:
    return np.zeros(shape.range_blocks * BLOCK_WORDS, "<u8")


def false_positive_rate(blocks: int, probes: int, keys: int) -> float:
    """The probability that a key which was never added is taken for one, with so many different keys added.

    Keys per block are Poisson distributed; in a block with i keys, i * probes bits were set at random places.
    """
    load = keys / blocks
    spread = int(12 * math.sqrt(load) + 24)
    rate = 0.0
    for count in range(max(0, int(load) - spread), int(load) + spread) if keys else ():
        chance = math.exp(count * math.log(load) - load - math.lgamma(count + 1))
        set_bits = -math.expm1(count * probes * math.log1p(-1 / BLOCK_BITS))
        rate += chance * set_bits**probes
    return rate


def blocks_for(expected: int, error_rate: float, probes: int) -> int:
    """The fewest blocks with which `probes` bits per key are enough."""
    even = -probes * expected / math.log1p(-(error_rate ** (1 / probes))) / BLOCK_BITS  # were all blocks equally full
    low, high = int(0.9 * even), math.ceil(even)
    while false_positive_rate(high, probes, expected) > error_rate:
        low, high = high, high + high // 16 + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if false_positive_rate(middle, probes, expected) <= error_rate else (middle, high)
    return high


def shape_for(expected: int, error_rate: float, seed: int, range_bytes: int) -> Shape:
    """The smallest filter for so many keys and that error rate, in ranges of about `range_bytes`."""
    best = max(1, round(-math.log2(error_rate)))
    found = min((blocks_for(expected, error_rate, probes), probes) for probes in range(max(1, best - 2), best + 3))
    blocks, probes = found
    if blocks > MOST_BLOCKS:
        raise ConfigError(
            f"bloom.expected: {expected:.3g} keys with an error rate of {error_rate:g} need {blocks * BLOCK_BYTES:.3g} "
            f"bytes, and a filter has {MOST_BLOCKS * BLOCK_BYTES:.3g} at most; expect fewer, or allow more errors"
        )
    ranges = max(1, -(-blocks * BLOCK_BYTES // max(range_bytes, BLOCK_BYTES)))
    return Shape(-(-blocks // ranges) * ranges, ranges, probes, seed)


def keys_in(shape: Shape, bits_set: int) -> int:
    """About how many different keys were added, by how full the filter is (Swamidass and Baldi 2007)."""
    bits = shape.blocks * BLOCK_BITS
    return round(-bits / shape.probes * math.log1p(-min(bits_set, bits - 1) / bits))


def estimated_error_rate(shape: Shape, bits_set: int) -> float:
    """How many of the keys that it has not seen a filter takes for seen now, to six digits."""
    return float(f"{false_positive_rate(shape.blocks, shape.probes, keys_in(shape, bits_set)):.6g}")


def as_json(header: Header, hashes: list[str]) -> bytes:
    """The header of a filter whose files of bits have these hashes, as it is stored."""
    return msgspec.json.format(msgspec.json.encode(msgspec.structs.replace(header, hashes=hashes)), indent=2)
