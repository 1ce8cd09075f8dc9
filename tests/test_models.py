"""Where models come from: names, paths, and downloads that are right or leave nothing."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dolma_pipe import models
from dolma_pipe.cli.models import app
from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.fasttext import FastText

CONTENT = b"not really a model" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


class _BreaksOff(_Quiet):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[:100])


@contextlib.contextmanager
def server(handler: type[_Quiet], folder: Path) -> Iterator[str]:
    """A web server on this machine that hands out `folder`."""
    made = functools.partial(handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), made) as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{found.server_address[1]}"
        finally:
            found.shutdown()
            thread.join()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DOLMA_PIPE_CACHE", str(tmp_path / "cache"))
    return Path(models.cache_folder())


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "served" / "mine.bin"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    return path


def everything_in(folder: Path) -> list[str]:
    return [name for _, _, names in os.walk(folder) for name in names]


def test_the_bundled_language_model_is_found_by_its_name(cache: Path) -> None:
    assert models.find("langid") == models.find("langid.ftz") == str(models.BUNDLED / "langid.ftz")


def test_the_bundled_language_model_is_smaller_than_two_megabytes() -> None:
    assert (models.BUNDLED / "langid.ftz").stat().st_size < 2_000_000


def test_a_path_is_a_path(cache: Path, source: Path) -> None:
    assert models.find(str(source)) == str(source)


def test_an_unknown_name_lists_the_known_ones(cache: Path) -> None:
    with pytest.raises(ConfigError, match=r"known: langid\.ftz, lid\.176\.bin, lid\.176\.ftz"):
        models.find("nothing")


def test_a_published_model_that_is_not_here_names_the_command_that_fetches_it(cache: Path) -> None:
    with pytest.raises(ConfigError, match=r"dolma-pipe models fetch lid\.176\.ftz"):
        models.find("lid.176.ftz")


def test_a_fetched_model_is_found_by_its_name(cache: Path, source: Path) -> None:
    path = models.fetch("mine.bin", source.as_uri(), SHA256)
    assert Path(path).read_bytes() == CONTENT
    assert models.find("mine.bin") == models.find("mine") == path
    assert everything_in(cache) == ["mine.bin"]


def test_a_model_comes_over_http(cache: Path, source: Path) -> None:
    counted: list[int] = []
    with server(_Quiet, source.parent) as address:
        path = models.fetch("mine.bin", f"{address}/mine.bin", SHA256, counted.append)
    assert Path(path).read_bytes() == CONTENT
    assert sum(counted) == len(CONTENT)


def test_wrong_content_is_an_error_and_leaves_nothing(cache: Path, source: Path) -> None:
    with pytest.raises(DataError, match="nothing was kept"):
        models.fetch("mine.bin", source.as_uri(), "0" * 64)
    assert everything_in(cache) == []


def test_a_mirror_of_a_published_model_must_serve_the_published_bytes(cache: Path, source: Path) -> None:
    with pytest.raises(DataError, match=models.PUBLISHED["lid.176.ftz"].sha256):
        models.fetch("lid.176.ftz", source.as_uri())
    with pytest.raises(ConfigError, match="published sha256"):
        models.fetch("lid.176.ftz", source.as_uri(), SHA256)
    assert everything_in(cache) == []


def test_a_broken_download_is_an_error_and_leaves_nothing(cache: Path, source: Path) -> None:
    with server(_BreaksOff, source.parent) as address, pytest.raises(DataError, match="nothing was kept"):
        models.fetch("mine.bin", f"{address}/mine.bin", SHA256)
    assert everything_in(cache) == []


@pytest.mark.parametrize("address", ["file:///no/such/file.bin", "nonsense", "http://127.0.0.1:9/mine.bin"])
def test_an_address_that_cannot_be_read_is_one_line(cache: Path, address: str) -> None:
    with pytest.raises(DataError, match="cannot be fetched"):
        models.fetch("mine.bin", address, SHA256)
    assert everything_in(cache) == []


def test_wrong_content_does_not_replace_a_model_that_is_there(cache: Path, source: Path) -> None:
    path = Path(models.fetch("mine.bin", source.as_uri(), SHA256))
    source.write_bytes(b"changed")
    with pytest.raises(DataError):
        models.fetch("mine.bin", source.as_uri(), hashlib.sha256(b"other").hexdigest())
    assert path.read_bytes() == CONTENT


def test_a_model_that_is_there_and_right_is_not_fetched_again(cache: Path, source: Path) -> None:
    models.fetch("mine.bin", source.as_uri(), SHA256)
    source.unlink()
    assert models.fetch("mine.bin", source.as_uri(), SHA256) == models.find("mine.bin")


def test_a_model_of_ones_own_needs_an_address_and_a_checksum(cache: Path, source: Path) -> None:
    for arguments in (("mine.bin",), ("mine.bin", source.as_uri())):
        with pytest.raises(ConfigError, match="give its address and its sha256"):
            models.fetch(*arguments)


@pytest.mark.parametrize("name", ["mine.txt", "../mine.bin", "a/mine.bin"])
def test_a_cached_model_is_named_like_a_file(cache: Path, source: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="named like a file"):
        models.fetch(name, source.as_uri(), SHA256)


def test_the_command_lists_what_is_here_and_what_can_be_fetched(cache: Path, source: Path) -> None:
    assert CliRunner().invoke(app, ["fetch", "mine.bin", "--from", source.as_uri(), "--sha256", SHA256]).exit_code == 0
    lines = CliRunner().invoke(app, []).stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["langid.ftz", "bundled"],
        ["mine.bin", "cached"],
        ["toxicity.ftz", "bundled"],
        ["lid.176.ftz", "to"],
        ["lid.176.bin", "to"],
    ]


def test_the_command_prints_where_the_model_lies(cache: Path, source: Path) -> None:
    result = CliRunner().invoke(app, ["fetch", "mine.bin", "--from", source.as_uri(), "--sha256", SHA256])
    assert result.stdout.strip() == str(cache / "mine.bin")


@pytest.mark.corpus
def test_the_published_checksum_is_that_of_the_real_model(cache: Path, corpus: Path) -> None:
    path = models.fetch("lid.176.ftz", (corpus / "models" / "lid.176.ftz").resolve().as_uri())
    assert len(FastText.open(path).labels) == 176
