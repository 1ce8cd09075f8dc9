"""ingest: raw files become the document shards of a data set.

    INPUT/...  ->  documents/00000-0000.jsonl.zst    rows in the order of file names, then lines
                   _provenance/00000-0000.parquet    id, file and line of every row
                   _quarantine/00000.jsonl           rows and files that should have been documents
                   _skipped/00000.jsonl              files, and records of web archives, that hold no text

Two phases: `read` turns groups of files into shards, `check` refuses an id that is there twice.
"""

from __future__ import annotations

import datetime
import fnmatch
import itertools
import posixpath
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import msgspec
import pyarrow as pa

from dolma_pipe import storage
from dolma_pipe.config import Config, fingerprint
from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.inputs.files import RawFile, find_files
from dolma_pipe.inputs.html import html_version
from dolma_pipe.inputs.http import archive_version
from dolma_pipe.inputs.reader import Bad, Found, InputReader, Skipped
from dolma_pipe.inputs.records import Fields
from dolma_pipe.manifest import MANIFEST, Record, Ref
from dolma_pipe.shards import BadRow, DocumentWriter
from dolma_pipe.stage import Stage, Task, Work
from dolma_pipe.streams import PLAIN, compression
from dolma_pipe.takedown import tombstones

FILE_COST, EXPANSION = 512, 3
"""What a file weighs in its group beside its bytes (empty files take time, too), and compressed bytes against plain."""

WRITE_ROWS = 512


class IngestConfig(Config, frozen=True):
    """What to read, and how records of other shapes map to documents; globs match names as ids have them."""

    inputs: list[str]
    to: str
    source: str | None = None
    added: str | None = None
    include: list[str] = []
    exclude: list[str] = []
    format: str = "auto"
    fields: Fields = Fields()
    main_content: bool = True
    shard_bytes: int = 64_000_000
    max_document_bytes: int = 64_000_000
    max_bad_fraction: float = 0.01
    limit: int | None = None


class Ingest(Stage):
    """Raw files to documents; `source` and `added`, where given, are those of every document."""

    name: ClassVar[str] = "ingest"
    version: ClassVar[int] = 1
    phases: tuple[str, ...] = ("read", "check")

    def __init__(self, config: IngestConfig) -> None:
        _check(config)
        self.config = config
        self.home = config.to.rstrip("/")
        self.max_bad_fraction = config.max_bad_fraction
        self.source = config.source or posixpath.basename(self.home)

    def plan(self, phase: str, done: dict[str, list[Record]]) -> list[Task]:
        if phase == "check":
            return [self._check_task(done["read"])]
        target = self.config.shard_bytes if self.config.limit is None else None
        groups = _groups(self._files(), target)
        return [self._read_task(f"{index:05d}", group) for index, group in enumerate(groups)]

    def run(self, phase: str, task: Task, work: Work) -> None:
        if phase == "check":
            _refuse_repeated_ids(task.payload)
        else:
            self._read(task, work)

    # Planning

    def _files(self) -> list[RawFile]:
        config = self.config
        found = find_files(config.inputs, config.format)
        chosen = [file for file in found if _chosen(file.name, config)]
        if not chosen:
            why = f"none of {len(found)} files matches include and exclude" if found else "no files there"
            raise DataError(f"ingest: {', '.join(config.inputs)}: {why}")
        return chosen

    def _read_task(self, name: str, files: list[RawFile]) -> Task:
        config = self.config
        shaping = (config.added, config.fields, config.shard_bytes, config.max_document_bytes, config.limit)
        formats = {file.format for file in files}
        html = [html_version(), config.main_content] if formats & {"html", "warc"} else ""
        html = [html, archive_version()] if "warc" in formats else html
        kinds = [(file.name, file.format) for file in files]
        gone = sorted(tombstones.read(self.home))
        about = [self.name, self.version, self.source, config.source is None, shaping, html, kinds, *gone]
        return Task(
            name=name,
            record=self._record("read", name),
            definition=fingerprint(about),
            inputs=tuple(Ref(file.name, file.path) for file in files),
            payload=files,
        )

    def _check_task(self, read: list[Record]) -> Task:
        paths = [output.path for record in read for output in record.outputs if output.path.startswith("_provenance/")]
        return Task(
            name="ids",
            record=self._record("check", "ids"),
            definition=fingerprint([self.name, self.version, [record.digest() for record in read]]),
            payload=[storage.join(self.home, path) for path in paths],
        )

    def _record(self, phase: str, name: str) -> str:
        return storage.join(self.home, MANIFEST, phase, f"{name}.json")

    # Reading

    def _read(self, task: Task, work: Work) -> None:
        skipped: list[Skipped] = []
        with work.quarantine(storage.join(self.home, "_quarantine", f"{task.name}.jsonl")) as bad:
            found = itertools.islice(self._found(task, work, bad, skipped.append), self.config.limit)
            for part in itertools.count():
                first = next(found, None)
                if first is None:
                    break
                self._write_shard(f"{task.name}-{part:04d}", itertools.chain([first], found), work)
        if skipped:
            with work.create(storage.join(self.home, "_skipped", f"{task.name}.jsonl")) as out:
                out.write(b"".join(msgspec.json.encode(one) + b"\n" for one in skipped))
                out.rows = len(skipped)
        work.count(skipped_files=sum(not one.records for one in skipped))
        if records := sum(len(one.records) for one in skipped):
            work.count(skipped_records=records)

    def _found(
        self, task: Task, work: Work, bad: Callable[[BadRow], None], skip: Callable[[Skipped], None]
    ) -> Iterator[tuple[str, Found]]:
        """Every document of the task's files with its file's name; what is no document is told, and counted.

        Documents that were taken down are left out, and counted.
        """
        gone = tombstones.read(self.home)
        for file, ref in zip(task.payload, task.inputs, strict=True):
            config = self.config
            reader = InputReader(file, config.fields, config.max_document_bytes, main_content=config.main_content)
            for outcome in reader:
                if isinstance(outcome, Found) and outcome.document["id"] in gone:
                    work.count(taken_down=1)
                elif isinstance(outcome, Found):
                    yield file.name, outcome
                elif isinstance(outcome, Bad):
                    bad(outcome.row)
                    work.count(bad_rows=1, bad_bytes=0 if file.format == "warc" else outcome.row.byte_length)
                else:
                    skip(outcome)
            work.seen(ref, reader.size, reader.hash)
            work.count(files=1)

    def _write_shard(self, stem: str, found: Iterator[tuple[str, Found]], work: Work) -> None:
        name = f"{stem}.jsonl.zst"
        ids: list[str] = []
        files: list[str] = []
        lines: list[int] = []
        with work.create(storage.join(self.home, "documents", name)) as out:
            writer, pending, total, size = DocumentWriter(out, name), [], 0, 0
            for file, (line, document) in found:
                ids.append(document["id"])
                files.append(file)
                lines.append(line)
                pending.append(self._complete(document))
                size += len(document["text"].encode())
                if len(pending) == WRITE_ROWS or total + size >= self.config.shard_bytes:
                    total += _write(writer, pending, size, work)
                    pending, size = [], 0
                    if total >= self.config.shard_bytes:
                        break
            _write(writer, pending, size, work)
            writer.close()
        table = pa.table({"id": ids, "file": pa.array(files).dictionary_encode(), "line": pa.array(lines, pa.int64())})
        _write_parquet(storage.join(self.home, "_provenance", f"{stem}.parquet"), table, work)

    def _complete(self, document: dict[str, Any]) -> dict[str, Any]:
        """The document with its source and date, fields in Dolma's order."""
        source = self.config.source or document.get("source") or self.source
        added = self.config.added or document.get("added")
        identity = {"id": document["id"], "text": document["text"], "source": source}
        return {**identity, "added": added, "created": document.get("created"), "metadata": document["metadata"]}


