"""Paragraphs compared with paragraphs: whole, or by the n-grams of words that came before.

Whole paragraphs that are equal make a cluster, and a document lists its copies
as spans. By n-grams (Dolma's `by_ngram`; Soldaini et al. 2024, and the BFF of
Li et al. 2024) a paragraph is a duplicate by the share of its n-grams that
occur earlier in documented order, in the paragraph itself too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from dolma_pipe.batch import Batch, Int64s, UInt64s
from dolma_pipe.config import Config
from dolma_pipe.errors import ConfigError
from dolma_pipe.kernels.hashing import hash128_ranges
from dolma_pipe.kernels.keys import split_paragraphs
from dolma_pipe.kernels.ranges import gather_ranges
from dolma_pipe.kernels.segment import split_words
from dolma_pipe.stages.dedup.keys import Mask
from dolma_pipe.stages.dedup.normalization import Normalization, normalize, value_bytes
from dolma_pipe.stages.dedup.results import WHERE, Array, Page, Places, Rows, binary, copies, entry_keys
from dolma_pipe.stages.dedup.spill import Keyed
from dolma_pipe.tagger import Field, real, span_array, spans
from dolma_pipe.types import Plain

SPAN = np.dtype([("start", "<u4"), ("end", "<u4")])


class NgramRules(Config, frozen=True):
    """A paragraph is a duplicate when at least `min_overlap` of its n-grams of `length` words occur earlier.

    Words are what `str.split()` gives; an n-gram begins at every `stride`-th of them. A paragraph of fewer words has
    one n-gram, all of it, or none with `skip_short`.
    """

    length: int = 13
    stride: int = 1
    min_overlap: float = 0.8
    skip_short: bool = False


class ParagraphRules(Config, frozen=True):
    """What a paragraph is: a piece of `text.split(separator)` of at least `min_characters` code points.

    Shorter ones ("}", "Yes.", "Chapter 1") are said again and again without anyone copying; they never are
    duplicates, and neither is one of white space only. `normalize`: differences that do not count.
    """

    separator: str = "\n"
    min_characters: int = 20
    normalize: tuple[Normalization, ...] = ()
    by_ngram: NgramRules | None = None


def check(rules: ParagraphRules) -> ParagraphRules:
    """The rules, unless they make no sense."""
    if not rules.separator:
        raise ConfigError("paragraph.separator: an empty string separates nothing; the default is a newline")
    if rules.min_characters < 0:
        raise ConfigError(f"paragraph.min_characters: {rules.min_characters} is not a number of characters")
    grams = rules.by_ngram
    for name in ("length", "stride"):
        if grams is not None and getattr(grams, name) < 1:
            raise ConfigError(
                f"paragraph.by_ngram.{name}: {getattr(grams, name)} is not a number of words of 1 or more"
            )
    if grams is not None and not 0 < grams.min_overlap <= 1:
        raise ConfigError(f"paragraph.by_ngram.min_overlap: {grams.min_overlap} is not above 0 and at most 1")
    return rules


class _Pieces(NamedTuple):
    """Paragraphs of a batch: bytes `starts:ends` of `data` each, spans; per document how many, and code points."""

    data: Array
    starts: Int64s
    ends: Int64s
    spans: Array
    counts: Array
    chars: Int64s


def _split(batch: Batch, competes: Mask, rules: ParagraphRules) -> _Pieces:
    separator = np.frombuffer(rules.separator.encode(), np.uint8)
    starts, ends, spans, counts, chars = split_paragraphs(
        batch.data, batch.offsets, competes, separator, rules.min_characters
    )
    found = _Pieces(batch.data, starts, ends, spans.view(SPAN).reshape(-1), counts, chars)
    return _normalized(found, rules.normalize) if rules.normalize else found


def _normalized(pieces: _Pieces, forms: tuple[Normalization, ...]) -> _Pieces:
    """Without the paragraphs of which nothing is left."""
    data, offsets = gather_ranges(pieces.data, pieces.starts, pieces.ends)
    texts = pa.LargeStringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(data))
    data, offsets = value_bytes(normalize(texts, forms))
    left = offsets[1:] > offsets[:-1]
    counts = _sums(left, pieces.counts).astype(np.uint32)
    return _Pieces(data, offsets[:-1][left], offsets[1:][left], pieces.spans[left], counts, pieces.chars)


def _sums(values: Array, counts: Array) -> Int64s:
    """Sums of consecutive groups of values, `counts[i]` of them in group i."""
    sums = np.concatenate([[0], np.cumsum(values, dtype=np.int64)])
    return np.diff(sums[np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])])


def _keys(data: Array, starts: Int64s, ends: Int64s) -> tuple[UInt64s, UInt64s]:
    halves = hash128_ranges(data, starts, ends)
    return np.ascontiguousarray(halves[:, 0]), np.ascontiguousarray(halves[:, 1])


def _offsets(chosen: Array, counts: Array) -> Int64s:
    """Where each document's part of the chosen records begins; `chosen` ascend, `counts` are all per document."""
    return np.searchsorted(chosen, np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]))


