"""From a token back to the raw file: each stage's link, followed upwards as far as the folders are still there.

    token shard -> row of a document shard -> (mix: `_provenance/`) row of a source's shard -> (ingest) line of a file

A stage's run log names the folders that it read (`places`); paths in it are as they were given to that run.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pyarrow.parquet as pq

from dolma_pipe import storage
from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.manifest import MANIFEST
from dolma_pipe.shards import DocumentReader, Shard, split_extension
from dolma_pipe.tokens import TokenSet

LONGEST_CHAIN = 16


class Step(msgspec.Struct, frozen=True):
    """A place that the document was at: row `row` (counted from 0) of `file`, or its line (from 1) in a raw file."""

    file: str
    row: int


class TokenOrigin(msgspec.Struct, frozen=True):
    """The document of a token, and where it came from, nearest first; `text` is that of the nearest that is there."""

    token_shard: str
    offset: int
    start: int
    end: int
    id: str
    source: str
    part: int
    parts: int
    masked: bool
    steps: list[Step]
    text: str | None


def token_origin(folder: str, place: str) -> TokenOrigin:
    """Whose a token is; `place` is SHARD:OFFSET, as in shard-00000:123."""
    name, _, offset = place.rpartition(":")
    tokens = TokenSet.open(folder)
    shard = next((shard for shard in tokens.shards if shard.name == name.removesuffix(".bin")), None)
    if shard is None or not offset.isdigit():
        known = ", ".join(shard.name for shard in tokens.shards[:4])
        raise ConfigError(f"--token {place!r}: expected SHARD:OFFSET with a shard of {folder} ({known} ...)")
    if int(offset) >= len(shard):
        raise ConfigError(f"--token {place!r}: {shard.name} has {len(shard)} tokens, counted from 0")
    table = shard.documents()
    ends = table["end"].to_numpy()
    number = int(np.searchsorted(ends, int(offset), side="right"))
    row = table.slice(number, 1).to_pylist()[0]
    steps = list(_steps(folder, row["dataset"], row["shard"], row["row"])) if row["parts"] else []
    text = next((found for step in steps if (found := _text(step)) is not None), None)
    return TokenOrigin(
        shard.name, int(offset), int(ends[number - 1]) if number else 0, row["end"], row["id"], row["source"],
        row["part"], row["parts"], row["masked"], steps, text,
    )  # fmt: skip


def places(folder: str) -> dict[str, str]:
    """The data sets that the stage which wrote a folder has read, by name; of its latest run."""
    runs = storage.join(folder.rsplit("/splits/", 1)[0], MANIFEST, "runs")
    if not storage.exists(runs):
        return {}
    logs = [name for name in storage.listing(runs) if name.endswith(".json")]
    for name in sorted(logs, reverse=True):
        entry = msgspec.json.decode(storage.read_bytes(storage.join(runs, name)))
        if entry.get("places"):
            return {source: where["dataset"] for source, where in entry["places"].items() if "dataset" in where}
    return {}


def upstream(folder: str) -> list[str]:
    """All data sets that a folder was made from, at any remove, that are still there."""
    found: list[str] = []
    waiting = list(places(folder).values())
    while waiting:
        dataset = waiting.pop(0)
        if dataset not in found and storage.exists(dataset):
            found.append(dataset)
            waiting += places(dataset).values()
    return found


def _steps(folder: str, dataset: str, shard: str, row: int) -> Iterator[Step]:
    for _ in range(LONGEST_CHAIN):
        where = places(folder).get(dataset)
        if where is None:
            return
        yield Step(Shard(where, shard).path, row)
        link = _link(where, shard, row)
        if link is None:
            return
        if "file" in link:
            yield Step(link["file"], link["line"])
            return
        folder, dataset, shard, row = where, link["source"], link["shard"], link["row"]


def _link(dataset: str, shard: str, row: int) -> dict[str, Any] | None:
    """What `_provenance/` says of a row: a mix's source, shard, row, or the file and line that ingest read."""
    path = storage.join(dataset, "_provenance", split_extension(shard)[0] + ".parquet")
    if not storage.is_file(path):
        return None
    with storage.open_read(path) as stream:
        table: Any = pq.ParquetFile(stream).read(use_threads=False)
    if row >= len(table):
        raise DataError(f"{path}: no row {row}; the data set has changed since the tokens were made")
    return table.slice(row, 1).to_pylist()[0]


def _text(step: Step) -> str | None:
    """The text of a row of a document shard; None where the shard is gone, or is none."""
    if "/documents/" not in step.file or not storage.is_file(step.file):
        return None
    for batch in DocumentReader(step.file):
        if step.row < batch.first_row + len(batch):
            return batch.text(step.row - batch.first_row)
    return None
