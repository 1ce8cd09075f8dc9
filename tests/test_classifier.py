"""Classifiers: what is read, who is held out, what the figures mean, and that a model comes out the same again."""

from __future__ import annotations

import csv
import gzip
import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dolma_pipe.accuracy import Scored, at, auc, average_precision, best_threshold
from dolma_pipe.batch import make_batch
from dolma_pipe.classifier import ClassifierConfig, train
from dolma_pipe.classifier.examples import HELD_OUT, JIGSAW, Example, chosen, read, side_of
from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.tagger import load

SMALL = {"dimension": 8, "buckets": 1000, "epochs": 10, "min_count": 1, "held_out": 0.2}


def sentences(words: str, count: int, seed: int) -> list[str]:
    generator = random.Random(seed)
    return [" ".join(generator.choices([*words.split(), "the", "a", "of", "and"], k=9)) for _ in range(count)]


SEA = sentences("ship sail wave keel storm harbour tide captain", 150, 1)
LAND = sentences("cow field plough barn wheat stone wall farmer", 150, 2)


@pytest.fixture
def examples(tmp_path: Path) -> str:
    rows = [{"text": t, "label": name} for name, texts in (("sea", SEA), ("land", LAND)) for t in texts]
    path = tmp_path / "examples.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    return str(path)


def config(to: Path, **settings: Any) -> ClassifierConfig:
    return ClassifierConfig(to=str(to), **{**SMALL, **settings})


def test_a_model_is_trained_measured_and_tags(tmp_path: Path, examples: str) -> None:
    trained = train(config(tmp_path / "sea.bin", examples=[examples]))
    assert sum(sum(side.values()) for side in (trained.training, trained.calibration, trained.held_out)) == 300
    figures = {found.label: found for found in trained.figures}
    assert set(figures) == {"land", "sea"}
    assert figures["sea"].auc > 0.95
    assert figures["sea"].precision > 0.9
    assert figures["sea"].positives == trained.held_out["sea"]
    tagger = load({"name": "quality", "model": trained.path, "label": "sea"})
    scores = tagger.tag(make_batch(["the captain and the storm", "a cow of the barn"]))["score"]
    assert (scores > 0.5).tolist() == [True, False]


def test_the_same_examples_in_any_order_and_file_make_the_same_bytes(tmp_path: Path, examples: str) -> None:
    rows = gzip.decompress(Path(examples).read_bytes()).splitlines()
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(rows[::-2]))
    (tmp_path / "b.jsonl").write_bytes(b"\n".join([*rows[::-1][1::2], *rows[:9]]))
    train(config(tmp_path / "one.bin", examples=[examples]))
    train(config(tmp_path / "two.bin", examples=[str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")]))
    assert (tmp_path / "one.bin").read_bytes() == (tmp_path / "two.bin").read_bytes()


def test_a_quantised_model_is_small_and_reads_the_same(tmp_path: Path, examples: str) -> None:
    trained = train(config(tmp_path / "sea.ftz", examples=[examples], quantize=True, kept_ngrams=300))
    assert trained.bytes < train(config(tmp_path / "sea.bin", examples=[examples])).bytes / 2
    assert min(found.auc for found in trained.figures) > 0.9


def test_documents_are_labelled_by_where_they_lie(tmp_path: Path, make_dataset: Callable[..., str]) -> None:
    places = {"good": make_dataset({"a.jsonl": SEA}, "wiki"), "random": make_dataset({"b.jsonl": LAND}, "crawl")}
    trained = train(config(tmp_path / "quality.bin", documents=places))
    assert set(trained.training) == {"good", "random"}
    assert min(found.auc for found in trained.figures) > 0.95


def test_the_csv_of_jigsaw_is_toxic_where_any_of_its_labels_is(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "comment_text", *JIGSAW])
        writer.writerow(["1", 'two\nlines, "quoted"', *"000000"])
        writer.writerow(["2", "é", *"000010"])
    assert list(read(config(tmp_path / "m.bin", examples=[str(path)]))) == [
        Example("clean", 'two\nlines, "quoted"'), Example("toxic", "é")
    ]  # fmt: skip


def test_labels_may_be_numbers_and_be_renamed(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"body": "a", "y": 1}\n\n{"body": "b", "y": false}\n')
    found = read(
        config(tmp_path / "m.bin", examples=[str(path)], text="body", label="y", rename={"1": "yes", "false": "no"})
    )
    assert list(found) == [Example("yes", "a"), Example("no", "b")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "a"}', "row 1: no text in 'text' or no label in 'label'"),
        ('{"text": 1, "label": "a"}', "row 1: no text"),
        ("[1]", "rows.jsonl:1: not a JSON object"),
        ("{", "rows.jsonl:1: not a JSON object"),
    ],
)
def test_rows_that_are_no_examples_are_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "rows.jsonl").write_text(line)
    with pytest.raises(DataError, match=message.replace("[", r"\[")):
        list(read(config(tmp_path / "m.bin", examples=[str(tmp_path / "rows.jsonl")])))


