"""Gopher's signals with other words than `str.split()` and other stop words than English: equal to plain Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import plain_datatrove as peers
import plain_definitions as plain
import plain_words
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma_pipe.batch import make_batch
from dolma_pipe.errors import ConfigError
from dolma_pipe.languages.profiles import available, find_language
from dolma_pipe.tagger import load

GERMAN = ["der", "die", "und", "in"]
GREEK = ["της", "και", "το", "in"]
EDGES = ["Της", "ΤΗΣ", "τησ", "DIE", "dIE", "İn", "ın", "IN", "ſ", "der.", "und,"]
pieces = st.sampled_from([*GERMAN, *GREEK, *EDGES, "word", "的", "😀"]) | st.text(max_size=4)
texts = st.lists(st.tuples(pieces, st.sampled_from([" ", "\n", "", "\u200b"])), max_size=30).map(
    lambda pairs: "".join(piece + glue for piece, glue in pairs)
) | plain.texts  # fmt: skip
SPLITTERS = {"whitespace": str.split, "unicode": plain_words.words}
LINE_FIELDS = (
    "line_count",
    "filled_line_count",
    "bullet_line_fraction",
    "ellipsis_line_fraction",
    "datatrove_line_count",
)


def measure(name: str, texts: list[str], **options: Any) -> list[dict[str, Any]]:
    tagger = load({"name": name, **options})
    values = tagger.tag(make_batch(texts))
    columns = [pa.array(values[field], kind.type).to_pylist() for field, kind in tagger.fields.items()]
    return [dict(zip(tagger.fields, row, strict=True)) for row in zip(*columns, strict=True)]


def write_language(path: Path, words: list[str]) -> str:
    path.write_text(f"title: T\nsource: S\nstop_words: [{', '.join(words)}]\n", "utf-8")
    return str(path)


@pytest.fixture(scope="module")
def german(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_language(tmp_path_factory.mktemp("german") / "german.yaml", GERMAN)


@pytest.fixture(scope="module")
def greek(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_language(tmp_path_factory.mktemp("greek") / "greek.yaml", GREEK)


# Words ------------------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(documents=st.lists(texts, min_size=1, max_size=4))
def test_gopher_measures_unicode_words_as_if_they_stood_apart(documents: list[str]) -> None:
    for text, row in zip(documents, measure("gopher", documents, words="unicode"), strict=True):
        words = plain_words.words(text)
        apart = " ".join(words)
        expected = {**plain.gopher(apart), **peers.gopher(apart)}
        whole = {**plain.gopher(text), **peers.gopher(text)}
        for name, value in row.items():
            if name in ("hash_to_word_ratio", "ellipsis_to_word_ratio"):  # looked for between white space
                count = text.count("#") if name[0] == "h" else text.count("...") + text.count("…")
                assert value == count / max(len(words), 1)
            else:
                assert value == (whole if "line" in name else expected)[name], name


@settings(max_examples=60, deadline=None)
@given(documents=st.lists(texts, min_size=1, max_size=4))
def test_repeated_ngrams_are_of_unicode_words(documents: list[str]) -> None:
    for text, row in zip(documents, measure("gopher_repetition", documents, words="unicode"), strict=True):
        expected = plain.gopher_repetition(" ".join(plain_words.words(text)))
        whole = {**plain.gopher_repetition(text), **peers.gopher_repetition(text)}
        for name, value in row.items():
            if "gram" in name and not name.startswith("datatrove"):
                assert value == expected[name], name
            elif "gram" not in name and name != "dolma_duplicate_line_character_fraction":  # divides by words
                assert value == whole[name], name


def test_chinese_has_words_by_dictionary_and_none_without() -> None:
    text = "我们今天去北京。我们明天去上海。" * 20
    [spaces], [icu] = measure("gopher", [text]), measure("gopher", [text], words="icu")
    assert (spaces["word_count"], icu["word_count"]) == (1, 200)
    assert icu["datatrove_mean_word_length"] == pytest.approx(7 / 4)
    [repeated] = measure("gopher_repetition", [text], words="icu")
    assert repeated["duplicate_5gram_character_fraction"] > 0.9
    assert measure("datatrove_ngrams", [text], words="icu")[0]["duplicate_5gram_character_fraction"] > 0.9
    assert measure("fineweb", [f"{text}\n{text}"], words="icu")[0]["newline_to_word_ratio"] == 1 / 400


@pytest.mark.parametrize("name", ["gopher", "gopher_repetition", "datatrove_ngrams", "fineweb"])
def test_every_tagger_of_words_takes_the_models_and_no_other(name: str) -> None:
    assert load({"name": name, "words": "icu"}).model_hash != load({"name": name, "words": "unicode"}).model_hash
    assert load({"name": name, "words": "whitespace"}).model_hash == load(name).model_hash
    with pytest.raises(ConfigError, match=f"{name}: words is 'jieba'"):
        load({"name": name, "words": "jieba"})


# Stop words -------------------------------------------------------------------------------------------------------


def folded(word: str) -> str:
    """Case folded code point by code point, where one gives one."""
    return "".join(next((f for f in (c.casefold(), c.lower()) if len(f) == 1), c) for c in word)


def stop_word_fields(words: list[str], lists: dict[str, list[str]]) -> dict[str, Any]:
    counts = {}
    for language, stop in lists.items():
        known = {folded(word) for word in stop}
        hits = [word for word in words if folded(word) in known]
        exact = [word for word in hits if all(c.lower() == c for c in word)]
        counts[language] = (len(hits), hits, exact)
    best = max(counts, key=lambda language: counts[language][0])  # of equals the first
    often, hits, exact = counts[best]
    return {
        "stop_word_count": len(set(map(folded, hits))),
        "stop_word_exact_count": len(set(map(folded, exact))),
        "stop_word_occurrences": len(exact),
        "stop_word_folded_occurrences": often,
        "stop_word_language": best if often else "",
    }


@pytest.mark.parametrize("words", SPLITTERS)
@settings(max_examples=100, deadline=None)
@given(documents=st.lists(texts, min_size=1, max_size=4))
def test_stop_words_of_the_language_that_fits_best_equal_their_definition(
    german: str, greek: str, words: str, documents: list[str]
) -> None:
    lists = {"german": GERMAN, "greek": GREEK}
    rows = measure("gopher", documents, words=words, languages=[german, greek])
    for text, row in zip(documents, rows, strict=True):
        expected = stop_word_fields(SPLITTERS[words](text), lists)
        assert {name: row[name] for name in expected} == expected


def test_one_language_has_no_field_that_names_it(german: str) -> None:
    [row] = measure("gopher", ["Die Katze und DER Hund. die"], languages=[german])
    assert (row["stop_word_count"], row["stop_word_exact_count"]) == (3, 2)
    assert (row["stop_word_occurrences"], row["stop_word_folded_occurrences"]) == (2, 4)
    assert "stop_word_language" not in row
    assert list(row) == list(measure("gopher", [""])[0])


def test_english_among_others_is_gophers_own_list() -> None:
    text = "The cat and the dog. That was to be"
    [alone], [among] = measure("gopher", [text]), measure("gopher", [text], languages=["en", "de"])
    assert among.pop("stop_word_language") == "en"
    assert among == alone


def test_the_definition_names_the_words(german: str, tmp_path: Path) -> None:
    tagger = load({"name": "gopher", "languages": [german]})
    other = write_language(tmp_path / "german.yaml", [*GERMAN, "zu"])
    assert tagger.model_hash != load({"name": "gopher", "languages": [other]}).model_hash
    assert load({"name": "gopher", "languages": ["en"]}).model_hash == load("gopher").model_hash


@pytest.mark.parametrize(
    ("languages", "message"),
    [
        ([], "one at least"),
        ("de", "must be a list"),
        (["de", "de"], "different"),
        (["de", "./de.yaml"], "two of them have one name"),
        (["deu_Latin"], "did you mean 'deu_Latn'"),
        (["./nowhere.yaml"], "no such configuration file"),
    ],
)
def test_wrong_languages_are_refused(languages: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load({"name": "gopher", "languages": languages})


@pytest.mark.parametrize("words", [["The"], ["two words"], ["a", "a"], [f"w{i}" for i in range(65)], []])
def test_a_list_that_could_never_match_is_refused(words: list[str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="stop_words"):
        find_language(write_language(tmp_path / "x.yaml", words))


# What comes with the package --------------------------------------------------------------------------------------


def test_every_bundled_language_can_be_used_under_all_its_names() -> None:
    assert len(available()) >= 100
    names = [name for code in available() for name in (code, *find_language(code).codes)]
    assert len(set(names)) == len(names)
    load({"name": "gopher", "languages": available(), "words": "icu"})


@pytest.mark.corpus
def test_bundled_stop_words_tell_the_languages_of_wikipedia_apart(corpus: Path) -> None:
    from dolma_pipe.shards import DocumentReader

    languages = ["de", "el", "es", "ru", "tr", "en"]
    path = min((corpus / "corpus" / "wikipedia" / "documents").iterdir())
    right = total = 0
    for batch in DocumentReader(str(path)):
        known = [(i, id.split("-")[1]) for i, id in enumerate(batch.ids.to_pylist()) if id.startswith("xquad")]
        rows = measure("gopher", [batch.text(i) for i, _ in known], languages=languages)
        total += len(known)
        right += sum(
            row["stop_word_language"] == language and row["stop_word_count"] >= 2
            for row, (_, language) in zip(rows, known, strict=True)
        )
    assert total > 1000
    assert right >= 0.97 * total
