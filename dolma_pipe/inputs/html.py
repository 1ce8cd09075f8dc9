"""HTML pages as text, by resiliparse."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from dolma_pipe.errors import DependencyError

STRAY = 5_000
"""Characters among which one may be unreadable before another encoding is tried."""

MAX_DEPTH = 4_000
"""Nested containers of a page; finding its main content takes time that grows with their square (0.3 s for these)."""

_CONTAINER = re.compile(r"<(/?)(?:div|section|article|blockquote|center|ul|ol|dl|table|form|main)\b", re.IGNORECASE)


class Page(NamedTuple):
    """What a page says: its text, its title ("" without one), and the encoding that its bytes were read in."""

    text: str
    title: str
    charset: str


def html_page(data: bytes, *, main_content: bool, declared: str | None = None) -> Page:
    """Text and title of an HTML page, in the encoding `declared` for it, else that it declares or seems to have.

    `main_content` leaves out navigation, footers and sidebars, as resiliparse's rules know them; links' targets,
    texts that stand for images and form fields are never part of the text. `ValueError` for a page that is nested
    deeper than any page for readers is.
    """
    html, html2text, _ = _resiliparse()
    markup, charset = decode(data, declared, in_html=True)
    if markup.count("<") > MAX_DEPTH and (depth := _depth(markup)) > MAX_DEPTH:
        raise ValueError(f"containers nested {depth:,} deep (> {MAX_DEPTH:,})")
    tree = html.HTMLTree.parse(markup)
    text = html2text.extract_plain_text(tree, preserve_formatting=True, main_content=main_content, alt_texts=False)
    return Page(text, (tree.title or "").strip(), charset)


def _depth(markup: str) -> int:
    """How deep containers are nested, by their tags."""
    depth = deepest = 0
    for tag in _CONTAINER.finditer(markup):
        depth = max(depth - 1, 0) if tag[1] else depth + 1
        deepest = max(deepest, depth)
    return deepest


def decode(data: bytes, declared: str | None, *, in_html: bool) -> tuple[str, str]:
    """Bytes as text, and in which encoding: byte order mark, `declared`, the page's own word, detection.

    The first one that fits is taken (a page may be cut within a character, and hold a stray byte in 5,000); where
    none does, the one that leaves the fewest U+FFFD. Names are read as browsers do: `iso-8859-1` is windows-1252.
    """
    best: tuple[int, str, str] | None = None
    for name in _encodings(data, declared, in_html):
        text = data.decode(name, "replace")
        wrong = text.count("\ufffd")
        if best is None or wrong < best[0]:
            best = wrong, text, name
        if wrong <= 1 + len(text) // STRAY:
            break
    assert best is not None  # utf-8 is always among them
    return best[1].removeprefix("\ufeff"), best[2]


def _encodings(data: bytes, declared: str | None, in_html: bool) -> Iterator[str]:
    """Names that Python knows, the likeliest first; detection reads the page, so it is asked only if need be."""
    encoding = _resiliparse()[2]
    if declared:
        declared = encoding.map_encoding_to_html5(declared, False)
    for name in (_marked(data), declared):
        if name and _is_known(name):
            yield name
    if not in_html and _is_utf8(data):
        yield "utf-8"
    for from_meta in (True, False) if in_html else (False,):
        name = encoding.detect_encoding(data, from_html_meta=from_meta)
        if name and _is_known(name):
            yield name
    yield "utf-8"


def _marked(data: bytes) -> str | None:
    """The encoding that a byte order mark tells."""
    if data.startswith(codecs.BOM_UTF8):
        return "utf-8"
    return "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else None


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_known(name: str) -> bool:
    try:
        codecs.lookup(name)
    except LookupError:
        return False
    return True


def html_version() -> str:
    """The release of the library that finds the text of a page; another release may find another text."""
    _resiliparse()
    from importlib.metadata import version

    return version("resiliparse")


def _resiliparse() -> tuple[Any, Any, Any]:
    try:
        from resiliparse.extract import html2text
        from resiliparse.parse import encoding, html
    except ImportError as error:
        raise DependencyError("resiliparse", "web", "reading HTML") from error
    return html, html2text, encoding
