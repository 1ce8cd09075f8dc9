"""Files of supervised models: those of fastText 0.1 and later (format versions 11 and 12), quantised ones too.

Joulin et al. 2016, "FastText.zip", for the quantised ones.
"""

from __future__ import annotations

import math
import mmap
import struct
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dolma_pipe import storage
from dolma_pipe.batch import Int32s
from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.kernels.fasttext import Vocabulary, index_words, word_hash
from dolma_pipe.kernels.fasttext_hidden import MOST_CHARS
from dolma_pipe.kernels.fasttext_labels import Output

Float32s = npt.NDArray[np.float32]

PREFIX = "__label__"
END = b"</s>"
SUPERVISED = 3
TREE, NEGATIVE_SAMPLING, SOFTMAX, ONE_VS_ALL = 1, 2, 3, 4
_MAGIC, _VERSIONS = 793712314, (11, 12)
_CENTROIDS = 256
_MOST_BUCKETS, _MOST_DIMENSIONS = 1 << 27, 1 << 14
"""Beyond what anyone trains: a file that says so is damaged."""


class Stored(NamedTuple):
    """What a file holds: the labels by number, words and n-grams, a vector for each, and what makes scores of them."""

    labels: tuple[str, ...]
    vocabulary: Vocabulary
    vectors: Float32s
    output: Output


class _File:
    """A file that is read from its beginning to its end; anything missing is a `DataError`."""

    def __init__(self, path: str) -> None:
        self.path, self.at = path, 0
        with storage.open_read(storage.local_path(path)) as stream:
            try:
                self.bytes = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
            except ValueError as error:
                raise self.broken("it is empty") from error

    def broken(self, why: str) -> DataError:
        return DataError(f"{self.path}: not a fastText model: {why}; fetch or train it again")

    def take(self, format: str) -> tuple[Any, ...]:
        """Values of a `struct` format."""
        size = struct.calcsize("<" + format)
        if self.at + size > len(self.bytes):
            raise self.broken("it ends too early")
        self.at += size
        return struct.unpack_from("<" + format, self.bytes, self.at - size)

    def array(self, kind: str, *shape: int) -> npt.NDArray[Any]:
        """An array of the file's next values, copied so that it is aligned."""
        count = math.prod(shape)
        if min(shape) < 0 or self.at + count * np.dtype(kind).itemsize > len(self.bytes):
            raise self.broken(f"it ends before {' x '.join(map(str, shape))} values")
        found = np.frombuffer(self.bytes, kind, count, self.at).astype(np.dtype(kind).newbyteorder("="))
        self.at += found.nbytes
        return found.reshape(shape)

    def word(self) -> bytes:
        """Bytes up to the next NUL."""
        end = self.bytes.find(b"\0", self.at)
        if end < 0:
            raise self.broken("it ends within its dictionary")
        found = self.bytes[self.at : end]
        self.at = end + 1
        return found


class _Arguments(NamedTuple):
    dimension: int
    max_words: int
    loss: int
    buckets: int
    min_chars: int
    max_chars: int


class _Words(NamedTuple):
    names: list[bytes]
    counts: list[int]
    words: int
    kept: int
    """How many buckets have a row, -1 for all."""


def read(path: str) -> Stored:
    """A file that is no model is a `DataError`, one without labels (word vectors only) a `ConfigError`."""
    file = _File(path)
    arguments = _read_arguments(file)
    words = _read_words(file)
    vocabulary = _vocabulary(file, arguments, words)
    is_quantised = bool(file.take("B")[0])
    if words.kept >= 0 and not is_quantised:
        raise file.broken("it is pruned, but not quantised")
    vectors, _ = _read_matrix(file, is_quantised, arguments.dimension, scaled=True)
    buckets = words.kept if words.kept >= 0 else arguments.buckets
    if len(vectors) < words.words + buckets:
        raise file.broken(f"{len(vectors)} vectors for {words.words} words and {buckets} buckets")
    output = _read_output(file, is_quantised, arguments, words.counts[words.words :])
    labels = [name.decode(errors="replace").removeprefix(PREFIX) for name in words.names[words.words :]]
    return Stored(tuple(labels), vocabulary, vectors, output)


def _read_arguments(file: _File) -> _Arguments:
    if len(file.bytes) < 8 or file.take("i")[0] != _MAGIC:
        raise file.broken("it does not begin like one")
    [version] = file.take("i")
    if version not in _VERSIONS:
        raise file.broken(f"its format has version {version}, which must be one of {_VERSIONS}")
    dimension, _, _, _, _, max_words, loss, kind, buckets, min_chars, max_chars, _, _ = file.take("12id")
    if kind != SUPERVISED:
        raise ConfigError(f"{file.path}: holds word vectors, not a classifier; give a supervised fastText model")
    if version == 11:  # classifiers had no character n-grams then, whatever the file says
        max_chars = 0
    hashes = max_words > 1 or max_chars > 0
    sane = (
        0 < dimension <= _MOST_DIMENSIONS
        and loss in (TREE, NEGATIVE_SAMPLING, SOFTMAX, ONE_VS_ALL)
        and int(hashes) <= buckets <= _MOST_BUCKETS
        and max_chars <= MOST_CHARS
    )
    if not sane:
        raise file.broken(f"dimension {dimension}, loss {loss}, {buckets} buckets, n-grams up to {max_chars}")
    return _Arguments(dimension, max_words, loss, buckets, min_chars, max_chars)


