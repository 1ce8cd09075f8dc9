"""What a mix is predicted to do, from attributes alone, is what it does."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from conftest import MakeDataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mixes import CLUSTERS, SPANS, clusters, ids, measure, run_mix, spans
from plain_dedup import ALL_LINES, dedup
from tiny_tokenizers import write_tokenizer
from typer.testing import CliRunner

from dolma_pipe.cli import app
from dolma_pipe.config import convert
from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.execution import Options, run_stage
from dolma_pipe.runners.local import Local
from dolma_pipe.stages.mix import MixConfig, read_lock
from dolma_pipe.stages.mix.prediction.prediction import Prediction, predict
from dolma_pipe.stages.mix.prediction.sweep import Sweep, parse, sweep
from dolma_pipe.stages.tag import Tag, TagConfig
from dolma_pipe.types import Plain

LENGTH = {"bytes": pa.int64(), "characters": pa.int64(), "words": pa.int32(), "lines": pa.int32()}
SIZE = {"words": pa.int32(), "score": pa.float64()}
SHARDS = ("a.jsonl", "b.jsonl.gz")
Rows = list[tuple[int, str | None, tuple[int, int]]]
"""Per document: a number, a cluster, a span of its text."""


def text_of(index: int, number: int) -> str:
    return f"Dokument {index} über {'x' * (7 * number % 23)} und {number} ünïcode"


def lengths(texts: list[str]) -> list[dict[str, int]]:
    return [
        {"bytes": len(t.encode()), "characters": len(t), "words": len(t.split()), "lines": len(t.split("\n"))}
        for t in texts
    ]


def lay_out(make_dataset: MakeDataset, name: str, rows: Rows, texts: list[str] | None = None) -> str:
    """A data set of two shards with every kind of attribute."""
    texts = texts or [text_of(index, number) for index, (number, _, _) in enumerate(rows)]
    half = len(rows) // 2
    documents = [
        {
            "id": f"{name}{i}",
            "text": text,
            "created": f"20{i % 20:02}-01-01",
            "metadata": {"url": f"http://h{i % 4}.org/"},
        }
        for i, text in enumerate(texts)
    ]  # fmt: skip
    dataset = make_dataset({SHARDS[0]: documents[:half], SHARDS[1]: documents[half:]}, name)
    measure(dataset, "length", LENGTH, lengths(texts))
    measure(dataset, "size", SIZE, [{"words": number, "score": number / 16} for number, _, _ in rows])
    copies = clusters(*((cluster, i) if cluster else None for i, (_, cluster, _) in enumerate(rows)))
    measure(dataset, "dedup_text", CLUSTERS, copies)
    measure(dataset, "pii", {"email": SPANS}, [{"email": spans(span)} for _, _, span in rows])
    measure(dataset, "tokens", {"count": pa.int64()}, [{"count": len(text.split())} for text in texts])
    return dataset


@pytest.fixture
def two(make_dataset: MakeDataset) -> list[dict[str, Any]]:
    """Two sources with common clusters."""
    rows: Rows = [(i * 7 % 11, f"c{i % 6}" if i % 3 else None, (0, i % 5 * 3)) for i in range(60)]
    other: Rows = [(i * 5 % 13, f"c{i % 8}" if i % 2 else None, (2, 2 + i % 4)) for i in range(24)]
    found = {"web": lay_out(make_dataset, "web", rows), "books": lay_out(make_dataset, "books", other)}
    return [{"name": name, "dataset": dataset} for name, dataset in found.items()]


def mix_of(two: list[dict[str, Any]], sets: list[str], *steps: Plain, **last: Plain) -> list[dict[str, Any]]:
    """Sources with the same steps; `last` is one more step of a source."""
    return [
        {**source, "attributes": sets, "steps": [*steps, *([last[source["name"]]] if source["name"] in last else [])]}
        for source in two
    ]


def predicted(sources: list[dict[str, Any]], to: str | Path = "nowhere", **more: Plain) -> Prediction:
    return predict(convert({"to": str(to), "sources": sources, **more}, MixConfig, "mix.yaml"), "mix.yaml")


def swept(sources: list[dict[str, Any]], text: str) -> Sweep:
    return sweep(convert({"to": "nowhere", "sources": sources}, MixConfig, "mix.yaml"), "mix.yaml", text)


def check(found: Prediction, mixed: Path, has_edits: bool = False) -> None:
    """Every number that is not an estimate is the run's."""
    for name, locked in read_lock(str(mixed)).sources.items():
        funnel, mine = locked.funnel, found.sources[name]
        pairs: list[tuple[Any, Any]] = [(mine.read, funnel.read), (mine.kept, funnel.kept)]
        pairs += [(mine.dropped[reason], amount) for reason, amount in funnel.dropped.items()]
        pairs += [(mine.splits[split], amount) for split, amount in funnel.splits.items()]
        for rule, count in funnel.rules.items():
            pairs += [(mine.rules[rule].alone, count.failed), (mine.rules[rule].only, count.only)]
        assert [(one.documents, one.bytes) for one, _ in pairs] == [(two.documents, two.bytes) for _, two in pairs]
        assert mine.written.documents == funnel.kept.copies
        if not has_edits:
            assert mine.written.bytes == funnel.kept.written_bytes
        if locked.target is not None and not has_edits:
            assert mine.share is not None
            assert (mine.share["target"], mine.share["available"]) == (locked.target.target, locked.target.available)


