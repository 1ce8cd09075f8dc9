"""Fill-in-the-middle: documents rearranged so that a model learns to write what lies between two texts.

Bavarian et al. 2022, "Efficient Training of Language Models to Fill in the Middle": a document is cut in three at two
random places, and becomes PSM, `<prefix> P <suffix> S <middle> M`, or SPM, `<prefix><suffix> S <middle> P M` (the
variant for joint training, section 3). Cuts lie between characters (the paper's character level), and the three are
encoded on their own. Which documents, which order, and where to cut are draws of the document's id.
"""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import numpy as np
import pyarrow as pa
from msgspec import Meta
from numpy.typing import NDArray

from dolma_pipe.batch import Batch, Int64s
from dolma_pipe.config import Config
from dolma_pipe.draws import draws
from dolma_pipe.errors import ConfigError
from dolma_pipe.tokenizer import Tokenizer

Rate = Annotated[float, Meta(ge=0, le=1)]


class FimConfig(Config, frozen=True):
    """`rate` of the documents of `sources` (default: all) are rearranged, `spm_rate` of those as SPM, others as PSM.

    `prefix`, `suffix`, `middle` are special tokens of the tokenizer.
    """

    rate: Rate = 0.5
    spm_rate: Rate = 0.5
    sources: list[str] = []
    prefix: str = "<|fim_prefix|>"
    suffix: str = "<|fim_suffix|>"
    middle: str = "<|fim_middle|>"

    def check(self) -> None:
        if self.rate == 0:
            raise ConfigError("fim: a rate of 0 has no effect; remove fim, or give a rate above 0")
        if len({self.prefix, self.suffix, self.middle}) < 3:
            raise ConfigError(
                "fim: prefix, suffix and middle are three tokens; name another one where two are the same"
            )


class Segments(NamedTuple):
    """Parts of a batch's texts in the order they are written: bytes [start, end), up to two ids ahead of each (-1:
    none), and the document that it is of."""

    starts: Int64s
    ends: Int64s
    heads: NDArray[np.int64]
    documents: Int64s


class Rearranger:
    """Encodes batches with some of their documents rearranged."""

    def __init__(self, config: FimConfig, seed: int, tokenizer: Tokenizer) -> None:
        self.config, self.seed, self.tokenizer = config, seed, tokenizer
        names = (config.prefix, config.suffix, config.middle)
        self._ids = [tokenizer.special_id(name, f"fim {role}") for name, role in zip(names, ROLES, strict=True)]
        for name, number in zip(names, self._ids, strict=True):
            if number in (tokenizer.eos_id, tokenizer.bos_id):
                raise ConfigError(f"fim: {name!r} ends or begins documents; inside one it would be a false boundary")

    def documents(self, batch: Batch, sources: pa.Array, copy: int) -> tuple[NDArray[Any], Int64s, int]:
        """As `Tokenizer.documents`, and how many documents were rearranged."""
        chosen = self._chosen(batch, sources, copy)
        segments = self._segments(batch, sources, copy, chosen)
        ids, ends = self.tokenizer.segments(batch, *segments)
        return ids, ends, len(chosen)

    def _chosen(self, batch: Batch, sources: pa.Array, copy: int) -> Int64s:
        """Which documents are rearranged; an empty one has no middle."""
        chosen = (_share(self._draws("fim", batch, sources, copy)) < self.config.rate) & (np.diff(batch.offsets) > 0)
        if self.config.sources:
            wanted = set(self.config.sources)
            chosen &= np.array([source in wanted for source in sources.to_pylist()], np.bool_)
        return np.flatnonzero(chosen)

    def _draws(self, purpose: str, batch: Batch, sources: pa.Array, copy: int) -> NDArray[np.uint64]:
        found = np.empty(len(batch), np.uint64)
        names = np.array(sources.to_pylist(), object)
        for source in dict.fromkeys(names.tolist()):
            rows = np.flatnonzero(names == source)
            found[rows] = draws(self.seed, purpose, source, batch.ids.take(pa.array(rows)), copy)
        return found

    def _segments(self, batch: Batch, sources: pa.Array, copy: int, chosen: Int64s) -> Segments:
        prefix, suffix, middle = self._ids
        counts = np.ones(len(batch), np.int64)
        counts[chosen] = 3
        first = np.cumsum(counts) - counts
        documents = np.repeat(np.arange(len(batch)), counts)
        starts, ends = batch.offsets[documents].copy(), batch.offsets[documents + 1].copy()
        heads = np.full((len(documents), 2), -1, np.int64)
        a, b = self._cuts(batch, sources, copy, chosen)
        begin, end, at = batch.offsets[chosen], batch.offsets[chosen + 1], first[chosen]
        spm = _share(self._draws("fim order", batch, sources, copy))[chosen] < self.config.spm_rate
        heads[at, 0], heads[at, 1] = prefix, np.where(spm, suffix, -1)
        heads[at + 1, 0] = np.where(spm, middle, suffix)
        heads[at + 2, 0] = np.where(spm, -1, middle)
        starts[at], ends[at] = np.where(spm, b, begin), np.where(spm, end, a)
        starts[at + 1], ends[at + 1] = np.where(spm, begin, b), np.where(spm, a, end)
        starts[at + 2], ends[at + 2] = a, b
        return Segments(starts, ends, heads, documents)

    def _cuts(self, batch: Batch, sources: pa.Array, copy: int, chosen: Int64s) -> tuple[Int64s, Int64s]:
        """Two places in the text of each chosen document, in order, both between characters."""
        begin, end = batch.offsets[chosen], batch.offsets[chosen + 1]
        found: list[Int64s] = []
        for purpose in ("fim cut 1", "fim cut 2"):
            share = _share(self._draws(purpose, batch, sources, copy))[chosen]
            place = begin + np.minimum((share * (end - begin + 1)).astype(np.int64), end - begin)
            for _ in range(3):  # a character has at most three bytes behind its first
                inside = (place < end) & (batch.data[np.minimum(place, end - 1)] & 0xC0 == 0x80)
                place = place - inside
            found.append(place)
        return np.minimum(*found), np.maximum(*found)


ROLES = ("prefix", "suffix", "middle")


def _share(found: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Draws as numbers from 0 to 1, 53 bits of each."""
    return (found >> np.uint64(11)).astype(np.float64) * 2.0**-53
