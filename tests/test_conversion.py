"""Dolma's mixing configurations say with us what they say there: expected results were tried on dolma 1.2.1."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import MakeDataset
from handmade import encode_lines, store
from typer.testing import CliRunner

from dolma_pipe.cli import app
from dolma_pipe.config import bundled, read_yaml
from dolma_pipe.config import convert as typed
from dolma_pipe.conversion import jq, jsonpath
from dolma_pipe.conversion.attributes import convert_set
from dolma_pipe.conversion.commands import convert_commands
from dolma_pipe.conversion.mixing import convert_mix
from dolma_pipe.errors import AlignmentError, ConfigError, DataError
from dolma_pipe.execution import Options, run_stage
from dolma_pipe.recipes import read_recipe
from dolma_pipe.rules import Expression, references
from dolma_pipe.runners.local import Local
from dolma_pipe.stages.mix import Mix, MixConfig
from dolma_pipe.tagger import Tagger, find_class

ROWS: dict[str, dict[str, Any]] = {
    "absent": {}, "empty": {"k": []}, "low": {"k": [[0, 4, 1.0]]}, "mid": {"k": [[0, 4, 5.0]]},
    "high": {"k": [[0, 4, 9.0]]}, "two": {"k": [[0, 1, 9.0], [2, 3, 1.0]]}, "other": {"j": [[0, 4, 5.0]]},
    "zero": {"k": [[0, 0, 0.0]]},
}  # fmt: skip
EVERY = list(ROWS)


@pytest.fixture
def dolma(make_dataset: MakeDataset) -> str:
    """A data set as Dolma has it, with one set of attributes."""
    dataset = make_dataset({"a.jsonl.gz": [{"id": name, "text": "text", "source": "s"} for name in ROWS]}, "data")
    rows = [{"id": name, "attributes": attributes} for name, attributes in ROWS.items()]
    store(Path(dataset, "attributes/e/a.jsonl.gz"), encode_lines(rows))
    convert_set(dataset, "e")
    return dataset


def old_mix(tmp_path: Path, dataset: str, **more: Any) -> str:
    stream = {
        "name": "s", "documents": [f"{dataset}/documents/*.gz"], "attributes": ["e"],
        "output": {"path": "out/documents"}, **more,
    }  # fmt: skip
    path = tmp_path / "old.yaml"
    path.write_text(json.dumps({"streams": [stream], "processes": 2}))
    return str(path)


def kept(tmp_path: Path, dataset: str, **filters: Any) -> list[str]:
    """The documents that a converted mix keeps."""
    config = typed(
        convert_mix(old_mix(tmp_path, dataset, filter=filters)).config | {"to": str(tmp_path / "out")}, MixConfig, "m"
    )
    run_stage(Mix(config), Local(1), Options())
    return [json.loads(line)["id"] for line in written(tmp_path / "out")]


def written(home: Path) -> list[bytes]:
    return [
        line
        for path in sorted(home.glob("documents/**/*.gz"))
        for line in gzip.decompress(path.read_bytes()).splitlines()
    ]


@pytest.mark.parametrize(
    ("inner", "expected"),
    [
        ("@.k", ["empty", "low", "mid", "high", "two", "zero"]),
        ("@.k[0]", ["low", "mid", "high", "two", "zero"]),
        ("@.k[0][2] <= 5", ["low", "zero"]),
        ("@.k[0][2] > 5", ["high", "two"]),
        ("@.k[0][2] == 5.0", ["mid"]),
        ("!(@.k)", ["absent", "other"]),
        ("@.k && @.k[0] && @.k[0][2] < 5", ["low", "zero"]),
        ("@.k[0][2] < 5 || @.j", ["low", "other", "zero"]),
        ("@['k'][0][2] > 5", ["high", "two"]),
        ("5 < @.k[0][2]", ["high", "two"]),
        ("@.k[1][2] < 5", ["two"]),
        ("@.k[0][2] < 5 && @.k[0][1] > 0 || @.j", ["low", "other"]),
        ("@.j && @.k || @.k[0][2] > 5", ["high", "two"]),
    ],
)  # fmt: skip
def test_jsonpath_keeps_what_dolma_keeps(dolma: str, tmp_path: Path, inner: str, expected: list[str]) -> None:
    # dolma compares 5 and 5.0 as different numbers, so `<= 5` leaves out what we take in
    also = ["mid"] if inner == "@.k[0][2] <= 5" else []
    found = kept(tmp_path, dolma, include=[f"$.attributes[?({inner})]"])
    assert found == [name for name in EVERY if name in [*expected, *also]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (".attributes.k", ["low", "mid", "high", "two", "zero"]),
        ('.attributes | has("k")', ["empty", "low", "mid", "high", "two", "zero"]),
        ("(.attributes.k | length) > 0", ["low", "mid", "high", "two", "zero"]),
        (".attributes.k == null", ["absent", "other"]),
        (".attributes.k | not", ["absent", "other"]),
        (".attributes?.k?[0]?[2]? >= 5", ["mid", "high", "two"]),
        (".attributes?.k?[0]?[2]? != 5", ["low", "high", "two", "zero"]),
        ("(.attributes.k // []) | length > 1", ["two"]),
        ("(.attributes.k|length) >= 1 and (.attributes.k[0][2] <= 5)", ["low", "mid", "zero"]),
        ("(.attributes.k | length > 0) and .attributes.k[0][2] < 5", ["low", "zero"]),
    ],
)
def test_jq_keeps_what_dolma_keeps(dolma: str, tmp_path: Path, text: str, expected: list[str]) -> None:
    assert kept(tmp_path, dolma, include=[text], syntax="jq") == [name for name in EVERY if name in expected]


@pytest.mark.parametrize("inner", ["@.k", "@.k[0][2] > 5 && !@.j", "@.k[0][2] != 5", "@.k[0][2] < 5 || @.j"])
def test_excluded_documents_are_those_that_are_not_included(dolma: str, tmp_path: Path, inner: str) -> None:
    found: list[str] = []
    for side in ("include", "exclude"):
        (tmp_path / side).mkdir()
        found += kept(tmp_path / side, dolma, **{side: [f"$.attributes[?({inner})]"]})
    assert sorted(found) == sorted(EVERY)


def test_guards_that_a_comparison_implies_are_left_out(dolma: str, tmp_path: Path) -> None:
    inner = "@.k && @.k[0] && @.k[0][2] < 5"
    found = convert_mix(old_mix(tmp_path, dolma, filter={"exclude": [f"$.attributes[?({inner})]"]}))
    source: Any = found.config["sources"]
    assert source[0]["steps"] == [{"keep": {"k": "coalesce(e.k[1].score >= 5, true)"}}]
    assert source[0]["include"] == ["*.gz"]


def test_our_own_taggers_stand_for_dolma_s_where_nothing_was_converted(
    make_dataset: MakeDataset, tmp_path: Path
) -> None:
    dataset = make_dataset({"a.jsonl.gz": ["x"]}, "raw")
    names = {
        "word_count": "< 50", "median_word_length": "> 10", "fraction_of_lines_ending_with_ellipsis": "> 0.3",
        "fraction_of_characters_in_duplicate_5grams": "> 0.15",
    }  # fmt: skip
    exclude = [f"$.attributes[?(@.e__gopher_v1__{n} && @.e__gopher_v1__{n}[0][2] {c})]" for n, c in names.items()]
    exclude.append("$.attributes[?(@.e__c4_v2__has_curly_brace)]")
    spans = {
        "span": "$.attributes.e__pii_regex_with_counts_fast_v2__EMAIL_ADDRESS",
        "min_score": 0.5,
        "replacement": "|||E|||",
    }
    found = convert_mix(old_mix(tmp_path, dataset, filter={"exclude": exclude}, span_replacement=[spans]))
    assert found.unmatched == {}
    source: Any = found.config["sources"]
    rules = source[0]["steps"][0]["keep"]
    assert rules["word_count"] == "gopher.word_count >= 50"
    published = {rule.name.partition(".")[2]: rule.sql for rule in read_recipe(bundled("rules/dolma_1_6_cc.yaml"))}
    assert rules["fraction_of_lines_ending_with_ellipsis"] == published["ellipsis_lines"]
    assert float(rules["fraction_of_characters_in_duplicate_5grams"].rpartition(" ")[2]) == 0.15
    assert rules["has_curly_brace"] == "NOT (c4.has_curly_brace)"
    assert source[0]["steps"][1] == {"edit": {"replace": "dolma_pii.email", "with": "|||E|||", "min_score": 0.5}}
    assert source[0]["attributes"] == ["gopher", "gopher_repetition", "c4", "dolma_pii"]


def test_fields_that_stand_for_dolma_s_are_written_by_our_taggers() -> None:
    named = {
        path
        for entry in read_yaml(bundled("convert/dolma.yaml"))
        for kind in ("numbers", "flags", "spans")
        for sql in entry.get(kind, {}).values()
        for path in references(Expression("x", sql, "x"))
    }
    for set_name, field in sorted(named):
        if not set_name.startswith("dedup_") and (set_name, field) != ("langid", "en"):
            assert field in find_class(set_name, "taggers", Tagger).fields, f"{set_name}.{field}"


def test_an_attribute_that_nobody_writes_is_named_with_the_nearest(dolma: str, tmp_path: Path) -> None:
    # the published configurations have this one in the singular, the tagger writes the plural
    path = "@.e__gopher_v1__fraction_of_characters_in_most_common_2gram[0][2] > 0.2"
    found = convert_mix(
        old_mix(tmp_path, dolma, filter={"exclude": [f"$.attributes[?({path})]", "$.attributes[?(@.kk)]"]})
    )
    assert found.unmatched == {"e__gopher_v1__fraction_of_characters_in_most_common_2gram": "", "kk": "k"}


def test_what_cannot_be_carried_over_is_said(dolma: str, tmp_path: Path) -> None:
    replacements = [
        {"span": "$.attributes.k", "min_score": 0.5, "max_score": 0.9},
        {"span": "$.attributes.j", "min_score": 0, "replacement": "<{}>"},
    ]  # fmt: skip
    more = {"include": ["$.metadata[?(@.lang == 'en')]"]}
    output = {"path": "out", "max_size_in_bytes": 10, "min_text_length": 5, "discard_fields": ["attributes", "added"]}
    found = convert_mix(old_mix(tmp_path, dolma, filter=more, span_replacement=replacements, output=output))
    assert [line.split(":")[0] for line in found.lost] == [
        "filter $.metadata[?(@.lang == 'en')]", "span_replacement $.attributes.k", "span_replacement $.attributes.j",
    ]  # fmt: skip
    assert [line.split(":")[0] for line in found.notes] == ["max_size_in_bytes", "discard_fields", "min_text_length"]
    source: Any = found.config["sources"]
    assert source[0]["steps"][-1] == {"keep_after": {"min_characters": 5}}


@pytest.mark.parametrize(
    "text",
    ["$.attributes[?(@.k[0][3] > 1)]", "$.attributes[?(@.k >)]", "$.attributes[?((@.k)]", "$.attributes[?(@.k % 2)]",
     "$.attributes[?(1 < 2)]", "$.attributes[?(@.k @.j)]", "$..k"],
)  # fmt: skip
def test_jsonpath_that_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        jsonpath.parse(text)


@pytest.mark.parametrize(
    "text",
    [".attributes.k | any(.[2] > 5)", ".attributes.k[0][2] >", "map(.x)", ".metadata.lang == \"en\"", "(.attributes.k",
     ".attributes.k < null", "1 < 2", ".attributes.k @ 2", ".attributes.k // .attributes.j"],
)  # fmt: skip
def test_jq_that_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        jq.parse(text)


def test_attributes_of_other_documents_are_refused(dolma: str) -> None:
    path = Path(dolma, "attributes/e/a.jsonl.gz")
    rows = [{"id": name, "attributes": attributes} for name, attributes in ROWS.items()]
    store(path, encode_lines(rows[:-1]))
    with pytest.raises(AlignmentError, match="ends before document 'zero'"):
        convert_set(dolma, "e")
    store(path, encode_lines([*rows, rows[0]]))
    with pytest.raises(AlignmentError, match="more rows than"):
        convert_set(dolma, "e")
    store(path, encode_lines([rows[1], rows[0], *rows[2:]]))
    with pytest.raises(AlignmentError, match="line 1 is of document 'empty'"):
        convert_set(dolma, "e")
    store(path, encode_lines(['{"id": "absent", "attributes": {"k": [[1, 2]]}}']))
    with pytest.raises(DataError, match="line 1: no row of Dolma's attributes"):
        convert_set(dolma, "e")
    path.unlink()
    with pytest.raises(DataError, match="no such attribute file"):
        convert_set(dolma, "e")


def test_the_command_writes_a_mix_that_runs(dolma: str, tmp_path: Path) -> None:
    old = old_mix(tmp_path, dolma, filter={"exclude": ["$.attributes[?(@.j)]"]})
    result = CliRunner().invoke(app, ["convert", "mix", old, "--to", str(tmp_path / "new.yaml")])
    assert result.exit_code == 0
    config = read_yaml(tmp_path / "new.yaml")
    assert config["sources"][0]["steps"] == [{"keep": {"j": "e.j IS NULL"}}]
    mixed = CliRunner().invoke(app, ["mix", "-c", str(tmp_path / "new.yaml"), "--to", str(tmp_path / "mixed")])
    assert mixed.exit_code == 0
    assert len(written(tmp_path / "mixed")) == 7


def test_what_is_no_mix_of_dolma_s_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("sources: []\n")
    with pytest.raises(ConfigError, match="sources"):
        convert_mix(str(path))
    with pytest.raises(ConfigError, match="expected DATASET/documents/GLOB"):
        convert_mix(old_mix(tmp_path, "s3://*/x"))


def commands(tmp_path: Path, **old: Any) -> Any:
    path = tmp_path / "old.yaml"
    path.write_text(json.dumps(old))
    return convert_commands(str(path))


def test_a_tag_configuration_is_one_command_with_the_taggers_that_measure_the_same(tmp_path: Path) -> None:
    taggers = ["gopher_v2", "pii_regex_v2", "cld2_en_doc_v2", "my_own"]
    found = commands(tmp_path, documents=["a/b/documents/*.gz", "c/documents"], taggers=taggers, processes=4)
    wanted = "dolma-pipe tag a/b c --taggers gopher,length,gopher_repetition,pii,langid --workers 4"
    assert found.lines == [wanted]
    assert found.lost == ["tagger my_own: nothing here measures that; see dolma-pipe list taggers"]
    assert found.notes == ["cld2_en_doc_v2: langid measures the like, by other means"]


@pytest.mark.parametrize(
    ("dedupe", "wanted"),
    [
        ({"documents": {"key": "$.metadata.url"}}, "--by url"),
        ({"documents": {"key": "$.text"}}, "--by text"),
        ({"documents": {"key": "$.metadata.doi"}}, "--by metadata.doi"),
        ({"paragraphs": {}, "min_length": 9}, "--by paragraph --set paragraph.min_characters=9"),
        ({"paragraphs": {"by_ngram": {"ngram_length": 6}}}, "-c ngram"),
    ],
)
def test_a_dedupe_configuration_is_one_command(tmp_path: Path, dedupe: dict[str, Any], wanted: str) -> None:
    found = commands(tmp_path, documents=["d/documents/cc/*.gz"], dedupe=dedupe, bloom_filter={"file": "f"})
    [line] = found.lines
    assert line == f"dolma-pipe dedup d --set 'include=[\"cc/*.gz\"]' {wanted}"


def test_a_tokens_configuration_is_one_command_with_sizes_in_tokens(tmp_path: Path) -> None:
    tokenizer = {"name_or_path": "t/tokenizer.json", "eos_token_id": 3}
    more = {"destination": "out", "tokenizer": tokenizer, "max_size": 1000, "dtype": "uint32", "seed": 7}
    found = commands(tmp_path, documents=["d/documents/*"], **more)
    assert found.lines == ["dolma-pipe tokenize d --tokenizer t/tokenizer.json --to out --shard-tokens 250 --seed 7"]
    assert found.notes == ["eos_token_id 3: --eos names the token, as in '<|endoftext|>'"]


def test_a_mixer_configuration_is_converted_first(tmp_path: Path) -> None:
    path = tmp_path / "old.yaml"
    assert commands(tmp_path, streams=[]).lines == [
        f"dolma-pipe convert mix {path} --to {tmp_path}/old.mix.yaml", f"dolma-pipe mix -c {tmp_path}/old.mix.yaml",
    ]  # fmt: skip


def test_what_is_no_configuration_of_the_toolkit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no configuration of the Dolma toolkit"):
        commands(tmp_path, datasets=["d"], taggers=["gopher"])
    with pytest.raises(ConfigError, match=r"expected \$\.text, \$\.metadata\.url"):
        commands(tmp_path, documents=["d/documents/*"], dedupe={"documents": {"key": "$.a[0]"}})
    with pytest.raises(ConfigError, match="expected DATASET/documents/GLOB"):
        commands(tmp_path, documents=["d/*"], taggers=["gopher_v1"])
