"""Which files there are to read, and what each is by its name."""

from __future__ import annotations

import itertools
import os
import posixpath
from collections import Counter
from typing import NamedTuple

from dolma_pipe import storage
from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.streams import ENDINGS, PLAIN, compression

RECORDS = (".jsonl", ".ndjson")
HTML = (".html", ".htm", ".xhtml")
WARC = (".warc", ".wet", ".wat")
TABLES = (".csv", ".tsv")
PROSE = (".txt", ".text", ".md", ".markdown", ".rst", ".adoc", ".org", ".tex")
LANGUAGES = {
    ".c": "c", ".h": "c", ".cc": "c++", ".cpp": "c++", ".cxx": "c++", ".hpp": "c++", ".cu": "cuda", ".cs": "c#",
    ".css": "css", ".go": "go", ".hs": "haskell", ".java": "java", ".js": "javascript", ".jsx": "javascript",
    ".mjs": "javascript", ".jl": "julia", ".json": "json", ".kt": "kotlin", ".lua": "lua", ".ml": "ocaml",
    ".php": "php", ".pl": "perl", ".pm": "perl", ".py": "python", ".pyi": "python", ".pyx": "cython", ".r": "r",
    ".rb": "ruby", ".rs": "rust", ".scala": "scala", ".sh": "shell", ".bash": "shell", ".sql": "sql",
    ".swift": "swift", ".toml": "toml", ".ts": "typescript", ".tsx": "typescript", ".yaml": "yaml", ".yml": "yaml",
}  # fmt: skip
FORMATS = ("auto", "text", "html", "records", "table", "parquet", "warc")


BINARY = {
    b"PK\x03\x04": "a zip archive (or .docx, .epub, .xlsx): unpack it, or convert it to text",
    b"BZh": "compressed with bzip2, but its name does not end in .bz2",
    b"\xfd7zXZ": "compressed with xz, but its name does not end in .xz",
    b"\x1f\x8b": "compressed with gzip, but its name does not end in .gz",
    b"\x28\xb5\x2f\xfd": "compressed with zstd, but its name does not end in .zst",
    b"%PDF-": "a PDF: convert it to text",
    b"\xff\xd8\xff": "an image",
    b"\x89PNG": "an image",
    b"GIF8": "an image",
}
"""What files that are no text begin with, and what they are."""


class RawFile(NamedTuple):
    """One input file; `name` is relative to the folder that holds all inputs, `path` opens it."""

    name: str
    path: str
    format: str


def known_binary(data: bytes) -> str | None:
    """What a file is by its first bytes, and what to do with it."""
    return next((what for head, what in BINARY.items() if data.startswith(head)), None)


def suffix(name: str) -> str:
    """The extension that says what a file holds: lower case, without that of its compression."""
    stem, ending = posixpath.splitext(name.lower())
    return posixpath.splitext(stem)[1] if ending in ENDINGS else ending


def format_of(name: str) -> str:
    """What a file is by its name; "unknown" files are text if their bytes are."""
    extension = suffix(name)
    if extension in RECORDS or (extension == ".json" and compression(name) != PLAIN):
        return "records"
    if extension == ".parquet":
        return "parquet"
    if extension in HTML:
        return "html"
    if extension in TABLES:
        return "table"
    if extension in WARC:
        return "warc"
    return "text" if extension in PROSE or extension in LANGUAGES else "unknown"


def find_files(inputs: list[str], file_format: str) -> list[RawFile]:
    """The files of all inputs (a folder counts with all below it, without names that begin with a dot), by name.

    Names are relative to the deepest folder that holds all inputs: for one folder, to that folder. Unlike in a data
    set, names that begin with `_` are data here: `__init__.py` is a document.
    """
    if file_format not in FORMATS:
        raise ConfigError(f"format: {file_format!r} is not one of {', '.join(FORMATS)}")
    paths = [path for place in inputs for path in _below(place)]
    twice = next((path for path, times in Counter(paths).items() if times > 1), None)
    if twice is not None:
        raise ConfigError(f"{twice}: is in two of the inputs; name it once")
    base = _common_folder([place if not storage.is_file(place) else storage.parent(place) for place in inputs])
    files: list[RawFile] = []
    for path in paths:
        name = "/".join(_parts(path)[base:])
        files.append(RawFile(name, path, format_of(name) if file_format == "auto" else file_format))
    return sorted(files, key=lambda file: file.name.encode())


def _below(place: str) -> list[str]:
    if storage.is_file(place):
        return [place]
    if not storage.exists(place):
        raise DataError(f"{place}: no such file or folder")
    return [storage.join(place, name) for name in storage.listing(place, hidden=".")]


def _common_folder(folders: list[str]) -> int:
    """How many leading path parts all folders share."""
    columns = zip(*(_parts(folder) for folder in folders), strict=False)
    return sum(1 for _ in itertools.takewhile(lambda column: len(set(column)) == 1, columns))


def _parts(path: str) -> list[str]:
    return (path if storage.is_remote(path) else os.path.abspath(path)).rstrip("/").split("/")
