"""Writes what a shard of the mix becomes, and counts what became of every document."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dolma_pipe import storage
from dolma_pipe.attributes import AttributeReader
from dolma_pipe.batch import Batch
from dolma_pipe.editing import Edited, Editor, put_texts
from dolma_pipe.errors import AlignmentError
from dolma_pipe.shards import DocumentReader
from dolma_pipe.stage import Work
from dolma_pipe.stages.mix.amounts.upsampling import Rates
from dolma_pipe.stages.mix.config import MixConfig
from dolma_pipe.stages.mix.fates import ALIVE, EMPTIED, NOT_SAMPLED, RULES, SHORTENED, Court, Place, reasons, split_fate
from dolma_pipe.stages.mix.funnel import Amount, BucketCount, EditCount, Funnel, Taken
from dolma_pipe.stages.mix.outputs import Lines, Outputs
from dolma_pipe.stages.mix.source import Source
from dolma_pipe.stages.mix.taken_down import TAKEN_DOWN
from dolma_pipe.stages.mix.verdicts import EMPTY, FINE, SET, remains

Array = npt.NDArray[Any]


class Result(NamedTuple):
    """A batch as it will be written: its lines, the bytes of each text, how many regions were edited in each."""

    lines: Lines
    sizes: Array
    edits: Array


class ShardMix:
    """Writes one shard."""

    def __init__(self, court: Court, place: Place, work: Work, config: MixConfig) -> None:
        self.place, self.work, self.keep_rejected = place, work, config.keep_rejected
        self.compression = config.compression
        self.source: Source = court.sources[place.source]
        self.home = court.files.home
        self.fate = court.fates(place, len(self.source.splits))
        self.copies = court.copies(place, self.fate)
        self.tokens = court.sizes(place, "tokens") if self.source.counted else None
        self.standing = court.standing(place)
        self.reasons = reasons(self.source)
        edits = (*self.source.edits, *self.source.removals)
        self.editor = Editor(edits) if edits else None
        self.removals = court.removals(place)
        rules = [f"rule{index}" for index in range(len(self.source.rules))]
        self.verdicts = AttributeReader(court.files.verdict(self.source, place.shard), SET, ["passed", *rules])
        self.spans = {
            name: AttributeReader(self.source.attribute_file(name, place.shard), name, fields)
            for name, fields in self.source.written_fields.items()
        }
        self.funnel = _empty_funnel(self.source, court.decisions.rates.get(self.source.name))

    def run(self) -> DocumentReader:
        """Read every document once and write those that stay; returns the reader, at its end."""
        source, shard = self.source, self.place.shard
        quarantine = storage.join(self.home, "_quarantine", source.name, shard.stem + ".jsonl")
        with self.work.quarantine(quarantine) as bad, self._outputs() as outputs:
            reader = DocumentReader(shard, lines=True, limit=source.read_limit, bad=bad)
            for batch in reader:
                self._batch(batch, outputs)
                self.work.progress(len(batch), len(batch.data))
            self._check_alignment(reader)
        self.funnel.quarantined = Amount(reader.bad_rows, reader.bad_bytes)
        self._report(reader)
        return reader

    def _outputs(self) -> Outputs:
        return Outputs(self.work, self.home, self.source.name, self.place.shard, self.compression)

    def _batch(self, batch: Batch, outputs: Outputs) -> None:
        rows = np.arange(batch.first_row, batch.first_row + len(batch))
        failed = self._failed(batch)
        self._check_rows(rows)
        fate = self.fate[rows]
        attributes = {name: reader.read(batch.ids) for name, reader in self.spans.items()}
        attributes |= {name: removals.only(attributes[name]) for name, removals in self.removals.items()}
        result, fate = self._edit(batch, attributes, fate)
        sizes = np.diff(batch.offsets)
        self._count(fate, rows, sizes, failed, result)
        for copy in range(int(self.copies[rows].max(initial=0))):
            chosen = (fate == ALIVE) & (self.copies[rows] > copy)
            outputs.write("", result.lines, chosen, rows, copy, result.edits)
        for number, split in enumerate(self.source.splits):
            chosen = fate == split_fate(number)
            outputs.write(f"splits/{split.name}", result.lines, chosen, rows, 0, result.edits)
        if self.keep_rejected:
            self._reject(batch, fate, rows, failed, outputs)

    def _failed(self, batch: Batch) -> Array:
        """bool[rules, documents]; refuses a verdict that is of other documents."""
        try:
            verdict = self.verdicts.read(batch.ids)
        except AlignmentError as error:
            measured = self._measured_file()
            raise AlignmentError(str(error).replace(self.verdicts.path, measured)) from error
        columns = [~np.asarray(verdict.field(f"rule{index}")) for index in range(len(self.source.rules))]
        return np.array(columns, np.bool_).reshape(len(columns), len(batch))

    def _measured(self) -> dict[str, str]:
        """File -> hash of the document shard that it describes."""
        known: dict[str, str] = self.verdicts.about.get("measured", {})
        source, shard = self.source, self.place.shard
        return {source.attribute_file(name, shard) if name else shard.path: found for name, found in known.items()}

    def _measured_file(self) -> str:
        """A file that says which documents the verdict is of."""
        sets = self.source.verdict_fields
        known = next((self.source.attribute_file(name, self.place.shard) for name in sets), self.place.shard.path)
        return next(iter(self._measured()), known)

    def _check_rows(self, rows: Array) -> None:
        if len(rows) and rows[-1] >= len(self.fate):
            raise AlignmentError(f"{self.place.shard.path}: more documents than were measured; tag this shard again")

    def _check_alignment(self, reader: DocumentReader) -> None:
        if reader.rows != len(self.fate):
            measured = self._measured_file()
            raise AlignmentError(
                f"{measured}: {len(self.fate)} rows for a shard of {reader.rows} documents; tag it again"
            )
        for path, found in self._measured().items():
            if found != reader.hash and reader.hash is not None:  # None: it was not read to its end
                raise AlignmentError(
                    f"{path}: the document shard has changed since it was measured; tag this shard again"
                )
        for reader_of_spans in self.spans.values():
            reader_of_spans.finish(reader.hash, reader.bad_rows)

    def _edit(self, batch: Batch, attributes: dict[str, pa.StructArray], fate: Array) -> tuple[Result, Array]:
        """The batch's lines with all edits applied, and the fates of those that edits left too little of."""
        lines = _lines(batch)
        sizes, regions = np.diff(batch.offsets), np.zeros(len(batch), np.int32)
        if self.editor is None:
            return Result(lines, sizes, regions), fate
        edited = self.editor.apply(batch, attributes, fate <= ALIVE)
        self._count_edits(edited)
        after = np.zeros(len(batch), np.int8)
        after[edited.rows] = remains(edited, self.source.keep_after)
        fate = np.where(after == FINE, fate, np.where(after == EMPTY, EMPTIED, SHORTENED))
        regions[edited.rows] = edited.regions
        sizes[edited.rows] = np.diff(edited.bounds)
        return Result(_edited_lines(lines, edited), sizes, regions), fate

    def _count(self, fate: Array, rows: Array, sizes: Array, failed: Array, result: Result) -> None:
        funnel = self.funnel
        funnel.read.add(sizes)
        funnel.judge([rule.name for rule in self.source.rules], failed, sizes)
        for number, reason in enumerate(self.reasons):
            funnel.dropped[reason].add(sizes[fate == number + 1])
        tokens = None if self.tokens is None else self.tokens[rows]
        outputs = {ALIVE: funnel.kept}
        outputs |= {split_fate(n): funnel.splits[split.name] for n, split in enumerate(self.source.splits)}
        for number, taken in outputs.items():
            chosen = fate == number
            copies = self.copies[rows[chosen]] if number == ALIVE else np.ones(int(chosen.sum()), np.int64)
            its_tokens = None if tokens is None else tokens[chosen]
            taken.take(sizes[chosen], result.sizes[chosen], its_tokens, copies)
        units = {"documents": np.ones(len(rows), np.int64), "bytes": result.sizes, "tokens": tokens}
        self._count_buckets(fate, rows, units[self.source.counting.unit])

    def _count_buckets(self, fate: Array, rows: Array, weights: Array | None) -> None:
        """Documents among which upsampling chose, by bucket."""
        if self.standing is None or weights is None:
            return
        for number, (_, counts) in enumerate(sorted(self.funnel.upsampled.items())):
            among = (self.standing.groups[rows] == number) & ((fate == ALIVE) | (fate == NOT_SAMPLED))
            for bucket, count in enumerate(counts):
                mine = among & (self.standing.buckets[rows] == bucket)
                copies = self.copies[rows[mine]]
                count += BucketCount(
                    int(mine.sum()), int(weights[mine].sum()), int(copies.sum()), int((weights[mine] * copies).sum())
                )

    def _count_edits(self, edited: Edited) -> None:
        for name, count in self.funnel.edits.items():
            count.spans += edited.spans[name]
            count.documents += edited.documents[name]

    def _reject(self, batch: Batch, fate: Array, rows: Array, failed: Array, outputs: Outputs) -> None:
        """Rejected documents as they were read, below the first rule that each fails, or its other reason."""
        lines = _lines(batch)
        names = [rule.name for rule in self.source.rules]
        first = failed.argmax(axis=0) if len(names) else np.zeros(len(batch), np.int64)
        for number, name in enumerate(names):
            if name == TAKEN_DOWN:
                continue  # what was taken down is not written anywhere
            chosen = (fate == RULES) & (first == number)
            all_reasons = [[names[r] for r in np.flatnonzero(failed[:, i])] for i in np.flatnonzero(chosen)]
            outputs.reject(f"_rejected/{name}", lines, chosen, rows, all_reasons)
        for number, reason in enumerate(self.reasons):
            if number + 1 != RULES:
                chosen = fate == number + 1
                its = [[reason]] * int(chosen.sum())
                outputs.reject(f"_rejected/{reason}", lines, chosen, rows, its)

    def _report(self, reader: DocumentReader) -> None:
        funnel, work = self.funnel, self.work
        work.fact("funnel", msgspec.to_builtins(funnel))
        work.count(documents=funnel.read.documents, bytes=funnel.read.bytes, kept=funnel.kept.documents)
        work.count(dropped=sum(amount.documents for amount in funnel.dropped.values()))
        work.count(held_out=sum(taken.documents for taken in funnel.splits.values()))
        work.count(bad_rows=reader.bad_rows, bad_bytes=reader.bad_bytes)


def _lines(batch: Batch) -> Lines:
    """The lines that the reader was asked for."""
    if batch.raw is None or batch.raw_offsets is None:
        raise TypeError("the batch was read without its lines")
    return Lines(batch.raw, batch.raw_offsets[:-1], batch.raw_offsets[1:])


def _empty_funnel(source: Source, rates: Rates | None) -> Funnel:
    """Every name that may occur, so that zeros are shown."""
    return Funnel(
        dropped={reason: Amount() for reason in reasons(source)},
        splits={split.name: Taken() for split in source.splits},
        edits={edit.name: EditCount() for edit in (*source.edits, *source.removals)},
        upsampled={} if rates is None else {name: [BucketCount() for _ in its] for name, its in rates.groups.items()},
    )


def _edited_lines(lines: Lines, edited: Edited) -> Lines:
    """The lines with those of edited documents replaced; all others are the bytes that were read."""
    if not len(edited.rows):
        return lines
    starts, ends = lines.starts.copy(), lines.ends.copy()
    raw, bounds = put_texts(lines.raw, starts[edited.rows], ends[edited.rows], edited)
    starts[edited.rows], ends[edited.rows] = bounds[:-1], bounds[1:]
    return Lines(raw, starts, ends)
