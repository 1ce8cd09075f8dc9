"""A record of a web archive as a document, or why it is none."""

from __future__ import annotations

import datetime
from typing import Any, NamedTuple

from dolma_pipe.inputs.archive import Record
from dolma_pipe.inputs.html import decode, html_page
from dolma_pipe.inputs.http import parse_http, parse_record, payload

HTML_TYPES = ("text/html", "application/xhtml+xml")
TEXT_TYPES = (*HTML_TYPES, "text/plain")
MAX_REASON = 100


class NoDocument(Exception):
    """A record that never was to be a document: a request, an image, a page that was not found."""


class WebOptions(NamedTuple):
    """`main_content`: leave out what surrounds the text of a page; `limit`: bytes that a payload may have."""

    main_content: bool
    limit: int


def web_document(record: Record, place: str, options: WebOptions, *, by_place: bool) -> dict[str, Any]:
    """The document of a record; `NoDocument` if it is to be passed over, `ValueError` if it is broken.

    Its id is the record's own (a WARC-Record-ID is one for every record ever written, without brackets and
    `urn:uuid:`); `place`, where it has none or `by_place` says so.
    """
    if record.fault is not None:
        raise ValueError(record.fault)
    try:
        parsed = parse_record(record.data)
        source = _source(parsed)
        if not record.is_whole:
            raise ValueError(f"longer than max_document_bytes ({record.length:,} > {options.limit:,})")
        data = _payload(source, record, options.limit)
    except OSError as error:
        raise ValueError(f"not readable: {error}"[:MAX_REASON]) from error
    if len(data) > options.limit:
        raise ValueError(f"longer than max_document_bytes once decoded (> {options.limit:,})")
    if not data.strip():
        raise NoDocument("empty payload")
    text, about = _text(data, source, options)
    if not text.strip():
        raise NoDocument("no text in the page")
    headers = parsed.headers
    metadata = {**_origin(headers), **about, "warc_offset": record.frame}
    identity = None if by_place else _bare(headers.get("WARC-Record-ID"))
    return {"id": identity or place, "text": text, "created": _date(headers.get("WARC-Date")), "metadata": metadata}


def _payload(source: _Source, record: Record, limit: int) -> bytes:
    return payload(source.record, record.data, limit) if source.is_http else source.record.reader.read()


class _Source(NamedTuple):
    """Where the text of a record is: in an HTTP message, or the block itself."""

    record: Any
    is_http: bool
    content_type: str
    charset: str | None


def _source(record: Any) -> _Source:
    kind = (record.headers.get("WARC-Type") or "none").strip().lower()
    if kind == "conversion" or (kind == "resource" and _is_web(record)):
        source = _Source(record, False, *_media_type(record.headers.get("Content-Type")))
    elif kind != "response":
        raise NoDocument(f"{kind} record"[:MAX_REASON])
    elif not record.is_http:
        raise NoDocument(
            f"response of type {_media_type(record.headers.get('Content-Type'))[0] or 'none'}"[:MAX_REASON]
        )
    else:
        source = _response(record)
    if source.content_type and source.content_type not in TEXT_TYPES:
        raise NoDocument(f"content type {source.content_type}"[:MAX_REASON])
    return source


def _response(record: Any) -> _Source:
    if record.content_length == 0:
        raise NoDocument("empty payload")
    parse_http(record)
    status = record.http_headers.status_code
    if not isinstance(status, int):
        raise ValueError("no HTTP header at the beginning of the response")
    if status != 200:
        raise NoDocument(f"HTTP status {status}")
    return _Source(record, True, *_media_type(record.http_headers.get("Content-Type")))


def _is_web(record: Any) -> bool:
    return _bare(record.headers.get("WARC-Target-URI")).lower().startswith(("http:", "https:"))


def _media_type(header: str | None) -> tuple[str, str | None]:
    """`text/html` and `utf-8` of `Text/HTML; charset="UTF-8"`."""
    kind, _, rest = (header or "").partition(";")
    _, found, charset = rest.lower().partition("charset=")
    return kind.strip().lower(), charset.split(";")[0].strip(" \t\"'") or None if found else None


def _text(data: bytes, source: _Source, options: WebOptions) -> tuple[str, dict[str, Any]]:
    """The text of a payload, and what is known of it."""
    kind = source.content_type or _sniffed(data)
    about: dict[str, Any] = {"content_type": kind}
    if source.is_http:
        headers = source.record.http_headers
        about["http_status"] = headers.status_code
        if language := headers.get("Content-Language"):
            about["content_language"] = language
    if b"\0" in data[:1024] and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise NoDocument(f"{kind} by name, binary by its bytes")
    if kind in HTML_TYPES:
        page = html_page(data, main_content=options.main_content, declared=source.charset)
        return page.text, {**about, "charset": page.charset, **({"title": page.title} if page.title else {})}
    text, charset = decode(data, source.charset, in_html=False)
    return text, {**about, "charset": charset}


def _sniffed(data: bytes) -> str:
    """What a payload without a Content-Type is."""
    from resiliparse.parse.encoding import detect_mime

    if b"<html" in data[:1024].lower() or b"<!doctype html" in data[:1024].lower():
        return "text/html"
    found = detect_mime(data)
    if found not in TEXT_TYPES:
        raise NoDocument(f"content type {found}, by its bytes")
    return found


_KEPT = {
    "url": "WARC-Target-URI",
    "warc_date": "WARC-Date",
    "warc_truncated": "WARC-Truncated",
    "warc_languages": "WARC-Identified-Content-Language",
    "warc_refers_to": "WARC-Refers-To",
}


def _origin(headers: Any) -> dict[str, Any]:
    values = {name: _bare(headers.get(header)) for name, header in _KEPT.items()}
    return {name: value for name, value in values.items() if value}


def _bare(value: str | None) -> str:
    """Without the brackets that some writers put around URIs, and without `urn:uuid:`."""
    return (value or "").strip().removeprefix("<").removesuffix(">").removeprefix("urn:uuid:")


def _date(value: str | None) -> str | None:
    try:
        datetime.datetime.fromisoformat(value or "")
    except ValueError:
        return None
    return value