def _taken(span: Array, chosen: Array) -> Array:
    """`span[chosen]`; NumPy is slow at gathering structs."""
    return span.view(np.uint64)[chosen].view(SPAN)


def _fraction(span: Array, offsets: Int64s, chars: Int64s) -> tuple[Array, int]:
    """Code points in spans over those of each document, and how many they are in all."""
    removed = _sums((span["end"] - span["start"]).astype(np.int64), np.diff(offsets))
    return removed / np.maximum(chars, 1), int(removed.sum())


class ParagraphKeys:
    """Every paragraph that is long enough and not blank has its bytes as key."""

    columns: tuple[str, ...] = ("id", "text")
    with_ids: ClassVar[bool] = False
    fields: ClassVar[Mapping[str, Field]] = {
        "duplicate": spans(
            "paragraphs of which an equal one comes earlier in documented order, the separator that follows included",
            of=pa.struct(list(WHERE.items())),
        ),
        "copies": spans(
            "every paragraph that occurs more than once, the first included; the score is how often. `cluster`: the "
            "key that equal ones share, 16 bytes; `rank`: how many of them come earlier",
            cluster=pa.binary(16),
            rank=pa.int64(),
        ),
        "duplicate_fraction": real("code points in `duplicate` over all of the document; 0 for an empty one"),
    }

    def __init__(self, rules: ParagraphRules) -> None:
        self.rules = rules
        self.about: dict[str, Plain] = {"by": "paragraph", "paragraph": msgspec.to_builtins(rules)}
        self.missing = f"no document has a paragraph of {rules.min_characters} characters or more"

    def of(self, batch: Batch, competes: Mask) -> Keyed:
        found = _split(batch, competes, self.rules)
        first, second = _keys(found.data, found.starts, found.ends)
        return Keyed(first, second, found.counts, batch.ids, {"spans": found.spans, "chars": found.chars})

    def rows(self, page: Page, places: Places) -> Rows:
        """Spans of repeated paragraphs of every document of a page."""
        counts, chars, spans = page.read("counts"), page.read("chars"), page.read("spans")
        found = copies(page)
        span, chosen = _taken(spans, found.records), np.flatnonzero(found.ranks > 0)
        earlier, gone = found.only(chosen), _taken(span, chosen)
        offsets = _offsets(earlier.records, counts)
        fraction, removed = _fraction(gone, offsets, chars)
        shards, rows = (page.found.entries[name][earlier.entries] for name in ("shard", "row"))
        cluster = binary(entry_keys(page.found.entries)[found.entries])
        columns = {
            "duplicate": span_array(
                self.fields["duplicate"], offsets, gone["start"], gone["end"], of=places.struct(shards, rows),
            ),
            "copies": span_array(
                self.fields["copies"], _offsets(found.records, counts), span["start"], span["end"],
                found.sizes.astype(np.float64), cluster=cluster, rank=found.ranks,
            ),
            "duplicate_fraction": fraction,
        }  # fmt: skip
        counted = {"duplicate_paragraphs": len(earlier.records), "duplicate_characters": removed}
        return Rows(page.ids(), columns, {**counted, "characters": int(chars.sum())})


