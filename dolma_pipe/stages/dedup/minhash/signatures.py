"""MinHash signatures of documents: what shapes them, how they are made, and the file of one shard's.

A file is kept beside the attributes, for the next threshold and the next data set. It holds pages of `PAGE` documents:

    N/ids    strings[n]               N/signatures  uint32[n * permutations]
    N/words  uint32[n]                N/keys        uint64[n * 2], equal where all words are (kernels/minhash.py)
"""

from __future__ import annotations

import unicodedata
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dolma_pipe.batch import Batch, UInt64s
from dolma_pipe.config import Config, fingerprint
from dolma_pipe.errors import ConfigError
from dolma_pipe.kernels.folding import Folding, make_folding
from dolma_pipe.kernels.minhash import shingle_hashes, sign
from dolma_pipe.stages.dedup.arrays import ArrayReader, ArrayWriter
from dolma_pipe.types import Plain

PAGE = 8192
"""Documents of a page; only a shard's last page may have fewer."""

VERSION = 1
"""Of the signatures: it rises whenever the same text would get others."""


class MinhashRules(Config, frozen=True):
    """What near duplicates are, and how they are sought.

    `threshold`: the least similarity of two documents that count as duplicates. `verify`: what that similarity is:
    `jaccard` of their sets of shingles (shared over all), `containment` (shared over the smaller set), both from the
    texts of the candidates, which are read again; `signature`, the share of equal values, an estimate that reads
    nothing again; `none` takes every candidate. `shingle`: words in a shingle. `lowercase`, `ignore_punctuation`,
    `ignore_accents`, `ignore_numbers`: what does not count as a difference (kernels/folding.py). `permutations`,
    `seed` and `scheme` (affine32, or legacy for signatures like those of datasketch before 2.0) shape the signatures.
    `bands` of `rows` values: documents that share one band are candidates; without them both are chosen as
    `datasketch.MinHashLSH` does for the threshold and `weights`, what a false positive and a false negative cost.
    `bucket_limit`: in how many earlier texts of one bucket a document is looked for.
    """

    threshold: float = 0.8
    verify: Literal["jaccard", "containment", "signature", "none"] = "jaccard"
    shingle: int = 5
    lowercase: bool = True
    ignore_punctuation: bool = True
    ignore_accents: bool = True
    ignore_numbers: bool = False
    permutations: int = 128
    seed: int = 1
    scheme: Literal["affine32", "legacy"] = "affine32"
    bands: int | None = None
    rows: int | None = None
    weights: tuple[float, float] = (0.1, 0.9)
    bucket_limit: int = 32


def check(rules: MinhashRules) -> MinhashRules:
    """The rules, if they can work."""
    least = {"shingle": 1, "permutations": 2, "seed": 0, "bands": 1, "rows": 1, "bucket_limit": 1}
    for name, bound in least.items():
        value = getattr(rules, name)
        if value is not None and value < bound:
            raise ConfigError(f"minhash.{name}: {value} is less than {bound}")
    most = {"shingle": 1 << 10, "permutations": 1 << 12, "bucket_limit": 1 << 16}
    for name, bound in most.items():
        if getattr(rules, name) > bound:
            raise ConfigError(f"minhash.{name}: {getattr(rules, name)} is more than {bound}")
    if not 0 < rules.threshold <= 1:
        raise ConfigError(f"minhash.threshold: {rules.threshold} is not above 0 and at most 1")
    if min(rules.weights) < 0 or abs(sum(rules.weights) - 1) > 1e-9:
        raise ConfigError(f"minhash.weights: {list(rules.weights)} do not add up to 1")
    if not rules.seed < 1 << 32:
        raise ConfigError(f"minhash.seed: {rules.seed} is not below 2^32")
    _check_bands(rules)
    return rules


def _check_bands(rules: MinhashRules) -> None:
    if (rules.bands is None) != (rules.rows is None):
        raise ConfigError("minhash.bands: give both bands and rows, or neither")
    if rules.bands and rules.rows and rules.bands * rules.rows > rules.permutations:
        wanted = f"{rules.bands} bands of {rules.rows} rows"
        raise ConfigError(f"minhash.bands: {wanted} need more than {rules.permutations} permutations")
    unset = MinhashRules()
    if rules.bands and rules.weights != unset.weights:
        raise ConfigError("minhash.weights: have no effect where bands and rows are given; remove them")
    if rules.bands and rules.verify == "none" and rules.threshold != unset.threshold:
        raise ConfigError("minhash.threshold: has no effect with verify: none and bands and rows given; remove it")


class Bands(NamedTuple):
    """`number` bands of `rows` values each: two documents share one with probability 1 - (1 - J^rows)^number."""

    number: int
    rows: int

    def probability(self, jaccard: float) -> float:
        return 1 - (1 - jaccard**self.rows) ** self.number


def choose_bands(rules: MinhashRules) -> Bands:
    """The bands that the rules give, or those of least weighted error around the threshold."""
    if rules.bands and rules.rows:
        return Bands(rules.bands, rules.rows)
    from datasketch import MinHashLSH

    try:
        lsh = MinHashLSH(threshold=rules.threshold, num_perm=rules.permutations, weights=rules.weights)
    except ValueError:  # a single band is best, which it refuses
        return _one_band(rules)
    return Bands(lsh.b, lsh.r)


