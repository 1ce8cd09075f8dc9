"""Stop words and thresholds by language: what the commands compute, write and refuse."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import yaml
from typer.testing import CliRunner

from dolma_pipe.cli import app
from dolma_pipe.config import bundled
from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.languages.profiles import read_language
from dolma_pipe.recipes import read_recipe, read_table
from dolma_pipe.report.stop_words import Choice, stop_words
from dolma_pipe.report.thresholds import Plan, PlanRule, cut, measure, published, read_plan, recipe
from dolma_pipe.rules import evaluator

WORDS = {"de": "der die und Haus Baum Wald", "en": "the of and house tree wood"}

Make = Callable[..., str]


def texts(language: str, count: int, seed: int) -> list[str]:
    chance = random.Random(seed)
    return [" ".join(chance.choices(WORDS[language].split(), weights=[9, 9, 9, 1, 1, 1], k=40)) for _ in range(count)]


@pytest.fixture
def dataset(make_dataset: Make) -> str:
    """Twenty texts in each of two languages, from two sources, with a measure per document and its language."""
    rows = [
        {"id": f"{language}{i}", "text": f"{text} {i}", "source": source}
        for language in WORDS
        for source in ("news", "law")
        for i, text in enumerate(texts(language, 10, len(language + source)))
    ]
    folder = make_dataset({"a.jsonl": rows[::2], "b.jsonl": rows[1::2]})
    (Path(folder).parent / "measures.py").write_text(MEASURES)
    return folder


MEASURES = """
from dolma_pipe.tagger import per_document, real, string

