"""Runs in an environment of its own: `python peer_web.py READER EXTRACTOR FILE...`, the plain loop over web archives.

Prints the seconds of the processor of the fastest of `ROUNDS` rounds (one for trafilatura) and what was read; then, a
line a page, the record's id and its text.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator

ROUNDS = 3


def fastwarc_pages(path: str) -> Iterator[tuple[str, bytes]]:
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    for record in ArchiveIterator(path, record_types=WarcRecordType.response):
        if (record.http_content_type or "") == "text/html":
            yield record.record_id or "", record.reader.read()


def warcio_pages(path: str) -> Iterator[tuple[str, bytes]]:
    from warcio.archiveiterator import ArchiveIterator

    with open(path, "rb") as stream:
        for record in ArchiveIterator(stream):
            headers = record.http_headers
            if record.rec_type == "response" and "text/html" in (headers.get_header("Content-Type") or ""):
                yield record.rec_headers.get_header("WARC-Record-ID"), record.content_stream().read()


def resiliparse_text(data: bytes) -> str:
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.encoding import detect_encoding
    from resiliparse.parse.html import HTMLTree

    tree = HTMLTree.parse_from_bytes(data, detect_encoding(data))
    return extract_plain_text(tree, preserve_formatting=True, main_content=True, alt_texts=False)


def trafilatura_text(data: bytes) -> str:
    """As datatrove's pipelines call it."""
    import trafilatura

    return trafilatura.extract(data, favor_precision=True, include_comments=False, deduplicate=True) or ""


READERS: dict[str, Callable[[str], Iterator[tuple[str, bytes]]]] = {"fastwarc": fastwarc_pages, "warcio": warcio_pages}
EXTRACTORS: dict[str, Callable[[bytes], str]] = {"resiliparse": resiliparse_text, "trafilatura": trafilatura_text}


def main(reader: str, extractor: str, paths: list[str]) -> None:
    best, texts, size = float("inf"), {}, 0
    for _ in range(1 if extractor == "trafilatura" else ROUNDS):
        started, texts, size = time.process_time(), {}, 0
        for path in paths:
            for name, data in READERS[reader](path):
                texts[name] = EXTRACTORS[extractor](data)
                size += len(data)
        best = min(best, time.process_time() - started)
    print(json.dumps({"seconds": best, "pages": len(texts), "bytes": size}))
    for name, text in texts.items():
        print(json.dumps([name, text]))


main(sys.argv[1], sys.argv[2], sys.argv[3:])