def _one_band(rules: MinhashRules) -> Bands:
    """The band of least weighted error: of the areas under J^rows below the threshold, and over it above."""
    threshold, ends = rules.threshold, np.arange(2, rules.permutations + 2)
    below = threshold**ends / ends
    above = 1 - threshold - (1 - threshold**ends) / ends
    return Bands(1, int(np.argmin(rules.weights[0] * below + rules.weights[1] * above)) + 1)


class Signed(NamedTuple):
    """Documents with their signatures (uint32[n, permutations]), keys (uint64[n, 2]) and words (uint32[n])."""

    ids: pa.Array
    signatures: npt.NDArray[np.uint32]
    keys: UInt64s
    words: npt.NDArray[np.uint32]


class Signer:
    """Makes signatures by the rules; can be sent to workers."""

    def __init__(self, rules: MinhashRules) -> None:
        from datasketch import MinHash

        self.rules = rules
        made = MinHash(rules.permutations, seed=rules.seed, scheme=rules.scheme)
        parameters: Any = made.permutations
        self._a, self._b = np.asarray(parameters[0], np.uint64), np.asarray(parameters[1], np.uint64)

    @property
    def about(self) -> dict[str, Plain]:
        """What the signatures depend on besides the documents."""
        names = (
            "shingle", "lowercase", "ignore_punctuation", "ignore_accents", "ignore_numbers", "permutations", "seed",
            "scheme",
        )  # fmt: skip
        chosen = {name: getattr(self.rules, name) for name in names}
        return {**chosen, "version": VERSION, "unicode": unicodedata.unidata_version}

    @property
    def folder(self) -> str:
        """A name for the folder of signatures like these."""
        return f"{self.rules.scheme}_{self.rules.permutations}_{fingerprint(self.about)[:12]}"

    @property
    def _folding(self) -> Folding:
        rules = self.rules
        return make_folding(rules.lowercase, rules.ignore_punctuation, rules.ignore_accents, rules.ignore_numbers)

    def sign(self, batch: Batch) -> Signed:
        affine = self.rules.scheme == "affine32"
        signatures, keys, words = sign(
            batch.data, batch.offsets, self._folding, self.rules.shingle, affine, self._a, self._b
        )
        return Signed(batch.ids, signatures, keys, words.astype(np.uint32))

    def shingle_count(self, words: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Shingles of documents with so many words, repeats included."""
        return np.where(words > 0, np.maximum(words.astype(np.int64) - self.rules.shingle + 1, 1), 0)

    def shingles(self, batch: Batch, documents: npt.NDArray[np.int64], bounds: npt.NDArray[np.int64]) -> UInt64s:
        """64-bit hashes of the shingles of some documents; `bounds` are the running totals of their counts."""
        return shingle_hashes(batch.data, batch.offsets, documents, bounds, self._folding, self.rules.shingle)


class SignatureWriter:
    """Batches in, pages out; `documents` counts them."""

    def __init__(self, stream: Any) -> None:
        self._out = ArrayWriter(stream)
        self._pending: list[Signed] = []
        self._waiting = self._pages = 0
        self.documents = 0

    def write(self, signed: Signed) -> None:
        self._pending.append(signed)
        self._waiting += len(signed.ids)
        if self._waiting >= PAGE:
            self._flush(self._waiting // PAGE * PAGE)

    def _flush(self, documents: int) -> None:
        whole = _joined(self._pending)
        for start in range(0, documents, PAGE):
            self._page(_sliced(whole, start, min(start + PAGE, documents)))
        self._pending, self._waiting = [_sliced(whole, documents, self._waiting)], self._waiting - documents

    def _page(self, page: Signed) -> None:
        self._out.add_strings(f"{self._pages}/ids", page.ids)
        self._out.add(f"{self._pages}/words", page.words)
        self._out.add(f"{self._pages}/signatures", page.signatures.reshape(-1))
        self._out.add(f"{self._pages}/keys", page.keys.reshape(-1))
        self._pages += 1
        self.documents += len(page.ids)

    def close(self) -> None:
        if self._waiting:
            self._flush(self._waiting)
        self._out.close()


def read_page(file: ArrayReader, page: int, permutations: int) -> Signed:
    """One page of a file of signatures."""
    signatures = file.read(f"{page}/signatures").reshape(-1, permutations)
    keys = file.read(f"{page}/keys").reshape(-1, 2)
    return Signed(file.read_strings(f"{page}/ids"), signatures, keys, file.read(f"{page}/words"))


def _joined(pending: list[Signed]) -> Signed:
    ids = pa.concat_arrays([part.ids.cast(pa.large_string()) for part in pending])
    signatures, keys, words = (np.concatenate(parts) for parts in list(zip(*pending, strict=True))[1:])
    return Signed(ids, signatures, keys, words)


def _sliced(signed: Signed, start: int, stop: int) -> Signed:
    return Signed(
        signed.ids.slice(start, stop - start), signed.signatures[start:stop], signed.keys[start:stop],
        signed.words[start:stop],
    )  # fmt: skip