Known = per_document(
    lambda row: {
        "language": row["id"][:2] if row["id"][:2] in ("de", "en") else "und",
        "score": round(0.5 + int(row["id"][2:]) / 20, 6),
        "share": int(row["id"][2:]) / 100,
        "none": 0.0,
    },
    {"language": string("l"), "score": real("s"), "share": real("x"), "none": real("n")},
)
"""


@pytest.fixture
def tagged(dataset: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.syspath_prepend(str(Path(dataset).parent))
    run("tag", dataset, "--taggers", "measures:Known")
    return dataset


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


PLAN = Plan(
    title="T", source="S", language="known.language",
    rules={
        "fixed": PlanRule(keep="known.share < 1", source="f"),
        "score": PlanRule(
            field="known.score", at_least=0.9, by="median - sigma", between=(0.3, 0.9), source="m",
        ),
        "most": PlanRule(field="known.share", at_most=0.5, source="t"),
        "least": PlanRule(field="known.share", at_least=0.25, source="t"),
        "nothing": PlanRule(field="known.none", at_most=0.25, source="t"),
    },
)  # fmt: skip


# Stop words -------------------------------------------------------------------------------------------------------


def test_stop_words_are_frequent_in_every_source(dataset: str) -> None:
    found = stop_words([dataset], None, "whitespace", Choice(0.05, 1, 10), "Both")
    assert sorted(found.stop_words) == ["and", "der", "die", "of", "the", "und"]
    assert "5.00% of each of 2 sources" in found.source


def test_words_of_one_source_only_are_not_frequent(make_dataset: Make) -> None:
    rows = [
        {"id": f"{source}{i}", "text": f"the a {own} 12 a1 {'.' * i}", "source": source}
        for source, own in (("x", "rights"), ("y", "sport"))
        for i in range(150)
    ]
    found = stop_words([make_dataset({"a.jsonl": rows})], None, "unicode", Choice(0.01, 1, 10), "T")
    assert found.stop_words == ["a", "the"]  # equally frequent, so by the alphabet; no digits, no marks


def test_few_frequent_words_are_filled_up_and_many_cut(dataset: str) -> None:
    assert len(stop_words([dataset], None, "unicode", Choice(0.5, 3, 5), "T").stop_words) == 3
    assert len(stop_words([dataset], None, "unicode", Choice(0.0001, 3, 5), "T").stop_words) == 5


def test_the_command_writes_what_the_tagger_reads(tagged: str, tmp_path: Path) -> None:
    to = str(tmp_path / "german.yaml")
    output = run(
        "languages", "stop-words", tagged, "--where", "known.language = 'de'", "--words", "whitespace",
        "--min-share", "0.1", "--at-least", "1", "--title", "German", "--to", to,
    )  # fmt: skip
    assert read_language(to).title == "German"
    assert sorted(read_language(to).stop_words) == ["der", "die", "und"]
    assert f"{{name: gopher, words: whitespace, languages: [{to}]}}" in output
    config = tmp_path / "tag.yaml"
    config.write_text(f"datasets: [{tagged}]\ntaggers: [{{name: gopher, languages: [{to}]}}]\n")
    run("tag", "-c", str(config))
    counts = run("query", "SELECT DISTINCT gopher.stop_word_count FROM documents WHERE id LIKE 'de%'", tagged)
    assert "3" in counts


def test_too_few_words_are_refused(make_dataset: Make) -> None:
    with pytest.raises(DataError, match="fewer than 300 words"):
        stop_words([make_dataset({"a.jsonl": ["a b c"]})], None, "unicode", Choice(), "T")


def test_no_documents_are_refused(tagged: str) -> None:
    with pytest.raises(DataError, match=r"no documents where known\.language = 'xx'"):
        stop_words([tagged], "known.language = 'xx'", "unicode", Choice(), "T")


@pytest.mark.parametrize("choice", [Choice(0), Choice(at_least=9, at_most=8), Choice(at_most=65)])
def test_a_choice_that_makes_no_sense_is_refused(dataset: str, choice: Choice) -> None:
    with pytest.raises(ConfigError, match="languages: min_share"):
        stop_words([dataset], None, "unicode", choice, "T")


# Thresholds -------------------------------------------------------------------------------------------------------


def test_thresholds_equal_their_formulas(tagged: str) -> None:
    found = measure(PLAN, [tagged], tail=0.1, min_documents=10)
    scores = [0.5 + i / 20 for i in range(10)] * 2
    shares = sorted([i / 100 for i in range(10)] * 2)
    expected = {
        "score": round(min(max(statistics.median(scores) - statistics.pstdev(scores), 0.3), 0.9), 3),
        "most": shares[math.ceil(0.9 * 20) - 1],
        "least": shares[20 - math.ceil(0.9 * 20)],
        "nothing": 0.25,  # the texts do not show it
    }
    assert found.documents == {"de": 20, "en": 20}
    assert found.thresholds == {"de": expected, "en": expected}


def test_nine_tenths_of_the_reference_pass_each_rule(tagged: str) -> None:
    values = measure(PLAN, [tagged], 0.1, 10).thresholds["de"]
    shares = [i / 100 for i in range(10)] * 2
    assert sum(share <= values["most"] for share in shares) >= 18
    assert sum(share >= values["least"] for share in shares) >= 18


def test_the_score_is_held_between_its_bounds(tagged: str) -> None:
    for bounds, expected in (((0.3, 0.4), 0.4), ((0.8, 0.9), 0.8)):
        rule = PlanRule(field="known.score", at_least=0.9, by="median - sigma", between=bounds, source="m")
        plan = Plan(title="T", source="S", language="known.language", rules={"score": rule})
        assert measure(plan, [tagged], 0.1, 10).thresholds["en"] == {"score": expected}


def test_the_recipe_asks_each_language_for_its_own(tagged: str, tmp_path: Path) -> None:
    import pyarrow as pa

    found = measure(PLAN, [tagged], 0.1, 10)
    found.thresholds["de"]["most"] = 0.01
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(msgspec.to_builtins(recipe(PLAN, found, tagged)), sort_keys=False))
    rules = {rule.name: rule for rule in read_recipe(path)}
    assert list(rules) == [f"mine.{name}" for name in PLAN.rules]
    known = [{"language": code, "score": 0.6, "share": 0.05, "none": 0.0} for code in ("de", "en", "fr")]
    table = pa.table({"id": ["a", "b", "c"], "known": pa.array(known)})
    passed = evaluator((rules["mine.most"], rules["mine.score"]), table.schema).evaluate(table, "x")
    assert passed[0].tolist() == [False, True, True]
    assert passed[1].tolist() == [found.thresholds["de"]["score"] <= 0.6] * 2 + [False]  # French: the plan's 0.9


def test_the_command_prints_and_writes_them_whatever_the_order_of_files(
    tagged: str, make_dataset: Make, tmp_path: Path
) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(yaml.safe_dump(msgspec.to_builtins(PLAN), sort_keys=False))
    lines = [line for name in "ba" for line in (Path(tagged) / "documents" / f"{name}.jsonl").read_text().splitlines()]
    other = make_dataset({"z.jsonl": [msgspec.json.decode(line) for line in reversed(lines)]}, name="other")
    run("tag", other, "--taggers", "measures:Known")
    outputs = [
        run(
            "languages", "thresholds", place, "--plan", str(plan), "--min-documents", "10", "--to", f"{tmp_path}/r.yaml"
        )
        for place in (tagged, other)
    ]
    assert outputs[0] == outputs[1]
    assert "de                  20 documents   score >= 0.581, most <= 0.08, least >= 0.01" in outputs[0]
    assert "keep: " + str(tmp_path / "r.yaml") in outputs[0]


def test_cuts_are_quantiles_of_each_language_in_a_table_for_a_recipe(tagged: str, tmp_path: Path) -> None:
    to = str(tmp_path / "cuts.yaml")
    flags = ["--field", "known.share", "--by", "known.language", "--at", "low=0.3,high=0.6", "--min-documents", "10"]
    output = run("languages", "cuts", tagged, *flags, "--to", to)
    assert read_table(to).rows == {name: {"low": 0.02, "high": 0.05} for name in ("de", "en")}
    assert "de           low 0.02, high 0.05" in output
    recipe = tmp_path / "mine.yaml"
    rule = "{keep: 'known.share < {low}', source: s}"
    recipe.write_text(f"title: t\nsource: s\nby: known.language\ntable: ./cuts.yaml\nrules: {{head: {rule}}}\n")
    assert "WHEN 'de' THEN 0.02" in read_recipe(recipe)[0].sql
    for bad in ("low", "low=x", "low=0.3=2"):
        with pytest.raises(ConfigError, match="expected NAME=SHARE"):
            run("languages", "cuts", tagged, "--at", bad, "--to", to)
    with pytest.raises(DataError, match=r"no known\.language has 99 documents"):
        cut("known.share", "known.language", {"p": 0.5}, [tagged], 99)
    with pytest.raises(ConfigError, match="lie between 0 and 1"):
        cut("known.share", "known.language", {"p": 1.5}, [tagged], 10)


def test_languages_with_few_documents_have_no_thresholds(tagged: str) -> None:
    with pytest.raises(DataError, match="no language has 21 documents"):
        measure(PLAN, [tagged], 0.1, 21)


@pytest.mark.parametrize("tail", [0, 0.5, -1])
def test_a_tail_that_makes_no_sense_is_refused(tagged: str, tail: float) -> None:
    with pytest.raises(ConfigError, match="tail"):
        measure(PLAN, [tagged], tail, 1)


def test_a_plan_names_either_a_rule_or_a_field_with_one_bound(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    for rule in ("{source: s}", "{source: s, field: a.b}", "{source: s, field: a.b, at_most: 1, at_least: 0}",
                 "{source: s, keep: a.b > 1, field: a.b, at_most: 1}"):  # fmt: skip
        path.write_text(f"title: T\nsource: S\nlanguage: l.l\nrules: {{x: {rule}}}\n")
        with pytest.raises(ConfigError, match="write a keep, or a field with either"):
            read_plan(str(path))


PUBLISHED = """
dup_line_frac: 0.263
dup_n_grams: [[5, 0.141], [6, 0.134], [7, 0.126], [8, 0.117], [9, 0.108], [10, 0.098]]
language_score: 0.821
line_punct_thr: -1
max_avg_word_length: 15
max_non_alpha_words_ratio: 0.774
min_avg_word_length: 0
new_line_ratio: 0.152
stopwords:
- der
- no
- "f\\xFCr"
top_n_grams:
- - 2
  - 0.169
