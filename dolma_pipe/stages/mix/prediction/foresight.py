"""Verdicts from attributes alone: what the mix would say of every document, and what it counts, with no text read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from dolma_pipe import storage
from dolma_pipe.attributes import ROW_GROUP, AttributeReader, AttributeWriter
from dolma_pipe.batch import Batch
from dolma_pipe.errors import ConfigError
from dolma_pipe.shards import DocumentReader, Shard
from dolma_pipe.stage import Work
from dolma_pipe.stages.mix.prediction.estimates import Estimated, Estimator, untouched
from dolma_pipe.stages.mix.source import Fields, Source
from dolma_pipe.stages.mix.verdicts import FINE, SET, Judge, Rows, verdict_types

pc: Any = pyarrow.compute
Array = npt.NDArray[Any]


BYTES_PER_TOKEN = 4.2
"""Of English web text with the tokenizers of recent models, where nobody has counted."""


class Known(NamedTuple):
    """What was measured of a source beside what its steps read: `length`, and the set that has counted tokens.

    `extra` are the tokens of a document beside those of its text.
    """

    length: bool
    tokens: str | None
    bytes_per_token: float
    extra: int

    @property
    def fields(self) -> Fields:
        length = {"length": ("bytes", "characters")} if self.length else {}
        return length | ({self.tokens: ("count",)} if self.tokens else {})

    def units(self, rows: Mapping[str, pa.StructArray], count: int) -> list[Array]:
        """Of so many rows what is summed: ones, bytes (0 where they are not known), and tokens where they were
        counted."""
        sizes = np.asarray(rows["length"].field("bytes")) if self.length else np.zeros(count)
        tokens = [np.asarray(rows[self.tokens].field("count"))] if self.tokens else []
        return [np.ones(count), *(column.astype(np.float64) for column in (sizes, *tokens))]

    def tokens_of(self, units: Sequence[Array]) -> Array:
        """Tokens as written of unedited texts, counted or estimated."""
        return (units[2] if self.tokens else np.rint(units[1] / self.bytes_per_token)) + self.extra * units[0]


def known_of(source: Source) -> Known:
    """Which sets every shard of a source has."""
    length, tokens = (
        all(storage.stat(source.attribute_file(name, shard)) is not None for shard in source.shards)
        for name in ("length", source.tokens_set or "tokens")
    )
    needed = "bytes" in source.units or ("tokens" in source.units and not tokens)
    if needed and not length:
        raise ConfigError(
            f"mix --plan: source {source.name!r} takes an amount, and nothing says how long its documents are: "
            f"dolma-pipe tag {source.shards[0].dataset} --taggers length"
        )
    rate = source.counting.bytes_per_token or BYTES_PER_TOKEN
    return Known(length, (source.tokens_set or "tokens") if tokens else None, rate, source.counting.extra)


class Watcher(Protocol):
    """Who looks on while rows are judged."""

    def see(self, seen: Seen) -> None: ...


class Seen(NamedTuple):
    """Judged rows of a shard, from `first` on. `failed` is bool[rules, rows]; `units` are numbers that are summed:
    ones, bytes, and tokens where they were counted."""

    first: int
    table: pa.Table
    failed: Array
    units: list[Array]
    verdict: dict[str, Any]
    estimated: Estimated


class Nameless(AttributeReader):
    """Hands out rows without their documents' ids, where it is known that the sets belong together; with no fields,
    the ids alone."""

    def __init__(self, path: str, set_name: str, fields: tuple[str, ...]) -> None:
        super().__init__(path, set_name, fields)
        columns = [f"{set_name}.{field}" for field in fields] or ["id"]
        self._batches = self._file.iter_batches(batch_size=ROW_GROUP, columns=columns, use_threads=False)

    def some(self, rows: int) -> Any:
        """The next rows, so many or what is left."""
        column = self._take(rows).column(0).combine_chunks()
        return column.chunk(0) if isinstance(column, pa.ChunkedArray) else column


def wanted_fields(source: Source, known: Known) -> Fields:
    """Fields per set that a prediction reads."""
    wanted = {name: set(fields) for name, fields in source.verdict_fields.items()}
    for more in (source.edited, known.fields):
        for name, fields in more.items():
            wanted.setdefault(name, set()).update(fields)
    return {name: tuple(sorted(fields)) for name, fields in sorted(wanted.items())}


class Foresight(Judge):
    """Judges a shard without its text. `watcher` sees every row; `named` reads ids even where nothing asks for them."""

    def __init__(self, source: Source, shard: Shard, known: Known, watcher: Watcher, named: bool = False) -> None:
        super().__init__(source, shard)
        self.known, self.watcher, self.first = known, watcher, 0
        self.fields = wanted_fields(source, known)
        self.readers = {name: self._reader(AttributeReader, name) for name in self.fields}
        self.estimator = Estimator(source.edits, source.keep_after) if source.edits and known.length else None
        self.named = named or needs_names(source)
        self._names: Nameless | None = None
        self._together = columns_read(source) == ("id",) and self._belong_together()
        if self._together:
            self.readers = {name: self._reader(Nameless, name) for name in self.fields}
            first = next(iter(self.fields))
            self._names = Nameless(source.attribute_file(first, shard), first, ()) if self.named else None

    def _reader(self, kind: type[AttributeReader], name: str) -> AttributeReader:
        return kind(self.source.attribute_file(name, self.shard), name, self.fields[name])

    def _belong_together(self) -> bool:
        """Were all sets measured on one version of the shard?"""
        seen = {(reader.about.get("shard", {}).get("hash"), reader.rows) for reader in self.readers.values()}
        return len(seen) == 1 and None not in next(iter(seen))

    def write(self, stream: Any, work: Work) -> None:
        """Write the verdicts, but for what each rule says: only `watcher` asks for that."""
        types = {name: kind for name, kind in verdict_types(self.source).items() if not name.startswith("rule")}
        writer = AttributeWriter(stream, SET, types, {}, nullable=True)
        for rows in self._rows():
            verdict = self._judge(rows)
            writer.write(rows.ids, verdict)
            self._count(verdict)
        writer.close(measured=self._measured())
        work.fact("clustered", self.clustered)

    def _rows(self) -> Iterator[Rows]:
        if not self.readers or columns_read(self.source) != ("id",):
            yield from self._document_rows()
        elif self._together:
            yield from self._rows_together()
        else:
            yield from self._attribute_rows()

    def _rows_together(self) -> Iterator[Rows]:
        total = next(iter(self.readers.values())).rows
        total = min(total, self.source.read_limit or total)
        counts = [min(ROW_GROUP, total - first) for first in range(0, total, ROW_GROUP)]
        with ThreadPoolExecutor(1) as ahead:  # rows are decoded while those before them are judged
            coming: Future[Rows] | None = None
            for count in counts:
                ready, coming = coming, ahead.submit(self._next, count)
                if ready is not None:
                    yield ready.result()
            if coming is not None:
                yield coming.result()

    def _next(self, count: int) -> Rows:
        found = {name: reader.some(count) for name, reader in self.readers.items() if isinstance(reader, Nameless)}
        return Rows(pa.nulls(count, pa.string()) if self._names is None else self._names.some(count), found, None)

    def _document_rows(self) -> Iterator[Rows]:
        """Rows of which the documents themselves must be asked; their texts are not."""
        reader = DocumentReader(self.shard, columns_read(self.source), limit=self.source.read_limit)
        for batch in reader:
            yield Rows(batch.ids, {name: found.read(batch.ids) for name, found in self.readers.items()}, batch)
        for found in self.readers.values():
            found.finish(reader.hash, reader.bad_rows)

    def _judge(self, rows: Rows) -> dict[str, Any]:
        verdict = super()._judge(rows)
        failed = [~np.asarray(verdict[f"rule{index}"]) for index in range(len(self.source.rules))]
        failures = np.array(failed, np.bool_).reshape(len(failed), len(rows.ids))
        units = self.known.units(rows.attributes, len(rows.ids))
        passed: Array = ~np.any(failures, axis=0)
        estimated = self._estimated(rows, passed, units[1])
        if self.source.measured:
            verdict |= {"bytes": estimated.bytes.astype(np.int64), "after": estimated.after}
        if self.source.counted:
            shrunk = estimated.bytes / np.maximum(units[1], 1)
            tokens = np.where(estimated.bytes == units[1], 1.0, shrunk) * self.known.tokens_of(units)
            verdict["tokens"] = np.rint(tokens).astype(np.int64)
        self.watcher.see(Seen(self.first, self._table(rows), failures, units, verdict, estimated))
        self.first += len(rows.ids)
        return verdict

    def _measure(self, batch: Batch, attributes: Any, passed: Array) -> dict[str, Array]:
        """Nothing: texts are estimated, not made."""
        return {}

    def _estimated(self, rows: Rows, passed: Array, sizes: Array) -> Estimated:
        """Of what passes, spans that are null are an error, as in the mix; of the rest, those that are there count."""
        if self.estimator is None:
            return untouched(sizes)
        spans = [_field(rows.attributes[edit.set_name], edit.field) for edit in self.source.edits]
        wanted = passed | np.logical_and.reduce([np.asarray(found.is_valid()) for found in spans])
        names = Batch(self.shard.path, self.first, pa.RecordBatch.from_arrays([rows.ids], names=["id"]))
        characters = np.asarray(rows.attributes["length"].field("characters"))
        return self.estimator.estimate(names, rows.attributes, wanted, sizes, characters)


def _field(struct: pa.StructArray, name: str) -> pa.Array:
    return pc.struct_field(struct, name)


def needs_names(source: Source) -> bool:
    """Do decisions, or messages about edits, need the documents' ids?"""
    drawn = source.splits or source.limit or source.sample
    asked = "id" in source.plain or columns_read(source) != ("id",)
    return bool(asked or drawn or source.edits or source.repeats)


def columns_read(source: Source) -> tuple[str, ...]:
    """What the verdict reads of the documents but their text: ("id",) where they need not be opened."""
    return tuple(column for column in source.document_columns if column != "text")


def stands(estimated: Estimated) -> Array:
    """bool per row: is enough left after the edits?"""
    return estimated.after == FINE
