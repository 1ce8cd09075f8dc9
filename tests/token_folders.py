"""Token folders made by hand, in the format that `dolma-pipe tokenize` writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dolma_pipe.token_writer import ShardWriter
from dolma_pipe.tokens import DOCUMENTS, MANIFEST, Manifest, Packing, ShardEntry, Totals

EOS = 0
VOCABULARY = 64


class Row(NamedTuple):
    """A document, or a part of one, with the tokens that lie in the shard (eos included in a last part)."""

    tokens: Sequence[int]
    source: str = "web"
    bytes: int = 10
    part: int = 0
    parts: int = 1
    masked: bool = False


def write_shards(
    folder: Path,
    shards: list[list[Row]],
    bos: int | None = None,
    tokenizer: str = "toy",
    pad: int | None = None,
    packing: Packing | None = None,
) -> str:
    """Write rows as shards; the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = [_write_shard(folder, f"shard-{number:05d}", rows) for number, rows in enumerate(shards)]
    manifest = Manifest(
        dtype="uint16",
        vocab_size=VOCABULARY,
        eos_id=EOS,
        bos_id=bos,
        pad_id=pad,
        packing=packing,
        tokenizer_hash=tokenizer,
        seed=0,
        shard_tokens=1000,
        documents=sum(len(rows) for rows in shards),
        tokens=sum(entry.tokens for entry in entries),
        bytes=sum(row.bytes for rows in shards for row in rows),
        sources=_totals([row for rows in shards for row in rows if not row.masked]),
        shards=entries,
        masked=sum(len(row.tokens) for rows in shards for row in rows if row.masked),
    )
    (folder / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    return str(folder)


def _totals(rows: list[Row]) -> dict[str, Totals]:
    by_source = {name: [row for row in rows if row.source == name] for name in sorted({row.source for row in rows})}
    return {
        name: Totals(
            documents=sum(row.part == 0 for row in own),
            tokens=sum(len(row.tokens) for row in own),
            bytes=sum(row.bytes for row in own),
        )
        for name, own in by_source.items()
    }


def _write_shard(folder: Path, name: str, rows: list[Row]) -> ShardEntry:
    tokens = np.concatenate([row.tokens for row in rows]).astype("<u2")
    with (
        (folder / f"{name}.bin").open("wb") as binary,
        (folder / f"{name}.docs.parquet").open("wb") as table,
        (folder / f"{name}.csv.gz").open("wb") as olmo,
    ):
        writer = ShardWriter(binary, table, olmo)
        writer.write(tokens, _table(rows))
        writer.close()
    return ShardEntry(name=name, tokens=len(tokens), documents=len(rows), hash=tokens.tobytes().hex()[:64])


def _table(rows: list[Row]) -> pa.Table:
    columns: dict[str, Any] = {
        "end": np.cumsum([len(row.tokens) for row in rows]),
        "id": [f"d{number}" for number in range(len(rows))],
        "source": [row.source for row in rows],
        "bytes": [row.bytes for row in rows],
        "dataset": ["data"] * len(rows),
        "shard": ["a.jsonl"] * len(rows),
        "row": list(range(len(rows))),
        "part": [row.part for row in rows],
        "parts": [row.parts for row in rows],
        "masked": [row.masked for row in rows],
    }
    arrays = [pa.array(columns[field.name]).cast(field.type) for field in DOCUMENTS]
    return pa.Table.from_arrays(arrays, schema=DOCUMENTS)


def random_tokens(folder: Path, documents: int = 40, seed: int = 0, per_shard: int = 15, tokenizer: str = "toy") -> str:
    """A folder of documents that repeat a pattern with noise, so that there is something to learn."""
    draw = np.random.default_rng(seed)
    rows = [Row([*_phrase(draw), EOS], source="web" if number % 3 else "books") for number in range(documents)]
    shards = [rows[start : start + per_shard] for start in range(0, len(rows), per_shard)]
    return write_shards(folder, shards, tokenizer=tokenizer)


def _phrase(draw: np.random.Generator) -> NDArray[Any]:
    length = int(draw.integers(5, 60))
    rising = (draw.integers(1, VOCABULARY) + np.arange(length)) % (VOCABULARY - 1) + 1
    return np.where(draw.random(length) < 0.2, draw.integers(1, VOCABULARY, length), rising)


def stream_of(folder: str) -> NDArray[Any]:
    """All tokens of a folder, in order."""
    return np.concatenate([np.fromfile(path, "<u2") for path in sorted(Path(folder).glob("*.bin"))])
