"""Raw files in, documents out: text and code (a document a file), HTML, JSON lines, tables, Parquet, web archives.

Every file, and every record of a web archive, ends as documents, as a `Bad` row (it should have been a document and
cannot be) or as `Skipped` (it never was text, or is empty); nothing else can happen to it. The id of a loose file is
its path relative to the input folder.
"""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from dolma_pipe import storage
from dolma_pipe.inputs.archive import Archive, Record
from dolma_pipe.inputs.files import LANGUAGES, RawFile, known_binary, suffix
from dolma_pipe.inputs.html import html_page
from dolma_pipe.inputs.records import Fields, as_document, decode_record
from dolma_pipe.inputs.tables import table_rows
from dolma_pipe.inputs.web import NoDocument, WebOptions, web_document
from dolma_pipe.shards import MAX_RAW, BadRow
from dolma_pipe.streams import Decompressed

SNIFF_BYTES = 8192


class Bad(NamedTuple):
    """A row, or a whole file, that should have been a document."""

    row: BadRow


class Skipped(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file that holds no document, and why; or those `records` of a web archive, by number, that share a reason."""

    file: str
    reason: str
    bytes: int
    records: list[int] = []


class Found(NamedTuple):
    """A document, and the line (1 for a whole file; a Parquet row or a record counts as a line) it came from."""

    line: int
    document: dict[str, Any]


Outcome = Found | Bad | Skipped


class InputReader:
    """What one raw file holds; iterate once. Afterwards `size` and `hash` are those of the stored file.

    `main_content` leaves out what surrounds the text of a web page.
    """

    def __init__(self, file: RawFile, fields: Fields, max_document_bytes: int, *, main_content: bool) -> None:
        self.file = file
        self.size = 0
        self.hash = ""
        self._fields = fields
        self._max = max_document_bytes
        self._main_content = main_content

    def __iter__(self) -> Iterator[Outcome]:
        if self.file.format == "parquet":
            return self._parquet()
        if self.file.format == "warc":
            return self._archive()
        if self.file.format == "table":
            return self._table()
        return self._records() if self.file.format == "records" else self._whole()

    def _bad(self, reason: str, raw: bytes, line: int = 1, offset: int = 0, length: int | None = None) -> Bad:
        kept = base64.b64encode(raw[:MAX_RAW]).decode()
        return Bad(BadRow(self.file.name, line, offset, len(raw) if length is None else length, reason, kept))

    # A document a file

    def _whole(self) -> Iterator[Outcome]:
        data, length, fault = self._content()
        if fault is None and not length:
            yield Skipped(self.file.name, "empty", 0)
            return
        problem = fault or self._problem(data, length)
        if problem is None:
            yield self._document(data)
        elif self.file.format == "unknown" and fault is None and length <= self._max:
            yield Skipped(self.file.name, known_binary(data) or f"binary: {problem}", length)
        else:
            yield self._bad(problem, data, length=length)

    def _content(self) -> tuple[bytes, int, str | None]:
        """The decompressed bytes (at most one chunk more than are allowed), how many there are, why they end early."""
        stream = Decompressed(self.file.path)
        chunks: list[bytes] = []
        length = 0
        for chunk in stream:
            if length <= self._max:
                chunks.append(chunk)
            length += len(chunk)
        self.size, self.hash = stream.size, stream.hash
        return b"".join(chunks), length, stream.fault

    def _problem(self, data: bytes, length: int) -> str | None:
        """Why these bytes are not the text of a document, or None."""
        if length > self._max:
            return self._too_long(length)
        if self.file.format == "html":
            return None
        nul = data.find(b"\0", 0, SNIFF_BYTES if self.file.format == "unknown" else None)
        if nul >= 0:
            return f"a NUL byte at byte {nul}"
        try:
            data.decode()
        except UnicodeDecodeError as error:
            return f"invalid UTF-8 at byte {error.start}"
        return None

    def _document(self, data: bytes) -> Outcome:
        name = self.file.name
        metadata: dict[str, Any] = {"path": name}
        if extension := suffix(name):
            metadata["extension"] = extension
        if extension in LANGUAGES:
            metadata["language"] = LANGUAGES[extension]
        if self.file.format == "html":
            try:
                text, title, _ = html_page(data, main_content=self._main_content)
            except ValueError as error:
                return self._bad(str(error), data)
            if title:
                metadata["title"] = title
        else:
            text = data.decode("utf-8-sig")
        return Found(1, {"id": name, "text": text, "metadata": metadata})

    # JSON lines

    def _records(self) -> Iterator[Outcome]:
        stream = Decompressed(self.file.path)
        number, end, told = 0, 0, False
        for number, offset, line, length in _lines(stream, self._max):
            end = offset + length
            if stream.fault is not None and not line.endswith(b"\n"):
                told = True
                yield self._bad(stream.fault, line, number, offset, length)
            elif length > self._max:
                yield self._bad(self._too_long(length), line, number, offset, length)
            elif line.strip(b" \t\r\n"):
                yield self._record(line.rstrip(b"\r\n"), number, offset)
        if stream.fault is not None and not told:
            yield self._bad(stream.fault, b"", number + 1, end)
        self.size, self.hash = stream.size, stream.hash

    def _record(self, line: bytes, number: int, offset: int) -> Outcome:
        try:
            return Found(number, decode_record(line, self._fields, f"{self.file.name}#{number}"))
        except ValueError as error:
            return self._bad(str(error), line, number, offset)

    # Tables

    def _table(self) -> Iterator[Outcome]:
        stream = Decompressed(self.file.path)
        chunks, number = iter(stream), 0
        try:
            for number, row in enumerate(table_rows(chunks, tabs=suffix(self.file.name) == ".tsv"), 1):
                yield self._bad(row, b"", number) if isinstance(row, str) else self._row(dict(row), number)
        except (csv.Error, ValueError) as error:
            yield self._bad(f"not readable as a table after row {number}: {error}", b"", number + 1)
        for _ in chunks:
            """To the end of the file: its hash is that of all of it."""
        if stream.fault is not None:
            yield self._bad(stream.fault, b"", number + 1)
        self.size, self.hash = stream.size, stream.hash

    # Parquet

    def _parquet(self) -> Iterator[Outcome]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.size, self.hash = storage.size(self.file.path), storage.content_hash(self.file.path)
        number = 0
        try:
            with storage.open_read(self.file.path) as stream:
                for batch in pq.ParquetFile(stream).iter_batches(batch_size=1024, use_threads=False):
                    for row in batch.to_pylist():
                        number += 1
                        yield self._row(row, number)
        except (pa.ArrowInvalid, OSError, UnicodeDecodeError) as error:
            yield self._bad(f"not readable Parquet after row {number}: {error}".splitlines()[0], b"", number + 1)

    def _row(self, row: dict[str, Any], number: int) -> Outcome:
        try:
            document = as_document(_plain_row(row), self._fields, f"{self.file.name}#{number}")
        except (ValueError, TypeError) as error:
            return self._bad(str(error), b"", number)
        length = len(document["text"].encode())
        if length > self._max:
            return self._bad(self._too_long(length), b"", number, 0, length)
        return Found(number, document)

    # Web archives

    def _archive(self) -> Iterator[Outcome]:
        """Documents and broken records as they come; at the end, for every other reason, the records it holds for."""
        stream = Decompressed(self.file.path, resume=True)
        options = WebOptions(self._main_content, self._max)
        passed: dict[str, tuple[list[int], list[int]]] = {}
        record = None
        for record in Archive(stream, self._max):
            try:
                yield self._web(record, options)
            except NoDocument as reason:
                numbers, lengths = passed.setdefault(str(reason), ([], []))
                numbers.append(record.number)
                lengths.append(record.length)
        if record is None:
            yield Skipped(self.file.name, "empty", 0)
        for reason, (numbers, lengths) in sorted(passed.items()):
            yield Skipped(self.file.name, reason, sum(lengths), numbers)
        self.size, self.hash = stream.size, stream.hash

    def _web(self, record: Record, options: WebOptions) -> Outcome:
        place = f"{self.file.name}#{record.number}"
        try:
            document = web_document(record, place, options, by_place=not self._fields.id)
        except ValueError as error:
            return self._bad(str(error), record.data, record.number, record.offset, record.length)
        document["metadata"]["path"] = self.file.name
        return Found(record.number, document)

    def _too_long(self, length: int) -> str:
        return f"longer than max_document_bytes ({length:,} > {self._max:,})"


def _plain_row(row: dict[str, Any]) -> dict[str, Any]:
    """A Parquet row as JSON would have it: no nulls, dates as ISO 8601, `metadata` decoded."""
    if isinstance(row.get("metadata"), str):
        row["metadata"] = json.loads(row["metadata"])
    return msgspec.to_builtins({name: value for name, value in row.items() if value is not None})


def _lines(stream: Decompressed, limit: int) -> Iterator[tuple[int, int, bytes, int]]:
    """Number, offset, bytes and length of every line; of a line longer than `limit` only its head is held."""
    number, offset, held, length = 1, 0, bytearray(), 0
    for chunk in stream:
        start = 0
        while (end := chunk.find(b"\n", start) + 1) > 0:
            held += chunk[start:end] if length <= limit else b"\n"
            length += end - start
            yield number, offset, bytes(held), length
            number, offset, held, length, start = number + 1, offset + length, bytearray(), 0, end
        if length <= limit:
            held += chunk[start:]
        length += len(chunk) - start
        if length > limit:
            del held[MAX_RAW:]
    if length:
        yield number, offset, bytes(held), length
