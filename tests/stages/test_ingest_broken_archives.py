"""ingest of web archives that are damaged, cut, too large or made to harm: nothing is lost without a word."""

from __future__ import annotations

import base64
import gzip
import zlib
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from web_archives import PAGE, brotli, chunked, documents, ingest, ingest_bytes, page, record, response, rows

from dolma_pipe.inputs.archive import Archive, Record
from dolma_pipe.streams import Decompressed


def records_of(data: bytes, folder: Path, name: str = "a.warc", limit: int = 1 << 20) -> list[Record]:
    (folder / name).write_bytes(data)
    return list(Archive(Decompressed(str(folder / name), resume=True), limit))


def test_a_payload_that_ends_within_its_encoding_is_quarantined(tmp_path: Path) -> None:
    cut = [
        response(gzip.compress(PAGE)[:-40], "Content-Encoding: gzip", number=1),
        response(chunked(PAGE)[:-60], "Transfer-Encoding: chunked", number=2),
        response(zlib.compress(PAGE)[:-30], "Content-Encoding: deflate", number=3),
        response(b"\x1f\x8b\x08nonsense", "Content-Encoding: gzip", number=4),
        record("response", b"<p>no header</p>", "Content-Type: application/http", number=5),
    ]
    ingest_bytes(tmp_path, b"".join([*cut, response(number=6)]))
    bad = rows(tmp_path / "out" / "_quarantine")
    assert [row["line"] for row in bad] == [1, 2, 3, 4, 5]
    assert all(row["reason"].startswith(("not readable: ", "no HTTP header")) for row in bad)
    assert len(documents(tmp_path / "out")) == 1


BROKEN = {
    "no WARC record begins here": b"stray bytes\r\nand more\r\n\r\n",
    "a WARC record without a valid Content-Length": response().replace(b"Length: ", b"Length: x"),
    "Content-Length 10 is wrong": record("response", b"x" * 300, length=10),
    "Content-Length 900 is wrong": record("response", b"x" * 300, length=900),
}


@pytest.mark.parametrize("reason", list(BROKEN))
def test_a_broken_record_is_told_and_the_next_one_read(tmp_path: Path, reason: str) -> None:
    whole = [response(page(i), number=i) for i in range(1, 4)]
    data = whole[0] + BROKEN[reason] + whole[1] + whole[2]
    ingest_bytes(tmp_path, data)
    [row] = rows(tmp_path / "out" / "_quarantine")
    assert row["reason"].startswith(reason)
    assert (row["line"], row["byte_offset"], row["byte_length"]) == (2, len(whole[0]), len(BROKEN[reason]))
    assert base64.b64decode(row["raw_base64"]) == BROKEN[reason]
    assert [one["id"][-1] for one in documents(tmp_path / "out")] == ["1", "2", "3"]


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress], ids=["gz", "zst"])
def test_a_broken_frame_costs_its_record_and_no_other(tmp_path: Path, compress: Any) -> None:
    frames = [bytearray(compress(response(page(i), number=i))) for i in range(1, 5)]
    frames[1][120:140] = b"\xff" * 20
    ingest_bytes(tmp_path, b"".join(frames), f"a.warc.{'gz' if compress is gzip.compress else 'zst'}")
    assert [one["id"][-1] for one in documents(tmp_path / "out")] == ["1", "3", "4"]
    [row] = rows(tmp_path / "out" / "_quarantine")
    assert row["line"] == 2


@pytest.mark.parametrize("compress", [bytes, gzip.compress, zstandard.compress], ids=["plain", "gz", "zst"])
@pytest.mark.parametrize("share", [0.05, 0.4, 0.7, 0.9, 0.97])
def test_a_cut_archive_gives_its_whole_records_and_a_quarantined_tail(
    tmp_path: Path, compress: Any, share: float
) -> None:
    data = b"".join(compress(response(page(i), number=i)) for i in range(1, 9))
    name = {bytes: "a.warc", gzip.compress: "a.warc.gz"}.get(compress, "a.warc.zst")
    summary = ingest_bytes(tmp_path, data[: int(len(data) * share)], name)
    [row] = rows(tmp_path / "out" / "_quarantine")
    whole = int(len(data) * share) * 8 // len(data)
    assert row["line"] == whole + 1
    assert summary.counts.get("documents", 0) == whole


