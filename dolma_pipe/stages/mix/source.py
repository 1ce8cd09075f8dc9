"""A source of the mix, resolved: its shards, what its steps want, which attributes that takes."""

from __future__ import annotations

import msgspec
import pyarrow as pa

from dolma_pipe.attributes import attribute_path
from dolma_pipe.mixer import Dedup, Edit, Limit, Sample, Split, Unit, Upsample
from dolma_pipe.rules import Expression
from dolma_pipe.shards import Shard
from dolma_pipe.stages.mix.amounts.counting import Counting

DATES = {
    name: Expression(f"dedup: prefer {name}", f"coalesce({sign}epoch_us(try_cast(created AS TIMESTAMPTZ)), -9e18)",
                     "the mix", "DOUBLE")
    for name, sign in (("latest", ""), ("earliest", "-"))
}  # fmt: skip
CLUSTER_FIELDS = ("cluster", "rank")
STAR_FIELDS = ("text", "near")
COPIES = "copies"
"""The field of a set of paragraphs that lists every copy."""
Fields = dict[str, tuple[str, ...]]
Types = dict[str, dict[str, pa.DataType]]


class Source(msgspec.Struct, frozen=True):
    """One source of the mix; plain data, sent to workers.

    `judged` are the attribute fields that expressions read, `edited` those that edits read. `plain` are the document
    columns that expressions read. `stars` are the dedups by near duplicates, not all of which were compared with each
    other; `repeats` those of paragraphs, not of documents. `tokens_set` has token counts by the budget's tokenizer.
    `read_limit` are the documents read of each shard; None for all.
    """

    name: str
    attributes: str
    shards: tuple[Shard, ...]
    rules: tuple[Expression, ...]
    edits: tuple[Edit, ...]
    keep_after: int
    dedups: tuple[Dedup, ...]
    splits: tuple[Split, ...]
    sample: Sample | None
    judged: Fields
    edited: Fields
    plain: tuple[str, ...]
    stars: tuple[str, ...] = ()
    repeats: tuple[Dedup, ...] = ()
    limit: Limit | None = None
    counting: Counting = Counting()
    tokens_set: str | None = None
    read_limit: int | None = None

    @property
    def shared(self) -> bool:
        """Does it sample a share of the budget?"""
        return self.sample is not None and self.sample.share is not None

    @property
    def upsample(self) -> Upsample | None:
        return self.sample.upsample if self.sample is not None else None

    @property
    def curved(self) -> bool:
        """Is it upsampled by percentiles, which only all of its shards together know?"""
        return self.upsample is not None and not self.upsample.rates

    @property
    def units(self) -> set[Unit]:
        """What its amounts are counted in."""
        found: set[Unit] = {split.amount.unit for split in self.splits if split.amount is not None}
        found |= {self.limit.amount.unit} if self.limit is not None else set[Unit]()
        if self.shared or self.curved:
            found.add(self.counting.unit)
        return found

    @property
    def by_amount(self) -> bool:
        """Does an amount end somewhere among its documents?"""
        return self.shared or self.limit is not None or any(split.amount is not None for split in self.splits)

    @property
    def counted(self) -> bool:
        """Are its tokens known? Not where paragraphs are taken out that only the whole mix knows."""
        return self.counting.knows_tokens and not self.repeats

    @property
    def measured(self) -> bool:
        """Does the verdict need the text as it will be written: its size, its tokens, or whether anything is left?"""
        return "bytes" in self.units or self.counted or bool(self.edits and self.dedups)

    @property
    def reads_documents(self) -> bool:
        """Does the verdict read the documents, and not their attributes alone?"""
        return not self.verdict_fields or self.document_columns != ("id",)

    @property
    def document_columns(self) -> tuple[str, ...]:
        """What the verdict reads of the documents."""
        hosts = any(split.by == "host" for split in self.splits)
        wanted = ("id", *(("text",) if self.measured else ()), *(("metadata",) if hosts else ()), *self.plain)
        return tuple(dict.fromkeys(wanted))

    @property
    def expressions(self) -> tuple[Expression, ...]:
        """Everything that is evaluated per document: the rules, what each dedup prefers, what upsampling looks at."""
        dedups = (*self.dedups, *self.repeats)
        found = (*self.rules, *(wanted for dedup in dedups if (wanted := preference(dedup)) is not None))
        return found if self.upsample is None else (*found, *looked_at(self.upsample))

    @property
    def verdict_fields(self) -> Fields:
        """Fields per attribute set that the verdict reads."""
        fields = {name: set(found) for name, found in self.judged.items()}
        for dedup in self.dedups:
            fields.setdefault(dedup.by, set()).update(
                (*CLUSTER_FIELDS, *(STAR_FIELDS if dedup.by in self.stars else ()))
            )
        for split in self.splits:
            if split.attribute is not None:
                fields.setdefault(split.attribute[0], set()).add(split.attribute[1])
        for name, found in self.edited.items() if self.measured else ():
            fields.setdefault(name, set()).update(found)
        if self.tokens_set is not None and self.counted:
            fields.setdefault(self.tokens_set, set()).add("count")
        return {name: tuple(sorted(found)) for name, found in sorted(fields.items())}

    @property
    def removals(self) -> tuple[Edit, ...]:
        """The edits that take out the copies of paragraphs that do not stay."""
        return tuple(Edit(dedup.by, COPIES) for dedup in self.repeats)

    @property
    def written_fields(self) -> Fields:
        """Fields per attribute set that are read when documents are written."""
        return dict(sorted({**self.edited, **{dedup.by: (COPIES,) for dedup in self.repeats}}.items()))

    def attribute_file(self, set_name: str, shard: Shard) -> str:
        return attribute_path(self.attributes, set_name, shard)


def preference(dedup: Dedup) -> Expression | None:
    """What a dedup wants the most of; None where the first copy is preferred."""
    return DATES[dedup.date] if dedup.date else dedup.prefer


def looked_at(upsample: Upsample) -> tuple[Expression, ...]:
    """The number that upsampling goes by, and the group."""
    return (upsample.value, *((upsample.group,) if upsample.group is not None else ()))


def schema_of(source: Source, types: Types) -> pa.Schema:
    """The columns that the source's expressions see."""
    columns = [pa.field(name, pa.string()) for name in sorted({"id", *source.plain})]
    for set_name, fields in source.judged.items():
        columns.append(pa.field(set_name, pa.struct([(field, types[set_name][field]) for field in fields])))
    return pa.schema(columns)