RULES = {"keep": {"long": "size.words > 2", "odd": "size.words % 2 = 1", "never": "size.words < 99"}}
DEDUP = {"dedup": {"by": "dedup_text"}}
HELD = {"split": {"name": "held", "fraction": 0.2}}
CURVE = {"by": "size.score", "start": 0.3, "max_epochs": 3, "share": 2, "buckets": 4}
BY_CLUSTER = {"split": {"name": "held", "fraction": 0.3, "by": "dedup_text"}}


@pytest.mark.parametrize(
    ("sets", "steps", "last", "more"),
    [
        (["size"], [RULES], {}, {}),
        ([], [], {}, {}),
        (["size", "dedup_text"], [RULES, DEDUP, HELD], {"web": {"sample": {"epochs": 1.5}}}, {"seed": 3}),
        (["size", "dedup_text", "length"], [RULES, {"dedup": {"by": "dedup_text", "prefer": "longest"}}], {}, {}),
        (["size", "dedup_text"], [{"dedup": {"by": "dedup_text", "scope": "source"}}, RULES], {}, {}),
        (["size", "dedup_text"], [RULES, {"dedup": {"by": "dedup_text", "prefer": {"sources": ["books"]}}}], {}, {}),
        (["size", "dedup_text"], [RULES, {"dedup": {"by": "dedup_text", "prefer": "latest"}}], {}, {}),
        (["dedup_text"], [DEDUP, {"split": {"name": "held", "bytes": 200}}], {},  {}),
        (["dedup_text"], [BY_CLUSTER, {"limit": {"bytes": 300}}], {}, {}),
        ([], [{"split": {"name": "h", "fraction": 0.3, "by": "host"}}], {}, {}),
        (
            ["size", "dedup_text"], [RULES, DEDUP],
            {"web": {"sample": {"share": 3, "max_epochs": 2}}, "books": {"sample": {"share": 1, "max_epochs": 4}}},
            {"budget": {"bytes": 900, "on_shortfall": "cap"}},
        ),
        (["size"], [RULES], {"web": {"upsample": {"by": "size.score", "rates": {"0.2": 1, "0.5": 2.5}}}}, {}),
        (
            ["size"], [RULES], {"web": {"upsample": CURVE}, "books": {"sample": {"share": 1}}},
            {"budget": {"bytes": 1200, "on_shortfall": "redistribute"}},
        ),
        ([], [{"limit": {"documents": 9}}], {"web": {"sample": {"rate": 0.5}}}, {"seed": 4}),
    ],
)  # fmt: skip
def test_plan_equals_run(
    two: list[dict[str, Any]], tmp_path: Path, sets: list[str], steps: list[Plain], last: Any, more: Any
) -> None:
    sources = mix_of(two, sets, *steps, **last)
    found = predicted(sources, **more)
    run_mix(tmp_path / "out", *sources, **more)
    check(found, tmp_path / "out")


