"""Attributes and mixes made by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from dolma_pipe import storage
from dolma_pipe.attributes import AttributeWriter, attribute_path
from dolma_pipe.config import convert
from dolma_pipe.execution import Options, Summary, run_stage
from dolma_pipe.mixer import Step
from dolma_pipe.rules import Expression
from dolma_pipe.runners.local import Local
from dolma_pipe.shards import DocumentReader, document_shards
from dolma_pipe.stages.mix import Mix, MixConfig

SPANS = pa.list_(pa.struct({"start": pa.int32(), "end": pa.int32(), "score": pa.float64()}))
CLUSTERS = {"cluster": pa.string(), "rank": pa.int64()}


def measure(dataset: str, set_name: str, types: dict[str, pa.DataType], rows: Sequence[dict[str, Any] | None]) -> None:
    """Write an attribute set; `rows` go on from shard to shard, None stands for a tagger that was gated off."""
    left = list(rows)
    for shard in document_shards(dataset):
        reader = DocumentReader(shard)
        ids = [name for batch in reader for name in batch.ids.to_pylist()]
        mine, left = left[: len(ids)], left[len(ids) :]
        path = attribute_path(storage.join(dataset, "attributes"), set_name, shard)
        with storage.create(path) as stream:
            writer = AttributeWriter(stream, set_name, types, {"tagger": set_name}, nullable=True)
            columns = {
                name: pa.array([row[name] if row else None for row in mine], kind) for name, kind in types.items()
            }
            null = pa.array([row is None for row in mine]) if None in mine else None
            writer.write(pa.array(ids, pa.string()), columns, null)
            writer.close(shard={"name": shard.name, "size": reader.size, "hash": reader.hash}, bad_rows=reader.bad_rows)
    assert not left, f"{len(left)} rows too many"


def spans(*pairs: tuple[int, int] | tuple[int, int, float]) -> list[dict[str, float]]:
    """A span field's value."""
    return [{"start": pair[0], "end": pair[1], "score": pair[2] if len(pair) > 2 else 1.0} for pair in pairs]


def clusters(*names: tuple[str, int] | None) -> list[dict[str, Any]]:
    """Rows of a dedup set from (cluster, rank), None for a document that is alone."""
    return [{"cluster": name[0] if name else None, "rank": name[1] if name else 0} for name in names]


def mix_of(to: str | Path, *sources: dict[str, Any], **more: Any) -> Mix:
    """A mix from plain data, as YAML would have it."""
    config = convert({"to": str(to), "sources": list(sources), **more}, MixConfig, "mix.yaml")
    return Mix(config, "mix.yaml")


def run_mix(to: str | Path, *sources: dict[str, Any], workers: int = 1, **more: Any) -> Summary:
    """Make a mix."""
    return run_stage(mix_of(to, *sources, **more), Local(workers), Options())


def lines(path: str | Path) -> list[bytes]:
    """The lines of a .zst file."""
    data = zstandard.ZstdDecompressor().decompressobj(read_across_frames=True).decompress(Path(path).read_bytes())
    return data.splitlines()


def documents(folder: str | Path) -> list[dict[str, Any]]:
    """All documents below `documents/`, by shard."""
    return [json.loads(line) for path in sorted(Path(folder, "documents").rglob("*.zst")) for line in lines(path)]


def ids(folder: str | Path) -> list[str]:
    return [document["id"] for document in documents(folder)]


def provenance(folder: str | Path) -> list[dict[str, Any]]:
    """Rows of all provenance files, by shard."""
    return [
        row
        for path in sorted(Path(folder, "_provenance").rglob("*.parquet"))
        for row in pq.read_table(path).to_pylist()
    ]


class FirstOnly(Step):
    """A stranger's step: one row of every shard stays."""

    def parts(self) -> list[Expression]:
        return [Expression("first_only", f"ends_with(id, '-{self.value['row']}')", self.file)]
