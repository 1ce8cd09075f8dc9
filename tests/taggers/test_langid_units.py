"""Language by line, paragraph and sentence: each is measured as if it were a document, and the fractions follow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import plain_definitions as plain
import plain_passages
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma_pipe.batch import make_batch
from dolma_pipe.classifier.model import zeroed_memory
from dolma_pipe.errors import ConfigError
from dolma_pipe.tagger import load

PLAIN: dict[str, Callable[[str], list[plain_passages.Passage]]] = {
    "line": plain_passages.lines,
    "paragraph": plain_passages.paragraphs,
    "sentence": plain_passages.sentences,
}
GERMAN = "Der Ausschuss wird nächste Woche erneut zusammentreten, um die Ergebnisse zu besprechen."
ENGLISH = "The committee will meet again next week to discuss what was found."
RUSSIAN = "Комитет снова соберётся на следующей неделе, чтобы обсудить результаты."
MIXED = f"{ENGLISH}\n{ENGLISH}\n\n {GERMAN} {RUSSIAN}\n \n</s> {RUSSIAN}"
texts = st.lists(
    st.tuples(st.sampled_from([ENGLISH, GERMAN, RUSSIAN, "Hm", ""]) | plain.texts, plain.glue), max_size=8
).map(lambda pairs: "".join(text + glue for text, glue in pairs))


def tag(texts: list[str], **options: Any) -> list[dict[str, Any]]:
    chosen = load({"name": "langid", **options})
    values = chosen.tag(make_batch(texts))
    columns = [pa.array(values[name], field.type).to_pylist() for name, field in chosen.fields.items()]
    return [dict(zip(chosen.fields, row, strict=True)) for row in zip(*columns, strict=True)]


def check(text: str, row: dict[str, Any], unit: str) -> None:
    """A row's fields of one unit against documents that are these passages."""
    passages = PLAIN[unit](text)
    alone = tag([passage[2] for passage in passages])
    assert row[f"{unit}s"] == [
        {"start": start, "end": end, "score": one["score"], "language": one["language"]}
        for (start, end, _), one in zip(passages, alone, strict=True)
    ]
    sizes = [len(passage[2]) for passage in passages]
    total = max(sum(sizes), 1)
    same = sum(size for size, one in zip(sizes, alone, strict=True) if one["language"] == row["language"])
    english = sum(size for size, one in zip(sizes, alone, strict=True) if one["language"] == "en")
    assert row[f"same_{unit}_fraction"] == same / total
    assert row[f"en_{unit}_fraction"] == english / total
    mean = sum(size * one["en"] for size, one in zip(sizes, alone, strict=True)) / total
    assert row[f"en_{unit}_score"] == pytest.approx(mean, abs=1e-6)


@pytest.mark.parametrize("unit", PLAIN)
def test_every_passage_is_measured_as_a_document_of_its_own(unit: str) -> None:
    documents = [MIXED, "", " \n", "Hi", ENGLISH]
    for text, row in zip(documents, tag(documents, units=[unit]), strict=True):
        check(text, row, unit)


@settings(max_examples=40, deadline=None)
@given(documents=st.lists(texts, min_size=1, max_size=3))
def test_passages_of_arbitrary_texts_equal_their_definition(documents: list[str]) -> None:
    for text, row in zip(documents, tag(documents, units=list(PLAIN)), strict=True):
        for unit in PLAIN:
            check(text, row, unit)


def test_the_document_fields_are_those_of_a_run_without_units() -> None:
    [bare], [row] = tag([MIXED]), tag([MIXED], units=["line", "sentence"])
    assert {name: row[name] for name in bare} == bare


def test_a_document_in_two_languages_shows_it() -> None:
    [row] = tag([MIXED], units=["line"], languages=["en", "ru"])
    assert [span["language"] for span in row["lines"]][:2] == ["en", "en"]
    assert row["lines"][-1]["language"] == "ru"
    assert row["en_line_fraction"] == pytest.approx(2 * len(ENGLISH) / (len(MIXED) - 5), abs=0.02)
    assert 0.2 < row["ru_line_fraction"] < 0.6


def test_spans_hold_the_best_labels_when_asked_for() -> None:
    [row] = tag([MIXED], units=["line"], unit_k=3)
    for span in row["lines"]:
        assert span["top"][0]["language"] == span["language"]
        assert span["top"] == sorted(span["top"], key=lambda item: -item["score"])
    assert len(row["lines"][0]["top"]) == 3


def test_lower_cased_passages_keep_the_places_of_the_original() -> None:
    text = f"İİİ {GERMAN.upper()}\n\n{ENGLISH.upper()}"
    [row] = tag([text], units=["line", "paragraph", "sentence"], lowercase=True)
    for unit in PLAIN:
        assert [(span["start"], span["end"]) for span in row[f"{unit}s"]] == [part[:2] for part in PLAIN[unit](text)]
    alone = tag([line.lower() for line in text.split("\n\n")])
    assert [span["score"] for span in row["lines"]] == [one["score"] for one in alone]


def test_only_the_document_is_cut_to_its_beginning() -> None:
    text = f"{ENGLISH}\n{GERMAN}"
    [row] = tag([text], units=["line"], max_characters=len(ENGLISH))
    assert row["language"] == "en"
    assert [span["language"] for span in row["lines"]] == ["en", "de"]


def test_units_come_in_one_order_whatever_the_config_says() -> None:
    one, other = (load({"name": "langid", "units": units}) for units in (["line", "sentence"], ["sentence", "line"]))
    assert list(one.fields) == list(other.fields)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"units": ["word"]}, "different ones of line, paragraph, sentence"),
        ({"units": "line"}, "must be a list"),
        ({"units": ["line", "line"]}, "must be a list of different"),
        ({"unit_k": 3}, "has no effect without units"),
        ({"units": ["line"], "unit_k": 0}, "must be 1 or more"),
        ({"languages": ["lines"]}, "none of"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load({"name": "langid", **options})


def test_any_fasttext_model_with_labels_of_its_own_will_do(tmp_path: Path) -> None:
    """Labels as GlotLID and OpenLID have them; the library says what is right."""
    import fasttext

    source, path = tmp_path / "train.txt", str(tmp_path / "glot.bin")
    pairs = {"eng_Latn": ENGLISH, "deu_Latn": GERMAN, "rus_Cyrl": RUSSIAN}
    source.write_text("".join(f"__label__{label} {text}\n" for label, text in pairs.items() for _ in range(50)))
    with zeroed_memory():
        library: Any = fasttext.train_supervised(
            str(source), thread=1, verbose=0, epoch=20, lr=0.2, dim=8, minn=2, maxn=3, minCount=1, bucket=5000
        )
    library.save_model(path)
    options = {"model": path, "languages": ["eng_Latn", "rus_Cyrl"], "units": ["line"], "unit_k": 2, "k": 3}
    [row] = tag([f"{ENGLISH}\n{RUSSIAN}\n{RUSSIAN}"], **options)
    assert row["language"] == "rus_Cyrl"
    assert [span["language"] for span in row["lines"]] == ["eng_Latn", "rus_Cyrl", "rus_Cyrl"]
    assert row["rus_Cyrl_line_fraction"] == 2 * len(RUSSIAN) / (2 * len(RUSSIAN) + len(ENGLISH))
    labels, scores = library.predict(ENGLISH, k=2)
    assert [item["language"] for item in row["lines"][0]["top"]] == [
        label.removeprefix("__label__") for label in labels
    ]
    assert [item["score"] for item in row["lines"][0]["top"]] == pytest.approx(list(scores), abs=2e-5)