def test_tokens_that_were_counted_are_those_of_the_run(
    two: list[dict[str, Any]], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tokenizer = write_tokenizer(tmp_path_factory.mktemp("tokenizer"))
    data = [source["dataset"] for source in two]
    tagger: Plain = {"name": "tokens", "tokenizer": tokenizer}
    run_stage(Tag(TagConfig(datasets=data, taggers=[tagger])), Local(1), Options(force=True))
    last: Any = {"web": {"sample": {"share": 3, "max_epochs": 2}}, "books": {"sample": {"share": 1}}}
    sources = mix_of(two, ["size", "tokens"], RULES, **last)
    budget: Any = {"tokens": 400, "tokenizer": tokenizer}
    found = predicted(sources, budget=budget)
    run_mix(tmp_path / "out", *sources, budget=budget)
    check(found, tmp_path / "out")
    for name, locked in read_lock(str(tmp_path / "out")).sources.items():
        assert found.sources[name].estimates == []
        assert found.sources[name].written.tokens == locked.funnel.kept.written_tokens


@pytest.mark.parametrize(
    "edit", [{"remove": "pii.email"}, {"replace": "pii.email", "with": "<é>"}, {"pseudonymize": "pii.email"}]
)
def test_documents_are_exact_where_edits_change_them(two: list[dict[str, Any]], tmp_path: Path, edit: Plain) -> None:
    sources = mix_of(two, ["size", "dedup_text", "pii"], RULES, DEDUP, {"edit": edit}, HELD)
    found = predicted(sources)
    run_mix(tmp_path / "out", *sources)
    check(found, tmp_path / "out", has_edits=True)
    written = read_lock(str(tmp_path / "out")).sources["web"].funnel.kept.written_bytes
    estimated = found.sources["web"].written.bytes
    assert estimated is not None
    assert abs(estimated - written) < (0.3 if "pseudonymize" in edit else 0.1) * written
    assert any("edits change" in said for said in found.sources["web"].estimates)


def test_emptied_and_shortened_documents_are_foreseen(make_dataset: MakeDataset, tmp_path: Path) -> None:
    texts = ["all of it", "a\nb", "short", "long enough", "x y", " ", "whole\n"]
    marked = [[(0, 9)], [(0, 1), (2, 3)], [(0, 3)], [(0, 2)], [], [(0, 1)], [(0, 5)]]
    dataset = lay_out(make_dataset, "web", [(1, None, (0, 0))] * len(texts), texts)
    measure(dataset, "pii", {"email": SPANS}, [{"email": spans(*pairs)} for pairs in marked])
    steps = [{"edit": {"remove": "pii.email"}}, {"keep_after": {"min_characters": 4}}]
    sources = [{"name": "web", "dataset": dataset, "attributes": ["pii"], "steps": steps}]
    found = predicted(sources).sources["web"]
    run_mix(tmp_path / "out", *sources)
    dropped = read_lock(str(tmp_path / "out")).sources["web"].funnel.dropped
    both = [dropped[reason].documents for reason in ("empty_after_edit", "keep_after")]
    assert both == [4, 1]
    assert sum(both) == sum(found.dropped[reason].documents for reason in ("empty_after_edit", "keep_after"))
    assert any("white space" in said for said in found.estimates)


def test_other_copies_take_the_place_of_those_that_fail(two: list[dict[str, Any]], tmp_path: Path) -> None:
    sources = mix_of(two, ["size", "dedup_text"], RULES, DEDUP)
    found = predicted(sources)
    for rule in ("long", "odd"):
        fewer = {"keep": {name: sql for name, sql in RULES["keep"].items() if name != rule}}
        run_mix(tmp_path / rule, *mix_of(two[:1], ["size", "dedup_text"], fewer, DEDUP), *sources[1:])
        without = len(ids(tmp_path / rule))
        kept = sum(source.kept.documents for source in found.sources.values())
        assert kept + found.sources["web"].rules[rule].regained.documents == without
        only = found.sources["web"].rules[rule].only.documents
        assert found.sources["web"].rules[rule].regained.documents < only
    assert found.sources["web"].never_failed == ["never"]


def test_each_point_of_a_sweep_is_a_run(two: list[dict[str, Any]], tmp_path: Path) -> None:
    sources = mix_of(two, ["size", "dedup_text"], RULES, DEDUP)
    found = swept(sources, "long:size.words=1:9:4")
    assert (found.rule, found.operator, found.now) == ("long", ">", 2)
    for point in found.points:
        rules = {"keep": {**RULES["keep"], "long": f"size.words > {point.value}"}}
        run_mix(tmp_path / str(point.value), *mix_of(two, ["size", "dedup_text"], rules, DEDUP))
        sums = [source.funnel.kept for source in read_lock(str(tmp_path / str(point.value))).sources.values()]
        assert point.kept.documents == sum(kept.documents for kept in sums)
        assert point.kept.bytes == sum(kept.bytes for kept in sums)


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("size.words=40:60:10", ("between", ">=", 50.0)),
        ("size.words=90:110:10", ("between", "<=", 100.0)),
        ("size.words<=1:9:1", ("between", "<=", 100.0)),
        ("few:size.words=1:9:1", ("few", "<", 7.0)),
        ("size.score=0:1:0.5", ("scored", ">=", 0.25)),
        ("coalesce(size.score, 0)=0:1:0.5", ("scored", ">=", 0.25)),
    ],
)
def test_sweep_finds_the_number_that_is_meant(
    two: list[dict[str, Any]], text: str, chosen: tuple[str, str, float]
) -> None:
    rules = {
        "between": "size.words BETWEEN 50 AND 100",
        "few": "size.words < 7",
        "scored": "coalesce(size.score, 0) >= 0.25",
    }
    found = swept(mix_of(two, ["size"], {"keep": rules}), text)
    assert (found.rule, found.operator, found.now) == chosen


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("size.words=1:9:1", "compared 2 times; write one of a:size.words>FROM:TO:STEP"),
        ("size.word=1:9:1", "did you mean size.words"),
        ("size.words=1:9", "expected ATTRIBUTE=FROM:TO:STEP"),
        ("size.words=9:1:1", "expected ATTRIBUTE=FROM:TO:STEP"),
        ("size.words=0:9999:1", "10,000 values; take at most 200"),
    ],
)
def test_sweep_says_what_it_does_not_understand(two: list[dict[str, Any]], text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        swept(mix_of(two, ["size"], {"keep": {"a": "size.words > 2", "b": "size.words < 5"}}), text)


def test_values_of_a_sweep_have_no_dust() -> None:
    assert parse("a.b=0.1:0.7:0.1").values == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.integers(0, 5), st.sampled_from([None, "a", "b", "c"]), st.tuples(st.integers(0, 5), st.integers(5, 60))
        ),
        min_size=2, max_size=20,
    )
)  # fmt: skip
def test_any_documents_are_foreseen(
    make_dataset: MakeDataset, tmp_path_factory: pytest.TempPathFactory, rows: Rows
) -> None:
    folder = tmp_path_factory.mktemp("mix")
    shortest = min(len(text_of(index, number)) for index, (number, _, _) in enumerate(rows))
    rows = [(number, cluster, (start, min(end, shortest))) for number, cluster, (start, end) in rows]
    dataset = lay_out(make_dataset, folder.name, rows)
    steps = [RULES, DEDUP, {"edit": {"remove": "pii.email"}}, HELD, {"sample": {"rate": 0.7}}]
    sources = [{"name": "web", "dataset": dataset, "attributes": ["size", "dedup_text", "pii"], "steps": steps}]
    found = predicted(sources)
    run_mix(folder / "out", *sources)
    check(found, folder / "out", has_edits=True)


