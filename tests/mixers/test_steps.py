"""Steps: what each says shall happen, and the settings it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from dolma_pipe import mixer
from dolma_pipe.errors import ConfigError
from dolma_pipe.mixer import load_step
from dolma_pipe.rules import Expression
from dolma_pipe.types import Plain


def parts(value: Plain, file: str = "mix.yaml") -> list[mixer.Part]:
    return list(load_step(value, file).parts())


def test_keep_takes_rules_by_name() -> None:
    assert parts({"keep": {"short": "a.b < 3"}}) == [Expression("short", "a.b < 3", "mix.yaml")]


def test_keep_takes_a_recipe_beside_the_mix(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("title: t\nsource: s\nrules: {a: {keep: 'x.y > 1', source: s}}\n")
    assert [rule.name for rule in parts({"keep": "./mine.yaml"}, f"{tmp_path}/mix.yaml")] == ["mine.a"]


def test_keep_takes_a_bundled_recipe() -> None:
    assert any(rule.name.startswith("gopher.") for rule in parts({"keep": "gopher"}))


def test_keep_takes_a_recipe_with_another_threshold_and_without_a_rule() -> None:
    step: Plain = {
        "keep": {"recipe": "c4", "override": {"sentences": "c4.sentence_count >= 2"}, "without": ["curly_brace"]}
    }
    assert parts(step) == [
        Expression("c4.sentences", "c4.sentence_count >= 2", "mix.yaml"),
        Expression("c4.lorem_ipsum", "NOT c4.has_lorem_ipsum", "c4.yaml"),
    ]


def test_keep_changes_a_recipe_of_one_s_own(tmp_path: Path) -> None:
    (tmp_path / "my.v2.yaml").write_text("title: t\nsource: s\nrules: {a.b: {keep: 'x.y > 1', source: s}}\n")
    step: Plain = {"keep": {"recipe": "./my.v2.yaml", "override": {"a.b": "x.y > 2"}}}
    assert [(rule.name, rule.sql) for rule in parts(step, f"{tmp_path}/mix.yaml")] == [("my.v2.a.b", "x.y > 2")]


def test_keep_takes_a_recipe_with_another_table_beside_the_mix(tmp_path: Path) -> None:
    (tmp_path / "cuts.yaml").write_text("title: t\nsource: s\nrows: {en: {p30: 7, p60: 9}}\n")
    (rule,) = parts({"keep": {"recipe": "ccnet_head", "table": "cuts.yaml"}}, f"{tmp_path}/mix.yaml")
    assert isinstance(rule, Expression)
    assert rule.sql == ("coalesce(perplexity.perplexity < CASE perplexity.language WHEN 'en' THEN 7 END, false)")
    (bundled,) = parts({"keep": "ccnet_head"})
    assert isinstance(bundled, Expression)
    assert "WHEN 'sv' THEN 591 END" in bundled.sql


def test_dedup_prefers_the_first_copy_unless_told() -> None:
    assert parts({"dedup": {"by": "dedup_text"}}) == [mixer.Dedup("dedup_text")]
    (longest,) = parts({"dedup": {"by": "dedup_text", "prefer": "longest"}})
    assert longest.prefer.sql == "length.characters"
    (largest,) = parts({"dedup": {"by": "dedup_text", "prefer": {"max": "quality.score"}, "scope": "source"}})
    assert (largest.prefer.sql, largest.scope) == ("quality.score", "source")
    ranked = {"sources": ["books", "web"], "then": "earliest"}
    (first_books,) = parts({"dedup": {"by": "dedup_text", "prefer": ranked, "max_removed_fraction": 0.5}})
    assert first_books == mixer.Dedup("dedup_text", None, "earliest", ("books", "web"), "mix", 0.5)


def test_edit_removes_or_replaces() -> None:
    assert parts({"edit": {"remove": "a.b"}}) == [mixer.Edit("a", "b")]
    assert parts({"edit": {"replace": ["a.b", "c.d"], "with": "x", "min_score": 0.5}}) == [
        mixer.Edit("a", "b", "x", 0.5), mixer.Edit("c", "d", "x", 0.5),
    ]  # fmt: skip


def test_edit_puts_pseudonyms_of_the_kind_that_the_field_or_the_step_names() -> None:
    assert parts({"edit": {"pseudonymize": ["pii.email", "pii.ip"]}}) == [
        mixer.Edit("pii", "email", pseudonym="email"), mixer.Edit("pii", "ip", pseudonym="ip"),
    ]  # fmt: skip
    assert parts({"edit": {"pseudonymize": "staff.mailbox", "as": "email", "min_score": 0.5}}) == [
        mixer.Edit("staff", "mailbox", min_score=0.5, pseudonym="email")
    ]


def test_sample_and_split_take_one_amount() -> None:
    assert parts({"sample": {"rate": 0.5}}) == [mixer.Sample(epochs=0.5)]
    assert parts({"sample": {"share": 3, "max_epochs": 2}}) == [mixer.Sample(share=3.0, max_epochs=2.0)]
    assert parts({"split": {"name": "held", "bytes": 5}}) == [mixer.Split("held", amount=mixer.Amount(5, "bytes"))]


def test_amounts_are_in_one_unit() -> None:
    assert parts({"limit": {"tokens": 5}}) == [mixer.Limit(mixer.Amount(5, "tokens"))]
    assert parts({"split": {"name": "a", "documents": 9}}) == [mixer.Split("a", amount=mixer.Amount(9, "documents"))]


def test_split_draws_groups_over_the_mix_unless_told() -> None:
    (host,) = parts({"split": {"name": "a", "fraction": 0.1, "by": "host"}})
    (cluster,) = parts({"split": {"name": "a", "fraction": 0.1, "by": "dedup_minhash", "scope": "source"}})
    (domain,) = parts({"split": {"name": "a", "fraction": 0.1, "by": "url.registered_domain"}})
    assert [(found.scope, found.attribute) for found in (host, cluster, domain)] == [
        ("mix", None), ("source", ("dedup_minhash", "cluster")), ("mix", ("url", "registered_domain")),
    ]  # fmt: skip


def test_sample_takes_shares_of_what_there_is() -> None:
    (found,) = parts({"sample": {"share": "available", "max_epochs": 4, "min_share": 0.1}})
    assert found == mixer.Sample(share=1.0, max_epochs=4.0, is_proportional=True, min_share=0.1)


def test_upsample_is_a_curve_or_a_table() -> None:
    score = Expression("upsample: by", "q.score", "mix.yaml", "DOUBLE")
    topic = Expression("upsample: group", "q.topic", "mix.yaml", "VARCHAR")
    curve: Plain = {"by": "q.score", "group": "q.topic", "start": 0.5, "max_epochs": 6, "epochs": 2,
                    "groups": {"math": 2, "web": 1}}  # fmt: skip
    (found,) = parts({"upsample": curve})
    how = mixer.Upsample(score, topic, start=0.5, max_epochs=6.0, shares=(("math", 2.0), ("web", 1.0)))
    assert found == mixer.Sample(epochs=2.0, max_epochs=3.0, upsample=how)
    (table,) = parts({"upsample": {"by": "q.score", "rates": {"5": 0.5, "1": 2}}})
    assert table.upsample == mixer.Upsample(score, rates=((1.0, 2.0), (5.0, 0.5)))


@pytest.mark.parametrize(("step", "message"), [
    ({"keep": []}, "expected a recipe or rules by name"),
    ({"keep": {"a": 3}}, "expected an SQL expression, found 3"),
    ({"keep": "gofer"}, "no bundled configuration.*did you mean 'gopher'"),
    ({"keep": {"recipe": "c4"}}, "nothing is overridden or left out; write  keep: c4"),
    ({"keep": {"recipe": "c4", "override": {"sentence": "true"}}},
     "mix.yaml: the recipe c4 has no rule 'sentence'; did you mean 'sentences'"),
    ({"keep": {"recipe": "c4", "without": ["xyz"]}}, "no rule 'xyz'; it has sentences, lorem_ipsum, curly_brace"),
    ({"keep": {"recipe": "c4", "override": {"sentences": True}}}, "rule 'c4.sentences': expected an SQL expression"),
    ({"keep": {"recipe": "c4", "overide": {}}}, "unknown key 'overide'.*did you mean 'override'"),
    ({"keep": {"recipe": "c4", "override": {"sentences": "true"}, "without": ["sentences"]}}, "take it out of one"),
    ({"dedup": {"by": "dedup/text"}}, "not the name of an attribute set"),
    ({"dedup": {"by": "x", "prefer": "best"}}, "mix.yaml: dedup: .*prefer"),
    ({"dedup": {"by": "x", "prefr": "first"}}, "unknown key 'prefr'.*did you mean 'prefer'"),
    ({"dedup": {"by": "x", "prefer": {}}}, "expected {max: EXPRESSION} or {sources:"),
    ({"dedup": {"by": "x", "prefer": {"max": "a.b", "sources": ["c"]}}}, "expected {max: EXPRESSION} or {sources:"),
    ({"dedup": {"by": "x", "prefer": {"max": "a.b", "then": "longest"}}}, "expected {max: EXPRESSION} or {sources:"),
    ({"dedup": {"by": "x", "prefer": {"sources": ["c", "c"]}}}, "names one of them twice"),
    ({"dedup": {"by": "x", "prefer": {"sources": ["c"]}, "scope": "source"}}, "no effect with scope: source"),
    ({"dedup": {"by": "x", "max_removed_fraction": 1}}, "1.0 is not between 0 and 1"),
    ({"edit": {"remove": "a.b", "replace": "c.d"}}, "give one of 'remove', 'replace' and 'pseudonymize'"),
    ({"edit": {"min_score": 0.5}}, "give one of 'remove', 'replace' and 'pseudonymize'"),
    ({"edit": {"pseudonymize": "staff.mailbox"}}, "no pseudonyms for 'mailbox'; say what staff.mailbox holds by 'as:"),
    ({"edit": {"pseudonymize": "pii.email", "as": "e-mail"}}, "no pseudonyms for 'e-mail'.*email, phone, ip"),
    ({"edit": {"pseudonymize": "pii.email", "with": "x"}}, "'replace' and 'with' belong together"),
    ({"edit": {"remove": "pii.email", "as": "email"}}, "'as' belongs to 'pseudonymize'"),
    ({"edit": {"pseudonymize": []}}, "names no spans"),
    ({"edit": {"replace": "a.b"}}, "'replace' and 'with' belong together"),
    ({"edit": {"remove": "a.b", "with": "x"}}, "'replace' and 'with' belong together"),
    ({"edit": {"remove": "email"}}, "'email' is not an attribute; write SET.FIELD"),
    ({"edit": "pii.email"}, "expected settings"),
    ({"keep_after": {"min_characters": 0}}, "has no effect"),
    ({"split": {"name": "a/b", "fraction": 0.1}}, "cannot name a folder"),
    ({"split": {"name": "a", "fraction": 1.5}}, "not between 0 and 1"),
    ({"split": {"name": "a"}}, "either 'fraction', or one of 'documents', 'bytes' and 'tokens'"),
    ({"split": {"name": "a", "fraction": 0.1, "scope": "mix"}}, "scope has no effect without 'by'"),
    ({"split": {"name": "a", "bytes": 5, "tokens": 5}}, "give one of 'documents', 'bytes' and 'tokens'"),
    ({"limit": {}}, "give one of 'documents', 'bytes' and 'tokens'"),
    ({"limit": {"bytes": 0}}, "bytes: 0 holds nothing"),
    ({"sample": {"share": "all"}}, "mix.yaml: sample: .*share"),
    ({"sample": {"share": 1, "min_share": 0.1}}, "min_share has no effect without 'share: available'"),
    ({"sample": {"share": "available", "min_share": 1}}, "min_share: 1.0 is not between 0 and 1"),
    ({"sample": {"rate": 2}}, "rate: 2.0 is not between 0 and 1"),
    ({"sample": {"epochs": 1}}, "has no effect"),
    ({"sample": {"epochs": 2, "max_epochs": 3}}, "max_epochs has no effect without 'share'"),
    ({"sample": {"share": 1, "rate": 0.5}}, "give one of 'rate', 'epochs' and 'share'"),
    ({"sample": {"share": -1}}, "not a positive number"),
])  # fmt: skip
def test_settings_without_sense_are_refused(step: Plain, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parts(step)
