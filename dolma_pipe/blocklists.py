"""Lists of domains, hosts, URLs and words as people publish them, and the public suffix list, as tables for kernels.

One entry a line, plain or `.gz`/`.zst`; blank lines and those that begin with `#`, `!` or `[` say nothing. A line that
cannot be what its list holds is an error: a list that was silently half read would block half of what it should.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import publicsuffixlist

from dolma_pipe import storage
from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.kernels.substrings import make_automaton
from dolma_pipe.kernels.tables import Table, make_table
from dolma_pipe.kernels.urls import EXCEPTION, RULE, WILDCARD, Lists, domain_keys, url_keys, word_keys
from dolma_pipe.streams import decompressed

KINDS = ("domains", "hosts", "urls", "words", "soft_words", "subwords")
MOST_LISTS = 64
MOST_SUBWORD_LETTERS = 1_000_000
"""What keeps the automaton of subwords below 150 MB."""

PSL = publicsuffixlist.PSLFILE
"""The public suffix list that the package bundles (Mozilla, MPL 2.0); it is never fetched."""

LABEL = r"(?!-)[a-z0-9_\u0080-\U0010ffff-]+"
DOMAIN = re.compile(rf"{LABEL}(\.{LABEL})+|[0-9a-f]*:[0-9a-f:.]+")
URL = re.compile(rf"{LABEL}(\.{LABEL})+(:[0-9]+)?([/?#].*)?")
_ADBLOCK = re.compile(r"\|\|([^/^*$|]+)\^")
_HOSTS_FILE = re.compile(r"(?:0\.0\.0\.0|127\.0\.0\.1|::1?)\s+(\S+)")
_THIS_MACHINE = re.compile(r"localhost.*|local|broadcasthost|ip6-.*|0\.0\.0\.0")
_NOT_WORD = re.compile(r"[\s._'-]+")


def list_name(path: str) -> str:
    """What a list is called in `url.lists`: its file's name up to the first dot; namesakes are one list."""
    return os.path.basename(path).partition(".")[0]


