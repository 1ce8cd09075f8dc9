"""Bytes per token of tokenizers on documents, by source and by language: the more, the shorter a text becomes."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from dolma_pipe import storage
from dolma_pipe.batch import Batch
from dolma_pipe.errors import ConfigError
from dolma_pipe.fused import Fused
from dolma_pipe.shards import DocumentReader, document_shards
from dolma_pipe.stages.tokenize.config import Origin
from dolma_pipe.tokenizer import Identity, Tokenizer, identify, open_tokenizer

LANGID = "langid"


class Row(msgspec.Struct):
    """Documents of one source or language: their UTF-8 bytes, and their tokens by each tokenizer, without eos."""

    kind: str
    name: str
    documents: int
    bytes: int
    tokens: list[int]

    @property
    def bytes_per_token(self) -> list[float]:
        return [self.bytes / max(count, 1) for count in self.tokens]


def compare(
    datasets: Sequence[str], tokenizers: Sequence[str], languages: bool = True, limit: int | None = None
) -> list[Row]:
    """Rows of all documents, of each source, and of each language (as the tagger `langid` has it), by bytes.

    `limit` reads the first so many documents of every shard.
    """
    if not datasets or not tokenizers:
        raise ConfigError("tokenizer compare: give data sets and at least one --tokenizer")
    opened = [open_tokenizer(_identity(path)) for path in tokenizers]
    fused = Fused([LANGID]) if languages else None
    columns = {"id", "text", *(fused.columns([LANGID]) if fused else ())}
    rows: dict[tuple[str, str], Row] = {}
    for origin in map(Origin.of, datasets):
        for shard in document_shards(origin.dataset):
            for batch in DocumentReader(shard, sorted({*columns, *origin.columns}), limit=limit):
                _add(rows, batch, opened, _groups(batch, origin, fused))
    order = {"all": 0, "source": 1, "language": 2}
    return sorted(rows.values(), key=lambda row: (order[row.kind], -row.bytes, row.name))


def _groups(batch: Batch, origin: Origin, fused: Fused | None) -> dict[str, np.ndarray]:
    """The name of each document's group, by kind of group."""
    found = {"all": np.full(len(batch), "all", object), "source": _names(origin.sources(batch).to_pylist())}
    if fused is not None:
        measured = fused.measure(batch, [LANGID])[LANGID].struct(fused.taggers[LANGID])
        found["language"] = _names([name or "none" for name in measured.field("language").to_pylist()])
    return found


def _names(values: list[str]) -> np.ndarray:
    return np.array(values, object)


def _add(
    rows: dict[tuple[str, str], Row], batch: Batch, tokenizers: Sequence[Tokenizer], groups: dict[str, np.ndarray]
) -> None:
    counts = [np.diff(tokenizer.encode(batch.data, batch.offsets)[1]) for tokenizer in tokenizers]
    sizes = np.diff(batch.offsets)
    for kind, names in groups.items():
        for name in dict.fromkeys(names.tolist()):
            mine = names == name
            row = rows.setdefault((kind, name), Row(kind, name, 0, 0, [0] * len(tokenizers)))
            row.documents += int(mine.sum())
            row.bytes += int(sizes[mine].sum())
            row.tokens = [total + int(count[mine].sum()) for total, count in zip(row.tokens, counts, strict=True)]


def _identity(path: str) -> Identity:
    """A tokenizer for which it need not be known how documents end: nothing is written."""
    try:
        return identify(path)
    except ConfigError:
        file = path if path.endswith(".json") else storage.join(path, "tokenizer.json")
        if not storage.is_file(file):
            raise
        added = msgspec.json.decode(storage.read_bytes(file)).get("added_tokens", [])
        special = [token["content"] for token in added if token["special"]]
        if not special:
            raise
        return identify(path, eos=special[0])
