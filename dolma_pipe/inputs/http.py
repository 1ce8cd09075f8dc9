"""What an HTTP response in a web archive carries: its payload without transfer and content encodings."""

from __future__ import annotations

import re
import zlib
from io import BytesIO
from typing import Any

from dolma_pipe.errors import DependencyError

MAX_HEADER = 256 << 10
_CHUNK = re.compile(rb"[0-9A-Fa-f]+[ \t]*(;[^\r\n]*)?\r?\n")
_GZIP = b"\x1f\x8b"
_WINDOW = {"gzip": 31, "x-gzip": 31, "deflate": 15}


def parse_record(data: bytes) -> Any:
    """A record with its headers, by FastWARC; bare line feeds are line ends, too."""
    return _fastwarc().WarcRecord.from_reader(BytesIO(data), quirks_mode=True)


def parse_http(record: Any) -> None:
    """Read the HTTP header of a record; chunks are joined when the payload is read."""
    record.parse_http(auto_decode="transfer", max_header_len=MAX_HEADER, quirks_mode=True, strict_mode=False)


def payload(record: Any, data: bytes, limit: int) -> bytes:
    """The payload, at most one byte more than `limit`; `OSError` if its encoding is broken or ends early.

    Archives often keep a payload decoded and its header as it was: what does not look encoded is taken as it is.
    """
    transfer = (record.http_headers.get("Transfer-Encoding") or "chunked").strip().lower()
    try:  # without a size it is five times faster; chunks alone do not grow
        found = record.reader.read() if transfer == "chunked" else record.reader.read(limit + 1)
    except OSError:
        found = _not_chunked(data)
        if found is None:
            raise
    for name in reversed((record.http_headers.get("Content-Encoding") or "").lower().split(",")):
        found = _decoded(name.strip(), found, limit)
    return found


def _not_chunked(data: bytes) -> bytes | None:
    """A payload that is said to be in chunks and is not."""
    record = parse_record(data)
    record.parse_http(auto_decode="none", max_header_len=MAX_HEADER, quirks_mode=True, strict_mode=False)
    found = record.reader.read()
    return None if _CHUNK.match(found) else found


def _decoded(name: str, data: bytes, limit: int) -> bytes:
    if name in _WINDOW:
        return _inflated(name, data, limit)
    if name in ("br", "zstd") and not _is_text(data):
        reader = _streams()
        return (reader.BrotliReader if name == "br" else reader.ZstdReader)(BytesIO(data)).read(limit + 1)
    return data


def _inflated(name: str, data: bytes, limit: int) -> bytes:
    if name != "deflate" and not data.startswith(_GZIP):
        return data
    if name == "deflate" and _is_text(data):
        return data
    windows = (15, -15) if name == "deflate" else (31,)  # deflate is zlib's form by the standard, bare by habit
    for window in windows:
        decoder = zlib.decompressobj(window)
        try:
            found = decoder.decompress(data, limit + 1)
        except zlib.error as error:
            if window == windows[-1]:
                raise OSError(f"Content-Encoding {name}: {error}") from error
            continue
        if not decoder.eof and len(found) <= limit:
            raise OSError(f"Content-Encoding {name}: ends early")
        return found
    return data


def _is_text(data: bytes) -> bool:
    return not data or data.lstrip()[:1] == b"<"


def archive_version() -> str:
    """The release of the library that reads HTTP messages."""
    _fastwarc()
    from importlib.metadata import version

    return version("fastwarc")


def _fastwarc() -> Any:
    try:
        from fastwarc import warc
    except ImportError as error:
        raise DependencyError("fastwarc", "web", "reading web archives") from error
    return warc


def _streams() -> Any:
    from fastwarc import stream_io

    return stream_io