def _read_words(file: _File) -> _Words:
    size, words, labels, _, kept = file.take("3i2q")
    if words < 0 or labels < 1 or size != words + labels or size > len(file.bytes) // 10 or kept < -1:
        raise file.broken(f"{size} words, of which {words} words and {labels} labels, {kept} n-grams kept")
    names, counts = [], []
    for i in range(size):
        names.append(file.word())
        count, is_label = file.take("qb")
        if bool(is_label) != (i >= words) or not 0 <= count < 1e15 / size:
            raise file.broken(f"word {i} of its dictionary has type {is_label} and count {count}")
        counts.append(count)
    return _Words(names, counts, words, kept)


def _vocabulary(file: _File, arguments: _Arguments, words: _Words) -> Vocabulary:
    text = np.frombuffer(b"".join(words.names), np.uint8)
    bounds = np.zeros(len(words.names) + 1, np.int64)
    np.cumsum([len(name) for name in words.names], out=bounds[1:])
    slots = np.full(1 << (2 * len(words.names)).bit_length(), -1, np.int32)
    index_words(text, bounds, slots)
    end = words.names.index(END) if END in words.names[: words.words] else -1
    kept = _read_kept(file, arguments.buckets, words.kept) if words.kept > 0 else np.empty(0, np.int32)
    hashed = words.kept != 0
    return Vocabulary(
        text=text,
        bounds=bounds,
        slots=slots,
        words=words.words,
        end=end,
        end_hash=word_hash(END),
        kept=kept,
        buckets=arguments.buckets,
        min_chars=arguments.min_chars,
        max_chars=arguments.max_chars if hashed else 0,
        max_words=arguments.max_words if hashed else 1,
    )


def _read_kept(file: _File, buckets: int, count: int) -> Int32s:
    """The row of every bucket, -1 for those that were pruned."""
    pairs = file.array("<i4", count, 2)
    if pairs.min() < 0 or pairs[:, 0].max() >= buckets or pairs[:, 1].max() >= count:
        raise file.broken("it keeps n-grams that are out of range")
    kept = np.full(buckets, -1, np.int32)
    kept[pairs[:, 0]] = pairs[:, 1]
    return kept


def _read_matrix(file: _File, is_quantised: bool, columns: int, scaled: bool) -> tuple[Float32s, Float32s]:
    """(vectors float32[rows, columns], their scales float32[rows]); `scaled`: multiplied already, as when rows are
    added; a product with a row is scaled afterwards."""
    norms = bool(file.take("B")[0]) if is_quantised else False
    rows, width = file.take("2q")
    if rows < 1 or width != columns or rows > len(file.bytes):
        raise file.broken(f"a matrix of {rows} x {width}, where the dimension is {columns}")
    if not is_quantised:
        return file.array("<f4", rows, columns), np.ones(rows, np.float32)
    [size] = file.take("i")
    codes = file.array("<u1", size)
    vectors = _decode(file, codes, rows, columns)
    scales = np.ones(rows, np.float32)
    if norms:
        scales = _decode(file, file.array("<u1", rows), rows, 1)[:, 0]
    if scaled:
        vectors *= scales[:, None]
    return vectors, scales


def _decode(file: _File, codes: npt.NDArray[np.uint8], rows: int, columns: int) -> Float32s:
    """What a product quantiser, which the file holds next, makes of one code per row and group of columns."""
    width, groups, step, last = file.take("4i")
    sane = width == columns and step > 0 and 0 < last <= step and (groups - 1) * step + last == columns
    if not sane or len(codes) != rows * groups:
        raise file.broken(f"a quantiser of {width} columns in {groups} groups of {step} for {len(codes)} codes")
    centroids = file.array("<f4", columns * _CENTROIDS)
    found = np.empty((rows, columns), np.float32)
    by_row = codes.reshape(rows, groups)
    for group in range(groups):
        wide = last if group == groups - 1 else step
        first = group * step
        table = centroids[first * _CENTROIDS : (first + wide) * _CENTROIDS].reshape(_CENTROIDS, wide)
        found[:, first : first + wide] = table[by_row[:, group]]
    return found


def _read_output(file: _File, is_quantised: bool, arguments: _Arguments, counts: list[int]) -> Output:
    is_output_quantised = bool(file.take("B")[0]) and is_quantised
    weights, scales = _read_matrix(file, is_output_quantised, arguments.dimension, scaled=False)
    if len(weights) != len(counts):
        raise file.broken(f"{len(weights)} output vectors for {len(counts)} labels")
    is_tree = arguments.loss == TREE
    left, right = _huffman_tree(counts) if is_tree else ([], [])
    has_table = arguments.loss in (ONE_VS_ALL, NEGATIVE_SAMPLING)
    table = _sigmoid_table() if has_table else np.empty(0, np.float32)
    columns = np.ascontiguousarray(weights.T)
    return Output(columns, scales, table, np.array(left, np.int32), np.array(right, np.int32), is_tree)


def _huffman_tree(counts: list[int]) -> tuple[list[int], list[int]]:
    """Children of the inner nodes, the root last; the labels are nodes 0 to n - 1, most frequent first."""
    nodes = [*counts, *[10**15] * (len(counts) - 1)]
    leaf, inner = len(counts) - 1, len(counts)
    left: list[int] = []
    right: list[int] = []
    for node in range(len(counts), len(nodes)):
        for side in (left, right):
            if leaf >= 0 and nodes[leaf] < nodes[inner]:
                side.append(leaf)
                leaf -= 1
            else:
                side.append(inner)
                inner += 1
        nodes[node] = nodes[left[-1]] + nodes[right[-1]]
    return left, right


def _sigmoid_table() -> Float32s:
    """The library's: 1 / (1 + exp(-x)) at 513 places from -8 to 8."""
    places = np.arange(513, dtype=np.float32) * np.float32(16) / np.float32(512) - np.float32(8)
    below = np.array([math.exp(-x) for x in places.tolist()], np.float32)
    return (1.0 / (1.0 + below.astype(np.float64))).astype(np.float32)
