"""Whatever is published appears whole or not at all, on disk and on s3."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
import xxhash

from dolma_pipe import storage
from dolma_pipe.errors import ConfigError, DataError


@pytest.fixture(params=["local", "s3"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A writable place: a local folder, and a bucket of a simulated s3."""
    if request.param == "local":
        return str(tmp_path)
    request.getfixturevalue("bucket")
    return "s3://bucket/base"


def test_what_was_written_is_read_back_with_its_size_and_hash(base: str) -> None:
    path = storage.join(base, "a", "b.bin")
    with storage.create(path) as writer:
        writer.write(b"hello ")
        writer.write(b"world")
    assert storage.read_bytes(path) == b"hello world"
    assert (writer.size, writer.hash) == (11, xxhash.xxh3_128_hexdigest(b"hello world"))
    assert storage.content_hash(path) == writer.hash
    assert storage.size(path) == 11


def test_a_failed_write_leaves_nothing_and_keeps_the_old_file(base: str) -> None:
    path = storage.join(base, "a.bin")
    storage.write_bytes(path, b"old")

    def fail_half_way() -> None:
        with storage.create(path) as writer:
            writer.write(b"new")
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        fail_half_way()
    assert storage.read_bytes(path) == b"old"
    assert storage.listing(base) == ["a.bin"]


def test_a_listing_is_sorted_by_bytes_and_hides_our_own_folders(base: str) -> None:
    for name in ("b/2", "b/1", "B", "_scratch/x", ".hidden", "a/_x/y", "é"):
        storage.write_bytes(storage.join(base, name), b"x")
    assert storage.listing(base) == ["B", "b/1", "b/2", "é"]


def test_removing_what_is_not_there_is_no_error(base: str) -> None:
    storage.write_bytes(storage.join(base, "t", "x"), b"x")
    storage.remove(storage.join(base, "t", "x"))
    storage.remove(storage.join(base, "t", "x"))
    storage.write_bytes(storage.join(base, "t", "y"), b"x")
    storage.remove_tree(storage.join(base, "t"))
    assert not storage.exists(storage.join(base, "t"))


def test_the_stamp_changes_with_the_content(base: str) -> None:
    path = storage.join(base, "x")
    assert storage.stat(path) is None
    storage.write_bytes(path, b"one")
    before = storage.stat(path)
    storage.write_bytes(path, b"two")
    assert before is not None
    assert storage.stat(path) != before


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        storage.open_read(str(tmp_path / "none"))
    with pytest.raises(DataError, match="is a folder"):
        storage.open_read(str(tmp_path))


def test_a_place_that_cannot_be_written_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="choose another output folder"):
        storage.write_bytes(str(tmp_path / "file" / "x"), b"x")


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"ftp:// is not supported"):
        storage.stat("ftp://host/x")


def test_nothing_unfinished_stays_beside_the_outputs(tmp_path: Path) -> None:
    storage.write_bytes(str(tmp_path / "x"), b"x")
    assert os.listdir(tmp_path) == ["x"]


def test_files_published_together_appear_when_all_are_done(tmp_path: Path) -> None:
    names = ["a/1", "b/2", "3"]
    with storage.Publication() as files:
        for name in names:
            files.write_bytes(str(tmp_path / name), name.encode(), str(tmp_path))
        assert storage.listing(str(tmp_path)) == []
    assert [(tmp_path / name).read_text() for name in names] == names
    assert os.listdir(tmp_path / storage.ASIDE) == []


def test_of_files_published_together_none_appears_when_one_fails(tmp_path: Path) -> None:
    storage.write_bytes(str(tmp_path / "old"), b"old")

    def fail_after_one() -> None:
        with storage.Publication() as files:
            files.write_bytes(str(tmp_path / "old"), b"new", str(tmp_path))
            with files.create(str(tmp_path / "broken"), str(tmp_path)) as writer:
                writer.write(b"half")
                raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        fail_after_one()
    assert storage.listing(str(tmp_path)) == ["old"]
    assert (tmp_path / "old").read_text() == "old"
    assert os.listdir(tmp_path / storage.ASIDE) == []


def test_every_file_is_flushed_before_the_first_appears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (happened.append("flushed"), fsync(handle)))
    monkeypatch.setattr(os, "replace", lambda a, b: (happened.append(os.path.basename(b)), replace(a, b)))
    with storage.Publication() as files:
        for name in ("2", "1", "scratch"):
            files.write_bytes(str(tmp_path / name), b"x", str(tmp_path), durable=name != "scratch")
    assert happened == ["flushed", "flushed", "2", "1", "scratch"]


def test_a_file_that_does_not_fit_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        for size in (100_001, 1_000_000):  # the last bytes are written when the file is closed, or before
            with pytest.raises(OSError, match=r"too large.*big"), storage.create(str(tmp_path / "big")) as writer:
                writer.write(bytes(size))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, old)
    assert os.listdir(tmp_path) == []


def test_what_is_left_unfinished_by_a_live_run_stays(tmp_path: Path) -> None:
    (tmp_path / storage.ASIDE).mkdir()
    for name, age in (("new", 0), ("old", 1000)):
        path = tmp_path / storage.ASIDE / name
        path.touch()
        os.utime(path, (time.time() - age, time.time() - age))
    storage.clear_aside(str(tmp_path), older_than=600)
    assert os.listdir(tmp_path / storage.ASIDE) == ["new"]
    assert storage.has_unfinished(str(tmp_path))
    storage.clear_aside(str(tmp_path))
    assert not storage.has_unfinished(str(tmp_path))


def test_a_link_that_leads_in_a_circle_is_refused_and_others_are_followed(tmp_path: Path) -> None:
    storage.write_bytes(str(tmp_path / "elsewhere" / "x"), b"x")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "there").symlink_to(tmp_path / "elsewhere")
    assert storage.listing(str(tmp_path / "data")) == ["there/x"]
    for folder in ("elsewhere", "data", "."):
        (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / folder)
        with pytest.raises(DataError, match=r"back: a link to .*, in which it lies; remove it"):
            storage.listing(str(tmp_path / "data"))
        (tmp_path / "elsewhere" / "back").unlink()


def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path: Path) -> None:
    storage.write_bytes(str(tmp_path / ("x" * 255)), b"x")
    assert os.listdir(tmp_path) == ["x" * 255]