Star = tuple[int, str | None, int, list[int]]  # a number, a star, a text, the texts that it was compared with


@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.integers(0, 4), st.sampled_from([None, "x", "y"]), st.integers(0, 5),
            st.lists(st.integers(0, 5), max_size=3),
        ),
        min_size=2, max_size=16,
    )
)  # fmt: skip
def test_survivors_among_near_duplicates_are_foreseen(
    make_dataset: MakeDataset, tmp_path_factory: pytest.TempPathFactory, rows: list[Star]
) -> None:
    folder = tmp_path_factory.mktemp("mix")
    dataset = lay_out(make_dataset, folder.name, [(number, None, (0, 0)) for number, *_ in rows])
    kinds = {**CLUSTERS, "text": pa.int64(), "near": pa.list_(pa.int32())}
    stars = [
        {"cluster": star, "rank": rank, "text": text, "near": sorted(set(near))}
        for rank, (_, star, text, near) in enumerate(rows)
    ]
    measure(dataset, "near", kinds, stars)
    rules = {"keep": {"long": "size.words > 1", "odd": "size.words <> 3"}}
    web = {"name": "web", "dataset": dataset, "attributes": ["size", "near"]}
    sources = [{**web, "steps": [rules, {"dedup": {"by": "near"}}]}]
    found = predicted(sources)
    run_mix(folder / "out", *sources)
    check(found, folder / "out")
    fewer = [{**web, "steps": [{"keep": {"long": "size.words > 1"}}, {"dedup": {"by": "near"}}]}]
    run_mix(folder / "fewer", *fewer)
    mine = found.sources["web"]
    assert mine.kept.documents + mine.rules["odd"].regained.documents == len(ids(folder / "fewer"))


