"""Edits of one batch: spans of several attributes gathered, checked, merged and applied at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dolma_pipe.batch import Batch, make_batch
from dolma_pipe.errors import DataError
from dolma_pipe.kernels import rewriting as kernels
from dolma_pipe.kernels.blanks import blank_ranges
from dolma_pipe.kernels.spans import Regions, merge_spans, replace_regions
from dolma_pipe.kernels.utf8 import chars_to_bytes, count_chars
from dolma_pipe.mixer import Edit
from dolma_pipe.pseudonyms import pseudonym

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class Spans(NamedTuple):
    """Spans of a batch, flat: index of the document, code points, and which edit wants them."""

    documents: Int64s
    starts: Int64s
    ends: Int64s
    edits: Int64s


class Edited(NamedTuple):
    """Texts of the documents that changed (`rows` ascend), regions replaced in each; spans and documents per edit.

    Text i is `data[bounds[i]:bounds[i + 1]]`. `merged` are all regions as (documents, starts, ends, winning edits), in
    code points of the original texts.
    """

    rows: Int64s
    data: npt.NDArray[np.uint8]
    bounds: Int64s
    regions: Int64s
    merged: Regions
    spans: dict[str, int]
    documents: dict[str, int]

    @property
    def texts(self) -> list[str]:
        """Decoded anew each time: a text of 100 MB is up to four times as large as a string."""
        return [str(self.data[start:end].data, "utf-8") for start, end in pairwise(self.bounds.tolist())]

    @property
    def is_blank(self) -> Bools:
        """Whether nothing but white space is left of each text."""
        return blank_ranges(self.data, self.bounds[:-1], self.bounds[1:])

    @property
    def char_counts(self) -> Int64s:
        """Code points of each text."""
        return count_chars(self.data, self.bounds)


class Rewritten(NamedTuple):
    """All texts of a batch, edited or not: text i is `data[bounds[i]:bounds[i + 1]]`; `merged` as in `Edited`."""

    data: npt.NDArray[np.uint8]
    bounds: Int64s
    merged: Regions


class Texts(NamedTuple):
    """What replaces each span: `of_spans` says which text. An earlier edit's texts come first, and of a pseudonymizing
    one's those of earlier spans. `edits` says whose each text is; `offsets` bound them in `data`.
    """

    of_spans: Int64s
    edits: Int64s
    data: npt.NDArray[np.uint8]
    offsets: Int64s


class Editor:
    """A source's edits, ready to be applied to batches."""

    def __init__(self, edits: Sequence[Edit]) -> None:
        self.edits = list(edits)

    def apply(self, batch: Batch, attributes: Mapping[str, pa.StructArray], wanted: Bools) -> Edited:
        """The wanted documents with all edits applied; `attributes` are the batch's rows of each set."""
        spans = self.gather(batch, attributes, wanted)
        counts = np.bincount(spans.edits, minlength=len(self.edits)).tolist()
        touched = [_count_documents(spans.documents[spans.edits == index]) for index in range(len(self.edits))]
        names = [edit.name for edit in self.edits]
        regions, texts = self._merge(batch, spans)
        rows, sizes = np.unique(regions[0], return_counts=True)
        data, bounds = self._replace(batch, spans, rows, regions, texts)
        found = dict(zip(names, counts, strict=True))
        documents = dict(zip(names, touched, strict=True))
        return Edited(rows, data, bounds, sizes, _with_edits(regions, texts), found, documents)

    def rewrite(self, batch: Batch, attributes: Mapping[str, pa.StructArray]) -> Rewritten:
        """The whole batch with all edits applied; its own bytes where there is nothing to edit."""
        spans = self.gather(batch, attributes, np.ones(len(batch), np.bool_))
        regions, texts = self._merge(batch, spans)
        if not len(regions[0]):
            return Rewritten(batch.data, batch.offsets, regions)
        data, bounds = self._replace(batch, spans, np.arange(len(batch)), regions, texts)
        return Rewritten(data, bounds, _with_edits(regions, texts))

    def gather(self, batch: Batch, attributes: Mapping[str, pa.StructArray], wanted: Bools) -> Spans:
        """The spans of all edits in the wanted documents, by document and start; of the batch, only ids are read."""
        parts = [
            _spans_of(edit, index, attributes[edit.set_name], batch, wanted) for index, edit in enumerate(self.edits)
        ]
        spans = Spans(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
        order = np.lexsort((spans.starts, spans.documents))
        return Spans(*(column[order] for column in spans))

    def _merge(self, batch: Batch, spans: Spans) -> tuple[Regions, Texts]:
        """The regions that give way, each with the index of its text, and the texts."""
        texts = self._texts(batch, spans)
        return merge_spans(spans.documents, spans.starts, spans.ends, texts.of_spans), texts

    def _texts(self, batch: Batch, spans: Spans) -> Texts:
        """The edits' texts, or for an edit with pseudonyms those of its spans."""
        of_spans, encoded, owners = np.zeros(len(spans.edits), np.int64), list[bytes](), list[int]()
        for index, edit in enumerate(self.edits):
            mine = np.flatnonzero(spans.edits == index)
            if edit.pseudonym is None:
                of_spans[mine] = len(encoded)
                made = [edit.text.encode()]
            else:
                of_spans[mine] = len(encoded) + np.arange(len(mine))
                made = self._pseudonyms(batch, spans, mine, edit.pseudonym, edit.seed)
            encoded += made
            owners += [index] * len(made)
        offsets = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum([len(text) for text in encoded], out=offsets[1:])
        return Texts(of_spans, np.array(owners, np.int64), np.frombuffer(b"".join(encoded), np.uint8), offsets)

    def _pseudonyms(self, batch: Batch, spans: Spans, mine: Int64s, kind: str, seed: int) -> list[bytes]:
        """The pseudonyms of the values of some spans, of which `mine` are the indices."""
        starts, ends = self._in_bytes(batch, spans, spans.documents[mine], spans.starts[mine], spans.ends[mine])
        values = [bytes(batch.data[start:end]).decode() for start, end in zip(starts, ends, strict=True)]
        made = {value: pseudonym(kind, value, seed).encode() for value in dict.fromkeys(values)}
        return [made[value] for value in values]

    def _in_bytes(
        self, batch: Batch, spans: Spans, documents: Int64s, starts: Int64s, ends: Int64s
    ) -> tuple[Int64s, Int64s]:
        """Positions in the batch's data of some of its spans, or of regions of them."""
        positions = np.column_stack((starts, ends)).ravel()
        at = chars_to_bytes(batch.data, batch.offsets, np.repeat(documents, 2), positions).reshape(-1, 2)
        if (at < 0).any():
            self._outside(batch, spans, int(documents[np.flatnonzero((at < 0).any(axis=1))[0]]))
        return np.ascontiguousarray(at[:, 0]), np.ascontiguousarray(at[:, 1])

    def _replace(
        self, batch: Batch, spans: Spans, rows: Int64s, regions: Regions, texts: Texts
    ) -> tuple[npt.NDArray[np.uint8], Int64s]:
        """The new texts of some documents, among them all that have regions, and their bounds."""
        documents, starts, ends, chosen = regions
        in_bytes = (documents, *self._in_bytes(batch, spans, documents, starts, ends), chosen)
        return replace_regions(batch.data, batch.offsets, rows, in_bytes, texts.data, texts.offsets)

    def _outside(self, batch: Batch, spans: Spans, row: int) -> None:
        characters = int(batch.char_counts[row])
        mine = (spans.documents == row) & ((spans.ends > characters) | (spans.starts < 0))
        index = int(np.flatnonzero(mine)[0])
        raise DataError(
            f"{self.edits[spans.edits[index]].name}: span {spans.starts[index]} to {spans.ends[index]} of document "
            f"{batch.ids[row].as_py()!r} in {batch.shard} lies outside its {characters} characters; tag it again"
        )


def _count_documents(ascending: Int64s) -> int:
    return int(np.count_nonzero(np.diff(ascending))) + min(len(ascending), 1)


def _with_edits(regions: Regions, texts: Texts) -> Regions:
    """The regions with the edits that their texts belong to."""
    documents, starts, ends, chosen = regions
    return documents, starts, ends, texts.edits[chosen]


def _spans_of(edit: Edit, index: int, attribute: pa.StructArray, batch: Batch, wanted: Bools) -> Spans:
    """The spans of one edit that are not empty, of the wanted documents."""
    column: Any = pc.struct_field(attribute, edit.field)  # pyright: ignore[reportAttributeAccessIssue]
    unmeasured = wanted & np.asarray(column.is_null())
    if unmeasured.any():
        name = batch.ids[int(np.flatnonzero(unmeasured)[0])].as_py()
        raise DataError(
            f"{edit.name} was not measured for document {name!r} of {batch.shard}, which passes every rule; "
            "widen the tagger's only_where, or drop such documents by a rule"
        )
    values: Any = column.flatten()
    documents = np.repeat(np.arange(len(column)), np.asarray(column.value_lengths().fill_null(0)))
    starts = np.asarray(values.field("start")).astype(np.int64)
    ends = np.asarray(values.field("end")).astype(np.int64)
    if (ends < starts).any():
        at = int(np.flatnonzero(ends < starts)[0])
        name = batch.ids[int(documents[at])].as_py()
        raise DataError(
            f"{edit.name}: span {starts[at]} to {ends[at]} of document {name!r} in {batch.shard} ends before it starts"
        )
    chosen = wanted[documents] & (ends > starts)
    if edit.min_score is not None:
        chosen &= np.asarray(values.field("score")) >= edit.min_score
    documents, starts, ends = documents[chosen].astype(np.int64), starts[chosen], ends[chosen]
    return Spans(documents, starts, ends, np.full(len(documents), index, np.int64))


_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


def put_texts(raw: npt.NDArray[np.uint8], starts: Int64s, ends: Int64s, edited: Edited) -> tuple[Any, Int64s]:
    """`raw` with the lines of edited documents behind it, and their bounds; `starts` and `ends` are their old lines.

    All but the text keeps its bytes, unless a key is written with escapes: then white space between values goes.
    """
    found, bounds = kernels.put_texts(raw, starts, ends, edited.data, edited.bounds)
    if len(bounds) or not len(starts):
        return found, bounds
    old = raw.data
    pairs = zip(starts.tolist(), ends.tolist(), edited.texts, strict=True)
    lines = [replace_text(old[start:end], text) for start, end, text in pairs]
    bounds = len(raw) + np.cumsum([0, *map(len, lines)])
    return np.frombuffer(b"".join([old, *lines]), np.uint8), bounds


def replace_text(line: bytes | memoryview, text: str) -> bytes:
    """A document's JSON line with another text, its values in the same order."""
    fields: dict[str, Any] = _decoder.decode(line)
    fields["text"] = text
    return msgspec.json.encode(fields)


def warm() -> None:
    """Compile, or load, the kernels that edits and lines need."""
    kind = pa.list_(pa.struct({"start": pa.int32(), "end": pa.int32(), "score": pa.float64()}))
    spans = pa.array([[{"start": 0, "end": 1, "score": 1.0}]], kind)
    edited = Editor([Edit("a", "b")]).apply(
        make_batch(["ab"]), {"a": pa.StructArray.from_arrays([spans], names=["b"])}, np.ones(1, np.bool_)
    )
    _ = edited.is_blank, edited.char_counts
    line = np.frombuffer(b'{"text":""}', np.uint8).copy()
    kernels.put_texts(line, np.array([0]), np.array([len(line)]), line[:0], np.zeros(2, np.int64))
