"""Web archives made by hand: records as crawlers write them, and what goes wrong with them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from fastwarc.stream_io import BrotliWriter

from dolma_pipe.execution import Options, Summary, run_stage
from dolma_pipe.runners.local import Local
from dolma_pipe.shards import DocumentReader, document_shards
from dolma_pipe.stages.ingest import Ingest, IngestConfig

PAGE = (
    b"<html><head><title>Tides</title></head><body><nav><a href='/'>Home</a></nav><article><h1>Tides</h1>"
    b"<p>The sea rises and falls twice a day, because the moon pulls at it.</p></article></body></html>"
)


SENTENCE = "The sea rises and falls twice a day, because the moon pulls at it."


def record(kind: str, block: bytes, *headers: str, number: int = 1, length: int | None = None) -> bytes:
    """One WARC record; `number` makes its id, `length` is what it claims of its block."""
    lines = [
        "WARC/1.0", f"WARC-Type: {kind}", f"WARC-Record-ID: <urn:uuid:00000000-0000-4000-8000-{number:012d}>",
        "WARC-Date: 2024-05-31T12:00:00Z", f"WARC-Target-URI: http://example.org/{number}",
        f"Content-Length: {len(block) if length is None else length}", *headers,
    ]  # fmt: skip
    return "\r\n".join([*lines, "", ""]).encode() + block + b"\r\n\r\n"


def http(payload: bytes, *headers: str, status: str = "200 OK", content_type: str | None = "text/html") -> bytes:
    """An HTTP response."""
    of_type = [f"Content-Type: {content_type}"] if content_type else []
    return "\r\n".join([f"HTTP/1.1 {status}", *of_type, *headers, "", ""]).encode("latin-1") + payload


def response(payload: bytes = PAGE, *headers: str, number: int = 1, **about: str | None) -> bytes:
    """A record of an HTTP response."""
    block = http(payload, *headers, **about)  # pyright: ignore[reportArgumentType]
    return record("response", block, "Content-Type: application/http; msgtype=response", number=number)


def page(number: int) -> bytes:
    """A page whose text holds its number."""
    return PAGE.replace(b"twice a day", b"twice a day, says page %d" % number)


def chunked(payload: bytes, size: int = 40) -> bytes:
    parts = [payload[start : start + size] for start in range(0, len(payload), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in [*parts, b""])


def brotli(data: bytes) -> bytes:
    out = io.BytesIO()
    with BrotliWriter(out) as writer:
        writer.write(data)
    return out.getvalue()


def ingest(*inputs: Path, to: Path, workers: int = 1, **configured: Any) -> Summary:
    config = IngestConfig(inputs=[str(path) for path in inputs], to=str(to), max_bad_fraction=1.0, **configured)
    return run_stage(Ingest(config), Local(workers), Options())


def ingest_bytes(folder: Path, data: bytes, name: str = "a.warc", **configured: Any) -> Summary:
    (folder / name).write_bytes(data)
    return ingest(folder / name, to=folder / "out", **configured)


def documents(dataset: Path) -> list[dict[str, Any]]:
    columns = ("id", "text", "created", "metadata")
    readers = [DocumentReader(shard, columns) for shard in document_shards(str(dataset))]
    return [batch.document(i) for reader in readers for batch in reader for i in range(len(batch))]


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()]
