"""Bits per byte of a model on held-out token folders, by source.

The Pile's measure (Gao et al. 2020, section 3.1): the summed loss of a text's tokens in bits, over the text's UTF-8
bytes; it compares models whatever their tokenizer. Which tokens: those of the text. The first is predicted from
end-of-text (begin-of-text where the tokenizer has one); that token itself and the closing end-of-text are not scored,
since no byte stands for them. Documents are scored alone, never behind another one. One that is longer than the
window is cut into windows: each predicts the `window - overlap` tokens that follow those already scored, seeing the
last `overlap` of them and the token before (overlap 0 is lm-evaluation-harness' and Paloma's rolling window).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

import msgspec
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dolma_pipe import storage
from dolma_pipe.config import fingerprint
from dolma_pipe.errors import DataError
from dolma_pipe.tokens import TokenSet
from dolma_pipe.train import checkpoint
from dolma_pipe.train.config import EvalConfig
from dolma_pipe.train.data import IGNORED
from dolma_pipe.train.model import Transformer
from dolma_pipe.train.parallel import choose_device

SORTED_TOGETHER = 64
"""Batches' worth of windows that are sorted by length, so that few positions are padding."""


class Score(msgspec.Struct):
    """Sums over a source's documents; `tokens` and `bytes` are those of the text alone."""

    documents: int = 0
    tokens: int = 0
    bytes: int = 0
    nats: float = 0.0
    bits_per_byte: float = math.nan
    nats_per_token: float = math.nan

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


class EvalResult(msgspec.Struct, frozen=True, kw_only=True):
    """Scores by source (`source` of the tokens' documents) and over everything; `definition` says of what."""

    model: str
    step: int
    tokens: dict[str, str]
    window: int
    overlap: int
    sources: dict[str, Score]
    overall: Score
    definition: str = ""


class Document(NamedTuple):
    """A text's tokens, preceded by the one that it is conditioned on."""

    source: str
    tokens: NDArray[np.int64]
    bytes: int


class Window(NamedTuple):
    """Up to `window` predictions of one document: inputs, and labels of which those already scored are ignored."""

    document: int
    inputs: NDArray[np.int64]
    labels: NDArray[np.int64]


def evaluate(config: EvalConfig, listen: Callable[[int], None] = lambda tokens: None) -> EvalResult:
    """Score `config.tokens`; `listen` hears of every batch how many tokens it scored. Writes `config.to` if given."""
    folder = checkpoint.find(config.model)
    model, record = checkpoint.open_model(folder, choose_device(config.device))
    window = config.window or record.config["sequence_length"]
    config.check_window(window)
    sets = {path: TokenSet.open(path) for path in config.tokens}
    for path, tokens in sets.items():
        if tokens.manifest.tokenizer_hash != record.data["tokenizer"]:
            raise DataError(f"{path} was made by another tokenizer than the one that {folder} was trained with")
    sources: dict[str, Score] = {}
    for tokens in sets.values():
        found = islice(documents(tokens), config.limit)
        score_documents(model, found, window, config.overlap, config.batch_tokens, sources, listen)
    overall = _total(sources)
    if not overall.bytes:
        raise DataError(f"{', '.join(config.tokens)}: no text to score")
    result = EvalResult(
        model=folder,
        step=record.step,
        tokens={path: tokens.hash for path, tokens in sets.items()},
        window=window,
        overlap=config.overlap,
        sources=dict(sorted(sources.items())),
        overall=overall,
        definition=_definition(config, record, sets),
    )
    if config.to is not None:
        storage.write_bytes(config.to, msgspec.json.format(msgspec.json.encode(result)) + b"\n")
    return result


def standing(config: EvalConfig) -> EvalResult | None:
    """The result in `config.to` if evaluating again would give the same."""
    if config.to is None or not storage.is_file(config.to):
        return None
    try:
        found = msgspec.json.decode(storage.read_bytes(config.to), type=EvalResult)
    except msgspec.DecodeError:
        return None
    record = checkpoint.read_record(checkpoint.find(config.model))
    sets = {path: TokenSet.open(path) for path in config.tokens}
    return found if found.definition == _definition(config, record, sets) else None


