"""The bundled recipes name fields that their taggers have, and judge the clear cases as the papers do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from dolma_pipe.batch import make_batch
from dolma_pipe.config import bundled, convert, read_yaml
from dolma_pipe.config import load as load_config
from dolma_pipe.errors import ConfigError
from dolma_pipe.fused import Fused
from dolma_pipe.recipes import Recipe, read_recipe
from dolma_pipe.rules import Evaluator, Expression, references
from dolma_pipe.stages.tag import TagConfig
from dolma_pipe.tagger import load
from dolma_pipe.types import Plain
from dolma_pipe.view import View

TOKENIZER = str(Path(__file__).parent.parent / "fidelity" / "tokenizer.json")
SETS: dict[str, str | dict[str, Plain]] = {
    "gopher": "gopher",
    "gopher_repetition": "gopher_repetition",
    "c4": "c4",
    "c4_arxiv": {"name": "c4_arxiv", "use": "c4", "min_words": 5},
    "datatrove_c4": "datatrove_c4",
    "datatrove_ngrams": "datatrove_ngrams",
    "fineweb_c4": {"name": "fineweb_c4", "use": "datatrove_c4", "terminal_punctuation": False},
    "fineweb": "fineweb",
    "dolma_pii": "dolma_pii",
    "token_repetition": {"name": "token_repetition", "tokenizer": TOKENIZER, "eos": "<|endoftext|>"},
    "langid": "langid",
    "lines": "lines",
    "dclm": "dclm",
    "code": "code",
    "random": "random",
    "quality": {"name": "quality", "model": "toxicity", "label": "clean", "lowercase": True},  # any classifier will do
}
RECIPES = sorted(path.stem for path in Path(bundled("rules/gopher.yaml")).parent.glob("*.yaml"))
ELSEWHERE = ("pile_cc", "decontamination", "ccnet_head", "ccnet_middle", "ccnet_tail", "ccnet_all")
"""Recipes that judge no text by itself: one keeps by chance, one needs an index of test sets, four need models of
languages."""
PROSE = """The committee met on Tuesday to hear what the engineers had found under the old bridge, and the answer was
not one that anybody in the room wanted. "Two of the piers have moved," said the younger of them. Nobody spoke.

It was agreed that traffic would be sent by way of the mill road until spring. The cost of this, which the treasurer
put at four hundred pounds, is to be shared with the county. A second survey will begin when the water is low.
Members were asked to say nothing of it to the newspapers for now."""


def rules_of(recipe: str) -> list[Expression]:
    return read_recipe(Path(bundled(f"rules/{recipe}.yaml")))


def failing(recipe: str, text: str, document: str = "0", ext: str | None = None) -> set[str]:
    """Names of the rules of a recipe that a text fails."""
    metadata: list[str | None] = [json.dumps({"ext": ext})]
    batch = make_batch([text], [document], metadata=metadata)
    columns: dict[str, pa.Array] = {"id": batch.ids}
    used = {path[0] for rule in rules_of(recipe) for path in references(rule)}
    for name, spec in SETS.items():
        if name not in used:
            continue
        tagger = load(spec)
        values = tagger.tag(batch)
        arrays = [pa.array(values[field], kind.type) for field, kind in tagger.fields.items()]
        columns[name] = pa.StructArray.from_arrays(arrays, names=list(tagger.fields))
    table = pa.table(columns)
    rules = rules_of(recipe)
    verdicts = Evaluator(rules, table.schema).evaluate(table, "test")
    return {rule.name.split(".")[1] for rule, kept in zip(rules, verdicts, strict=True) if not np.all(kept)}


@pytest.mark.parametrize("recipe", [name for name in RECIPES if name not in ELSEWHERE])
def test_prose_passes_every_rule(recipe: str) -> None:
    assert failing(recipe, PROSE) == set()


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_rule_has_a_source_and_every_recipe_a_title(recipe: str) -> None:
    found = convert(read_yaml(bundled(f"rules/{recipe}.yaml")), Recipe, recipe)
    assert found.title
    assert found.source
    assert all(rule.source for rule in found.rules.values())


def test_an_empty_document_fails_quality_but_repeats_nothing() -> None:
    assert failing("gopher_quality", "") == {"word_count", "mean_word_length", "alphabetic_words", "stop_words"}
    assert failing("gopher_repetition", "") == set()
    assert failing("c4", "") == {"sentences"}


def test_a_page_said_twice_repeats_itself() -> None:
    found = failing("gopher", f"{PROSE}\n\n{PROSE}")
    assert {"duplicate_lines", "duplicate_paragraphs", "duplicate_10grams"} <= found
    assert "word_count" not in found


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("the of " * 24, "word_count"),
        (PROSE.replace(" ", " # "), "hash_ratio"),
        (PROSE.replace(" ", "... "), "ellipsis_ratio"),
        ("\n".join(f"- {line}" for line in PROSE.split("\n") if line), "bullet_lines"),
        ("\n".join(f"{line}…" for line in PROSE.split("\n")), "ellipsis_lines"),
        (PROSE.replace(" ", " 1 "), "alphabetic_words"),
        ("Une page en langue qui n'est pas celle des mots vides. " * 6, "stop_words"),
        ("say it again " * 30, "top_3gram"),
        ("ab\n" * 60, "duplicate_line_characters"),
    ],
)
def test_a_flaw_fails_its_rule(text: str, rule: str) -> None:
    assert rule in failing("gopher", text)


def test_the_two_halves_make_the_whole_gopher_recipe() -> None:
    whole, *halves = (
        {(rule.name.split(".")[1], rule.sql) for rule in read_recipe(bundled(f"rules/{name}.yaml"))}
        for name in ("gopher", "gopher_quality", "gopher_repetition")
    )
    assert whole == halves[0] | halves[1]
    assert len(whole) == 21


def test_c4_drops_pages_with_code_or_filler_even_in_lines_that_go() -> None:
    assert failing("c4", f"{PROSE}\nmenu {{") == {"curly_brace"}
    assert failing("c4", f"{PROSE}\nLOREM IPSUM") == {"lorem_ipsum"}
    assert failing("c4", "One of them. Two of them. Three of them.") == {"sentences"}
    assert failing("c4_arxiv", "One of them. Two of them. Three of them.") == set()


def test_fineweb_is_datatrove_s_filters_and_its_own() -> None:
    """In the chain, C4's rules read the set that keeps lines without a mark, and `empty` comes first and last."""
    parts = [
        (rule.name.split(".")[1].replace("empty", "repetition_empty"), rule.sql.replace("datatrove_c4.", "fineweb_c4."))
        for part in ("datatrove_gopher_repetition", "datatrove_gopher_quality", "datatrove_c4")
        for rule in rules_of(part)
    ]
    chain = [(rule.name.split(".")[1], rule.sql) for rule in rules_of("fineweb_0_01")]
    assert chain[0] == ("language", "langid.en > 0.65")
    assert chain[1 : 1 + len(parts)] == parts
    assert len(chain) == 1 + len(parts) + 5


