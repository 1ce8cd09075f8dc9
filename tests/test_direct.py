"""Files written past the page cache hold what was written, where that is possible and where it is not."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from dolma_pipe import storage
from dolma_pipe.storage import direct
from dolma_pipe.storage.direct import DirectFile


def written(path: Path, pieces: list[bytes]) -> bytes:
    with DirectFile(os.open(path, os.O_CREAT | os.O_WRONLY)) as stream:
        for piece in pieces:
            assert stream.write(piece) == len(piece)
    return path.read_bytes()


# Blocks of 4096 bytes are what disks take; blocks of 1000 are refused, and go through the cache.
@pytest.mark.parametrize("block", [4096, 8192, 1000])
def test_what_is_written_in_any_pieces_is_what_lies_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(direct, "BLOCK", block)
    draw = random.Random(block)
    for number in range(20):
        sizes = [draw.choice((0, 1, 7, block - 1, block, block + 1, 5 * block + 3)) for _ in range(draw.randrange(6))]
        pieces = [draw.randbytes(size) for size in sizes]
        assert written(tmp_path / str(number), pieces) == b"".join(pieces)


def test_where_the_cache_cannot_be_passed_by_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "_DIRECT", 0)
    pieces = [b"a" * direct.BLOCK, b"b"]
    assert written(tmp_path / "file", pieces) == b"".join(pieces)


def test_a_full_disk_is_an_error_that_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    def publish() -> None:
        with storage.Publication() as files, files.create(str(tmp_path / "a.bin"), str(tmp_path), direct=True) as out:
            monkeypatch.setattr(os, "write", full)
            out.write(bytes(2 * direct.BLOCK))

    with pytest.raises(OSError, match="No space left"):
        publish()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_published_file_has_its_size_and_hash(tmp_path: Path) -> None:
    path = str(tmp_path / "a.bin")
    with storage.Publication() as files, files.create(path, str(tmp_path), direct=True) as out:
        out.write(b"x" * (direct.BLOCK + 5))
    assert storage.read_bytes(path) == b"x" * (direct.BLOCK + 5)
    assert (storage.size(path), storage.content_hash(path)) == (out.size, out.hash)