def test_a_record_longer_than_allowed_is_refused_without_being_held(tmp_path: Path) -> None:
    huge = response(PAGE + b" " * 3_000_000, number=2)
    video = response(b"v" * 3_000_000, number=3, content_type="video/mp4")
    data = response(number=1) + huge + video + response(number=4)
    assert max(len(one.data) for one in records_of(data, tmp_path, limit=100_000)) == 64 << 10
    ingest_bytes(tmp_path, data, max_document_bytes=100_000)
    assert [one["id"][-1] for one in documents(tmp_path / "out")] == ["1", "4"]
    [row] = rows(tmp_path / "out" / "_quarantine")
    assert (row["line"], row["byte_length"]) == (2, len(huge) - 4)
    assert "longer than max_document_bytes" in row["reason"]
    assert [(row["reason"], row["records"]) for row in rows(tmp_path / "out" / "_skipped")] == [
        ("content type video/mp4", [3])
    ]


@pytest.mark.parametrize(("name", "compress"), [("gzip", gzip.compress), ("br", brotli)])
def test_a_payload_that_unpacks_to_more_than_allowed_is_refused(tmp_path: Path, name: str, compress: Any) -> None:
    bomb = response(compress(b"<p>" + b"a" * 3_000_000), f"Content-Encoding: {name}")
    ingest_bytes(tmp_path, bomb, max_document_bytes=100_000)
    [row] = rows(tmp_path / "out" / "_quarantine")
    assert "once decoded" in row["reason"]


def test_a_page_nested_without_end_is_refused_in_no_time(tmp_path: Path) -> None:
    ingest_bytes(tmp_path, response(b"<div>" * 300_000 + b"bottom") + response(number=2))
    (tmp_path / "b.html").write_bytes(b"<div>" * 300_000 + b"bottom")
    ingest(tmp_path / "b.html", to=tmp_path / "file")
    for row in rows(tmp_path / "out" / "_quarantine") + rows(tmp_path / "file" / "_quarantine"):
        assert row["reason"] == "containers nested 300,000 deep (> 4,000)"
    assert len(documents(tmp_path / "out")) == 1


def test_a_file_that_is_no_archive_is_quarantined(tmp_path: Path) -> None:
    ingest_bytes(tmp_path, b"hello\n" * 100_000)
    [row] = rows(tmp_path / "out" / "_quarantine")
    assert (row["reason"], row["byte_length"]) == ("no WARC record begins here", 600_000)


@settings(max_examples=60, deadline=None)
@given(
    damage=st.lists(st.tuples(st.integers(0, 3000), st.binary(max_size=30), st.integers(0, 400)), max_size=4),
    limit=st.sampled_from([50, 400, 1 << 20]),
)
def test_every_byte_of_a_damaged_archive_is_in_one_record(
    tmp_path_factory: pytest.TempPathFactory, damage: list[tuple[int, bytes, int]], limit: int
) -> None:
    data = b"".join(response(page(i), number=i) for i in range(1, 6))
    for place, put, gone in damage:
        data = data[:place] + put + data[place + gone :]
    found = records_of(data, tmp_path_factory.mktemp("damaged"), limit=limit)
    assert [one.number for one in found] == list(range(1, len(found) + 1))
    end = 0
    for one in found:
        assert data[end : one.offset].strip(b"\r\n") == b""
        assert data[one.offset : one.offset + one.length].startswith(one.data)
        end = one.offset + one.length
    assert data[end:].strip(b"\r\n") == b""
