"""Archives, whole and broken: what can be read is read, and where it ends is said."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
from pathlib import Path

import pytest
import xxhash
import zstandard

from dolma_pipe.streams import Decompressed, compressor


def text(size: int) -> bytes:
    generator = random.Random(5)
    return b"".join(b"%d line of text\n" % generator.randrange(10**9) for _ in range(size // 24))


def packed(kind: str, data: bytes) -> bytes:
    if kind in ("gz", "bz2", "xz"):
        return {"gz": gzip, "bz2": bz2, "xz": lzma}[kind].compress(data)
    return zstandard.ZstdCompressor(write_checksum=True).compress(data) if kind == "zst" else data


def read(path: Path) -> tuple[bytes, str | None]:
    stream = Decompressed(str(path))
    data = b"".join(stream)
    assert stream.hash == xxhash.xxh3_128_hexdigest(path.read_bytes())
    assert stream.size == path.stat().st_size
    return data, stream.fault


@pytest.mark.parametrize("kind", ["gz", "zst", "bz2", "xz", "plain"])
def test_a_whole_file_is_read_to_its_end(tmp_path: Path, kind: str) -> None:
    data = text(5_000_000)
    path = tmp_path / f"x.{kind}"
    path.write_bytes(packed(kind, data))
    assert read(path) == (data, None)


@pytest.mark.parametrize("kind", ["gz", "zst", "bz2", "xz"])
def test_members_and_frames_behind_one_another_are_one_stream(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"x.{kind}"
    path.write_bytes(packed(kind, b"one\n") + packed(kind, b"") + packed(kind, b"two\n"))
    assert read(path) == (b"one\ntwo\n", None)


@pytest.mark.parametrize("kind", ["gz", "zst", "bz2", "xz"])
@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.9999])
def test_a_cut_archive_gives_its_beginning_and_says_so(tmp_path: Path, kind: str, share: float) -> None:
    data = text(3_000_000)
    whole = packed(kind, data)
    path = tmp_path / f"x.{kind}"
    path.write_bytes(whole[: int(len(whole) * share)])
    found, fault = read(path)
    assert data.startswith(found)
    assert fault is not None
    assert "truncated" in fault


@pytest.mark.parametrize("kind", ["gz", "zst", "bz2", "xz"])
def test_every_cut_of_a_short_archive_is_noticed(tmp_path: Path, kind: str) -> None:
    whole = packed(kind, b"some lines\nof text\n" * 20)
    path = tmp_path / f"x.{kind}"
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        assert read(path)[1] is not None, cut


@pytest.mark.parametrize("kind", ["gz", "zst", "bz2", "xz"])
def test_garbage_inside_an_archive_is_noticed(tmp_path: Path, kind: str) -> None:
    whole = bytearray(packed(kind, text(300_000)))
    whole[len(whole) // 2 : len(whole) // 2 + 200] = b"\xaa" * 200
    path = tmp_path / f"x.{kind}"
    path.write_bytes(bytes(whole))
    assert read(path)[1] is not None


def test_zeros_after_the_last_gzip_member_are_allowed(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(packed("gz", b"data\n") + b"\0" * 512)
    assert read(path) == (b"data\n", None)


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz", "x.jsonl.zst"])
def test_what_is_compressed_is_read_back_and_equal_content_gives_equal_bytes(tmp_path: Path, name: str) -> None:
    for attempt in ("a", "b"):
        with open(tmp_path / (attempt + name), "wb") as stream:
            out = compressor(name, stream)
            out.write(b"one\n" * 1000)
            out.write(b"two\n")
            out.close()
    assert read(tmp_path / ("a" + name)) == (b"one\n" * 1000 + b"two\n", None)
    assert (tmp_path / ("a" + name)).read_bytes() == (tmp_path / ("b" + name)).read_bytes()
