"""Any fastText model as a tagger: scores beside the library's, lines as spans, options that are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fasttext
import pyarrow as pa
import pytest

from dolma_pipe.batch import make_batch
from dolma_pipe.classifier.model import zeroed_memory
from dolma_pipe.errors import ConfigError
from dolma_pipe.tagger import load

SEA = "the ship sailed over the wide sea and the waves rolled under the keel"
LAND = "the farmer ploughed the field and the cows stood by the old stone wall"
TEXT = "Über die Wellen: the ship sailed\n\nthe cows stood by the field 😀\n \nthe sea"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    rows = [
        f"__label__{name} {' '.join(text.split()[i:])}\n"
        for name, text in (("sea", SEA), ("land", LAND))
        for i in range(9)
    ]
    (folder / "rows.txt").write_text("".join(rows))
    with zeroed_memory():
        trained = fasttext.train_supervised(
            str(folder / "rows.txt"), thread=1, seed=1, verbose=0, dim=8, epoch=50, lr=0.5, wordNgrams=2, bucket=1000,
            minn=2, maxn=3,
        )  # fmt: skip
    trained.save_model(str(folder / "sea.bin"))
    return str(folder / "sea.bin")


def tag(texts: list[str], **options: Any) -> list[dict[str, Any]]:
    tagger = load({"name": "set", "use": "fasttext", **options})
    values = tagger.tag(make_batch(texts))
    columns = [pa.array(values[name], kind.type).to_pylist() for name, kind in tagger.fields.items()]
    return [dict(zip(tagger.fields, row, strict=True)) for row in zip(*columns, strict=True)]


def probability(model: str, text: str, label: str) -> float:
    names, scores = fasttext.load_model(model).predict(text.replace("\n", " "), k=-1)
    return dict(zip(names, scores, strict=True))[f"__label__{label}"]


def test_scores_are_those_of_the_library(model: str) -> None:
    [sea, mixed] = tag([SEA, TEXT], model=model, labels=["sea", "land"])
    assert sea["label"] == "sea"
    assert sea["score"] == sea["sea"]
    for row, text in ((sea, SEA), (mixed, TEXT)):
        for label in ("sea", "land"):
            assert row[label] == pytest.approx(min(1, probability(model, text, label)), abs=2e-5)


def test_the_best_labels_are_ranked(model: str) -> None:
    [row, nothing] = tag([TEXT, " "], model=model, labels=["sea", "land"], k=5)
    assert [one["label"] for one in row["top"]] == sorted(("sea", "land"), key=lambda label: -row[label])
    assert [one["score"] for one in row["top"]] == sorted((row["sea"], row["land"]), reverse=True)
    assert row["top"][0] == {"label": row["label"], "score": row["score"]}
    assert nothing["top"] == []


def test_quality_is_the_score_of_one_label_best_or_not(model: str) -> None:
    rows = tag([SEA, LAND, ""], model=model, labels=["sea"])
    quality = load({"name": "quality", "model": model, "label": "sea"})
    assert quality.tag(make_batch([SEA, LAND, ""]))["score"].tolist() == [row["sea"] for row in rows]
    assert rows[1]["sea"] < 0.1 < 0.9 < rows[1]["score"]
    with pytest.raises(ConfigError, match="quality: which model"):
        _ = load("quality").model_hash


def test_documents_without_a_word_have_no_label(model: str) -> None:
    nothing = {"label": "", "score": 0.0, "sea": 0.0, "lines": [], "max_line_score": 0.0, "mean_line_score": 0.0}
    assert tag(["", " \n\u3000\n"], model=model, labels=["sea"], line_label="sea") == [nothing] * 2


def test_lines_are_spans_with_their_scores(model: str) -> None:
    [row] = tag([TEXT], model=model, line_label="sea")
    lines = [line for line in TEXT.split("\n") if line.strip()]
    scores = [min(1, probability(model, line, "sea")) for line in lines]
    assert [TEXT[span["start"] : span["end"]] for span in row["lines"]] == [lines[0] + "\n", lines[2]]
    assert [span["score"] for span in row["lines"]] == pytest.approx([scores[0], scores[2]], abs=2e-5)
    assert row["max_line_score"] == pytest.approx(max(scores), abs=2e-5)
    characters = [len(line) for line in TEXT.split("\n")]
    weighted = sum(score * len(line) for score, line in zip(scores, lines, strict=True)) / sum(characters)
    assert row["mean_line_score"] == pytest.approx(weighted, abs=2e-5)


def test_lowercase_measures_the_lower_cased_text_and_keeps_the_places(model: str) -> None:
    text = f"İSTANBUL İİ COW FIELD\n{SEA.upper()}\n"
    [row] = tag([text], model=model, line_label="sea", min_line_score=0.8, lowercase=True)
    assert [text[span["start"] : span["end"]] for span in row["lines"]] == [SEA.upper() + "\n"]
    assert row["max_line_score"] == pytest.approx(min(1, probability(model, SEA, "sea")), abs=2e-5)


def test_a_struck_word_does_not_end_what_is_read(model: str) -> None:
    [row] = tag([f"<s>wrong </s> {SEA}\n</s> {SEA}"], model=model, labels=["sea"], line_label="sea")
    assert row["sea"] > 0.9
    assert [(span["start"], span["end"]) for span in row["lines"]][-1][1] == len(SEA) * 2 + len("<s>wrong </s> \n</s> ")


def test_a_model_must_be_named_before_any_work() -> None:
    with pytest.raises(ConfigError, match="fasttext: which model"):
        _ = load("fasttext").model_hash


def test_a_label_that_the_model_does_not_know_is_refused(model: str) -> None:
    with pytest.raises(ConfigError, match="no label 'sky'"):
        tag([SEA], model=model, labels=["sky"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": "sea"}, "must be a list"),
        ({"labels": ["sea", "sea"]}, "must be a list of different labels"),
        ({"labels": ["score"]}, "none of"),
        ({"labels": ["top"]}, "none of"),
        ({"k": -1}, "k is -1"),
        ({"min_line_score": 0.9}, "has no effect"),
        ({"line_label": "sea", "min_line_score": 0}, "above 0"),
        ({"model": "absent.bin"}, "no such file"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load({"name": "fasttext", **options})


def test_the_definition_follows_the_models_bytes(model: str, tmp_path: Path) -> None:
    (tmp_path / "copy.bin").write_bytes(Path(model).read_bytes())
    (tmp_path / "other.bin").write_bytes(Path(model).read_bytes() + b"\0")
    hashes = [load({"name": "f", "use": "fasttext", "model": str(path)}).model_hash
              for path in (model, tmp_path / "copy.bin", tmp_path / "other.bin")]  # fmt: skip
    assert hashes[0] == hashes[1] != hashes[2]