def test_copies_of_a_text_are_on_one_side() -> None:
    setting = ClassifierConfig(to="m.bin", held_out=0.3)
    texts = [f"Text of number {chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(300)]
    sides = [side_of(text, setting) for text in texts]
    assert sides == [side_of(text.upper() + " 12!", setting) for text in texts]
    assert 60 < sides.count(HELD_OUT) < 120


def test_at_most_so_many_examples_of_a_label_are_taken_the_same_ones_in_any_order() -> None:
    rows = [Example(label, f"{label} {i}") for label in "ab" for i in range(50)]
    setting = ClassifierConfig(to="m.bin", max_per_label=20)
    found = chosen(rows, setting)
    assert [sum(e.label == label for e in found) for label in "ab"] == [20, 20]
    assert found == chosen(rows[::-1], setting)
    everything = chosen(rows, ClassifierConfig(to="m.bin"))
    assert found == [e for e in everything if [r for r in everything if r.label == e.label].index(e) < 20]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "name files of labelled examples"),
        ({"held_out": 0.5}, "at most 0.4"),
        ({"min_precision": 1.5}, "min_precision is 1.5"),
        ({"quantize": True}, "a quantized model is a .ftz"),
        ({"examples": ["absent.jsonl"]}, "no such file of examples"),
    ],
)
def test_settings_that_cannot_be_are_refused(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    given = settings if settings.keys() & {"examples"} or not settings else {"examples": ["x"], **settings}
    with pytest.raises(ConfigError, match=message):
        train(config(tmp_path / "m.bin", **given))


def test_too_few_examples_or_labels_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps({"text": text, "label": "sea"}) for text in SEA))
    with pytest.raises(ConfigError, match="1 label"):
        train(config(tmp_path / "m.bin", examples=[str(path)]))
    path.write_text(path.read_text() + "\n" + json.dumps({"text": "one", "label": "land"}))
    with pytest.raises(ConfigError, match="only 0 examples of 'land'"):
        train(config(tmp_path / "m.bin", examples=[str(path)]))
    path.write_text('{"text": "a", "label": "two words"}')
    with pytest.raises(ConfigError, match="cannot be a label"):
        train(config(tmp_path / "m.bin", examples=[str(path)]))


def test_figures_of_a_small_case_by_hand() -> None:
    scored = Scored(np.array([0.9, 0.8, 0.8, 0.3, 0.1]), np.array([True, True, False, False, True]))
    assert auc(scored) == (2 + 1.5 + 0) / 6
    assert average_precision(scored) == pytest.approx(1 / 3 + (2 / 3) / 3 + (3 / 5) / 3)
    assert at(scored, 0.8) == (2 / 3, 2 / 3, 1 / 2)
    assert at(scored, 0.95) == (0, 0, 0)
    assert best_threshold(scored, None) == 0.1
    assert best_threshold(scored, 0.9) == 0.9
    assert best_threshold(scored, 0.65) == 0.8
    assert math.isnan(auc(Scored(np.array([0.5]), np.array([True]))))
