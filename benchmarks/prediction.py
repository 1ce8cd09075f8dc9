"""`mix --plan` on synthetic attributes of millions of documents: seconds and memory of one process."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks import measure
from dolma_pipe.attributes import ROW_GROUP, AttributeWriter
from dolma_pipe.stages.dedup.results import hexadecimal

SHARD = 500_000
COPIES = 5
"""Every so many documents have duplicates."""

REALS = {
    "mean_word_length": (4.7, 0.9), "hash_to_word_ratio": (0.01, 0.04), "ellipsis_to_word_ratio": (0.01, 0.04),
    "bullet_line_fraction": (0.1, 0.3), "ellipsis_line_fraction": (0.05, 0.1), "alphabetic_word_fraction": (0.9, 0.07),
}  # fmt: skip
GOPHER = {"word_count": pa.int32(), **dict.fromkeys(REALS, pa.float64()), "stop_word_count": pa.int32()}
LENGTH = {"bytes": pa.int64(), "characters": pa.int64(), "words": pa.int32(), "lines": pa.int32()}
DEDUP = {"cluster": pa.string(), "size": pa.int64(), "rank": pa.int64()}
TYPES: dict[str, dict[str, pa.DataType]] = {
    "gopher": GOPHER, "langid": {"en": pa.float64()}, "length": LENGTH, "dedup_text": DEDUP,
}  # fmt: skip

MIX = """\
to: {folder}/mixed
sources:
  - name: web
    dataset: {folder}/web
    attributes: [gopher, langid, dedup_text]
    steps:
      - keep: gopher_quality
      - keep: {{english: "langid.en >= 0.65"}}
      - dedup: {{by: dedup_text}}
      - split: {{name: held_out, fraction: 0.001}}
"""


def lay_out(folder: Path, documents: int) -> Path:
    """Attributes of so many documents that do not exist, and a mix over them."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "web/documents").mkdir(parents=True)
    for number in range(-(-documents // SHARD)):
        (folder / f"web/documents/{number:04}.jsonl").touch()
        rows = min(SHARD, documents - number * SHARD)
        for name, types in TYPES.items():
            (folder / "web/attributes" / name).mkdir(parents=True, exist_ok=True)
            with open(folder / "web/attributes" / name / f"{number:04}.parquet", "wb") as stream:
                writer = AttributeWriter(stream, name, types, {}, nullable=True)
                for ids, columns in _groups(number, rows):
                    writer.write(ids, {field: columns[field] for field in types})
                writer.close(shard={"name": f"{number:04}.jsonl", "hash": str(number)}, bad_rows=0)
    path = folder / "mix.yaml"
    path.write_text(MIX.format(folder=folder))
    return path


def _groups(shard: int, rows: int) -> Iterator[tuple[pa.Array, dict[str, Any]]]:
    random = np.random.default_rng(shard)
    for start in range(0, rows, ROW_GROUP):
        count = min(ROW_GROUP, rows - start)
        first = shard * SHARD + start
        keys = np.stack([np.zeros(count, np.uint64), np.arange(first, first + count).astype(np.uint64)], axis=1)
        yield hexadecimal(keys), _columns(random, first, count)


def _columns(random: np.random.Generator, first: int, count: int) -> dict[str, Any]:
    words = random.lognormal(5.5, 1.2, count).astype(np.int64) + 1
    found: dict[str, Any] = {
        "word_count": words, "words": words, "bytes": 6 * words, "characters": 6 * words, "lines": words // 12 + 1,
        "en": random.beta(3, 0.3, count), "stop_word_count": random.integers(0, 9, count),
    }  # fmt: skip
    for name, (mean, spread) in REALS.items():
        found[name] = np.clip(random.normal(mean, spread, count), 0, None)
    numbers = np.arange(first, first + count)
    clusters = np.stack([np.ones(count, np.uint64), (numbers // COPIES // 3).astype(np.uint64)], axis=1)
    is_alone = pa.array(numbers % COPIES != 0)
    found["cluster"] = pa.compute.if_else(is_alone, pa.scalar(None, pa.string()), hexadecimal(clusters))  # pyright: ignore
    found |= {"size": np.full(count, 3), "rank": numbers // COPIES % 3}
    return found


def main() -> None:
    documents = int(os.environ.get("DOLMA_PIPE_DOCUMENTS", "10_000_000"))
    folder = Path(os.environ.get("TMPDIR", "/tmp"), "bench-prediction")
    path = lay_out(folder, documents)
    plan = [sys.executable, "-m", "dolma_pipe", "mix", "-c", str(path), "--plan", "--json"]
    found = measure.best_of(2, {"plan": lambda: measure.command(plan)})["plan"]
    measure.table(
        f"dolma-pipe mix --plan, {documents:,} documents, one process",
        ("seconds", "MB", "documents per second"), [(found.seconds, found.peak_mb, documents / found.seconds)],
    )  # fmt: skip
    shutil.rmtree(folder)
