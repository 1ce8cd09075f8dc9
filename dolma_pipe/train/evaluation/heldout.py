"""Bits per byte of held-out text, by source (token folders) or by domain (folders of text).

The Pile's measure (Gao et al. 2020, section 3.1): the summed loss of a text's tokens in bits, over the text's UTF-8
bytes; it compares models whatever their tokenizer. Which tokens: those of the text. The first is predicted from
end-of-text (begin-of-text where the tokenizer has one); that token itself and the closing end-of-text are not scored,
since no byte stands for them. Documents are scored alone, never behind another one. One that is longer than the
window is scored window by window (`scoring.cut`; overlap 0 is lm-evaluation-harness' rolling window).

Domains follow Paloma (Magnusson et al. 2023): every domain apart, and the mean over domains, in which each weighs the
same. We differ: its perplexity is per token under one vocabulary fixed for all models, ours is bits per byte; text is
not decontaminated here (the training data is, before the run: `contamination`); `sample` draws documents, not tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple, TypeVar

import msgspec
import numpy as np
import pyarrow as pa

from dolma_pipe import storage
from dolma_pipe.draws import draws
from dolma_pipe.errors import DataError
from dolma_pipe.streams import json_objects
from dolma_pipe.tokens import TokenSet
from dolma_pipe.train.evaluation.scoring import IGNORED, Ids, Window, cut, score
from dolma_pipe.train.evaluation.text import TextEncoder
from dolma_pipe.train.model.transformer import Transformer

TEXT_FILES = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".json.gz")
ENCODED_TOGETHER = 256

Listener = Callable[[int], None]
T = TypeVar("T")


class Score(msgspec.Struct):
    """Sums over a source's documents; `tokens` and `bytes` are those of the text alone.

    `items` lists each document's nats and bytes, where they were asked for.
    """

    documents: int = 0
    tokens: int = 0
    bytes: int = 0
    nats: float = 0.0
    bits_per_byte: float = math.nan
    nats_per_token: float = math.nan
    items: list[tuple[float, int]] | None = None

    def add(self, other: Score) -> None:
        self.documents += other.documents
        self.tokens += other.tokens
        self.bytes += other.bytes
        self.nats += other.nats

    def finish(self) -> None:
        """Fill in the two quotients; they stay NaN where there is nothing to divide by."""
        if self.bytes:
            self.bits_per_byte = self.nats / (self.bytes * math.log(2))
        if self.tokens:
            self.nats_per_token = self.nats / self.tokens


class Document(NamedTuple):
    """A text's tokens, preceded by the one that it is conditioned on."""

    source: str
    tokens: Ids
    bytes: int


class Windowing(NamedTuple):
    """How texts are cut, and how many positions are computed at a time."""

    window: int
    overlap: int
    batch_tokens: int


def token_documents(tokens: TokenSet, limit: int | None = None) -> Iterator[Document]:
    """The first `limit` documents of a folder; one that lies in several shards is put together."""
    return islice(_token_documents(tokens), limit)


def _token_documents(tokens: TokenSet) -> Iterator[Document]:
    manifest = tokens.manifest
    context = manifest.eos_id if manifest.bos_id is None else manifest.bos_id
    parts: list[Ids] = []
    size = 0
    for shard in tokens.shards:
        mapped, table, start = shard.map(), shard.documents(), 0
        columns = (table.column(name).to_pylist() for name in ("source", "end", "bytes", "part", "parts", "masked"))
        for source, end, part_bytes, part, count, masked in zip(*columns, strict=True):
            begin, start = start, end
            if masked:  # padding, or a text that was taken down
                continue
            parts.append(mapped[begin:end].astype(np.int64))
            size += part_bytes
            if part == count - 1:
                whole = np.concatenate(parts)
                yield Document(source, np.concatenate(([context], whole[manifest.bos_id is not None : -1])), size)
                parts, size = [], 0


def text_files(folder: str) -> dict[str, str]:
    """The domains of a folder of texts, and their files: the path below it, without the extension, is the name."""
    found: dict[str, str] = {}
    for name in storage.listing(folder):
        if name.endswith(TEXT_FILES):
            domain = name[: name.rindex(".json")]
            if domain in found:
                raise DataError(f"{folder}: {name} and {found[domain]} are the same domain; keep one of them")
            found[domain] = storage.join(folder, name)
    if not found:
        raise DataError(f"{folder}: no text; a domain is a file {', '.join('*' + end for end in TEXT_FILES)}")
    return found


def chosen(rows: Sequence[T], name: str, limit: int | None, sample: int | None, seed: int) -> list[T]:
    """The first `limit` rows, or `sample` of them, in their order: the smallest draws by (seed, name, row)."""
    if sample is None:
        return list(rows[:limit])
    drawn = draws(seed, "eval", name, pa.array([str(row) for row in range(len(rows))]))
    return [rows[row] for row in sorted(np.argsort(drawn, kind="stable")[:sample])]


def text_documents(name: str, path: str, encoder: TextEncoder, field: str | None, choose: Any) -> Iterator[Document]:
    """The documents of one file; `field` names each one's domain, else it is `name`."""
    rows = choose(list(json_objects(path)), name)
    for start in range(0, len(rows), ENCODED_TOGETHER):
        part = rows[start : start + ENCODED_TOGETHER]
        texts = [_string(row, "text", path) for row in part]
        for row, text, ids in zip(part, texts, encoder.encode(texts), strict=True):
            domain = name if field is None else _string(row, field, path)
            yield Document(domain, np.concatenate([[encoder.first], ids]), len(text.encode()))


def _string(row: dict[str, Any], field: str, path: str) -> str:
    value: Any = row
    for key in field.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    if not isinstance(value, str):
        raise DataError(f"{path}: a row without a text in {field!r} (fields: {', '.join(sorted(row)[:12])})")
    return value


def score_documents(
    model: Transformer, found: Iterable[Document], windowing: Windowing, items: bool, listen: Listener
) -> dict[str, Score]:
    """The scores of `found`, by source; `listen` hears of every window how many tokens it scored."""
    sources: dict[str, Score] = {}
    nats: list[float] = []
    seen: list[tuple[str, int]] = []

    def windows() -> Iterator[Window]:
        for number, document in enumerate(found):
            nats.append(0.0)
            seen.append((document.source, document.bytes))
            count = Score(documents=1, tokens=len(document.tokens) - 1, bytes=document.bytes)
            sources.setdefault(document.source, Score()).add(count)
            yield from cut(number, document.tokens, windowing.window, windowing.overlap)

    for window, loss in score(model, windows(), windowing.batch_tokens):
        nats[window.item] += loss.nats
        listen(int((window.labels != IGNORED).sum()))
    for lost, (source, size) in zip(nats, seen, strict=True):
        sources[source].nats += lost
        if items:
            sources[source].items = [*(sources[source].items or []), (lost, size)]
    for source in sources.values():
        source.finish()
    return dict(sorted(sources.items()))


def total(sources: Iterable[Score]) -> Score:
    """Everything together."""
    whole = Score()
    for source in sources:
        whole.add(source)
    whole.finish()
    return whole