def _definition(config: EvalConfig, record: checkpoint.CheckpointRecord, sets: dict[str, TokenSet]) -> str:
    hashes = [tokens.hash for tokens in sets.values()]
    return fingerprint([record, hashes, config.window, config.overlap, config.limit])


def _total(sources: dict[str, Score]) -> Score:
    total = Score()
    for name in sorted(sources):
        sources[name].finish()
        total.add(sources[name])
    total.finish()
    return total


def documents(tokens: TokenSet) -> Iterator[Document]:
    """Every document of a folder; one that lies in several shards is put together."""
    manifest = tokens.manifest
    context = manifest.eos_id if manifest.bos_id is None else manifest.bos_id
    parts: list[NDArray[np.int64]] = []
    size = 0
    for shard in tokens.shards:
        mapped, table, start = shard.map(), shard.documents(), 0
        columns = (table.column(name).to_pylist() for name in ("source", "end", "bytes", "part", "parts"))
        for source, end, part_bytes, part, count in zip(*columns, strict=True):
            parts.append(mapped[start:end].astype(np.int64))
            size += part_bytes
            start = end
            if part == count - 1:
                whole = np.concatenate(parts)
                yield Document(source, np.concatenate(([context], whole[manifest.bos_id is not None : -1])), size)
                parts, size = [], 0


def score_documents(
    model: Transformer,
    found: Iterator[Document],
    window: int,
    overlap: int,
    batch_tokens: int,
    sources: dict[str, Score],
    listen: Callable[[int], None] = lambda tokens: None,
) -> None:
    """Add the scores of `found` to `sources`."""
    named: list[str] = []

    def windows() -> Iterator[Window]:
        for number, document in enumerate(found):
            named.append(document.source)
            count = Score(documents=1, tokens=len(document.tokens) - 1, bytes=document.bytes)
            sources.setdefault(document.source, Score()).add(count)
            yield from cut(number, document.tokens, window, overlap)

    for batch in batched(windows(), batch_tokens):
        for item, nats in zip(batch, _nats(model, batch), strict=True):
            sources[named[item.document]].nats += nats
        listen(sum(int((item.labels != IGNORED).sum()) for item in batch))


def cut(number: int, tokens: NDArray[np.int64], window: int, overlap: int) -> Iterator[Window]:
    """The windows of a document (`tokens` begins with its context); every later token is a label exactly once."""
    scored = 0
    while scored < len(tokens) - 1:
        start = max(0, scored - overlap)
        end = min(start + window, len(tokens) - 1)
        labels = tokens[start + 1 : end + 1].copy()
        labels[: scored - start] = IGNORED
        yield Window(number, tokens[start:end], labels)
        scored = end


def batched(windows: Iterator[Window], batch_tokens: int) -> Iterator[list[Window]]:
    """Windows of like length together, at most `batch_tokens` positions (or one window) each."""
    while chunk := _fill(windows, batch_tokens * SORTED_TOGETHER):
        chunk.sort(key=lambda item: -len(item.inputs))
        while chunk:
            rows = max(1, batch_tokens // len(chunk[0].inputs))
            yield chunk[:rows]
            chunk = chunk[rows:]


def _fill(windows: Iterator[Window], tokens: int) -> list[Window]:
    chunk: list[Window] = []
    while tokens > 0 and (item := next(windows, None)) is not None:
        chunk.append(item)
        tokens -= len(item.inputs)
    return chunk


@torch.inference_mode()
def _nats(model: Transformer, batch: list[Window]) -> list[float]:
    """The summed loss of each window. Padding lies behind, where a causal model cannot see it."""
    device = next(model.parameters()).device
    inputs = _padded([item.inputs for item in batch], 0).to(device)
    labels = _padded([item.labels for item in batch], IGNORED).to(device)
    logits = model(inputs)
    exact = logits.to(torch.promote_types(logits.dtype, torch.float32)).transpose(1, 2)
    losses = F.cross_entropy(exact, labels, ignore_index=IGNORED, reduction="none")
    return losses.sum(dim=1, dtype=torch.float64).tolist()


def _padded(rows: list[NDArray[np.int64]], value: int) -> Tensor:
    tensors = [torch.from_numpy(row) for row in rows]
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=value)
