"""Verdicts: what the rules say about every document of a shard, and what later phases need to know of it.

A verdict file is an attribute set of its own, row beside row, in the scratch folder. It is made from attributes
alone where they suffice; the documents are read only if a decision needs their text (see `Source.measured`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dolma_pipe import rules
from dolma_pipe.attributes import AttributeReader, AttributeWriter
from dolma_pipe.batch import Batch, make_batch
from dolma_pipe.editing import Edited, Editor
from dolma_pipe.errors import AlignmentError
from dolma_pipe.shards import DocumentReader, Shard
from dolma_pipe.stage import Work
from dolma_pipe.stages.mix.amounts.groups import groups_of
from dolma_pipe.stages.mix.source import Source, preference, schema_of

SET = "verdict"
DOCUMENTS = ""
"""Stands for the documents where attribute sets are named."""
BATCH_BYTES = 8 << 20
FINE, EMPTY, SHORT = 0, 1, 2
"""What became of an edited text: something is left, nothing is, less than `keep_after` asks for."""

Structs = dict[str, pa.StructArray]
Array = npt.NDArray[Any]


class Rows(NamedTuple):
    """Rows of one shard: ids and attributes, and the documents where they were read."""

    ids: pa.Array
    attributes: Structs
    batch: Batch | None


class Judge:
    """Makes the verdicts of one shard."""

    def __init__(self, source: Source, shard: Shard) -> None:
        self.source, self.shard = source, shard
        self.readers = {
            name: AttributeReader(source.attribute_file(name, shard), name, fields)
            for name, fields in source.verdict_fields.items()
        }
        types = {name: reader.types for name, reader in self.readers.items()}
        self.evaluator = rules.evaluator(source.expressions, schema_of(source, types))
        self.editor = Editor(source.edits) if source.measured and source.edits else None
        self.documents: DocumentReader | None = None
        self.clustered = [0] * len(source.dedups)

    def write(self, stream: Any, work: Work) -> None:
        """Judge every document of the shard and write the verdicts."""
        types = verdict_types(self.source)
        writer = AttributeWriter(stream, SET, types, {}, nullable=True)
        for rows in self._rows():
            verdict = self._judge(rows)
            writer.write(rows.ids, verdict)
            work.progress(len(rows.ids), len(rows.batch.data) if rows.batch and self.source.measured else 0)
            self._count(verdict)
        writer.close(measured=self._measured())
        work.fact("clustered", self.clustered)

    def _rows(self) -> Iterator[Rows]:
        if not self.source.reads_documents:
            yield from self._attribute_rows()
            return
        columns, limit = self.source.document_columns, self.source.read_limit
        self.documents = DocumentReader(self.shard, columns, limit=limit, batch_bytes=BATCH_BYTES)
        for batch in self.documents:
            yield Rows(batch.ids, {name: reader.read(batch.ids) for name, reader in self.readers.items()}, batch)
        for reader in self.readers.values():
            reader.finish(self.documents.hash, self.documents.bad_rows)

    def _attribute_rows(self) -> Iterator[Rows]:
        first, *others = self.readers.values()
        left = self.source.read_limit or first.rows
        while left and (ids := first.upcoming()) is not None:
            ids = ids[:left]
            left -= len(ids)
            yield Rows(ids, {name: reader.read(ids) for name, reader in self.readers.items()}, None)
        for reader in others if self.source.read_limit is None else ():
            if reader.upcoming() is not None:
                raise AlignmentError(
                    f"{reader.path}: more rows than {first.path} ({reader.rows} and {first.rows}); tag it again"
                )

    def _measured(self) -> dict[str, Any]:
        """Attribute set -> hash of the document shard that it describes; they must all describe one. Sets and not
        files: what is written must not depend on where they lie."""
        hashes = {name: reader.about.get("shard", {}).get("hash") for name, reader in self.readers.items()}
        known = {name: found for name, found in hashes.items() if found is not None}
        if len(set(known.values())) > 1:
            one, other = next((a, b) for a in known for b in known if known[a] != known[b])
            raise AlignmentError(
                f"{self.readers[one].path} and {self.readers[other].path} were measured on different versions of "
                f"{self.shard.path}; tag it again"
            )
        if self.documents is not None:
            known[DOCUMENTS] = self.documents.hash
        return known

    def _judge(self, rows: Rows) -> dict[str, Any]:
        source = self.source
        values = self.evaluator.evaluate(self._table(rows), self.shard.path)
        verdict: dict[str, Any] = {f"rule{i}": values[i] for i in range(len(source.rules))}
        passed = (
            np.logical_and.reduce(values[: len(source.rules)]) if source.rules else np.ones(len(rows.ids), np.bool_)
        )
        verdict["passed"] = passed
        wanted = iter(values[len(source.rules) :])
        for number, dedup in enumerate(source.dedups):
            found = rows.attributes[dedup.by]
            verdict[f"cluster{number}"] = _field(found, "cluster").cast(pa.string())
            verdict[f"rank{number}"] = _field(found, "rank").cast(pa.int64()).fill_null(0)
            if dedup.by in source.stars:
                verdict[f"text{number}"], verdict[f"near{number}"] = _field(found, "text"), _field(found, "near")
            if preference(dedup) is not None:
                verdict[f"prefer{number}"] = next(wanted)
        for number, dedup in enumerate(source.repeats):
            if preference(dedup) is not None:
                verdict[f"prefer_paragraph{number}"] = next(wanted)
        if source.upsample is not None:
            verdict |= dict(zip(("upsample", "upsample_group"), wanted, strict=False))
        for number, split in enumerate(source.splits):
            if split.by is not None:
                verdict[f"group{number}"] = groups_of(split, rows.attributes, rows.batch)
        if source.measured and rows.batch is not None:
            verdict |= self._measure(rows.batch, rows.attributes, passed)
        return verdict

    def _count(self, verdict: dict[str, Any]) -> None:
        for number in range(len(self.clustered)):
            in_cluster = ~np.asarray(verdict[f"cluster{number}"].is_null())
            self.clustered[number] += int((in_cluster & verdict["passed"]).sum())

    def _table(self, rows: Rows) -> pa.Table:
        columns: dict[str, Any] = {"id": rows.ids}
        if rows.batch is not None:
            columns |= {name: rows.batch.columns.column(name) for name in self.source.plain}
        for name, fields in self.source.judged.items():
            columns[name] = _narrow(rows.attributes[name], fields)
        return pa.table(columns)

    def _measure(self, batch: Batch, attributes: Structs, passed: Array) -> dict[str, Array]:
        """Bytes and tokens of each text as it would be written, and whether enough of it would be left."""
        sizes = np.diff(batch.offsets)
        after = np.zeros(len(batch), np.int8)
        edited = self.editor.apply(batch, attributes, passed) if self.editor is not None else None
        if edited is not None:
            sizes[edited.rows] = np.diff(edited.bounds)
            after[edited.rows] = remains(edited, self.source.keep_after)
        found = {"bytes": sizes, "after": after}
        return found | ({"tokens": self._tokens(batch, attributes, passed, edited)} if self.source.counted else {})

    def _tokens(self, batch: Batch, attributes: Structs, passed: Array, edited: Edited | None) -> Array:
        """Tokens of each text that passed as it would be written: of edited ones counted anew, of others where no
        tagger has counted them."""
        counting, source = self.source.counting, self.source
        unchanged = passed.copy()
        if edited is not None:
            unchanged[edited.rows] = False
        tokens = np.zeros(len(batch), np.int64)
        if source.tokens_set is not None:
            counts = np.asarray(_field(attributes[source.tokens_set], "count").cast(pa.int64()))
            tokens[unchanged] = counts[unchanged] + counting.extra
        else:
            texts = Batch(batch.shard, 0, batch.columns.filter(pa.array(unchanged)))
            counting.check(texts)
            tokens[unchanged] = counting.encoded(texts)
        if edited is not None and len(edited.rows):
            tokens[edited.rows] = counting.encoded(make_batch(edited.texts, shard=batch.shard))
        return tokens


def remains(edited: Edited, keep_after: int) -> Array:
    """What became of each edited text: int8[n]."""
    left = np.where(edited.char_counts < keep_after, SHORT, FINE)
    return np.where(edited.is_blank, EMPTY, left).astype(np.int8)


def _field(struct: pa.StructArray, name: str) -> pa.Array:
    return pc.struct_field(struct, name)  # pyright: ignore[reportAttributeAccessIssue]


def _narrow(struct: pa.StructArray, fields: Sequence[str]) -> pa.StructArray:
    """The struct with these fields only: DuckDB would convert every other one too."""
    if [field.name for field in struct.type] == list(fields):
        return struct
    kinds = [struct.type.field(struct.type.get_field_index(name)) for name in fields]
    return pa.StructArray.from_arrays([struct.field(name) for name in fields], fields=kinds, mask=struct.is_null())


def verdict_types(source: Source) -> dict[str, pa.DataType]:
    """The columns of a source's verdict files."""
    types: dict[str, pa.DataType] = {f"rule{index}": pa.bool_() for index in range(len(source.rules))}
    types["passed"] = pa.bool_()
    for number, dedup in enumerate(source.dedups):
        types |= {f"cluster{number}": pa.string(), f"rank{number}": pa.int64()}
        if dedup.by in source.stars:
            types |= {f"text{number}": pa.int64(), f"near{number}": pa.list_(pa.int32())}
        if preference(dedup) is not None:
            types[f"prefer{number}"] = pa.float64()
    for number, dedup in enumerate(source.repeats):
        if preference(dedup) is not None:
            types[f"prefer_paragraph{number}"] = pa.float64()
    if source.upsample is not None:
        types["upsample"] = pa.float64()
        types |= {"upsample_group": pa.string()} if source.upsample.group is not None else {}
    types |= {f"group{number}": pa.string() for number, split in enumerate(source.splits) if split.by is not None}
    types |= {"tokens": pa.int64()} if source.counted else {}
    return types | ({"bytes": pa.int64(), "after": pa.int8()} if source.measured else {})


def read_columns(path: str, names: Sequence[str]) -> dict[str, pa.Array]:
    """Whole columns of a verdict file (not the ids)."""
    reader = AttributeReader(path, SET, names)
    parts: dict[str, list[pa.Array]] = {name: [] for name in names}
    while (ids := reader.upcoming()) is not None:
        struct = reader.read(ids)
        for name in names:
            parts[name].append(struct.field(name))
    return {name: pa.concat_arrays(found) if found else pa.array([]) for name, found in parts.items()}


def read_ids(path: str) -> Iterator[pa.Array]:
    """The ids of a verdict file, some tens of thousands at a time."""
    reader = AttributeReader(path, SET, ["passed"])
    while (ids := reader.upcoming()) is not None:
        reader.read(ids)
        yield ids
