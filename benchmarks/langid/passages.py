"""Labelled passages for the language model: what is trained on, what is held out, and where each label comes from.

A label is what the source says of itself: the file of a translation (NTREX, UDHR), `metadata.language`, the language
of a whole source (German statutes), the `lang` attribute of a web page. No other classifier's guess is used.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import xxhash
import zstandard

HELD_OUT = 8
"""One group in this many is held out."""

ENOUGH_BYTES = 10_000
"""A language with less text than this is left out."""

PARALLEL = ("ntrex128", "udhr2")

ENGLISH_TRAINED = (
    "arxiv", "books", "contracts", "court_opinions", "email_lists", "fedreg", "github_code", "math_word_problems",
    "movie_reviews", "nih_grants", "pubmed", "speeches", "stackexchange", "tech_docs", "ubuntu_irc", "uspto",
)  # fmt: skip
"""English sources that are public domain or under an open licence; the rest are only ever tested on."""

ENGLISH_TESTED = ("ag_news", "enron_email", "hackernews", "medicine_leaflets", "reddit", "reuters", "usenet")
"""English sources the model never sees."""

WEB = ("web", "web_articles")
"""Web pages in many languages, never seen either."""

MIXED = ("europarl", "german_law", "wikipedia")
"""Sources in several languages, each document with its own."""


class Passage(NamedTuple):
    language: str
    source: str
    group: str  # whatever shares a group lies on one side: translations of one sentence, copies of one paper
    text: str

    @property
    def held_out(self) -> bool:
        return xxhash.xxh3_64_intdigest(f"langid\0{self.group}".encode()) % HELD_OUT == 0


def documents(folder: Path) -> Iterator[dict[str, Any]]:
    """Every document of `<folder>/documents`, in file order."""
    for path in sorted((folder / "documents").iterdir()):
        raw = path.read_bytes()
        opened = zstandard.decompress(raw) if path.suffix == ".zst" else gzip.decompress(raw)
        yield from map(json.loads, opened.splitlines())


def parallel(shared: Path, labels: set[str]) -> Iterator[Passage]:
    """NTREX sentences and UDHR paragraphs; the number after the last dash is the same in every language."""
    for name in PARALLEL:
        for row in map(json.loads, gzip.decompress((shared / "lid" / f"{name}.jsonl.gz").read_bytes()).splitlines()):
            if row["lang1"] in labels:
                yield Passage(row["lang1"], name, f"{name}-{row['id'].rsplit('-', 1)[1]}", row["text"])


def english(shared: Path, sources: tuple[str, ...]) -> Iterator[Passage]:
    for source in sources:
        for row in documents(shared / "corpus" / source):
            group = row["id"].partition("@")[0] if source == "arxiv" else row["id"]
            yield Passage("en", source, f"{source}-{group}", row["text"])


def mixed(shared: Path) -> Iterator[Passage]:
    for source in MIXED:
        for row in documents(shared / "corpus" / source):
            language = row["metadata"].get("language") or _wikipedia_language(row["id"])
            yield Passage(language, source, f"{source}-{_untranslated(row['id'])}", row["text"])


def _wikipedia_language(identifier: str) -> str:
    return identifier.split("-")[1] if identifier.startswith("xquad") else "en"


def _untranslated(identifier: str) -> str:
    # The six XQuAD translations of one paragraph, or the two of one debate, differ in the language part only.
    return re.sub(r"-(en|es|de|el|ru|tr|fr)(?=-)", "", identifier)


def web(shared: Path) -> Iterator[Passage]:
    """Whole pages (`web`) and article bodies (`web_articles`) of 200 characters or more that declare a language."""
    declared = {}
    for path in sorted((shared / "web" / "warc").glob("*.warc.gz")):
        declared |= declared_languages(gzip.decompress(path.read_bytes()))
    for source in WEB:
        for row in documents(shared / "corpus" / source):
            if row["id"] in declared and len(row["text"]) >= 200:
                yield Passage(declared[row["id"]], source, f"{source}-{row['id']}", row["text"])


def declared_languages(archive: bytes) -> dict[str, str]:
    """Record id -> `<html lang>` of every page of a WARC file that has one."""
    found = {}
    for record in re.split(rb"\r\n\r\n(?=WARC/1\.)", archive):
        identifier = re.search(rb"WARC-Record-ID: <urn:uuid:([^>]+)>", record[:4000])
        language = re.search(rb"<html\b[^>]*?\slang=[\"']?([A-Za-z]{2})\b", record[:20000], re.IGNORECASE)
        if identifier and language:
            found[identifier[1].decode()] = language[1].decode().lower()
    return found


def chosen_languages(shared: Path, known: set[str]) -> set[str]:
    """Languages with translated news (NTREX) and enough text in all, under codes that `known` shares."""
    size: dict[str, int] = {}
    news = set()
    for passage in parallel(shared, known):
        size[passage.language] = size.get(passage.language, 0) + len(passage.text.encode())
        if passage.source == "ntrex128":
            news.add(passage.language)
    return {language for language in news if size[language] >= ENOUGH_BYTES}