def test_documents_that_lose_paragraphs_are_foreseen_but_for_those_in_doubt(
    make_dataset: MakeDataset, tmp_path: Path
) -> None:
    draw = random.Random(11)
    pieces = ["a", "bb", "çç", "dé", "🦆🦆", "", "a line of its own"]
    texts = ["\n".join(draw.choices(pieces, k=draw.randint(1, 4))) for _ in range(60)]
    dataset = lay_out(make_dataset, "web", [(number % 7, None, (0, 0)) for number in range(60)], texts)
    dedup(dataset, by="paragraph", paragraph=ALL_LINES)
    steps = [RULES, {"dedup": {"by": "dedup_paragraph"}}]
    sources = [{"name": "web", "dataset": dataset, "attributes": ["size", "dedup_paragraph"], "steps": steps}]
    found = predicted(sources).sources["web"]
    run_mix(tmp_path / "out", *sources)
    funnel = read_lock(str(tmp_path / "out")).sources["web"].funnel
    assert found.dropped["rules"].documents == funnel.dropped["rules"].documents
    [in_doubt] = [int(said.split(" ")[0]) for said in found.estimates if "white space" in said]
    assert 0 <= found.kept.documents - funnel.kept.documents <= in_doubt
    assert found.kept.documents + found.dropped["empty_after_edit"].documents == len(ids(tmp_path / "out")) + (
        funnel.dropped["empty_after_edit"].documents
    )


def test_no_document_file_is_opened(two: list[dict[str, Any]]) -> None:
    for source in two:
        for shard in SHARDS:
            Path(source["dataset"], "documents", shard).write_bytes(b"")
    sources = mix_of(two, ["size", "dedup_text", "pii"], RULES, DEDUP, {"edit": {"remove": "pii.email"}}, HELD)
    assert predicted(sources).sources["web"].kept.documents > 0


def test_tokens_are_counted_or_said_to_be_estimated(two: list[dict[str, Any]]) -> None:
    sources = mix_of(two, ["size"], RULES)
    counted = predicted(sources).sources["web"]
    assert counted.estimates == []
    texts = [text_of(i, i * 7 % 11) for i in range(60)]
    assert counted.read.tokens == sum(len(text.split()) + 1 for text in texts)
    for shard in ("a.parquet", "b.parquet"):
        Path(two[0]["dataset"], "attributes/tokens", shard).unlink()
    found = predicted(sources).sources["web"]
    assert found.read.tokens == round(sum(len(text.encode()) for text in texts) / 4.2) + 60
    assert "tokens are its bytes / 4.2" in found.estimates[0]


def test_without_lengths_there_are_documents_only(two: list[dict[str, Any]]) -> None:
    sources = mix_of(two, ["size"], RULES)
    expected = predicted(sources).sources["web"]
    for source in two:
        for set_name in ("length", "tokens"):
            for shard in ("a.parquet", "b.parquet"):
                Path(source["dataset"], "attributes", set_name, shard).unlink()
    found = predicted(sources).sources["web"]
    assert (found.kept.documents, found.kept.bytes, found.kept.tokens) == (expected.kept.documents, None, None)
    assert "--taggers length" in found.estimates[0]
    with pytest.raises(ConfigError, match="takes an amount, and nothing says how long"):
        predicted(mix_of(two, [], {"limit": {"bytes": 100}}))


def test_a_null_is_an_error_that_names_the_document(two: list[dict[str, Any]]) -> None:
    measure(two[0]["dataset"], "size", SIZE, [None if i == 40 else {"words": 3, "score": 0.5} for i in range(60)])
    with pytest.raises(DataError, match=r"is NULL for document 'web40' of .*b.jsonl.gz"):
        predicted(mix_of(two, ["size"], RULES))
    rule = {"keep": {"long": "coalesce(size.words, 0) > 2"}}
    assert predicted(mix_of(two, ["size"], rule)).sources["web"].rules["long"].alone.documents == 1


def test_a_shortfall_is_the_error_of_the_run(two: list[dict[str, Any]]) -> None:
    share = {"sample": {"share": 1}}
    with pytest.raises(DataError, match=r"'web' offers .* too few"):
        predicted(mix_of(two, [], web=share), budget={"bytes": 100_000})


def test_the_command_shows_a_plan_and_a_sweep(two: list[dict[str, Any]], tmp_path: Path) -> None:
    path, sources = tmp_path / "mix.yaml", mix_of(two, ["size", "dedup_text"], RULES, DEDUP)
    path.write_text(json.dumps({"to": str(tmp_path / "out"), "sources": sources}))
    shown = CliRunner().invoke(app, ["mix", "-c", str(path), "--plan"]).stdout
    assert "odd alone" in shown
    assert "rules that drop nothing: never" in shown
    said = CliRunner().invoke(app, ["mix", "-c", str(path), "--plan", "--json"]).stdout
    assert msgspec.json.decode(said, type=Prediction) == predicted(sources)
    shown = CliRunner().invoke(app, ["mix", "-c", str(path), "--sweep", "long:size.words=1:9:4"]).stdout
    assert shown.splitlines()[0] == "rule long: size.words > 2, at other values:"
    assert len(shown.splitlines()) == 5
    assert not (tmp_path / "out").exists()