- - 3
  - 0.153
- - 4
  - 0.137
"""


def test_what_fineweb_2_publishes_becomes_a_recipe_and_stop_words(tmp_path: Path) -> None:
    folder = tmp_path / "configs"
    folder.mkdir()
    for code in ("deu_Latn", "xxx_Latn"):
        (folder / f"{code}.yml").write_text(PUBLISHED)
    to, words = tmp_path / "fineweb_2.yaml", tmp_path / "words"
    run("languages", "import", str(folder), "--language", "deu_Latn", "--to", str(to), "--stop-words-to", str(words))
    rules = {rule.name.partition(".")[2]: rule.sql for rule in read_recipe(to)}
    assert rules["language_score"] == "langid.score >= CASE langid.language WHEN 'deu_Latn' THEN 0.821 ELSE 0.9 END"
    assert "<= CASE langid.language WHEN 'deu_Latn' THEN 0.098 ELSE 0.1 END" in rules["duplicated_10_n_grams"]
    assert "THEN 0.153 ELSE 0.18" in rules["top_3_gram"]
    assert "<= CASE langid.language WHEN 'deu_Latn' THEN 15.0 ELSE 10.0 END" in rules["gopher_above_avg_threshold"]
    assert read_language(words / "deu_Latn.yaml").stop_words == ["der", "no", "für"]
    assert not (words / "xxx_Latn.yaml").exists()


def test_a_folder_without_such_files_is_refused(tmp_path: Path) -> None:
    plan = read_plan(str(bundled("thresholds/fineweb_2.yaml")))
    (tmp_path / "deu_Latn.yml").write_text("language_score: high\n")
    with pytest.raises(ConfigError, match=r"no fra_Latn\.yml"):
        published(plan, str(tmp_path), ["fra_Latn"])
    with pytest.raises(ConfigError, match=r"deu_Latn\.yml: no number 'language_score'"):
        published(plan, str(tmp_path), [])


@pytest.mark.parametrize("name", ["language_score", "fineweb_2"])
def test_bundled_plans_work_on_what_the_taggers_write(name: str, dataset: str, tmp_path: Path) -> None:
    config = tmp_path / "tag.yaml"
    taggers = [
        "langid",
        *(f"{{name: {n}, words: unicode}}" for n in ("gopher", "gopher_repetition", "datatrove_ngrams", "fineweb")),
    ]
    config.write_text(f"datasets: [{dataset}]\ntaggers: [{', '.join(taggers)}]\n")
    run("tag", "-c", str(config))
    to = f"{tmp_path}/recipe.yaml"
    run("languages", "thresholds", dataset, "--plan", name, "--min-documents", "1", "--to", to)
    assert len(read_recipe(to)) == {"language_score": 1, "fineweb_2": 24}[name]
