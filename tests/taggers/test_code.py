from __future__ import annotations

import json
from typing import Any

import plain_datatrove as plain
import plain_definitions
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma_pipe.batch import make_batch
from dolma_pipe.tagger import load


def code(text: str, metadata: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    tagger = load({"name": "code", **options})
    values = tagger.tag(make_batch([text], metadata=[json.dumps(metadata) if metadata is not None else None]))
    return {name: pa.array(values[name], field.type)[0].as_py() for name, field in tagger.fields.items()}


def comment_characters(text: str, language: str) -> int:
    return round(code(text, language=language)["comment_fraction"] * len(text))


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(plain_definitions.texts, min_size=1, max_size=5))
def test_counts_equal_their_definition(texts: list[str]) -> None:
    values = load("code").tag(make_batch(texts, metadata=[None] * len(texts)))
    for place, text in enumerate(texts):
        assert {name: values[name][place] for name in plain.code("")} == plain.code(text), text


def test_an_empty_document_scores_zero() -> None:
    assert {name: value for name, value in code("").items() if value} == {}


@pytest.mark.parametrize(
    ("metadata", "language"),
    [
        ({"ext": "py"}, "python"), ({"ext": ".JS"}, "javascript"), ({"path": "src/Main.java"}, "java"),
        ({"language": "HTML"}, "html"), ({"path": "a.b/Makefile", "language": "Makefile"}, "makefile"),
        ({"ext": "rs"}, "rs"), ({}, ""), (None, ""),
    ],
)  # fmt: skip
def test_the_language_comes_from_the_metadata(metadata: dict[str, Any] | None, language: str) -> None:
    assert code("x", metadata)["language"] == language


@pytest.mark.parametrize(
    ("text", "comments"),
    [
        ("x = 1  # note\ny = 2\n", ["# note"]),
        ('"""Doc\n# in it."""\nx = "# none"\n', ['"""Doc\n# in it."""']),
        ("def f():\n    'Doc.'\n    return 'text'\n", ["'Doc.'"]),
        ("x = [\n    'no doc',\n]\n", []),
        ("x = 'it\\'s # none'\n# é😀\n", ["# é😀"]),
        ('x = """never closed\n# inside', []),
    ],
)
def test_comments_and_docstrings_of_python(text: str, comments: list[str]) -> None:
    assert comment_characters(text, "python") == sum(map(len, comments))


@pytest.mark.parametrize(
    ("text", "comments"),
    [
        ("int x; // note\nint y;", ["// note"]),
        ("/* a\n * b */ int x; /**/", ["/* a\n * b */", "/**/"]),
        ('String s = "// none \\" /* none";', []),
        ("let s = `// none\n// none`; // one", ["// one"]),
        ("char c = '\"'; // one", ["// one"]),
        ("/* never closed", ["/* never closed"]),
    ],
)
@pytest.mark.parametrize("language", ["java", "javascript"])
def test_comments_of_java_and_javascript(text: str, comments: list[str], language: str) -> None:
    assert comment_characters(text, language) == sum(map(len, comments))


def test_a_language_without_a_scanner_has_no_comments() -> None:
    assert code("# note", language="ruby")["comment_fraction"] == 0


def test_the_text_of_html_is_what_a_page_shows() -> None:
    shown = "Fish &amp; chips, 3 < 4 at sea. " * 5
    page = (
        f"<!DOCTYPE html><html><head><style>p {{ color: red }}</style><SCRIPT>if (a < b) {{}}</SCRIPT></head>"
        f"<body title='a > b'><!-- no <b>text</b> --><p>{shown}</p></body></html>"
    )
    assert code(page, language="html")["html_text_fraction"] == len(shown.replace("&amp;", "&")) / len(page)
    assert code("<p>too little text</p>", language="html")["html_text_fraction"] == 0
    assert code(page, language="python")["html_text_fraction"] == 0


def test_an_xml_declaration_counts_near_the_beginning() -> None:
    assert code("é" * 80 + '<?xml version="1.0"?>')["has_xml_declaration"] is True
    assert code("é" * 90 + '<?xml version="1.0"?>')["has_xml_declaration"] is False
