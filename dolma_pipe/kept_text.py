"""Documents that pass rules, as tokens, a shard at a time: what tag, mix and tokenize would write, in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dolma_pipe import rules, storage
from dolma_pipe.batch import Batch
from dolma_pipe.config import bundled, fingerprint
from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.fused import Fused
from dolma_pipe.recipes import read_recipe
from dolma_pipe.rules import Expression
from dolma_pipe.shards import DocumentReader, Shard, document_shards
from dolma_pipe.takedown import tombstones
from dolma_pipe.tokenizer import identify, open_tokenizer
from dolma_pipe.types import Plain

MAX_BAD_FRACTION = 0.01


class KeptShard(NamedTuple):
    """Tokens of a shard's kept documents behind one another, where each ends, its id and row, and whether it was taken
    down since; `read`, `bad` count rows. `hash` is that of the file."""

    tokens: NDArray[np.int64]
    ends: NDArray[np.int64]
    ids: list[str]
    rows: list[int]
    gone: NDArray[np.bool_]
    read: int
    bad: int
    hash: str


class KeptText:
    """The shards of data sets, measured by taggers, judged by rules, encoded; nothing is written.

    `keep` lists bundled recipes, recipe files, and mappings of rules by name; rules see the taggers' sets. More bad
    rows than one in a hundred are an error.
    """

    def __init__(
        self,
        datasets: Sequence[str],
        tokenizer: str,
        taggers: Sequence[str | Mapping[str, Plain]] = (),
        keep: Sequence[str | Mapping[str, str]] = (),
        eos: str | None = None,
    ) -> None:
        names = [Path(dataset).name for dataset in datasets]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"documents: two data sets are called {name!r}; rename the folder of one")
        self._shards = [shard for dataset in datasets for shard in document_shards(dataset)]
        self._fused = Fused(taggers)
        self._rules = tuple(rule for one in keep for rule in _rules(one))
        self._sets = self._needed()
        self._tokenizer = open_tokenizer(identify(tokenizer, eos))
        self.tokenizer_raw = self._tokenizer.raw
        self.vocab_size, self.eos_id = self._tokenizer.vocab_size, self._tokenizer.eos_id
        self.padding_id = self.eos_id if self._tokenizer.pad_id is None else self._tokenizer.pad_id

    @property
    def names(self) -> list[str]:
        """Data set and shard, `web/0001.jsonl.zst`, in documented order."""
        return [f"{Path(shard.dataset).name}/{shard.name}" for shard in self._shards]

    def identity(self) -> dict[str, Plain]:
        """The documents (names and sizes of their files), the rules and measurements, and the tokenizer."""
        files = [[name, storage.size(shard.path)] for name, shard in zip(self.names, self._shards, strict=True)]
        judged = [[rule.name, rule.sql] for rule in self._rules]
        return {
            "documents": fingerprint(files),
            "rules": fingerprint([judged, [self._fused.definition(name) for name in self._sets]]),
            "tokenizer": self._tokenizer.hash,
            "eos": self._tokenizer.eos_id,
            "bos": self._tokenizer.bos_id,
            "pad": self._tokenizer.pad_id,
        }

    def read(self, number: int) -> KeptShard:
        """One shard, from its file to its tokens."""
        shard = self._shards[number]
        reader = DocumentReader(shard, self._columns())
        parts: list[tuple[NDArray[Any], NDArray[np.int64]]] = []
        ids: list[str] = []
        rows: list[int] = []
        first = 0
        for batch in reader:
            kept = np.flatnonzero(self._judge(batch, shard))
            parts.append(_chosen(*self._tokenizer.documents(batch), kept))
            ids += batch.ids.take(pa.array(kept)).to_pylist()
            rows += (first + kept).tolist()
            first += len(batch)
        if reader.bad_rows > MAX_BAD_FRACTION * max(reader.rows + reader.bad_rows, 1):
            raise DataError(f"{shard.path}: {reader.bad_rows} bad rows; `dolma-pipe tag` or `tokenize` shows which")
        tokens = np.concatenate([np.empty(0, np.int64), *(tokens for tokens, _ in parts)]).astype(np.int64)
        sizes = np.concatenate([np.empty(0, np.int64), *(sizes for _, sizes in parts)])
        ends = np.cumsum(sizes).astype(np.int64)
        taken = self._taken_down(shard.dataset)
        gone = np.array([name in taken for name in ids], np.bool_)
        return KeptShard(tokens, ends, ids, rows, gone, reader.rows, reader.bad_rows, reader.hash or "")

    @staticmethod
    def _taken_down(dataset: str) -> set[str]:
        """Ids that a take-down has named: in the data set, or in the mix that it is a split of."""
        return tombstones.read(dataset) | tombstones.read(dataset.rsplit("/splits/", 1)[0])

    def _needed(self) -> list[str]:
        """The sets that rules read; one that no rule reads would be measured for nothing."""
        kinds = {name: [(field, kind.type) for field, kind in tagger.fields.items()]
                 for name, tagger in self._fused.taggers.items()}  # fmt: skip
        needed = rules.needed_fields(self._rules, {name: rules.readable(fields) for name, fields in kinds.items()})
        gates = " ".join(str(found.only_where) for found in self._fused.specs.values())
        for name in kinds:
            if name not in needed and f"{name}." not in gates:
                raise ConfigError(f"documents.taggers: no rule of keep looks at {name!r}; leave it out")
        return [name for name in kinds if name in needed]

    def _columns(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self._fused.columns(self._sets), "source")))

    def _judge(self, batch: Batch, shard: Shard) -> NDArray[np.bool_]:
        if not self._rules:
            return np.ones(len(batch), np.bool_)
        measured = self._fused.measure(batch, self._sets)
        columns: dict[str, Any] = {"id": batch.ids, "source": batch.columns.column("source")}
        columns |= {name: measured[name].struct(self._fused.taggers[name]) for name in self._sets}
        table = pa.table(columns)
        judge = rules.evaluator(self._rules, table.schema)
        return np.logical_and.reduce(judge.evaluate(table, shard.name))


def _rules(keep: str | Mapping[str, str]) -> list[Expression]:
    if not isinstance(keep, str):
        return [rules.named(name, sql, "documents.keep") for name, sql in keep.items()]
    is_file = "/" in keep or keep.endswith((".yaml", ".yml"))
    return read_recipe(keep if is_file else bundled(f"rules/{keep}.yaml"))


def _chosen(
    tokens: NDArray[Any], ends: NDArray[np.int64], kept: NDArray[np.int64]
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The tokens of the kept documents, and how many each has."""
    sizes = np.diff(ends, prepend=0)
    chosen = np.zeros(len(sizes), np.bool_)
    chosen[kept] = True
    return tokens[np.repeat(chosen, sizes)], sizes[kept]