def read_text(path: str) -> str:
    """A list as it stands, decompressed."""
    if not storage.is_file(path):
        raise ConfigError(f"{path}: no such list")
    try:
        return decompressed(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not in UTF-8: {error}") from error


def read_lines(path: str) -> list[tuple[int, str]]:
    """The lines of a list that say something, with their numbers."""
    found = [(number, line.strip()) for number, line in enumerate(read_text(path).split("\n"), 1)]
    return [(number, line) for number, line in found if line and line[0] not in "#!["]


def domain_entry(line: str) -> str | None:
    """`example.org`, `||example.org^`, `*.example.org` or a line of a hosts file; "" for one that names this
    machine."""
    if found := _ADBLOCK.fullmatch(line):
        line = found[1]
    elif found := _HOSTS_FILE.match(line):
        line = "" if _THIS_MACHINE.fullmatch(found[1]) else found[1]
    is_suffix = line.startswith(("*.", "."))
    name = line.lstrip("*.").rstrip(".").lower() if is_suffix else line.rstrip(".").lower()
    is_whole = re.fullmatch(LABEL, name) is not None if is_suffix else False
    return name if not line or is_whole or DOMAIN.fullmatch(name) else None


def host_entry(line: str) -> str | None:
    """A host that stands for itself, and for `www.` in front of it."""
    return None if line.startswith(("|", "*", ".")) else _plain(domain_entry(line))


def url_entry(line: str) -> str | None:
    """A URL or the beginning of one, with or without its scheme; a final slash means nothing."""
    return _plain(_matching(URL, re.sub(r"^[a-z]+://", "", line.lower()).rstrip("/")))


def word_entry(line: str) -> str | None:
    """Letters and digits of ASCII, in lower case; what joins them (`free-sex`, `free sex`) is left out."""
    return _matching(re.compile("[a-z0-9]+"), _NOT_WORD.sub("", line.lower()))


def _matching(pattern: re.Pattern[str], text: str) -> str | None:
    return text if pattern.fullmatch(text) else None


def _plain(name: str | None) -> str | None:
    return name.removeprefix("www.") if name else name


_ENTRIES: dict[str, tuple[Callable[[str], str | None], str]] = {
    "domains": (domain_entry, "a domain (example.org, ||example.org^, *.top)"),
    "hosts": (host_entry, "a host (www.example.org); one with its subdomains belongs into domains"),
    "urls": (url_entry, "a URL or its beginning (example.org/path)"),
    "words": (word_entry, "a word of letters and digits"),
    "soft_words": (word_entry, "a word of letters and digits"),
    "subwords": (word_entry, "a string of letters and digits"),
}


def read_list(path: str, kind: str) -> list[str]:
    """The entries of one list; a line that is none is a `ConfigError`."""
    entry, expected = _ENTRIES[kind]
    found: list[str] = []
    for number, line in read_lines(path):
        value = entry(line)
        if value is None:
            raise ConfigError(f"{path}:{number}: {line[:80]!r} is not {expected}; take it out of this list of {kind}")
        found.append(value)
    kept = [value for value in found if value]
    if not kept:
        raise ConfigError(f"{path}: an empty list of {kind} blocks nothing; take it out of the config")
    return kept


def make_lists(paths: Mapping[str, Sequence[str]], names: Sequence[str], private_suffixes: bool) -> Lists:
    """All lists of a config, by kind; flag i stands for `names[i]`."""
    bits = {name: 1 << number for number, name in enumerate(names)}
    entries = {
        kind: [(value, bits[list_name(path)]) for path in paths[kind] for value in read_list(path, kind)]
        for kind in KINDS
    }
    return Lists(
        suffixes=public_suffixes(private_suffixes),
        domains=make_table(*_keyed(domain_keys, both_forms(entries["domains"]))),
        hosts=make_table(*_keyed(domain_keys, both_forms(entries["hosts"]))),
        urls=make_table(*_keyed(url_keys, entries["urls"])),
        words=make_table(*_keyed(word_keys, entries["words"])),
        soft_words=make_table(*_keyed(word_keys, entries["soft_words"])),
        subwords=_automaton(entries["subwords"]),
    )


def _automaton(entries: Sequence[tuple[str, int]]) -> Any:
    letters = sum(len(text) for text, _ in entries)
    if letters > MOST_SUBWORD_LETTERS:
        raise ConfigError(
            f"url: {letters:,} letters of subwords; at most {MOST_SUBWORD_LETTERS:,}: whole words go into words"
        )
    return make_automaton([text for text, _ in entries], [flag for _, flag in entries])


def _keyed(keys: Callable[..., Any], entries: Iterable[tuple[str, int]]) -> tuple[Any, Any]:
    """Keys and flags of entries."""
    pairs = list(entries)
    encoded = [text.encode() for text, _ in pairs]
    offsets = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(text) for text in encoded], out=offsets[1:])
    flags = np.array([flag for _, flag in pairs], np.uint64)
    return keys(np.frombuffer(b"".join(encoded), np.uint8), offsets), flags


def both_forms(entries: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    """Domains with the other spelling of those that are not in ASCII: `bücher.de` is `xn--bcher-kva.de`."""
    found = list(entries)
    return found + [(other, flag) for text, flag in found if (other := _other_form(text))]


def _other_form(domain: str) -> str | None:
    if domain.isascii() and "xn--" not in domain:
        return None
    try:
        return domain.encode().decode("idna") if domain.isascii() else domain.encode("idna").decode()
    except UnicodeError:  # neither form has to be a valid name
        return None


@functools.lru_cache(maxsize=2)
def public_suffixes(private: bool) -> Table:
    """The rules of the public suffix list; `private`: those that companies have for their customers' names, too."""
    with open(PSL, encoding="utf-8") as stream:
        text = stream.read()
    if not private:
        text = text.partition("===BEGIN PRIVATE DOMAINS===")[0]
    rules: list[tuple[str, int]] = []
    for line in text.split("\n"):
        rule = line.split()[0].lower() if line.strip() else "//"
        if rule.startswith("!"):
            rules.append((rule[1:], int(EXCEPTION)))
        elif rule.startswith("*."):
            rules.append((rule[2:], int(WILDCARD)))
        elif not rule.startswith("//"):
            rules.append((rule, int(RULE)))
    return make_table(*_keyed(domain_keys, both_forms(rules)))
