"""Language identification: fields, rounding, what fastText's input does to a text, and options that are refused."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from dolma_pipe import models
from dolma_pipe.batch import make_batch
from dolma_pipe.errors import ConfigError
from dolma_pipe.shards import DocumentReader
from dolma_pipe.tagger import Tagger, load

SENTENCES = {
    "en": "The committee will meet again next week to discuss what was found.",
    "de": "Der Ausschuss wird nächste Woche erneut zusammentreten, um die Ergebnisse zu besprechen.",
    "fr": "Le comité se réunira de nouveau la semaine prochaine pour discuter des résultats.",
    "ru": "Комитет снова соберётся на следующей неделе, чтобы обсудить результаты.",
    "el": "Η επιτροπή θα συνεδριάσει ξανά την επόμενη εβδομάδα.",
    "ja": "委員会は来週再び会合を開き、結果について話し合う予定です。",
}


def tagger(**options: Any) -> Tagger:
    return load({"name": "langid", **options})


def tag(texts: list[str], **options: Any) -> list[dict[str, Any]]:
    chosen = tagger(**options)
    values = chosen.tag(make_batch(texts))
    columns = [pa.array(values[name], field.type).to_pylist() for name, field in chosen.fields.items()]
    return [dict(zip(chosen.fields, row, strict=True)) for row in zip(*columns, strict=True)]


def test_the_bundled_model_tells_languages_apart() -> None:
    assert [row["language"] for row in tag(list(SENTENCES.values()))] == list(SENTENCES)


def test_case_does_not_change_the_language_of_english() -> None:
    text = SENTENCES["en"]
    assert all(row["en"] >= 0.5 for row in tag([text, text.lower(), text.upper(), text.title()]))


def test_empty_and_blank_documents_are_undetermined_with_score_zero() -> None:
    nothing = {"language": "und", "score": 0.0, "top": [], "en": 0.0}
    assert tag(["", " \n\t\n", "\u00a0\u2003"]) == [nothing] * 3


def test_a_batch_without_documents_gives_empty_columns() -> None:
    assert tag([]) == []


def test_every_document_keeps_its_own_row() -> None:
    alone = [tag([text])[0] for text in SENTENCES.values()]
    together = tag(["", *SENTENCES.values(), " "])
    assert together[1:-1] == alone


def test_each_language_asked_for_has_its_probability_be_it_the_best_or_not() -> None:
    row = tag([SENTENCES["de"]], languages=["de", "en", "ja"])[0]
    assert list(row) == ["language", "score", "top", "de", "en", "ja"]
    assert row["de"] == row["score"] > 0.9
    assert 0.0 <= row["ja"] <= row["en"] < 0.1


def test_top_holds_the_k_best_in_descending_order() -> None:
    row = tag([SENTENCES["de"]], k=5)[0]
    scores = [item["score"] for item in row["top"]]
    assert len(scores) == 5
    assert scores == sorted(scores, reverse=True)
    assert row["top"][0] == {"language": row["language"], "score": row["score"]}
    assert len(tag([SENTENCES["de"]])[0]["top"]) == 3


def test_scores_lie_between_0_and_1_and_have_six_decimals() -> None:
    for row in tag(list(SENTENCES.values()) * 2):
        for score in (row["score"], row["en"], *(item["score"] for item in row["top"])):
            assert 0.0 <= score <= 1.0
            assert round(score, 6) == score


def test_newlines_are_spaces() -> None:
    text = SENTENCES["en"]
    assert tag([text.replace(" ", "\n")]) == tag([text])


def test_a_strike_through_does_not_end_the_document() -> None:
    hidden = f"<s>old</s> </s> {SENTENCES['de'] * 5}"
    assert tag([hidden])[0]["language"] == "de"


def test_only_the_beginning_counts_with_max_characters() -> None:
    text = SENTENCES["en"] + " " + SENTENCES["ru"] * 20
    assert tag([text])[0]["language"] == "ru"
    assert tag([text], max_characters=len(SENTENCES["en"])) == tag([SENTENCES["en"]])


def test_lowercase_measures_the_lower_cased_text() -> None:
    text = SENTENCES["de"].upper()
    assert tag([text], lowercase=True) == tag([text.lower()])
    assert tag([text], lowercase=True) != tag([text])


def test_emoji_nul_and_unpaired_marks_are_no_trouble() -> None:
    rows = tag(["😀" * 50, "\u0301\u0301", "a\x00b", "__label__en", "🇩🇪 " + SENTENCES["de"]])
    assert rows[-1]["language"] == "de"
    assert all(0.0 <= row["score"] <= 1.0 for row in rows)


def test_the_definition_names_the_model_bytes() -> None:
    assert len(tagger().model_hash) == 32
    assert tagger().model_hash == tagger(model=models.find("langid")).model_hash


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"languages": "en"}, "must be a list"),
        ({"languages": ["en", "en"]}, "different labels"),
        ({"languages": ["score"]}, "none of"),
        ({"k": 0}, "must be 1 or more"),
        ({"max_characters": 0}, "must be 1 or more"),
        ({"model": "no-such-model.bin"}, "neither bundled nor cached"),
        ({"model": "lid.176.bin"}, "dolma-pipe models fetch lid.176.bin"),
        ({"threshold": 0.5}, "no option 'threshold'"),
    ],
)
def test_wrong_options_are_refused_before_any_work(
    options: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("DOLMA_PIPE_CACHE", str(tmp_path))
    with pytest.raises(ConfigError, match=message):
        tagger(**options)


def test_a_language_that_the_model_does_not_know_is_an_error_on_first_use() -> None:
    with pytest.raises(ConfigError, match="no label for 'eng'"):
        tagger(languages=["eng"]).tag(make_batch([]))


@pytest.mark.corpus
def test_a_stranger_model_by_path_has_the_same_fields(corpus: Any) -> None:
    rows = tag(list(SENTENCES.values()), model=str(corpus / "models" / "lid.176.ftz"), languages=["en", "ja"])
    assert [row["language"] for row in rows] == list(SENTENCES)
    assert rows[0]["en"] > 0.9
    assert rows[0]["ja"] < 0.01


@pytest.mark.corpus
@pytest.mark.parametrize("source", ["reuters", "enron_email", "hackernews", "usenet", "ag_news"])
def test_english_that_the_bundled_model_never_saw_has_a_recall_of_99_percent(corpus: Any, source: str) -> None:
    path = min((corpus / "corpus" / source / "documents").iterdir())
    tagged = [tagger().tag(batch)["en"] for batch in DocumentReader(str(path), limit=400)]
    scores = [score for part in tagged for score in part]
    assert sum(score >= 0.5 for score in scores) >= 0.99 * len(scores)