class NgramKeys:
    """Every n-gram of a paragraph has a key: the hash of its words' hashes."""

    columns: tuple[str, ...] = ("id", "text")
    with_ids: ClassVar[bool] = False
    fields: ClassVar[Mapping[str, Field]] = {
        "duplicate": spans(
            "paragraphs most of whose n-grams come earlier in documented order, the separator that follows included; "
            "the score is their share, `of` the document in which most of them come first",
            of=pa.struct(list(WHERE.items())),
        ),
        "duplicate_fraction": ParagraphKeys.fields["duplicate_fraction"],
    }

    def __init__(self, rules: ParagraphRules, grams: NgramRules) -> None:
        self.rules, self.grams = rules, grams
        self.about: dict[str, Plain] = {"by": "paragraph", "paragraph": msgspec.to_builtins(rules)}
        words = f" and {grams.length} words" if grams.skip_short else ""
        self.missing = f"no document has a paragraph of {rules.min_characters} characters{words} or more"

    def of(self, batch: Batch, competes: Mask) -> Keyed:
        found = _split(batch, competes, self.rules)
        data, offsets = gather_ranges(found.data, found.starts, found.ends)
        _, _, _, hashes, words = split_words(data, offsets)
        starts, ends, windows = self._windows(words)
        first, second = _keys(hashes.view(np.uint8), 8 * starts, 8 * ends)
        more = {"spans": found.spans, "chars": found.chars, "paragraphs": found.counts, "windows": windows}
        return Keyed(first, second, _sums(windows, found.counts).astype(np.uint32), batch.ids, more)

    def _windows(self, words: Int64s) -> tuple[Int64s, Int64s, Array]:
        """First word and end of every n-gram, and how many n-grams paragraph i has; `words[i:i+2]` are its words."""
        grams, totals = self.grams, np.diff(words)
        short = np.zeros_like(totals) if grams.skip_short else np.minimum(totals, 1)
        windows = np.where(totals >= grams.length, (totals - grams.length) // grams.stride + 1, short)
        before = np.cumsum(windows) - windows
        number = np.arange(int(windows.sum())) - np.repeat(before, windows)
        starts = np.repeat(words[:-1], windows) + grams.stride * number
        return starts, np.minimum(starts + grams.length, np.repeat(words[1:], windows)), windows.astype(np.uint32)

    def rows(self, page: Page, places: Places) -> Rows:
        """Spans of paragraphs whose n-grams have come before, of every document of a page."""
        counts, chars, windows = page.read("paragraphs"), page.read("chars"), page.read("windows")
        found = copies(page)
        seen = found.only(found.ranks > 0)
        paragraph = np.repeat(np.arange(len(windows)), windows)[seen.records]
        share = np.bincount(paragraph, minlength=len(windows)) / np.maximum(windows, 1)
        chosen = np.flatnonzero(share >= self.grams.min_overlap)
        span, offsets = page.read("spans")[chosen], _offsets(chosen, counts)
        fraction, removed = _fraction(span, offsets, chars)
        said = np.isin(paragraph, chosen)
        first = _commonest(paragraph[said], page.found.entries[seen.entries[said]])
        duplicate = span_array(
            self.fields["duplicate"], offsets, span["start"], span["end"], share[chosen],
            of=places.struct(first["shard"], first["row"]),
        )  # fmt: skip
        counted = {"duplicate_paragraphs": len(span), "duplicate_characters": removed, "characters": int(chars.sum())}
        return Rows(page.ids(), {"duplicate": duplicate, "duplicate_fraction": fraction}, counted)


def _commonest(paragraph: Array, entries: Array) -> Array:
    """For each paragraph the entry whose document is that of most of its entries, and of those the earliest one."""
    order = np.lexsort((entries["row"], entries["shard"], paragraph))
    paragraph, entries = paragraph[order], entries[order]
    changes = [np.diff(column) != 0 for column in (paragraph, entries["shard"], entries["row"])]
    begins = np.flatnonzero(np.concatenate([[True], np.logical_or.reduce(changes)]))[: len(order)]
    votes = np.diff(np.append(begins, len(order)))
    best = begins[np.lexsort((begins, -votes, paragraph[begins]))]
    return entries[best[np.unique(paragraph[best], return_index=True)[1]]]
