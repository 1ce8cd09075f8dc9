"""SQL over documents and attributes: right rows, nothing written, nothing else readable."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from handmade import tree_of
from mixes import SPANS, measure, spans
from typer.testing import CliRunner

from dolma_pipe.cli import app
from dolma_pipe.errors import ConfigError
from dolma_pipe.report import query as module
from dolma_pipe.report.query import query

TEXTS = {"a.jsonl": ["one two three", "four"], "b/c.jsonl.gz": ["five six"]}


@pytest.fixture
def dataset(make_dataset: Any) -> str:
    rows = {
        name: [{"id": t[:4], "text": t, "source": name[0], "metadata": {"url": f"http://x/{t[0]}"}} for t in texts]
        for name, texts in TEXTS.items()
    }
    folder = make_dataset(rows)
    CliRunner().invoke(app, ["tag", folder, "--taggers", "length,random"], catch_exceptions=False)
    return folder


def rows(sql: str, *datasets: str, **options: Any) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for batch in query(sql, datasets, **options) for row in batch.to_pylist()]


def test_documents_and_their_attributes_stand_in_one_row(dataset: str) -> None:
    found = rows("SELECT shard, row, id, text, length.words, metadata->>'$.url' FROM documents ORDER BY ALL", dataset)
    assert found == [
        ("a.jsonl", 0, "one ", "one two three", 3, "http://x/o"),
        ("a.jsonl", 1, "four", "four", 1, "http://x/f"),
        ("b/c.jsonl.gz", 0, "five", "five six", 2, "http://x/f"),
    ]


def test_groups_joins_and_aliases_work(dataset: str) -> None:
    assert rows("SELECT source, count(*), sum(d.length.words) FROM documents d GROUP BY 1 ORDER BY 1", dataset) == [
        ("a", 2, 4),
        ("b", 1, 2),
    ]
    assert rows("SELECT count(*) FROM documents a JOIN documents b USING (id) WHERE b.length.words > 1", dataset) == [
        (2,)
    ]


def test_a_query_of_attributes_opens_no_document(dataset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DocumentReader", None)
    assert rows("SELECT id FROM documents WHERE length.words = 3", dataset) == [("one ",)]


def test_two_data_sets_are_one_table(dataset: str, make_dataset: Any) -> None:
    other = make_dataset({"z.jsonl": ["seven"]}, name="other")
    found = rows("SELECT dataset, text FROM documents WHERE row = 0 ORDER BY text", dataset, other)
    assert found == [(dataset, "five six"), (dataset, "one two three"), (other, "seven")]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("COPY documents TO 'stolen.csv'", "Only SELECT"),
        ("DROP TABLE documents", "Only SELECT"),
        ("SELECT 1; SELECT 2", "2 statements"),
        ("SELECT * FROM read_text('/etc/hostname')", "disabled"),
        ("SELECT * FROM other", "other"),
        ("SELECT length.wrods FROM documents", "wrods"),
        ("SELECT nothing FROM documents", "columns of documents: dataset, shard, row, id, .*length, random"),
        ("not SQL", "syntax error"),
    ],
)
def test_what_is_no_question_to_the_documents_is_refused(dataset: str, sql: str, message: str) -> None:
    before = tree_of(Path(dataset))
    with pytest.raises(ConfigError, match=message):
        rows(sql, dataset)
    assert tree_of(Path(dataset)) == before


def test_an_empty_data_set_has_no_rows(make_dataset: Any) -> None:
    assert rows("SELECT text FROM documents", make_dataset({"a.jsonl": []})) == []


def test_the_command_prints_a_table_or_json_lines(dataset: str) -> None:
    sql = "SELECT id, length.words AS words, text FROM documents WHERE length.words > 1 ORDER BY words"
    shown = CliRunner().invoke(app, ["query", sql, dataset], catch_exceptions=False).output
    assert shown.splitlines() == ["id    words  text", "five      2  five six", "one       3  one two three"]
    lines = CliRunner().invoke(app, ["query", sql, dataset, "--json"], catch_exceptions=False).output.splitlines()
    assert json.loads(lines[0]) == {"id": "five", "words": 2, "text": "five six"}


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("s.n > 1", "bd"),
        ("s.n BETWEEN 1 AND 2 AND s.x < 0.5", "a"),
        ("s.n IN (2, 3)", "bd"),
        ("s.name = 'x'", "ad"),
        ("s.name IS NULL", "bc"),
        ("s IS NULL", "c"),
        ("s.place.row = 1", "b"),
        ("len(s.spans) > 0 AND s.spans[1].score >= 0.5", "b"),
        ("s.flag AND NOT s.n = 1", "d"),
        ("list_max([span.score for span in s.spans]) > 0.1", "ab"),
        ("s.n = (SELECT max(s.n) FROM documents)", "d"),
        ("id IN (SELECT d.id FROM documents d JOIN documents e ON d.s.name = e.s.name WHERE d.id < e.id)", "a"),
        ("coalesce(s.n, 0) + length.words > 2", "bd"),
    ],
)
def test_conditions_on_fields_of_structs_find_their_rows(make_dataset: Any, condition: str, found: str) -> None:
    # DuckDB has failed on filters over struct fields of Parquet files; `documents` is a table of its own
    folder = make_dataset({"s.jsonl": [{"id": name, "text": name} for name in "abcd"]})
    place = pa.struct({"row": pa.int64(), "shard": pa.string()})
    kinds = {
        "n": pa.int32(),
        "x": pa.float64(),
        "name": pa.string(),
        "flag": pa.bool_(),
        "place": place,
        "spans": SPANS,
    }
    values = [
        (1, 0.25, "x", True, {"row": 0, "shard": "s"}, spans((0, 1, 0.2))),
        (2, 0.75, None, False, {"row": 1, "shard": None}, spans((0, 1))),
        None, (3, 0.5, "x", True, None, []),
    ]  # fmt: skip
    measure(folder, "s", kinds, [dict(zip(kinds, row, strict=True)) if row else None for row in values])
    measure(folder, "length", {"words": pa.int32()}, [{"words": 1}] * 4)
    assert "".join(row[0] for row in rows(f"SELECT id FROM documents WHERE {condition} ORDER BY id", folder)) == found