def _check(config: IngestConfig) -> None:
    if not config.inputs:
        raise ConfigError("ingest: inputs is empty; name at least one file or folder")
    for name in ("shard_bytes", "max_document_bytes", "limit"):
        value = getattr(config, name)
        if value is not None and value < 1:
            raise ConfigError(f"ingest: {name} is {value}; expected at least 1")
    try:
        if config.added is not None:
            datetime.datetime.fromisoformat(config.added)
    except ValueError as error:
        raise ConfigError(f"ingest: added is {config.added!r}; expected an ISO 8601 date such as 2024-05-31") from error


def _chosen(name: str, config: IngestConfig) -> bool:
    included = not config.include or any(fnmatch.fnmatchcase(name, glob) for glob in config.include)
    return included and not any(fnmatch.fnmatchcase(name, glob) for glob in config.exclude)


def _groups(files: list[RawFile], target: int | None) -> Iterator[list[RawFile]]:
    """Consecutive files of about `target` bytes together (None: all of them); they become one task."""
    group: list[RawFile] = []
    weight = 0
    for file in files:
        group.append(file)
        weight += storage.size(file.path) * (1 if compression(file.path) == PLAIN else EXPANSION) + FILE_COST
        if target is not None and weight >= target:
            yield group
            group, weight = [], 0
    if group:
        yield group


def _write(writer: DocumentWriter, documents: list[dict[str, Any]], size: int, work: Work) -> int:
    writer.write(documents)
    work.count(documents=len(documents), bytes=size)
    work.progress(len(documents), size)
    return size


def _write_parquet(path: str, table: pa.Table, work: Work) -> None:
    import pyarrow.parquet as pq

    with work.create(path) as out:
        pq.write_table(table, out, compression="zstd")
        out.rows = table.num_rows


def _refuse_repeated_ids(provenance: list[str]) -> None:
    """Group all ids on disk where memory does not hold them; the first repeated one is reported with two places."""
    import duckdb

    if not provenance:
        return
    with duckdb.connect() as connection:
        rows = pa.RecordBatchReader.from_batches(_SCHEMA, _id_batches(provenance))
        connection.register("ids", rows)
        repeated = connection.execute(_REPEATED).fetchall()
    if repeated:
        name, times, first, last, more = repeated[0]
        others = f" ({more - 1} other ids are repeated, too)" if more > 1 else ""
        raise DataError(
            f"ingest: the id {name!r} is there {times} times, at {first} and {last}{others}; "
            "ids must be unique in a data set: repair them, or name records by their place with --id-field ''"
        )


_SCHEMA = pa.schema([("id", pa.string()), ("place", pa.string())])
_REPEATED = """
    SELECT id, times, first, last, count(*) OVER () FROM (
        SELECT id, count(*) AS times, min(place) AS first, max(place) AS last FROM ids GROUP BY id HAVING times > 1
    ) ORDER BY id LIMIT 1
"""


def _id_batches(provenance: list[str]) -> Iterator[pa.RecordBatch]:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    for path in provenance:
        with storage.open_read(path) as stream:
            for batch in pq.ParquetFile(stream).iter_batches(use_threads=False):
                files, lines = batch.column("file").cast(pa.string()), batch.column("line").cast(pa.string())
                place = pc.call_function("binary_join_element_wise", [files, lines, pa.scalar(":")])
                yield pa.RecordBatch.from_arrays([batch.column("id"), place], schema=_SCHEMA)
