"""The bundled recipes name fields that their taggers have, and judge the clear cases as the papers do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from dolma_pipe.batch import make_batch
from dolma_pipe.config import bundled
from dolma_pipe.rules import Evaluator, read_recipe
from dolma_pipe.tagger import load

SETS = {
    "gopher": "gopher",
    "gopher_repetition": "gopher_repetition",
    "c4": "c4",
    "c4_arxiv": {"name": "c4_arxiv", "use": "c4", "min_words": 5},
}
PROSE = """The committee met on Tuesday to hear what the engineers had found under the old bridge, and the answer was
not one that anybody in the room wanted. "Two of the piers have moved," said the younger of them. Nobody spoke.

It was agreed that traffic would be sent by way of the mill road until spring. The cost of this, which the treasurer
put at four hundred pounds, is to be shared with the county. A second survey will begin when the water is low.
Members were asked to say nothing of it to the newspapers for now."""


def failing(recipe: str, text: str) -> set[str]:
    """Names of the rules of a recipe that a text fails."""
    batch = make_batch([text])
    columns: dict[str, pa.Array] = {"id": batch.ids}
    for name, spec in SETS.items():
        tagger = load(spec)
        values = tagger.tag(batch)
        arrays = [pa.array(values[field], kind.type) for field, kind in tagger.fields.items()]
        columns[name] = pa.StructArray.from_arrays(arrays, names=list(tagger.fields))
    table = pa.table(columns)
    rules = read_recipe(Path(bundled(f"rules/{recipe}.yaml")))
    verdicts = Evaluator(rules, table.schema).evaluate(table, "test")
    return {rule.name.split(".")[1] for rule, kept in zip(rules, verdicts, strict=True) if not np.all(kept)}


@pytest.mark.parametrize("recipe", ["gopher", "gopher_quality", "gopher_repetition", "c4", "c4_arxiv"])
def test_prose_passes_every_rule(recipe: str) -> None:
    assert failing(recipe, PROSE) == set()


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
