"""What is compared: a key per document (its text, its URL, a field) or per paragraph."""

from __future__ import annotations

from typing import Protocol

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dolma_pipe.batch import Batch
from dolma_pipe.config import Config
from dolma_pipe.errors import ConfigError
from dolma_pipe.kernels.keys import document_keys, paragraph_keys
from dolma_pipe.stages.dedup.spill import SPAN, Keyed
from dolma_pipe.types import Plain
from dolma_pipe.url import UrlRules, normalize_urls

FIELDS = ("id", "source", "added", "created")
Mask = npt.NDArray[np.bool_]


class ParagraphRules(Config, frozen=True):
    """What a paragraph is: a piece of `text.split(separator)` of at least `min_characters` code points.

    Shorter ones ("}", "Yes.", "Chapter 1") are said again and again without anyone copying; they never are
    duplicates, and neither is one of white space only.
    """

    separator: str = "\n"
    min_characters: int = 20


class Keys(Protocol):
    """Gives every batch its keys.

    `columns` are the document's that it reads, `about` is what shapes the keys, `missing` says what having none means.
    """

    columns: tuple[str, ...]
    about: dict[str, Plain]
    missing: str

    def of(self, batch: Batch, competes: Mask) -> Keyed: ...


class DocumentKeys:
    """The key of a document is its text, its normalised `metadata.url`, or a field; an empty one is none."""

    def __init__(self, by: str, url_rules: UrlRules) -> None:
        self.by = by
        self.url_rules = url_rules
        field = "metadata.url" if by == "url" else by
        self.columns: tuple[str, ...] = ("id",) if by == "id" else ("id", field.partition(".")[0])
        self.about: dict[str, Plain] = {"by": by, **({"url": msgspec.to_builtins(url_rules)} if by == "url" else {})}
        self.missing = f"no document has {'a ' if by == 'text' else ''}{field}"

    def of(self, batch: Batch, competes: Mask) -> Keyed:
        if self.by == "text":
            return Keyed(*document_keys(batch.data, batch.offsets, competes), batch.ids)
        return Keyed(*document_keys(*_bytes(self._values(batch)), competes), batch.ids)

    def _values(self, batch: Batch) -> pa.Array:
        if self.by == "url":
            return normalize_urls(batch.metadata("url"), self.url_rules)
        if self.by.startswith("metadata."):
            return batch.metadata(self.by.removeprefix("metadata."))
        return batch.columns.column(self.by)


def _bytes(values: pa.Array) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """UTF-8 bytes and int64[n + 1] offsets of a string column; null is empty."""
    filled = pc.fill_null(values.cast(pa.large_string()), "")
    offsets = np.frombuffer(filled.buffers()[1], np.int64)[filled.offset : filled.offset + len(filled) + 1]
    return np.frombuffer(filled.buffers()[2] or b"", np.uint8), offsets


class ParagraphKeys:
    """Every paragraph that is long enough and not blank has its bytes as key."""

    columns: tuple[str, ...] = ("id", "text")

    def __init__(self, rules: ParagraphRules) -> None:
        if not rules.separator:
            raise ConfigError("paragraph.separator: an empty string separates nothing; the default is a newline")
        self.rules = rules
        self.about: dict[str, Plain] = {"by": "paragraph", "paragraph": msgspec.to_builtins(rules)}
        self.missing = f"no document has a paragraph of {rules.min_characters} characters or more"

    def of(self, batch: Batch, competes: Mask) -> Keyed:
        separator = np.frombuffer(self.rules.separator.encode(), np.uint8)
        first, second, spans, counts, chars = paragraph_keys(
            batch.data, batch.offsets, competes, separator, self.rules.min_characters
        )
        return Keyed(first, second, counts, batch.ids, spans.view(SPAN).reshape(-1), chars)


def keys_of(by: str, url: UrlRules | None, paragraph: ParagraphRules | None) -> Keys:
    """The keys that `--by` names; rules for what is not compared are refused."""
    for name, given, user in (("url", url, "url"), ("paragraph", paragraph, "paragraph")):
        if given is not None and by != user:
            raise ConfigError(f"{name}: has no effect with by: {by}; remove it")
    if by == "paragraph":
        return ParagraphKeys(paragraph or ParagraphRules())
    if by in ("url", "text", *FIELDS) or (by.startswith("metadata.") and by != "metadata."):
        return DocumentKeys(by, url or UrlRules())
    raise ConfigError(f"by: {by!r} is not one of url, text, paragraph, {', '.join(FIELDS)}, metadata.NAME")


def set_name(by: str) -> str:
    """The attribute set that holds the result unless another name is given: `dedup_url`, `dedup_metadata_doi`."""
    return "dedup_" + "".join(c if c.isalnum() else "_" for c in by)