def test_the_two_fineweb_recipes_differ_in_one_threshold() -> None:
    loose, strict = ([rule.sql for rule in rules_of(name)] for name in ("fineweb_0_1", "fineweb_0_01"))
    assert [pair for pair in zip(loose, strict, strict=True) if pair[0] != pair[1]] == [
        ("fineweb.duplicate_line_character_fraction <= 0.1", "fineweb.duplicate_line_character_fraction <= 0.01")
    ]


def test_dolma_counts_other_lines_and_words_than_gopher() -> None:
    blank = PROSE.replace("\n", "\n\n\n\n")
    assert failing("gopher", blank) == set()
    assert failing("dolma_1_6_cc", blank) == {"duplicate_lines"}
    assert failing("dolma_1_6_cc", PROSE + " a 1.1.1.1" * 6) >= {"pii"}
    assert failing("dolma_1_6_cc", PROSE + "=" * 800) == {"repetition"}


def test_lines_that_are_no_prose_cost_a_page_its_place_in_refinedweb() -> None:
    page = PROSE + "\n" + "\n".join(f"SECTION {word.upper()}" for word in PROSE.split()[:9])
    assert failing("refinedweb", page) == {"flagged_words"}
    assert failing("dclm_refinedweb", page) == {"removed_words"}


def test_pile_cc_depends_on_score_and_id_only() -> None:
    kept = [not failing("pile_cc", PROSE, str(document)) for document in range(12)]
    assert kept == [not failing("pile_cc", PROSE, str(document)) for document in range(12)]


def test_pile_cc_keeps_as_a_pareto_distribution_does() -> None:
    uniform = np.random.default_rng(1).random(20_000)
    scores = pa.StructArray.from_arrays([pa.array(np.full(20_000, 0.9))], names=["score"])
    table = pa.table({
        "id": pa.array(map(str, range(20_000)), pa.string()),
        "random": pa.StructArray.from_arrays([pa.array(uniform)], names=["uniform"]), "quality": scores,
    })  # fmt: skip
    [kept] = Evaluator(rules_of("pile_cc"), table.schema).evaluate(table, "test")
    assert kept.mean() == pytest.approx(1.1**-3, abs=0.01)


@pytest.mark.parametrize(
    ("recipe", "text", "ext", "rule"),
    [
        ("redpajama_code", "x" * 1001 + "\n" + "y\n" * 20, "py", "longest_line"),
        ("redpajama_code", "word " * 21 + "\n", "py", "mean_line"),
        ("redpajama_code", "abcd ==================\n" * 9, "py", "alphanumeric"),
        ("redpajama_code", "a 1 b 2 c 3\n" * 9, "py", "letters_per_token"),
        ("starcoder_code", '<?xml version="1.0"?>\n<a/>', "xml", "no_xml"),
        ("starcoder_code", "<script>let x = 1;</script>" * 20, "html", "visible_html"),
        ("starcoder_code", "x = 1\n" * 40, "py", "comments"),
        ("starcoder_code", "// all of it\n" * 40, "java", "comments"),
    ],
)
def test_source_code_with_a_flaw_fails_its_rule(recipe: str, text: str, ext: str, rule: str) -> None:
    assert failing(recipe, text, ext=ext) == {rule}


