"""Perplexity: the formula by hand over a model of nine words, CCNet's normalisation, lines and languages."""

from __future__ import annotations

import re
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_language_models import VOCABULARY, plain_score, write_arpa, write_pieces

from dolma_pipe.batch import make_batch
from dolma_pipe.config import bundled
from dolma_pipe.errors import ConfigError, DataError, DependencyError
from dolma_pipe.recipes import read_recipe
from dolma_pipe.rules import Evaluator
from dolma_pipe.tagger import load
from taggers.perplexity import normalized

TEXT = "The sea is\n\nCAFÉ, 123: “the” sea… \n the boat"


@pytest.fixture
def model(tmp_path: Path) -> str:
    return write_arpa(tmp_path / "tiny.arpa")


def tag(texts: list[str], **options: Any) -> list[dict[str, Any]]:
    tagger = load({"name": "perplexity", **options})
    values = tagger.tag(make_batch(texts))
    columns = [pa.array(values[name], kind.type).to_pylist() for name, kind in tagger.fields.items()]
    return [dict(zip(tagger.fields, row, strict=True)) for row in zip(*columns, strict=True)]


def plain_normalized(line: str) -> str:
    """CCNet's steps, one after the other."""
    line = line.strip().lower()
    line = "".join(c for c in unicodedata.normalize("NFD", line) if unicodedata.category(c) != "Mn")
    line = re.sub(r"\d", "0", line)
    for plain, characters in (
        (",", "，、"), (".", "。"), ('"', "„”“«»」「《》"), ("'", "´’"), (":", "∶："), ("?", "？"),
        ("!", "！"), ("(", "（"), (")", "）"), (";", "；"), ("-", "–━►"), (" - ", "—"), (". ", "．"), ("~", "～"),
        ("...", "…"), ("<", "〈"), (">", "〉"), ("[", "【"), ("]", "】"), ("%", "％"),
    ):  # fmt: skip
        line = re.sub(f"[{characters}]", lambda _, plain=plain: plain, line)
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", "", line)


ODD = "aÉİΣς\u0301\u0338１٣Ⅷ²,.;—…“”«»１\t\x00\x1f\x7f\x85\xa0\u3000가한ﬁ🙂 "


@given(st.text(st.one_of(st.sampled_from(ODD), st.characters(exclude_categories=["Cs"]))))
def test_a_line_is_normalised_as_ccnet_has_it(line: str) -> None:
    assert normalized(line) == plain_normalized(line)


@pytest.mark.kenlm
def test_every_line_is_a_sentence_and_its_end_a_word(model: str) -> None:
    [row] = tag([TEXT], model=model)
    sentences = ["the sea is", "", 'cafe, 000: "the" sea...', "the boat"]
    score = sum(plain_score(sentence.split()) for sentence in sentences)
    words = sum(len(sentence.split()) + 1 for sentence in sentences)
    assert row["words"] == words
    assert row["log_score"] == pytest.approx(score, abs=1e-4)
    assert row["perplexity"] == pytest.approx(10 ** (-score / words), abs=0.06)


@pytest.mark.kenlm
def test_joined_lines_are_one_sentence_whose_newlines_are_gone(model: str) -> None:
    [row] = tag(["the sea\nis\n"], model=model, join_lines=True)
    assert row["words"] == 3
    assert row["log_score"] == pytest.approx(plain_score(["the", "seais"]), abs=1e-4)


@pytest.mark.kenlm
def test_an_empty_document_is_an_empty_line(model: str) -> None:
    rows = tag(["", " \n"], model=model)
    assert [row["words"] for row in rows] == [1, 2]
    assert rows[0]["log_score"] == pytest.approx(plain_score([]), abs=1e-4)
    assert tag([], model=model) == []


@pytest.mark.kenlm
def test_text_may_be_left_as_it_is(model: str) -> None:
    assert tag(["THE SEA"], model=model, normalize=False)[0]["log_score"] == pytest.approx(
        plain_score(["THE", "SEA"]), abs=1e-4
    )


@pytest.mark.kenlm
def test_pieces_of_sentencepiece_are_the_words(tmp_path: Path) -> None:
    import sentencepiece

    pieces = write_pieces(tmp_path / "tiny.sp.model")
    known = sentencepiece.SentencePieceProcessor(model_file=pieces).encode("the sea is far", out_type=str)
    model = write_arpa(tmp_path / "pieces.arpa", {**VOCABULARY, **dict.fromkeys(known, 0.01)})
    [row, other] = tag(["THE sea\nis far", "THE sea is far"], model=model, tokenizer=pieces, join_lines=True)
    assert other["words"] == len(known) + 1
    assert row["words"] == len(sentencepiece.SentencePieceProcessor(model_file=pieces).encode("the seais far")) + 1


@pytest.mark.kenlm
def test_a_file_that_is_no_model_is_named(tmp_path: Path, model: str) -> None:
    (tmp_path / "bad.bin").write_bytes(b"nothing of the kind\n" * 99)
    with pytest.raises(DataError, match=r"bad\.bin: not a KenLM model"):
        tag(["a"], model=str(tmp_path / "bad.bin"))
    with pytest.raises(DataError, match=r"bad\.bin: not a SentencePiece model"):
        tag(["a"], model=model, tokenizer=str(tmp_path / "bad.bin"))


