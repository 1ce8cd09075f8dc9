"""ingest of web archives: every record ends as a document, with a reason why it is none, or in the quarantine."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import zstandard
from fastwarc.warc import ArchiveIterator
from web_archives import PAGE, SENTENCE, brotli, chunked, documents, ingest, ingest_bytes, page, record, response, rows

from dolma_pipe.errors import DataError
from dolma_pipe.inputs.records import Fields
from dolma_pipe.shards import document_shards


def reasons(dataset: Path) -> dict[str, list[int]]:
    return {row["reason"]: row["records"] for row in rows(dataset / "_skipped")}


def content(dataset: Path) -> bytes:
    paths = sorted((dataset / "documents").iterdir())
    return b"".join(zstandard.ZstdDecompressor().stream_reader(path.read_bytes()).read() for path in paths)


def test_a_page_is_a_document_with_what_the_archive_says_of_it(tmp_path: Path) -> None:
    info = record("warcinfo", b"software: by hand\r\n", number=9)
    ingest_bytes(tmp_path, info + response(PAGE, "Content-Language: en-GB"))
    [found] = documents(tmp_path / "out")
    assert found["id"] == "00000000-0000-4000-8000-000000000001"
    assert found["created"] == "2024-05-31T12:00:00Z"
    assert found["text"] == f"Tides\n\n{SENTENCE}"
    assert found["metadata"] == {
        "url": "http://example.org/1", "warc_date": "2024-05-31T12:00:00Z", "content_type": "text/html",
        "http_status": 200, "content_language": "en-GB", "charset": "cp1252", "title": "Tides",
        "warc_offset": 0, "path": "a.warc",
    }  # fmt: skip
    [link] = pq.read_table(tmp_path / "out" / "_provenance" / "00000-0000.parquet").to_pylist()
    assert link == {"id": found["id"], "file": "a.warc", "line": 2}


def test_menus_are_part_of_the_text_only_on_request(tmp_path: Path) -> None:
    ingest_bytes(tmp_path, response())
    assert ingest_bytes(tmp_path, response(), main_content=False).done > 0
    [found] = documents(tmp_path / "out")
    assert "Home" in found["text"]
    assert SENTENCE in found["text"]


def test_an_archive_may_have_any_name_and_hold_nothing(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "empty.warc").write_bytes(b"")
    (tmp_path / "in" / "crawl.gz").write_bytes(gzip.compress(response()))
    ingest(tmp_path / "in", to=tmp_path / "out", format="warc")
    assert [one["metadata"]["path"] for one in documents(tmp_path / "out")] == ["crawl.gz"]
    assert rows(tmp_path / "out" / "_skipped") == [{"file": "empty.warc", "reason": "empty", "bytes": 0}]


def test_html_files_are_read_like_archived_pages(tmp_path: Path) -> None:
    ingest_bytes(tmp_path, PAGE, "a.html")
    assert documents(tmp_path / "out")[0]["text"] == f"Tides\n\n{SENTENCE}"


def test_a_record_without_an_id_is_named_by_its_place(tmp_path: Path) -> None:
    nameless = response(number=1).replace(b"WARC-Record-ID", b"X-Record-ID")
    ingest_bytes(tmp_path, nameless + response(number=2))
    assert [one["id"] for one in documents(tmp_path / "out")] == ["a.warc#1", "00000000-0000-4000-8000-000000000002"]


def test_repeated_record_ids_are_refused_until_records_are_named_by_place(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"2 times, at a\.warc:1 and a\.warc:2"):
        ingest_bytes(tmp_path, response() + response())
    ingest_bytes(tmp_path, response() + response(), fields=Fields(id=""))
    assert [one["id"] for one in documents(tmp_path / "out")] == ["a.warc#1", "a.warc#2"]


def test_every_record_that_is_no_document_has_a_reason(tmp_path: Path) -> None:
    about = "Content-Type: application/http; msgtype=response"
    archive = [
        record("warcinfo", b"x"), record("request", b"GET / HTTP/1.1\r\n\r\n"), response(number=3),
        record("metadata", b"x"), record("revisit", b""), response(b"", number=6), response(status="404 Not Found"),
        response(b"\x89PNG", content_type="image/png"), record("response", b"x", "Content-Type: text/dns"),
        record("resource", b"log"), response(b"%PDF-1.5\0\0", content_type=None), record("response", b"", about),
        response(b"MZ\0\0\0\0", number=13), response(b"<p></p>", number=14), record("request", b""),
        record("conversion", b"{}", "Content-Type: application/json"),
    ]  # fmt: skip
    archive[9] = archive[9].replace(b"http:", b"urn:")
    summary = ingest_bytes(tmp_path, b"".join(archive))
    assert [one["id"][-2:] for one in documents(tmp_path / "out")] == ["03"]
    assert reasons(tmp_path / "out") == {
        "warcinfo record": [1], "request record": [2, 15], "metadata record": [4], "revisit record": [5],
        "empty payload": [6, 12], "HTTP status 404": [7], "content type image/png": [8],
        "response of type text/dns": [9], "resource record": [10],
        "content type application/pdf, by its bytes": [11], "text/html by name, binary by its bytes": [13],
        "no text in the page": [14], "content type application/json": [16],
    }  # fmt: skip
    assert (summary.counts["documents"], summary.counts["skipped_records"], summary.counts["skipped_files"]) == (
        1,
        15,
        0,
    )


@pytest.mark.parametrize(
    ("headers", "encode"),
    [
        (["Transfer-Encoding: chunked"], chunked),
        (["Content-Encoding: gzip"], gzip.compress),
        (["Content-Encoding: x-gzip"], gzip.compress),
        (["Content-Encoding: deflate"], zlib.compress),
        (["Content-Encoding: deflate"], lambda data: zlib.compress(data, wbits=-15)),
        (["Content-Encoding: br"], brotli),
        (["Content-Encoding: zstd"], zstandard.compress),
        (["Content-Encoding: gzip", "Transfer-Encoding: chunked"], lambda data: chunked(gzip.compress(data))),
        (["Content-Encoding: gzip, gzip"], lambda data: gzip.compress(gzip.compress(data))),
        # Payloads that were decoded before they were archived, and headers that were always wrong
        (["Transfer-Encoding: chunked"], bytes),
        (["Content-Encoding: gzip"], bytes),
        (["Content-Encoding: br"], bytes),
        (["Content-Encoding: deflate"], bytes),
        (["Content-Encoding: utf-8"], bytes),
    ],
)
def test_encodings_of_http_are_undone_where_the_bytes_have_them(
    tmp_path: Path, headers: list[str], encode: Any
) -> None:
    ingest_bytes(tmp_path, response(encode(PAGE), *headers))
    assert [one["text"] for one in documents(tmp_path / "out")] == [f"Tides\n\n{SENTENCE}"]


@pytest.mark.parametrize(
    ("charset", "header", "meta"),
    [
        ("utf-8", "utf-8", ""), ("windows-1251", '"Windows-1251"', ""), ("latin-1", "ISO-8859-1", "utf-8"),
        ("shift_jis", "", "shift_jis"), ("gb2312", "", "gb2312"), ("utf-8", "", ""), ("utf-8", "no-such-thing", ""),
        ("utf-16", "", ""), ("windows-1252", "utf-8", ""),
    ],
)  # fmt: skip
def test_the_header_then_the_page_then_detection_says_the_encoding(
    tmp_path: Path, charset: str, header: str, meta: str
) -> None:
    text = {"windows-1251": "Прилив и отлив.", "shift_jis": "潮の満ち引き。", "gb2312": "潮汐每天两次。"}
    said = text.get(charset, "Die Flut fällt über Städte, größer als üblich; für Höhen.") * 8
    markup = f"<html><head><meta charset='{meta}'></head><body><p>{said}</p></body></html>"
    content_type = f"text/html; charset={header}" if header else "text/html"
    ingest_bytes(tmp_path, response(markup.encode(charset), content_type=content_type))
    assert [one["text"] for one in documents(tmp_path / "out")] == [said]


def test_one_unreadable_byte_does_not_change_the_encoding_of_a_page(tmp_path: Path) -> None:
    cut = ("<html><body><p>" + "größer " * 900 + "größ").encode()[:-1]
    ingest_bytes(tmp_path, response(cut, content_type="text/html; charset=utf-8"))
    [found] = documents(tmp_path / "out")
    assert found["text"].startswith("größer größer")
    assert found["text"].endswith("\ufffd")


def test_long_http_headers_are_read(tmp_path: Path) -> None:
    ingest_bytes(tmp_path, response(PAGE, "Set-Cookie: " + "x" * 60_000))
    assert len(documents(tmp_path / "out")) == 1


def test_text_records_are_taken_as_they_are(tmp_path: Path) -> None:
    wet = record(
        "conversion", b"Zeile eins\nZeile zwei: <b>kein HTML</b>", "Content-Type: text/plain",
        "WARC-Refers-To: <urn:uuid:7>", "WARC-Identified-Content-Language: deu",
    )  # fmt: skip
    ingest_bytes(tmp_path, gzip.compress(wet), "a.warc.wet.gz")
    [found] = documents(tmp_path / "out")
    assert found["text"] == "Zeile eins\nZeile zwei: <b>kein HTML</b>"
    assert (found["metadata"]["warc_refers_to"], found["metadata"]["warc_languages"]) == ("7", "deu")
    assert found["metadata"]["charset"] == "utf-8"
    assert "http_status" not in found["metadata"]


@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz", "a.warc.zst", "b.wet", "one.warc.gz", "one.warc.zst"])
def test_archives_of_every_compression_hold_the_same_documents(tmp_path: Path, name: str) -> None:
    compress = {"gz": gzip.compress, "zst": zstandard.compress}.get(name.rsplit(".")[-1], bytes)
    records = [response(page(i), number=i) for i in range(1, 6)]
    frames = [compress(one) for one in records]
    ingest_bytes(tmp_path, compress(b"".join(records)) if "one" in name else b"".join(frames), name)
    found = documents(tmp_path / "out")
    assert [f"says page {i}" in one["text"] for i, one in enumerate(found, 1)] == [True] * 5
    offsets = [0] * 5 if "one" in name or compress is bytes else [sum(map(len, frames[:i])) for i in range(5)]
    assert [one["metadata"]["warc_offset"] for one in found] == offsets


@pytest.mark.parametrize("packed", [False, True])
def test_frames_may_need_the_dictionary_that_the_file_begins_with(tmp_path: Path, packed: bool) -> None:
    records = [response(page(i), number=i) for i in range(1, 60)]
    dictionary = zstandard.train_dictionary(2048, records)
    said = zstandard.compress(dictionary.as_bytes()) if packed else dictionary.as_bytes()
    compressor = zstandard.ZstdCompressor(dict_data=dictionary)
    frames = [b"\x5d\x2a\x4d\x18", len(said).to_bytes(4, "little"), said, *map(compressor.compress, records)]
    ingest_bytes(tmp_path, b"".join(frames), "a.warc.zst")
    found = documents(tmp_path / "out")
    assert len(found) == len(records)
    assert found[0]["metadata"]["warc_offset"] == 8 + len(said)


def test_line_feeds_alone_end_header_lines_too(tmp_path: Path) -> None:
    block = b"HTTP/1.1 200 OK\nContent-Type: text/html\n\n" + PAGE
    data = record("response", block, "Content-Type: application/http").replace(b"\r\n", b"\n")
    ingest_bytes(tmp_path, data + response(number=2))
    assert [one["text"] for one in documents(tmp_path / "out")] == [f"Tides\n\n{SENTENCE}"] * 2


def test_a_limit_and_globs_work_on_archives(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        data = b"".join(response(page(i), number=i + ord(name) * 100) for i in range(5))
        (tmp_path / "in" / f"{name}.warc.gz").write_bytes(gzip.compress(data))
    ingest(tmp_path / "in", to=tmp_path / "few", limit=7)
    assert len(documents(tmp_path / "few")) == 7
    ingest(tmp_path / "in", to=tmp_path / "one", exclude=["b*"])
    assert {one["metadata"]["path"] for one in documents(tmp_path / "one")} == {"a.warc.gz"}


def test_archives_give_the_same_bytes_for_any_number_of_workers(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in range(6):
        data = b"".join(gzip.compress(response(page(i), number=name * 100 + i)) for i in range(8))
        (tmp_path / "in" / f"{name}.warc.gz").write_bytes(data)
    for workers in (1, 2, 5):
        ingest(tmp_path / "in", to=tmp_path / str(workers) / "d", workers=workers, shard_bytes=6_000)
    assert len(document_shards(str(tmp_path / "1" / "d"))) > 2
    assert content(tmp_path / "1" / "d") == content(tmp_path / "2" / "d") == content(tmp_path / "5" / "d")
    assert ingest(tmp_path / "in", to=tmp_path / "1" / "d", shard_bytes=6_000).done == 0


@pytest.mark.corpus
def test_every_record_of_real_archives_is_accounted_for(corpus: Path, tmp_path: Path) -> None:
    folders = [corpus / "web" / "warc", corpus / "web" / "warc_real"]
    ingest(*folders, to=tmp_path / "out")
    numbers: dict[str, list[int]] = {}
    for path in sorted((tmp_path / "out" / "_provenance").iterdir()):
        for link in pq.read_table(path).to_pylist():
            numbers.setdefault(link["file"], []).append(link["line"])
    for row in rows(tmp_path / "out" / "_skipped"):
        numbers.setdefault(row["file"], []).extend(row["records"])
    bad = rows(tmp_path / "out" / "_quarantine")
    for row in bad:
        numbers.setdefault(row["file"], []).append(row["line"])
    assert [(row["file"], row["line"]) for row in bad] == [("warc_real/edge-warcio-trunc.warc", 3)]
    files = sorted(path for folder in folders for path in folder.iterdir())
    for path in files:
        if "trunc" not in path.name:  # FastWARC ends there
            count = sum(1 for _ in ArchiveIterator(str(path), parse_http=False))
            assert sorted(numbers[f"{path.parent.name}/{path.name}"]) == list(range(1, count + 1))
    assert len(numbers) == len(files)


@pytest.mark.corpus
def test_the_text_of_real_pages_is_the_articles(corpus: Path, tmp_path: Path) -> None:
    ingest(corpus / "web" / "warc" / "trafilatura.warc.gz", to=tmp_path / "out")
    texts = {one["id"]: " ".join(one["text"].split()) for one in documents(tmp_path / "out")}
    wanted = unwanted = have = have_not = 0
    for line in gzip.decompress((corpus / "web" / "gold.jsonl.gz").read_bytes()).splitlines():
        gold = json.loads(line)
        if gold["warc"] == "trafilatura.warc.gz":
            text = texts.get(gold["record_id"].strip("<>").removeprefix("urn:uuid:"), "")
            wanted, unwanted = wanted + len(gold["with_segments"]), unwanted + len(gold["without_segments"])
            have += sum(" ".join(part.split()) in text for part in gold["with_segments"])
            have_not += sum(" ".join(part.split()) in text for part in gold["without_segments"])
    assert have / wanted > 0.94
    assert have_not / unwanted < 0.32
