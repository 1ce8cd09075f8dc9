"""The training loop against a plain PyTorch loop over the same model and batch sizes, and what by-source losses cost.

One process with one thread of PyTorch's; seconds are those of the processor, which a busy machine does not change
much, and the rounds take turns.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from time import process_time
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F

from benchmarks.measure import table
from dolma_pipe.config import convert
from dolma_pipe.tokens import DOCUMENTS, MANIFEST, Manifest, ShardEntry, Totals
from dolma_pipe.train.config import TrainConfig
from dolma_pipe.train.loop import train
from dolma_pipe.train.metrics import StepMetrics
from dolma_pipe.train.model.architecture import ModelConfig
from dolma_pipe.train.model.initialisation import materialise
from dolma_pipe.train.model.transformer import on_meta

MODEL = {"d_model": 128, "n_layers": 4, "n_heads": 4, "ffn_hidden": 352, "tie_embeddings": True}
VOCABULARY, LENGTH, BATCH = 8192, 256, 4
ROUNDS, STEPS, WARM = 4, 14, 2
DOCUMENT = 300


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    runs: dict[str, Callable[[Path, str], list[float]]] = {
        "plain PyTorch loop": _plain,
        "dolma-pipe train": lambda folder, tokens: _ours(folder, tokens, source_loss_every=0),
        "dolma-pipe train, losses by source": lambda folder, tokens: _ours(folder, tokens, source_loss_every=10),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        tokens = random_tokens(Path(name) / "tokens", STEPS * BATCH * LENGTH, VOCABULARY)
        for number in range(ROUNDS):
            for run, measure in runs.items():
                seconds[run] += measure(Path(name) / f"{number}-{run.replace(' ', '-')}", tokens)
    found = {name: min(values) for name, values in seconds.items()}  # what disturbs a step only ever adds to it
    least = found["plain PyTorch loop"]
    rows = [[name, LENGTH * BATCH / value, value * 1000, value / least] for name, value in found.items()]
    table(
        "Training on this CPU",
        ["loop", "tokens per CPU second", "CPU ms of the fastest step", "of the plain loop"],
        rows,
    )


def _ours(folder: Path, tokens: str, source_loss_every: int) -> list[float]:
    settings: dict[str, Any] = {
        "to": str(folder), "model": MODEL, "data": [{"tokens": tokens}], "sequence_length": LENGTH,
        "global_batch_size": BATCH, "steps": STEPS, "optimizer": {"learning_rate": 1e-3}, "device": "cpu",
        "source_loss_every": source_loss_every,
    }  # fmt: skip
    ends: list[float] = []

    def listen(event: object) -> None:
        if isinstance(event, StepMetrics):
            ends.append(process_time())

    train(convert(settings, TrainConfig, "benchmark"), listen)
    return [end - start for start, end in pairwise(ends)][WARM:]


def _plain(folder: Path, tokens: str) -> list[float]:
    """What one would write by hand: random windows, a forward, a backward, a clipped AdamW step."""
    model = on_meta(convert(MODEL, ModelConfig, "benchmark").with_vocabulary(VOCABULARY))
    materialise(model, 0, torch.device("cpu"))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    stream = np.memmap(Path(tokens) / "shard-00000.bin", "<u2", mode="r")
    draw = np.random.default_rng(0)
    times: list[float] = []
    for _ in range(STEPS):
        started = process_time()
        starts = draw.integers(0, len(stream) - LENGTH - 1, BATCH)
        rows = torch.from_numpy(np.stack([stream[at : at + LENGTH + 1] for at in starts]).astype(np.int64))
        logits = model(rows[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
        times.append(process_time() - started)
    return times[WARM:]


def random_tokens(folder: Path, least: int, vocabulary: int) -> str:
    """A folder of random tokens of two sources, at least so many."""
    folder.mkdir(parents=True)
    count = -(-least // DOCUMENT) + 1
    dtype = "uint16" if vocabulary <= 1 << 16 else "uint32"
    tokens = np.random.default_rng(0).integers(1, vocabulary, count * DOCUMENT).astype(dtype)
    tokens[DOCUMENT - 1 :: DOCUMENT] = 0
    columns: dict[str, Any] = {
        "end": np.arange(1, count + 1) * DOCUMENT, "id": [str(n) for n in range(count)],
        "source": ["web" if n % 2 else "books" for n in range(count)], "bytes": [4 * DOCUMENT] * count,
        "dataset": ["data"] * count, "shard": ["a.jsonl"] * count, "row": list(range(count)), "part": [0] * count,
        "parts": [1] * count, "masked": [False] * count,
    }  # fmt: skip
    documents = pa.Table.from_arrays([pa.array(columns[f.name]).cast(f.type) for f in DOCUMENTS], schema=DOCUMENTS)
    tokens.tofile(folder / "shard-00000.bin")
    pq.write_table(documents, folder / "shard-00000.docs.parquet")
    half = Totals(count // 2, len(tokens) // 2, 2 * len(tokens))
    manifest = Manifest(
        dtype=dtype, vocab_size=vocabulary, eos_id=0, bos_id=None, pad_id=None, tokenizer_hash="none", seed=0,
        shard_tokens=len(tokens), documents=count, tokens=len(tokens), bytes=4 * len(tokens),
        sources={"books": half, "web": half}, shards=[ShardEntry("shard-00000", len(tokens), count, "")],
    )  # fmt: skip
    (folder / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    return str(folder)