def test_a_missing_package_is_named_with_the_line_that_cures_it(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kenlm", None)
    with pytest.raises(DependencyError, match=r"needs the package 'kenlm': pip install 'dolma_pipe\[perplexity\]'"):
        tag(["a"], model=model)


def test_a_model_must_be_named_and_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="perplexity: which model"):
        _ = load("perplexity").model_hash
    with pytest.raises(ConfigError, match=r"absent\.bin: no such file"):
        load({"name": "perplexity", "model": str(tmp_path / "absent.bin")})


def test_the_definition_follows_the_bytes_of_both_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    given = [{"model": "a"}, {"model": "b"}, {"model": "a", "tokenizer": "b"}]
    options = [{key: str(tmp_path / name) for key, name in some.items()} for some in given]
    assert len({load({"name": "perplexity", **some}).model_hash for some in options}) == 3


ENGLISH = "The committee met on Tuesday to hear what the engineers had found under the old bridge."
GERMAN = "Der Ausschuss traf sich am Dienstag, um zu hören, was die Ingenieure unter der alten Brücke gefunden hatten."
FRENCH = "Le comité s'est réuni mardi pour entendre ce que les ingénieurs avaient trouvé sous le vieux pont."


@pytest.fixture
def models(tmp_path: Path) -> str:
    """Models of English and German that differ in one word."""
    write_arpa(tmp_path / "en.arpa")
    write_arpa(tmp_path / "de.arpa", {**VOCABULARY, "<unk>": 0.2})
    return str(tmp_path / "{language}.arpa")


@pytest.mark.kenlm
def test_a_document_is_scored_by_the_model_of_its_language(models: str) -> None:
    texts = [ENGLISH, GERMAN, FRENCH, ""]
    rows = tag(texts, models=models, languages=["en", "de"])
    assert [row["language"] for row in rows] == ["en", "de", "", ""]
    for row, text, language in zip(rows[:2], texts, ("en", "de"), strict=False):
        assert [row] == tag([text], model=models.replace("{language}", language), language=language)
    for row in rows[2:]:
        assert row == {"language": "", "perplexity": float("inf"), "log_score": 0, "words": 0}


@pytest.mark.kenlm
def test_a_language_that_is_not_sure_has_no_model(models: str) -> None:
    [row] = tag([ENGLISH], models=models, languages=["en"], min_language_score=1.1)
    assert row["language"] == ""
    assert tag([ENGLISH], models=models, languages=["en"], langid={"max_characters": 10})[0]["words"] >= 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"models": "{language}.arpa"}, "languages: .* name those that there are models of"),
        ({"models": "en.arpa", "languages": ["en"]}, r"models: 'en\.arpa' has no \{language\}"),
        ({"models": "{language}.arpa", "languages": ["fr"]}, r"fr\.arpa: no such file"),
        ({"models": "{language}.arpa", "languages": ["en"], "language": "en"}, "language has no effect here"),
        ({"model": "en.arpa", "languages": ["en"]}, r"languages has no effect here; it goes with models"),
        ({"model": "en.arpa", "min_language_score": 0.4}, "min_language_score has no effect here"),
        ({"models": "{language}.arpa", "languages": ["en"], "langid": {"max": 1}}, "langid has no option 'max'"),
    ],
)
def test_what_cannot_work_is_refused(models: str, options: dict[str, Any], message: str) -> None:
    folder = Path(models).parent
    given = {name: str(folder / value) if name in ("model", "models") else value for name, value in options.items()}
    if options.get("models") == "en.arpa":
        given["models"] = "en.arpa"
    with pytest.raises(ConfigError, match=message):
        load({"name": "perplexity", **given})


@pytest.mark.parametrize(
    ("language", "perplexity", "bucket"),
    [
        ("en", 339.9, "head"), ("en", 340.0, "middle"), ("en", 519.9, "middle"), ("en", 520.0, "tail"),
        ("de", 369.9, "head"), ("de", 370.0, "middle"), ("de", 590.0, "tail"), ("my", 2500.0, "head"),
        ("sv", 963.9, "middle"), ("", float("inf"), "all"), ("la", 10.0, "all"), (None, None, "all"),
    ],
)  # fmt: skip
def test_every_document_is_in_one_bucket_of_ccnet(language: str | None, perplexity: float | None, bucket: str) -> None:
    kind = pa.struct([("language", pa.string()), ("perplexity", pa.float64())])
    row = None if language is None else {"language": language, "perplexity": perplexity}
    table = pa.table({"id": ["0"], "perplexity": pa.array([row], kind)})
    names = ("head", "middle", "tail", "all")
    rules = [rule for name in names for rule in read_recipe(bundled(f"rules/ccnet_{name}.yaml"))]
    found = Evaluator(rules, table.schema).evaluate(table, "test")
    assert [name for name, held in zip(names, found, strict=True) if held[0]] == [bucket]
