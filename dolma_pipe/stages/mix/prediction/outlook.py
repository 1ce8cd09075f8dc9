"""What would become of the rows of a shard, once all that decides about them is decided: counts, no text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dolma_pipe.attributes import ROW_GROUP
from dolma_pipe.batch import Batch
from dolma_pipe.stages.mix.fates import ALIVE, EMPTIED, SHORTENED, Court, Place, reasons
from dolma_pipe.stages.mix.prediction.estimates import Estimated, Estimator, untouched
from dolma_pipe.stages.mix.prediction.foresight import Known, Nameless
from dolma_pipe.stages.mix.source import Source
from dolma_pipe.stages.mix.verdicts import EMPTY, FINE

Array = npt.NDArray[Any]


class Sums(NamedTuple):
    """Of some shards, in units (documents, bytes, tokens where they were counted): `fates[splits + fate]` as read,
    `written[0]` as written for training, `written[1 + split]` for a split. `edited` counts documents that an edit
    touches, `in_doubt` those of which an edit may leave white space only.
    """

    fates: Array
    written: Array
    edited: int
    in_doubt: int

    def plus(self, more: Sums) -> Sums:
        """The sums of both."""
        edited, in_doubt = self.edited + more.edited, self.in_doubt + more.in_doubt
        return Sums(self.fates + more.fates, self.written + more.written, edited, in_doubt)


def nothing(source: Source, known: Known) -> Sums:
    """The sums of no shard."""
    splits, units = len(source.splits), 3 if known.tokens else 2
    return Sums(np.zeros((splits + 1 + len(reasons(source)), units)), np.zeros((1 + splits, units)), 0, 0)


class Surveyor:
    """Looks ahead on one shard."""

    def __init__(self, court: Court, place: Place, known: Known) -> None:
        self.source: Source = court.sources[place.source]
        self.place, self.known = place, known
        self.fate = court.fates(place, len(self.source.splits))
        self.copies = court.copies(place, self.fate)
        self.removals = court.removals(place)
        edits = (*self.source.edits, *self.source.removals)
        self.estimator = Estimator(edits, self.source.keep_after) if edits and known.length else None
        fields = {**(self.source.written_fields if self.estimator else {}), **known.fields}
        path = {name: self.source.attribute_file(name, place.shard) for name in fields}
        self.readers = {name: Nameless(path[name], name, fields[name]) for name in fields}

    def survey(self) -> Sums:
        """Read what was measured of the shard, and count."""
        total = nothing(self.source, self.known)
        for first in range(0, len(self.fate), ROW_GROUP):
            rows = slice(first, min(first + ROW_GROUP, len(self.fate)))
            total = total.plus(self._count(rows))
        return total

    def _count(self, rows: slice) -> Sums:
        count = rows.stop - rows.start
        found = {name: reader.some(count) for name, reader in self.readers.items()}
        units = self.known.units(found, count)
        fate = self.fate[rows]
        estimated = self._estimated(rows, found, fate <= ALIVE, units[1])
        is_edited = estimated.bytes != units[1]
        fate = np.where(estimated.after == FINE, fate, np.where(estimated.after == EMPTY, EMPTIED, SHORTENED))
        splits = len(self.source.splits)
        copies = np.where(fate == ALIVE, self.copies[rows], fate < ALIVE)
        outputs = np.where(fate <= ALIVE, -fate, splits + 1)
        share = np.where(is_edited, estimated.bytes / np.maximum(units[1], 1), 1.0)
        written = [column * copies for column in (units[0], estimated.bytes, *(each * share for each in units[2:]))]
        return Sums(
            _by(fate + splits, units, splits + 1 + len(reasons(self.source))),
            _by(outputs, written, splits + 2)[:-1],
            int(((fate <= ALIVE) & is_edited).sum()),
            int((estimated.in_doubt & (self.fate[rows] <= ALIVE)).sum()),
        )

    def _estimated(self, rows: slice, found: dict[str, pa.StructArray], wanted: Array, sizes: Array) -> Estimated:
        if self.estimator is None:
            return untouched(sizes)
        names = pa.RecordBatch.from_arrays([pa.nulls(len(sizes), pa.string())], names=["id"])
        found |= {name: removals.only(found[name]) for name, removals in self.removals.items()}
        characters = np.asarray(found["length"].field("characters"))
        return self.estimator.estimate(
            Batch(self.place.shard.path, rows.start, names), found, wanted, sizes, characters
        )


def _by(groups: Array, units: Sequence[Array], count: int) -> Array:
    """float64[count, units]: the sum of each group."""
    return np.stack([np.bincount(groups, weights=unit, minlength=count) for unit in units], axis=1)