def test_comments_are_asked_of_three_languages_only() -> None:
    assert failing("starcoder_code", "x = 1\n" * 40, ext="rb") == set()


def test_the_view_of_dclm_is_a_text_without_addresses_and_runs_of_newlines() -> None:
    text = "See https://example.org/a?b=1 or example.com/x now.\n\n\n\nAt 10.0.0.1, e.g. in a file.txt, 3.14.\n\nEnd"
    fused = Fused([{"name": "length", "view": "dclm"}])
    left = "See or now.\n\nAt, e.g. in a file.txt, 3.14.\n\nEnd"
    assert fused.measure(make_batch([text]), ["length"])["length"].values["characters"].tolist() == [len(left)]


def test_the_view_of_fineweb_is_what_its_c4_step_leaves() -> None:
    batch = make_batch(["A menu of things\r\nMy cookie policy is here.\n\n  It is so.[1]\u2028So it is. "])
    tagger = load(SETS["fineweb_c4"])
    arrays = [pa.array(tagger.tag(batch)[name], field.type) for name, field in tagger.fields.items()]
    rows = pa.StructArray.from_arrays(arrays, names=list(tagger.fields))
    viewed = View("fineweb_c4").apply(batch, {"fineweb_c4": rows}).batch.text(0)
    assert viewed == "A menu of things\nIt is so.\nSo it is."


@pytest.mark.parametrize(
    ("config", "recipe"),
    [("fineweb", "fineweb_0_01"), ("fineweb", "fineweb_0_1"), ("dclm_refinedweb", "dclm_refinedweb")],
)
def test_a_bundled_tag_configuration_measures_all_that_its_recipe_judges(config: str, recipe: str) -> None:
    settled = load_config(bundled(f"tag/{config}.yaml"), TagConfig, datasets=["data"])
    fused = Fused(settled.taggers)
    batch = make_batch([PROSE, ""], metadata=["{}", None])
    structs = {name: found.struct(fused.taggers[name]) for name, found in fused.measure(batch, fused.specs).items()}
    verdicts = Evaluator(rules_of(recipe), pa.table({"id": batch.ids, **structs}).schema).evaluate(
        pa.table({"id": batch.ids, **structs}), "test"
    )
    assert [bool(np.all([kept[row] for kept in verdicts])) for row in (0, 1)] == [True, False]


TABLE = "title: t\nsource: s\nrows:\n  en: {low: 10, high: 20.5}\n  it's: {low: 1, high: 2}\n"


def written(folder: Path, rule: str, more: str = "by: langid.language\ntable: ./numbers.yaml\n") -> Path:
    (folder / "numbers.yaml").write_text(TABLE)
    path = folder / "mine.yaml"
    path.write_text(f"title: t\nsource: s\n{more}rules:\n  a: {{keep: '{rule}', source: s}}\n")
    return path


def test_columns_of_a_table_are_written_out_by_language(tmp_path: Path) -> None:
    [rule] = read_recipe(written(tmp_path, "x.y BETWEEN {low} AND {high}"))
    low, high = "WHEN 'en' THEN 10 WHEN 'it''s' THEN 1 END", "WHEN 'en' THEN 20.5 WHEN 'it''s' THEN 2 END"
    assert rule.sql == f"x.y BETWEEN CASE langid.language {low} AND CASE langid.language {high}"
    [other] = read_recipe(tmp_path / "mine.yaml", override={"a": "x.y < 2 * {high}"})
    assert other.sql == f"x.y < 2 * CASE langid.language {high}"
    (tmp_path / "own.yaml").write_text(TABLE.replace("10", "11"))
    assert "THEN 11" in read_recipe(tmp_path / "mine.yaml", table=tmp_path / "own.yaml")[0].sql


@pytest.mark.parametrize(
    ("rule", "more", "message"),
    [
        (
            "x.y < {hi}",
            "by: langid.language\ntable: ./numbers.yaml\n",
            "no column 'hi'; it has low, high",
        ),
        ("x.y < {high}", "by: langid.language\n", "'table' and 'by' belong together"),
        ("x.y < {high}", "by: langid.language\ntable: ./mine.yaml\n", "unknown key|rows|rules"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(tmp_path: Path, rule: str, more: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_recipe(written(tmp_path, rule, more))


def test_rows_have_all_columns_and_only_a_recipe_with_a_table_takes_another(tmp_path: Path) -> None:
    path = written(tmp_path, "x.y < {low}")
    (tmp_path / "numbers.yaml").write_text(TABLE.replace("high: 2}", "hi: 2}"))
    with pytest.raises(ConfigError, match="rows: it's: expected the columns low, high"):
        read_recipe(path)
    with pytest.raises(ConfigError, match="the recipe gopher has no table"):
        read_recipe(bundled("rules/gopher.yaml"), table=tmp_path / "numbers.yaml")
