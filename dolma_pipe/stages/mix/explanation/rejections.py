"""Samples of what a mix rejected, by reason: which documents a rule hits is told by looking at some of them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np

from dolma_pipe import storage
from dolma_pipe.draws import draws
from dolma_pipe.shards import DocumentReader, document_shards

LOOKED_AT = 64
"""Batches of each reason that samples are drawn from, from the first on."""


class Rejection(NamedTuple):
    """A rejected document: its source, id and the beginning of its text."""

    source: str
    id: str
    text: str


def samples(home: str, number: int, length: int = 200) -> Iterator[tuple[str, list[Rejection]]]:
    """Reasons in order, each with so many documents drawn by the hashes of their ids."""
    folder = storage.join(home, "_rejected")
    names = storage.listing(folder) if storage.exists(folder) else []
    for reason in sorted({name.split("/", 1)[0] for name in names}):
        yield reason, _samples(storage.join(folder, reason), reason, number, length)


def _samples(dataset: str, reason: str, number: int, length: int) -> list[Rejection]:
    found: list[tuple[int, Rejection]] = []
    batches = (
        (shard.name.split("/", 1)[0], batch)
        for shard in document_shards(dataset)
        for batch in DocumentReader(shard, ("id", "text"))
    )
    for source, batch in islice(batches, LOOKED_AT):
        drawn = draws(0, f"rejected {reason}", source, batch.ids)
        for row in np.argsort(drawn, kind="stable")[:number].tolist():
            text = batch.columns.column("text")[row].as_py()[:length]
            found.append((int(drawn[row]), Rejection(source, batch.ids[row].as_py(), text)))
    return [rejection for _, rejection in sorted(found)[:number]]
