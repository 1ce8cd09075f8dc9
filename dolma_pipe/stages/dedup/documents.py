"""Documents compared by one value each: their text, their URL, a field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import msgspec
import numpy as np
import pyarrow as pa

from dolma_pipe.batch import Batch
from dolma_pipe.config import Config
from dolma_pipe.kernels.keys import document_keys
from dolma_pipe.stages.dedup.keys import Mask
from dolma_pipe.stages.dedup.normalization import Normalization, normalize, value_bytes
from dolma_pipe.stages.dedup.results import WHERE, Array, Page, Places, Rows, copies, entry_keys, hexadecimal, scatter
from dolma_pipe.stages.dedup.spill import Keyed
from dolma_pipe.tagger import Field, count64, flag, string
from dolma_pipe.types import Plain
from dolma_pipe.url import UrlRules, normalize_urls

FIELDS = ("id", "source", "added", "created")


class TextRules(Config, frozen=True):
    """Which differences between two texts do not count; none: they are compared byte for byte."""

    normalize: tuple[Normalization, ...] = ()


class DocumentKeys:
    """The key of a document is its text, its normalised `metadata.url`, or a field; an empty one is none."""

    with_ids: ClassVar[bool] = True
    fields: ClassVar[Mapping[str, Field]] = {
        "is_duplicate": flag("does an equal document come earlier in documented order (data set, shard, row)?"),
        "duplicate_of": Field(
            pa.struct([*WHERE.items(), ("id", pa.string())]), "the first copy; null where not a duplicate"
        ),
        "cluster": string("the key that all copies share, 32 hexadecimal digits; null when alone"),
        "size": count64("copies in the cluster, this one included; 1 when alone"),
        "rank": count64("copies earlier in documented order; 0 for the first"),
    }

    def __init__(self, by: str, url: UrlRules | None, text: TextRules | None) -> None:
        self.by = by
        self.url = url or UrlRules()
        self.text = text or TextRules()
        field = "metadata.url" if by == "url" else by
        self.columns: tuple[str, ...] = ("id",) if by == "id" else ("id", field.partition(".")[0])
        rules = {"url": self.url, "text": self.text}.get(by)
        self.about: dict[str, Plain] = {"by": by, **({by: msgspec.to_builtins(rules)} if rules else {})}
        self.missing = f"no document has {'a ' if by == 'text' else ''}{field}"

    def of(self, batch: Batch, competes: Mask) -> Keyed:
        if self.by == "text" and not self.text.normalize:
            return Keyed(*document_keys(batch.data, batch.offsets, competes), batch.ids)
        return Keyed(*document_keys(*value_bytes(self._values(batch)), competes), batch.ids)

    def _values(self, batch: Batch) -> pa.Array:
        if self.by == "url":
            return normalize_urls(batch.metadata("url"), self.url)
        if self.by == "text":
            return normalize(batch.columns.column("text"), self.text.normalize)
        if self.by.startswith("metadata."):
            return batch.metadata(self.by.removeprefix("metadata."))
        return batch.columns.column(self.by)

    def rows(self, page: Page, places: Places) -> Rows:
        """Cluster, size and rank of every document of a page."""
        counts = page.read("counts")
        keyed, documents = np.flatnonzero(counts), len(counts)
        found = copies(page)
        row, duplicate = keyed[found.records], found.ranks > 0
        rank, size = np.zeros(documents, np.int64), np.ones(documents, np.int64)
        rank[row], size[row] = found.ranks, found.sizes
        columns = {
            "is_duplicate": rank > 0,
            "duplicate_of": scatter(_first_copies(page, found.entries[duplicate], places), row[duplicate], documents),
            "cluster": scatter(hexadecimal(entry_keys(page.found.entries[found.entries])), row, documents),
            "size": size,
            "rank": rank,
        }
        return Rows(page.ids(), columns, {"duplicates": int(duplicate.sum()), "clusters": int((~duplicate).sum())})


def _first_copies(page: Page, chosen: Array, places: Places) -> pa.Array:
    entries, ids = page.found.entries[chosen], page.found.ids
    named = ids.take(pa.array(chosen)).combine_chunks().cast(pa.string())
    return places.struct(entries["shard"], entries["row"], named)
