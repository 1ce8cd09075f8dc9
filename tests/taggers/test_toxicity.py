"""The bundled toxicity model: what it finds, and what it leaves alone."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from dolma_pipe.batch import make_batch
from dolma_pipe.shards import DocumentReader
from dolma_pipe.tagger import load


def tag(texts: list[str], **options: Any) -> list[dict[str, Any]]:
    tagger = load({"name": "toxicity", **options})
    values = tagger.tag(make_batch(texts))
    columns = [pa.array(values[name], kind.type).to_pylist() for name, kind in tagger.fields.items()]
    return [dict(zip(tagger.fields, row, strict=True)) for row in zip(*columns, strict=True)]


def test_insults_score_high_in_any_case_and_plain_prose_low() -> None:
    insult = "You are a pathetic idiot and a stupid bitch."
    prose = "The committee will meet again next week to discuss what was found."
    rows = tag([insult, insult.upper(), prose, prose.upper()])
    assert [row["label"] for row in rows] == ["toxic", "toxic", "clean", "clean"]
    assert rows[0]["toxic"] == rows[1]["toxic"] > 0.95
    assert max(rows[2]["toxic"], rows[3]["toxic"]) < 0.05


def test_one_line_is_found_in_a_long_document() -> None:
    prose = "The committee will meet again next week to discuss what was found.\n" * 40
    text = prose + "shut up you fucking moron\n" + prose
    [row] = tag([text])
    assert row["toxic"] < 0.5
    assert row["max_line_score"] > 0.95
    assert [text[span["start"] : span["end"]] for span in row["lines"]] == ["shut up you fucking moron\n"]
    assert 0 < row["mean_line_score"] < 0.1


@pytest.mark.corpus
def test_held_out_comments_are_told_apart(corpus: Path) -> None:
    path = corpus / "toxicity" / "jigsaw_multilabel_sample.jsonl.gz"  # never trained on
    rows = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    scores = np.array([row["toxic"] for row in tag([row["text"] for row in rows])])
    truth = np.array([row["label"] == 1 for row in rows])
    wins = (scores[truth][:, None] > scores[~truth][None, :]).mean()
    assert wins > 0.94


@pytest.mark.corpus
@pytest.mark.parametrize(("source", "most"), [("reuters", 1500), ("pubmed", 1500)])
def test_clean_sources_have_few_lines_at_the_threshold(corpus: Path, source: str, most: int) -> None:
    path = sorted((corpus / "corpus" / source / "documents").iterdir())[0]
    texts = [text for batch in DocumentReader(str(path), limit=2000) for text in batch.texts()]
    lines = sum(bool(line.strip()) for text in texts for line in text.split("\n"))
    found = sum(len(row["lines"]) for row in tag(texts))
    assert found / lines < most / 1e6
