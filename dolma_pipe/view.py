"""A view: what a text is after named edits, for taggers that measure what an earlier step has rewritten.

    title: Text after C4's line rules
    source: "Raffel et al. 2020, section 2.2"
    edits:
      - remove: c4.removed_lines                  # spans of a tagger
      - {pattern: 'https?://\\S+', with: ""}       # a regular expression, for what no tagger marks

All edits refer to the original text and are applied at once, as a mix applies its own. Spans that a tagger finds
in a view are traced back, so they are code points of the original like all others.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import regex

from dolma_pipe.batch import Batch
from dolma_pipe.config import Config, bundled, convert, fingerprint, read_yaml
from dolma_pipe.editing import Editor
from dolma_pipe.errors import ConfigError
from dolma_pipe.kernels.spans import Regions
from dolma_pipe.mixer import Edit

PATTERNS = "pattern"
"""The made-up attribute set whose fields are the spans that patterns match."""


class ViewEdit(Config, frozen=True):
    """`remove` or `replace` names spans (`set.field`), `pattern` is a regular expression; `with` takes their place."""

    remove: str | None = None
    replace: str | None = None
    pattern: str | None = None
    text: str = msgspec.field(default="", name="with")


class ViewConfig(Config, frozen=True):
    """configs/views/NAME.yaml."""

    title: str
    source: str
    edits: list[ViewEdit]


class Viewed(NamedTuple):
    """The edited batch, and how to trace its spans back; region i of `merged` became `lengths[i]` characters."""

    batch: Batch
    merged: Regions
    lengths: np.ndarray

    def trace(self, values: Any) -> Any:
        """A tagger's values with spans in code points of the original text; what is no span stays as it is."""
        if not (isinstance(values, pa.Array) and is_spans(values.type)):
            return values
        documents = np.repeat(np.arange(len(values)), np.asarray(values.value_lengths().fill_null(0)))
        flat: Any = values.flatten()
        columns = {field.name: flat.field(field.name) for field in flat.type}
        for name in ("start", "end"):
            positions = np.asarray(columns[name]).astype(np.int64)
            columns[name] = pa.array(self._original(documents, positions, name == "end"), flat.type.field(name).type)
        spans = pa.StructArray.from_arrays(list(columns.values()), fields=list(flat.type))
        return pa.ListArray.from_arrays(values.offsets, spans, type=values.type)

    def _original(self, documents: np.ndarray, positions: np.ndarray, is_end: bool) -> np.ndarray:
        from dolma_pipe.kernels.views import to_original

        owners, starts, ends, _ = self.merged
        offsets = np.searchsorted(owners, np.arange(len(self.batch) + 1))
        return to_original(documents, positions, offsets, starts, ends, self.lengths, is_end)


def is_spans(kind: pa.DataType) -> bool:
    """Whether a field of that type marks ranges of the text."""
    item = kind.value_type if pa.types.is_list(kind) else None
    return item is not None and pa.types.is_struct(item) and {"start", "end"} <= {field.name for field in item}


class View:
    """A named view; `sets` are the attribute sets whose spans it reads, `definition` what shapes its texts."""

    def __init__(self, name: str) -> None:
        path = Path(name) if "/" in name or name.endswith(".yaml") else bundled(f"views/{name}.yaml")
        config = convert(read_yaml(path), ViewConfig, str(path))
        self.name = name
        self._patterns: dict[str, Any] = {}
        self._editor = Editor([self._edit(edit, f"{path}: edits[{i}]", i) for i, edit in enumerate(config.edits)])
        self.sets = sorted({edit.set_name for edit in self._editor.edits} - {PATTERNS})
        self.definition = fingerprint(config.edits)

    def _edit(self, edit: ViewEdit, where: str, index: int) -> Edit:
        given = [value for value in (edit.remove, edit.replace, edit.pattern) if value is not None]
        if len(given) != 1:
            raise ConfigError(f"{where}: give one of remove, replace, pattern")
        if edit.remove is not None and edit.text:
            raise ConfigError(f"{where}: remove leaves nothing, so 'with' has no effect; write replace")
        if edit.pattern is not None:
            try:
                self._patterns[str(index)] = regex.compile(edit.pattern)
            except regex.error as error:
                raise ConfigError(f"{where}: {edit.pattern!r} is not a regular expression: {error}") from error
            return Edit(PATTERNS, str(index), edit.text)
        set_name, dot, field = given[0].partition(".")
        if not (dot and field):
            raise ConfigError(f"{where}: {given[0]!r} names no spans; write SET.FIELD")
        return Edit(set_name, field, edit.text)

    def apply(self, batch: Batch, attributes: Mapping[str, pa.StructArray]) -> Viewed:
        """The batch as the view has it; `attributes` holds the rows of every set in `sets`."""
        known = dict(attributes)
        if self._patterns:
            known[PATTERNS] = self._match(batch)
        data, bounds, merged = self._editor.rewrite(batch, known)
        widths = np.array([len(edit.text) for edit in self._editor.edits], np.int64)
        if not len(merged[0]):
            return Viewed(batch, merged, widths[:0])
        texts = pa.LargeStringArray.from_buffers(len(batch), pa.py_buffer(bounds), pa.py_buffer(data))
        columns = batch.columns.set_column(batch.columns.schema.get_field_index("text"), "text", texts)
        return Viewed(Batch(batch.shard, batch.first_row, columns), merged, widths[merged[3]])

    def _match(self, batch: Batch) -> pa.StructArray:
        edges: dict[str, list[int]] = {name: [] for name in self._patterns}
        offsets: dict[str, list[int]] = {name: [0] for name in self._patterns}
        for row in range(len(batch)):
            text = batch.text(row)
            for name, pattern in self._patterns.items():
                edges[name] += [edge for found in pattern.finditer(text) for edge in found.span()]
                offsets[name].append(len(edges[name]) // 2)
        columns = [_spans(np.array(edges[name], np.int32), offsets[name]) for name in edges]
        return pa.StructArray.from_arrays(columns, names=list(edges))


def _spans(edges: np.ndarray, offsets: list[int]) -> pa.ListArray:
    """Spans of all documents, the starts and ends of each in turn."""
    scores = np.ones(len(edges) // 2)
    flat = pa.StructArray.from_arrays(
        [pa.array(edges[0::2]), pa.array(edges[1::2]), pa.array(scores)], names=["start", "end", "score"]
    )
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), flat)
