"""A sample of a tagged source: documents drawn by a hash of their ids, with all their attributes.

The draws decide, not the order of files: the documents with the smallest draws are taken. A source with no more
documents than the sample is in it whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from dolma_pipe import storage
from dolma_pipe.attributes import AttributeReader, attribute_path, attribute_sets
from dolma_pipe.batch import Batch
from dolma_pipe.draws import draws
from dolma_pipe.errors import DataError
from dolma_pipe.shards import DocumentReader, Shard
from dolma_pipe.view import is_spans

pc: Any = pyarrow.compute
Array = npt.NDArray[Any]
TEXT_LIMIT = 40_000
"""Characters of a sampled document that are looked at; all of it counts towards its size."""

DRAWN = np.dtype([("draw", "<u8"), ("shard", "<i8"), ("row", "<i8")])


class Tagged(NamedTuple):
    """A source to draw from: shards, the folder of their attributes, and what a mix says the shards' hashes are.

    `limit` are the documents of each shard that a limited mix has read.
    """

    name: str
    shards: Sequence[Shard]
    attributes: str
    hashes: dict[str, str]
    limit: int | None = None


class Sample(NamedTuple):
    """Sampled rows in documented order. `sets` has a struct per attribute set, `taggers` who wrote each.

    `licenses` are those that `metadata.license` names (null: none). `population` and `population_bytes` are the
    documents and the bytes of text of the whole source.
    """

    source: Tagged
    population: int
    population_bytes: int
    shards: Array
    rows: Array
    draws: Array
    ids: pa.Array
    sources: pa.Array
    licenses: pa.Array
    texts: list[str]
    bytes: Array
    characters: Array
    sets: dict[str, pa.StructArray]
    taggers: dict[str, str]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def weight(self) -> float:
        """Documents of the source that a sampled one stands for."""
        return self.population / max(len(self), 1)

    def numbers(self) -> dict[str, Array]:
        """`set.field` -> float64 of every field that is a number or a flag; NaN where nobody measured."""
        found: dict[str, Array] = {}
        for name, struct in self.sets.items():
            for field in struct.type:
                if _is_number(field.type):
                    column = pc.struct_field(struct, field.name).cast(pa.float64())
                    found[f"{name}.{field.name}"] = np.asarray(column.fill_null(np.nan))
        return found

    def spans(self) -> dict[str, pa.Array]:
        """`set.field` -> the spans of every document (null where nobody measured)."""
        return {
            f"{name}.{field.name}": pc.struct_field(struct, field.name)
            for name, struct in self.sets.items()
            for field in struct.type
            if is_spans(field.type)
        }

    def field(self, set_name: str, name: str) -> pa.Array | None:
        """A field of a set, None where there is none."""
        struct = self.sets.get(set_name)
        return None if struct is None or struct.type.get_field_index(name) < 0 else pc.struct_field(struct, name)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)


def draw_sample(source: Tagged, count: int, seed: int) -> Sample:
    """Draw `count` documents of a source, or all it has."""
    sets = _common_sets(source)
    drawn = _drawn(source, sets, count, seed)
    parts = [_Part(source, sets, number, drawn[drawn["shard"] == number]) for number in range(len(source.shards))]
    found = [part.read() for part in parts]
    joined = {name: pa.concat_arrays([part.sets[name] for part in parts]) for name in sets}
    return Sample(
        source,
        sum(part.total for part in parts),
        sum(part.total_bytes for part in parts),
        drawn["shard"],
        drawn["row"],
        drawn["draw"],
        pa.concat_arrays([part.ids for part in parts]),
        pa.concat_arrays([part.sources for part in parts]),
        pa.concat_arrays([part.licenses for part in parts]),
        [text for texts in found for text in texts],
        np.concatenate([part.sizes for part in parts]),
        np.concatenate([part.characters for part in parts]),
        joined,
        {name: parts[0].taggers[name] for name in sets},
    )


def _common_sets(source: Tagged) -> list[str]:
    """Attribute sets that every shard has."""
    names = [name for name in attribute_sets(source.attributes) if not name.startswith("_")]
    return [
        name
        for name in names
        if all(storage.stat(attribute_path(source.attributes, name, shard)) for shard in source.shards)
    ]


def _drawn(source: Tagged, sets: Sequence[str], count: int, seed: int) -> Array:
    """`DRAWN` of the sample, by shard and row."""
    best = np.empty(0, DRAWN)
    for number, shard in enumerate(source.shards):
        ids = _ids(source, sets, shard)[: source.limit]
        more = np.empty(len(ids), DRAWN)
        more["draw"] = draws(seed, "report", source.name, ids)
        more["shard"], more["row"] = number, np.arange(len(ids))
        best = np.concatenate([best, more])
        best = best[np.lexsort((best["row"], best["shard"], best["draw"]))][:count]
    return best[np.lexsort((best["row"], best["shard"]))]


def _ids(source: Tagged, sets: Sequence[str], shard: Shard) -> pa.Array:
    parts: list[pa.Array] = [pa.array([], pa.string())]
    if not sets:
        parts += [batch.ids for batch in DocumentReader(shard, ("id",))]
    else:
        path = attribute_path(source.attributes, sets[0], shard)
        narrow = list(AttributeReader(path, sets[0]).types)[:1]
        reader = AttributeReader(path, sets[0], narrow)
        while (ids := reader.upcoming()) is not None:
            reader.read(ids)
            parts.append(ids)
    return pa.concat_arrays(parts)


class _Part:
    """The sampled rows of one shard; the shard and its attributes are read through once, and verified."""

    def __init__(self, source: Tagged, sets: Sequence[str], number: int, drawn: Array) -> None:
        self.source, self.shard, self.rows = source, source.shards[number], drawn["row"]
        root = source.attributes
        self.readers = {name: AttributeReader(attribute_path(root, name, self.shard), name) for name in sets}
        self.taggers = {name: str(reader.about.get("tagger", name)) for name, reader in self.readers.items()}
        self.total = self.total_bytes = 0

    def read(self) -> list[str]:
        """The texts, cut to `TEXT_LIMIT`."""
        reader = DocumentReader(self.shard, ("id", "text", "source", "metadata"), limit=self.source.limit)
        texts: list[str] = []
        ids, sources, licenses = ([pa.array([], pa.string())] for _ in range(3))
        sizes, characters = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        taken: dict[str, list[pa.StructArray]] = {name: [] for name in self.readers}
        for batch in reader:
            mine = self.rows - batch.first_row
            mine = mine[(mine >= 0) & (mine < len(batch))]
            chosen = pa.array(mine)
            for name, attributes in self.readers.items():
                taken[name].append(attributes.read(batch.ids).take(chosen))
            ids.append(batch.ids.take(chosen))
            sources.append(batch.columns.column("source").take(chosen))
            licenses.append(Batch(batch.shard, 0, batch.columns.take(chosen)).metadata("license"))
            sizes.append(np.diff(batch.offsets)[mine])
            characters.append(batch.char_counts[mine])
            texts += [batch.text(int(row))[:TEXT_LIMIT] for row in mine]
            self.total_bytes += int(batch.offsets[-1])
        self._check(reader)
        self.total = reader.rows
        self.ids, self.sources, self.licenses = (pa.concat_arrays(found) for found in (ids, sources, licenses))
        self.sizes, self.characters = np.concatenate(sizes), np.concatenate(characters)
        self.sets = {
            name: pa.concat_arrays(found or [_empty(self.readers[name], name)]) for name, found in taken.items()
        }
        return texts

    def _check(self, reader: DocumentReader) -> None:
        for attributes in self.readers.values():
            attributes.finish(reader.hash, reader.bad_rows)
        if reader.hash is not None and self.source.hashes.get(self.shard.name, reader.hash) != reader.hash:
            raise DataError(f"{self.shard.path}: has changed since the mix was made; make the mix again")


def _empty(reader: AttributeReader, name: str) -> pa.StructArray:
    return pa.array([], pa.struct(list(reader.types.items())))
