"""Every field of the heuristic taggers equals its definition in plain Python, on arbitrary Unicode."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import plain_datatrove as peers
import plain_definitions as plain
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma_pipe.batch import make_batch
from dolma_pipe.shards import DocumentReader
from dolma_pipe.tagger import load

DEFINITIONS: dict[str, Callable[[str], dict[str, Any]]] = {
    "gopher": lambda text: {**plain.gopher(text), **peers.gopher(text)},
    "gopher_repetition": lambda text: {**plain.gopher_repetition(text), **peers.gopher_repetition(text)},
    "datatrove_ngrams": peers.datatrove_ngrams,
    "fineweb": peers.fineweb,
    "c4": plain.c4,
    "length": plain.length,
}


def measure(name: str, texts: list[str]) -> list[dict[str, Any]]:
    """The tagger's values as plain data, spans as (start, end)."""
    tagger = load(name)
    values = tagger.tag(make_batch(texts))
    columns = {field: pa.array(values[field], kind.type).to_pylist() for field, kind in tagger.fields.items()}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    for row in rows:
        row.update({k: [(s["start"], s["end"]) for s in v] for k, v in row.items() if isinstance(v, list)})
    return rows


def check(name: str, texts: list[str]) -> None:
    for text, row in zip(texts, measure(name, texts), strict=True):
        assert row == DEFINITIONS[name](text), text


@pytest.mark.parametrize("name", DEFINITIONS)
def test_fields_equal_their_definition_on_hard_texts(name: str) -> None:
    check(name, plain.HARD_TEXTS)


@pytest.mark.parametrize("name", DEFINITIONS)
@settings(max_examples=150, deadline=None)
@given(texts=st.lists(plain.texts, min_size=1, max_size=6))
def test_fields_equal_their_definition_on_arbitrary_texts(name: str, texts: list[str]) -> None:
    check(name, texts)


@pytest.mark.corpus
@pytest.mark.parametrize("name", DEFINITIONS)
@pytest.mark.parametrize("source", ["wikipedia", "web", "github_code", "usenet"])
def test_fields_equal_their_definition_on_real_text(corpus: Path, source: str, name: str) -> None:
    path = next((corpus / "corpus" / source / "documents").iterdir())
    texts = [text for batch in DocumentReader(str(path), limit=150) for text in batch.texts()]
    check(name, [text[:4000] for text in texts])
