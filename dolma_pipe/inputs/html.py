"""HTML pages as text, by resiliparse."""

from __future__ import annotations

from typing import Any

from dolma_pipe.errors import DependencyError


def html_text(data: bytes) -> tuple[str, str]:
    """Text and title of an HTML page, in the encoding it declares or seems to have."""
    html, html2text, encoding = _resiliparse()
    tree = html.HTMLTree.parse_from_bytes(data, encoding.detect_encoding(data, html5_compatible=True))
    return html2text.extract_plain_text(tree, preserve_formatting=True), tree.title or ""


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
