"""The mix: every document accounted for, the best copy kept, shares reached, nothing lost silently."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import MakeDataset
from handmade import store, tree_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mixes import CLUSTERS, SPANS, clusters, documents, ids, lines, measure, mix_of, provenance, run_mix, spans

from dolma_pipe.errors import AlignmentError, ConfigError, DataError
from dolma_pipe.execution import run_stage
from dolma_pipe.runners.local import Local
from dolma_pipe.stages.mix import funnel, read_lock
from dolma_pipe.stages.tag import Tag, TagConfig
from dolma_pipe.types import Plain

WORDS = {"words": pa.int32()}


@pytest.fixture
def web(make_dataset: MakeDataset) -> str:
    """Six documents in two shards, with numbers, spans and clusters."""
    texts = {"a.jsonl": ["alpha beta", "mail me@x.org now", "gamma"], "b.jsonl": ["delta", "alpha beta", "ab"]}
    dataset = make_dataset(texts, "web")
    measure(dataset, "size", WORDS, [{"words": n} for n in (2, 3, 1, 1, 2, 1)])
    mail = [spans(), spans((5, 13)), spans(), spans(), spans(), spans((0, 2))]
    measure(dataset, "pii", {"email": SPANS}, [{"email": found} for found in mail])
    copies = clusters(("k", 0), None, None, None, ("k", 1), None)
    measure(dataset, "dedup_text", CLUSTERS, copies)
    return dataset


def source(dataset: str, *steps: Plain, attributes: Sequence[str] = (), name: str = "web", **more: Plain) -> Plain:
    return {"name": name, "dataset": dataset, "attributes": list(attributes), "steps": list(steps), **more}


def test_documents_that_fail_no_rule_stay_byte_for_byte(web: str, tmp_path: Path) -> None:
    line = '{"id": 7,  "text":"a\\u0062", "extra": [1.0, 1e3], "metadata": {"b": 1, "a": 2}}'
    Path(web, "documents/c.jsonl").write_text(line + "\n")
    measure(web, "size", WORDS, [{"words": 5}] * 7)
    run_mix(tmp_path / "out", source(web, {"keep": {"long": "size.words >= 2"}}, attributes=["size"]))
    assert lines(tmp_path / "out/documents/web/c.jsonl.zst") == [line.encode()]


def test_reasons_are_all_rules_that_fail(web: str, tmp_path: Path) -> None:
    keep = {"keep": {"two": "size.words >= 2", "even": "size.words % 2 = 0"}}
    run_mix(tmp_path / "out", source(web, keep, attributes=["size"]))
    found = funnel(str(tmp_path / "out"))["web"]
    assert ids(tmp_path / "out") == ["a.jsonl-0", "b.jsonl-1"]
    assert (found.rules["two"].failed.documents, found.rules["two"].only.documents) == (3, 0)
    assert (found.rules["even"].failed.documents, found.rules["even"].only.documents) == (4, 1)
    assert found.dropped["rules"].documents == 4
    assert found.read.bytes == sum(
        len(text) for text in ("alpha beta", "mail me@x.org now", "gamma", "delta", "alpha beta", "ab")
    )


def test_edits_replace_spans_and_empty_documents_are_dropped(web: str, tmp_path: Path) -> None:
    edit = {"edit": {"remove": "pii.email"}}
    run_mix(tmp_path / "out", source(web, edit, attributes=["pii"]))
    texts = [document["text"] for document in documents(tmp_path / "out")]
    assert texts == ["alpha beta", "mail  now", "gamma", "delta", "alpha beta"]
    found = funnel(str(tmp_path / "out"))["web"]
    assert found.dropped["empty_after_edit"].documents == 1
    assert found.kept.written_bytes == sum(map(len, texts))
    assert (found.edits["pii.email"].spans, found.edits["pii.email"].documents) == (2, 2)


def test_first_copy_of_a_cluster_stays(web: str, tmp_path: Path) -> None:
    run_mix(tmp_path / "out", source(web, {"dedup": {"by": "dedup_text"}}, attributes=["dedup_text"]))
    assert ids(tmp_path / "out") == ["a.jsonl-0", "a.jsonl-1", "a.jsonl-2", "b.jsonl-0", "b.jsonl-2"]
    assert funnel(str(tmp_path / "out"))["web"].dropped["dedup_text"].documents == 1


def test_best_passing_copy_stays_when_the_first_fails_a_rule(web: str, tmp_path: Path) -> None:
    steps = [{"keep": {"not_first": "id <> 'a.jsonl-0'"}}, {"dedup": {"by": "dedup_text"}}]
    run_mix(tmp_path / "out", source(web, *steps, attributes=["dedup_text"]))
    assert "b.jsonl-1" in ids(tmp_path / "out")


def test_clusters_reach_over_sources_and_end_at_one_with_scope(
    web: str, make_dataset: MakeDataset, tmp_path: Path
) -> None:
    wiki = make_dataset({"a.jsonl": ["alpha beta", "other"]}, "wiki")
    measure(wiki, "dedup_text", CLUSTERS, clusters(("k", 2), None))
    for scope, left in (("mix", ["a.jsonl-1"]), ("source", ["a.jsonl-0", "a.jsonl-1"])):
        step = {"dedup": {"by": "dedup_text", "scope": scope}}
        out = tmp_path / scope
        run_mix(out, *(source(d, step, attributes=["dedup_text"], name=n) for d, n in ((web, "web"), (wiki, "wiki"))))
        shard = out / "documents/wiki/a.jsonl.zst"
        assert [json.loads(line)["id"] for line in lines(shard)] == left


def test_preferred_copy_stays(make_dataset: MakeDataset, tmp_path: Path) -> None:
    rows = [{"id": name, "text": name, "created": when} for name, when in
            (("x", "2020-01-01"), ("y", "2021-01-01T00:00:00Z"), ("z", None))]  # fmt: skip
    dataset = make_dataset({"a.jsonl": [{k: v for k, v in row.items() if v} for row in rows]}, "d")
    measure(dataset, "dedup_text", CLUSTERS, clusters(("k", 0), ("k", 1), ("k", 2)))
    measure(dataset, "length", {"characters": pa.int32()}, [{"characters": n} for n in (5, 6, 9)])
    for prefer, left in (("first", "x"), ("latest", "y"), ("longest", "z"), ({"max": "-length.characters"}, "x")):
        sets = ["dedup_text"] if prefer in ("first", "latest") else ["dedup_text", "length"]
        out = tmp_path / str(prefer)[:6]
        run_mix(out, source(dataset, {"dedup": {"by": "dedup_text", "prefer": prefer}}, attributes=sets))
        assert ids(out) == [left]


def test_a_copy_that_its_edits_empty_is_no_survivor(make_dataset: MakeDataset, tmp_path: Path) -> None:
    dataset = make_dataset({"a.jsonl": ["gone", "gone"]}, "d")
    measure(dataset, "dedup_text", CLUSTERS, clusters(("k", 0), ("k", 1)))
    measure(dataset, "pii", {"name": SPANS}, [{"name": spans((0, 4))}, {"name": spans()}])
    run_mix(tmp_path / "out", source(
        dataset, {"dedup": {"by": "dedup_text"}}, {"edit": {"remove": "pii.name"}}, attributes=["dedup_text", "pii"]
    ))  # fmt: skip
    assert ids(tmp_path / "out") == ["a.jsonl-1"]


def test_later_dedups_choose_among_what_earlier_ones_left(make_dataset: MakeDataset, tmp_path: Path) -> None:
    """x loses its URL cluster to w, so it must not take y, its copy in text, along."""
    dataset = make_dataset({"a.jsonl": ["w", "x", "y"]}, "d")
    measure(dataset, "dedup_url", CLUSTERS, clusters(("u", 0), ("u", 1), None))
    measure(dataset, "dedup_text", CLUSTERS, clusters(None, ("t", 0), ("t", 1)))
    steps = [{"dedup": {"by": "dedup_url"}}, {"dedup": {"by": "dedup_text"}}]
    run_mix(tmp_path / "out", source(dataset, *steps, attributes=["dedup_url", "dedup_text"]))
    assert ids(tmp_path / "out") == ["a.jsonl-0", "a.jsonl-2"]


def many(make_dataset: MakeDataset, name: str = "many", shards: int = 5, rows: int = 60) -> str:
    texts = {f"{s}.jsonl": [f"document {s} {r} " + "x" * (r * 7 % 90) for r in range(rows)] for s in range(shards)}
    return make_dataset(texts, name)


def written(out: Path, name: str) -> int:
    return funnel(str(out))[name].kept.written_bytes


def test_shares_are_reached_within_one_document(make_dataset: MakeDataset, tmp_path: Path) -> None:
    one, two = many(make_dataset, "one"), many(make_dataset, "two", rows=20)
    sources = (source(one, {"sample": {"share": 0.75}}, name="one"),
               source(two, {"sample": {"share": 0.25, "max_epochs": 3}}, name="two"))  # fmt: skip
    run_mix(tmp_path / "out", *sources, budget={"bytes": 16_000}, seed=3)
    longest = max(len(d["text"]) for d in documents(tmp_path / "out"))
    for name, target in (("one", 12_000), ("two", 4_000)):
        assert target <= written(tmp_path / "out", name) < target + longest
        locked = read_lock(str(tmp_path / "out")).sources[name].target
        assert (locked.target, locked.realised) == (target, written(tmp_path / "out", name))


def test_repetition_writes_whole_copies_and_part_of_one(make_dataset: MakeDataset, tmp_path: Path) -> None:
    dataset = many(make_dataset, "d", shards=2, rows=10)
    run_mix(tmp_path / "out", source(dataset, {"sample": {"share": 1, "max_epochs": 3}}), budget={"bytes": 2_000})
    found = ids(tmp_path / "out")
    assert len(set(found)) == 20
    assert {found.count(name) for name in found} <= {1, 2, 3}
    copies = {row["copy"] for row in provenance(tmp_path / "out")}
    assert copies >= {0, 1}
    assert (tmp_path / "out/documents/web/0.copy1.jsonl.zst").exists()


def test_epochs_take_every_document_once_and_some_twice(make_dataset: MakeDataset, tmp_path: Path) -> None:
    dataset = many(make_dataset)
    run_mix(tmp_path / "out", source(dataset, {"sample": {"epochs": 1.5}}))
    found = ids(tmp_path / "out")
    assert len(set(found)) == 300
    assert 400 < len(found) < 500


def test_rate_keeps_about_that_many(make_dataset: MakeDataset, tmp_path: Path) -> None:
    run_mix(tmp_path / "out", source(many(make_dataset), {"sample": {"rate": 0.2}}))
    found = funnel(str(tmp_path / "out"))["web"]
    assert 30 < found.kept.documents < 90
    assert found.kept.documents + found.dropped["not_sampled"].documents == 300


@pytest.mark.parametrize("amount", [{"fraction": 0.2}, {"bytes": 3000}])
def test_splits_hold_out_documents(make_dataset: MakeDataset, tmp_path: Path, amount: dict[str, float]) -> None:
    dataset = many(make_dataset)
    run_mix(
        tmp_path / "out",
        source(dataset, {"split": {"name": "held", **amount}}, {"split": {"name": "test", "bytes": 500}}),
    )
    train, held, test = (set(ids(tmp_path / "out" / part)) for part in ("", "splits/held", "splits/test"))
    assert train | held | test == {f"{s}.jsonl-{r}" for s in range(5) for r in range(60)}
    assert len(train) + len(held) + len(test) == 300
    assert test
    if "bytes" in amount:
        assert 3000 <= funnel(str(tmp_path / "out"))["web"].splits["held"].written_bytes < 3110
    assert len(provenance(tmp_path / "out/splits/held")) == len(held)


def test_shortfall_is_an_error_a_cap_or_redistributed(make_dataset: MakeDataset, tmp_path: Path) -> None:
    one, two = many(make_dataset, "one"), many(make_dataset, "two", shards=1, rows=5)
    sources = (source(one, {"sample": {"share": 1}}, name="one"), source(two, {"sample": {"share": 1}}, name="two"))
    with pytest.raises(DataError, match=r"'two' offers \d+ of 5,000 bytes"):
        run_mix(tmp_path / "a", *sources, budget={"bytes": 10_000})
    run_mix(tmp_path / "b", *sources, budget={"bytes": 10_000, "on_shortfall": "cap"})
    run_mix(tmp_path / "c", *sources, budget={"bytes": 10_000, "on_shortfall": "redistribute"})
    assert 5_000 <= written(tmp_path / "b", "one") < 5_110
    assert written(tmp_path / "b", "two") == written(tmp_path / "c", "two") < 5_000
    capped = read_lock(str(tmp_path / "b")).sources["two"].target
    assert (capped.asked, capped.target) == (5_000, written(tmp_path / "b", "two"))
    total = written(tmp_path / "c", "one") + written(tmp_path / "c", "two")
    assert 10_000 <= total < 10_110


def busy_sources(make_dataset: MakeDataset) -> list[dict[str, Any]]:
    """Two sources on which every kind of step has work to do."""
    one, two = many(make_dataset, "one"), many(make_dataset, "two", shards=2)
    for dataset, count in ((one, 300), (two, 120)):
        measure(dataset, "size", WORDS, [{"words": i % 11} for i in range(count)])
        copies = [(f"c{i % 50}", i) if i % 3 else None for i in range(count)]
        measure(dataset, "dedup_text", CLUSTERS, clusters(*copies))
        measure(dataset, "pii", {"email": SPANS}, [{"email": spans((0, i % 9))} for i in range(count)])
    steps = [
        {"keep": {"long": "size.words > 2", "odd": "size.words <> 7"}}, {"dedup": {"by": "dedup_text"}},
        {"edit": {"replace": "pii.email", "with": "<mail>"}}, {"split": {"name": "held", "bytes": 400}},
    ]  # fmt: skip
    shares = ({"share": 2, "max_epochs": 2}, {"share": 1, "max_epochs": 3})
    return [
        source(dataset, *steps, {"sample": share}, attributes=["size", "dedup_text", "pii"], name=name)
        for dataset, name, share in ((one, "one", shares[0]), (two, "two", shares[1]))
    ]


def test_any_number_of_workers_writes_the_same(make_dataset: MakeDataset, tmp_path: Path) -> None:
    sources = busy_sources(make_dataset)
    for workers in (1, 3):
        run_mix(tmp_path / str(workers), *sources, budget={"bytes": 3_000}, seed=5, workers=workers, keep_rejected=True)
    assert tree_of(tmp_path / "1") == tree_of(tmp_path / "3")
    assert len(tree_of(tmp_path / "1")) > 30
    assert not (tmp_path / "1/_scratch").exists()


def test_a_second_run_does_nothing(make_dataset: MakeDataset, tmp_path: Path) -> None:
    sources = busy_sources(make_dataset)
    first = run_mix(tmp_path / "out", *sources, budget={"bytes": 3_000})
    again = run_mix(tmp_path / "out", *sources, budget={"bytes": 3_000})
    assert (first.skipped, again.done) == (0, 0)


def test_a_lost_output_is_made_again_and_only_that(make_dataset: MakeDataset, tmp_path: Path) -> None:
    sources = busy_sources(make_dataset)
    run_mix(tmp_path / "out", *sources, budget={"bytes": 3_000})
    before = tree_of(tmp_path / "out")
    (tmp_path / "out/documents/one/0.jsonl.zst").unlink()
    stamp = (tmp_path / "out/documents/one/1.jsonl.zst").stat().st_mtime_ns
    run_mix(tmp_path / "out", *sources, budget={"bytes": 3_000})
    assert tree_of(tmp_path / "out") == before
    assert (tmp_path / "out/documents/one/1.jsonl.zst").stat().st_mtime_ns == stamp


def test_another_rule_writes_another_mix_and_leaves_nothing_old(make_dataset: MakeDataset, tmp_path: Path) -> None:
    dataset = many(make_dataset, shards=2, rows=4)
    for rule, left in (("id LIKE '%'", 8), ("id LIKE '0%'", 4)):
        run_mix(tmp_path / "out", source(dataset, {"keep": {"some": rule}}))
        assert len(ids(tmp_path / "out")) == left
    run_mix(tmp_path / "fresh", source(dataset, {"keep": {"some": "id LIKE '0%'"}}))
    assert tree_of(tmp_path / "out") == tree_of(tmp_path / "fresh")


def test_a_shard_that_is_gone_takes_its_output_along(make_dataset: MakeDataset, tmp_path: Path) -> None:
    dataset = many(make_dataset, shards=3, rows=4)
    run_mix(tmp_path / "out", source(dataset))
    Path(dataset, "documents/2.jsonl").unlink()
    run_mix(tmp_path / "out", source(dataset))
    assert len(ids(tmp_path / "out")) == 8
    assert funnel(str(tmp_path / "out"))["web"].read.documents == 8


def test_another_seed_draws_other_documents(make_dataset: MakeDataset, tmp_path: Path) -> None:
    dataset = many(make_dataset)
    for seed in (1, 2):
        run_mix(tmp_path / str(seed), source(dataset, {"sample": {"rate": 0.5}}), seed=seed)
    assert ids(tmp_path / "1") != ids(tmp_path / "2")


def test_draws_do_not_depend_on_how_documents_lie_in_files(make_dataset: MakeDataset, tmp_path: Path) -> None:
    rows = [{"id": f"n{i}", "text": f"text {i}"} for i in range(40)]
    one = make_dataset({"a.jsonl": rows}, "one")
    two = make_dataset({"a.jsonl": rows[:7], "b.jsonl.zst": rows[7:]}, "two")
    steps = [{"split": {"name": "held", "bytes": 50}}, {"sample": {"rate": 0.5}}]
    for dataset in (one, two):
        run_mix(tmp_path / f"{Path(dataset).name}-out", source(dataset, *steps))
    assert ids(tmp_path / "one-out") == ids(tmp_path / "two-out")
    assert ids(tmp_path / "one-out/splits/held") == ids(tmp_path / "two-out/splits/held")


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from([None, "a", "b", "c"]), st.integers(0, 4)), min_size=1, max_size=25
    )
)
def test_every_document_is_accounted_for(
    make_dataset: MakeDataset, tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, str | None, int]]
) -> None:
    folder = tmp_path_factory.mktemp("mix")
    dataset = make_dataset({"s.jsonl": ["wxyz"] * len(rows)}, folder.name)
    measure(dataset, "size", WORDS, [{"words": words} for words, _, _ in rows])
    measure(dataset, "dup", CLUSTERS, clusters(*((c, i) if c else None for i, (_, c, _) in enumerate(rows))))
    measure(dataset, "pii", {"email": SPANS}, [{"email": spans((0, end))} for _, _, end in rows])
    steps = [
        {"keep": {"some": "size.words > 0", "odd": "size.words <> 2"}}, {"dedup": {"by": "dup"}},
        {"edit": {"remove": "pii.email"}}, {"split": {"name": "held", "fraction": 0.3}}, {"sample": {"epochs": 1.4}},
    ]  # fmt: skip
    run_mix(folder / "out", source(dataset, *steps, attributes=["size", "dup", "pii"]), keep_rejected=True)
    found = funnel(str(folder / "out"))["web"]
    found.check("web")
    rejected = [name for part in (folder / "out/_rejected").glob("*") for name in ids(part)]
    everywhere = [*set(ids(folder / "out")), *ids(folder / "out/splits/held"), *rejected]
    assert sorted(everywhere) == sorted(f"s.jsonl-{i}" for i in range(len(rows)))
    expected = {c or i for i, (words, c, end) in enumerate(rows) if words in (1, 3) and end < 4}
    assert found.kept.documents + found.splits["held"].documents + found.dropped["not_sampled"].documents == len(
        expected
    )


def test_provenance_says_where_every_line_came_from(web: str, tmp_path: Path) -> None:
    steps = [{"keep": {"two": "size.words >= 2"}}, {"edit": {"replace": "pii.email", "with": "@"}}]
    run_mix(tmp_path / "out", source(web, *steps, attributes=["size", "pii"]))
    assert [(row["shard"], row["row"], row["copy"], row["edits"]) for row in provenance(tmp_path / "out")] == [
        ("a.jsonl", 0, 0, 0), ("a.jsonl", 1, 0, 1), ("b.jsonl", 1, 0, 0),
    ]  # fmt: skip


def test_rejected_documents_are_kept_with_all_reasons_when_asked(web: str, tmp_path: Path) -> None:
    keep = {"keep": {"two": "size.words >= 2", "even": "size.words % 2 = 0"}}
    run_mix(tmp_path / "out", source(web, keep, attributes=["size"]), keep_rejected=True)
    assert len(ids(tmp_path / "out/_rejected/two")) == 3
    assert ids(tmp_path / "out/_rejected/even") == ["a.jsonl-1"]
    assert provenance(tmp_path / "out/_rejected/two")[0]["reasons"] == ["two", "even"]


def test_the_lock_names_inputs_rules_and_what_never_failed(web: str, tmp_path: Path) -> None:
    run_mix(tmp_path / "out", source(web, {"keep": {"any": "size.words > 0"}}, attributes=["size"]), seed=9)
    lock = read_lock(str(tmp_path / "out"))
    assert [found.name for found in lock.sources["web"].inputs] == [
        "web/attributes/size/a", "web/attributes/size/b", "web/documents/a.jsonl", "web/documents/b.jsonl",
    ]  # fmt: skip
    assert lock.sources["web"].never_failed == ["any"]
    assert lock.configuration["sources"]["web"]["rules"] == {"any": "size.words > 0"}


def test_unreadable_rows_are_quarantined_and_counted(make_dataset: MakeDataset, tmp_path: Path) -> None:
    dataset = make_dataset({"a.jsonl": ["good", b"{not json", "fine"]}, "d")
    run_mix(tmp_path / "out", source(dataset), max_bad_fraction=0.9)
    assert funnel(str(tmp_path / "out"))["web"].quarantined.documents == 1
    row = json.loads((tmp_path / "out/_quarantine/web/a.jsonl").read_text())
    assert row["line"] == 2


def test_a_stranger_may_bring_a_step(make_dataset: MakeDataset, tmp_path: Path) -> None:
    dataset = make_dataset({"a.jsonl": ["good", "bad"]}, "d")
    run_mix(tmp_path / "out", source(dataset, {"mixes:FirstOnly": {"row": 0}}))
    assert ids(tmp_path / "out") == ["a.jsonl-0"]


# What is refused ---------------------------------------------------------------------------------------------------


def test_attributes_of_another_shard_are_refused(web: str, tmp_path: Path) -> None:
    store(Path(web, "attributes/size/b.parquet"), Path(web, "attributes/size/a.parquet").read_bytes())
    with pytest.raises(AlignmentError, match=r"size/b\.parquet: row 0 is of document 'a\.jsonl-0'"):
        run_mix(tmp_path / "out", source(web, {"keep": {"any": "size.words > 0"}}, attributes=["size"]))
    assert not (tmp_path / "out/mix.lock.json").exists()


@pytest.mark.parametrize("steps", [["size"], ["size", "pii"], ["size", "pii", "dedup_text"]])
def test_a_document_shard_that_changed_is_refused(web: str, tmp_path: Path, steps: list[str]) -> None:
    path = Path(web, "documents/b.jsonl")
    path.write_text(path.read_text().replace("delta", "DELTA"))
    made = {"size": {"keep": {"any": "size.words > 0"}}, "pii": {"edit": {"remove": "pii.email"}},
            "dedup_text": {"dedup": {"by": "dedup_text"}}}  # fmt: skip
    with pytest.raises(AlignmentError, match=r"b\.parquet: the document shard has changed since it was measured"):
        run_mix(tmp_path / "out", source(web, *(made[name] for name in steps), attributes=steps))


def test_a_document_more_than_was_measured_is_refused(web: str, tmp_path: Path) -> None:
    path = Path(web, "documents/b.jsonl")
    path.write_text(path.read_text() + '{"id": "new", "text": "new"}\n')
    with pytest.raises(AlignmentError, match=r"size/b\.parquet: ends after row 3 but the document shard goes on"):
        run_mix(tmp_path / "out", source(web, {"keep": {"any": "size.words > 0"}}, attributes=["size"]))


def test_sets_measured_on_different_versions_are_refused(web: str, tmp_path: Path) -> None:
    path = Path(web, "documents/b.jsonl")
    path.write_text(path.read_text().replace("delta", "DELTA"))
    measure(web, "pii", {"email": SPANS}, [{"email": spans()}] * 6)
    rules = {"keep": {"any": "size.words > 0 and len(pii.email) = 0"}}
    with pytest.raises(AlignmentError, match="were measured on different versions"):
        run_mix(tmp_path / "out", source(web, rules, attributes=["size", "pii"]))


def test_null_in_a_rule_is_refused_unless_it_says_what_null_means(web: str, tmp_path: Path) -> None:
    measure(web, "size", WORDS, [{"words": 1}] * 5 + [None])
    with pytest.raises(DataError, match=r"rule 'any' \(size.words > 0\) is NULL for document 'b\.jsonl-2'"):
        run_mix(tmp_path / "out", source(web, {"keep": {"any": "size.words > 0"}}, attributes=["size"]))
    run_mix(tmp_path / "out", source(web, {"keep": {"any": "coalesce(size.words > 0, true)"}}, attributes=["size"]))
    assert len(ids(tmp_path / "out")) == 6


def test_an_edit_of_spans_that_were_not_measured_is_refused(web: str, tmp_path: Path) -> None:
    measure(web, "pii", {"email": SPANS}, [None] + [{"email": spans()}] * 5)
    edit = {"edit": {"remove": "pii.email"}}
    with pytest.raises(DataError, match=r"pii.email was not measured for document 'a\.jsonl-0'"):
        run_mix(tmp_path / "out", source(web, edit, attributes=["pii"]))
    run_mix(tmp_path / "out", source(web, edit, {"keep": {"seen": "pii IS NOT NULL"}}, attributes=["pii"]))
    assert len(ids(tmp_path / "out")) == 5


def test_a_span_outside_the_text_is_refused(web: str, tmp_path: Path) -> None:
    measure(web, "pii", {"email": SPANS}, [{"email": spans((3, 99))}] + [{"email": spans()}] * 5)
    with pytest.raises(DataError, match=r"span 3 to 99 of document 'a\.jsonl-0' .* outside its 10 characters"):
        run_mix(tmp_path / "out", source(web, {"edit": {"remove": "pii.email"}}, attributes=["pii"]))


REFUSED = [
    ([{"keep": {"a": "size.word > 1"}}], ["size"], r"no attribute 'size\.word'.*did you mean size\.words"),
    ([{"keep": {"a": "pii.email IS NULL"}}], [], r"no attribute 'pii\.email'"),
    ([{"keep": {"a": "size.words > 1"}}], ["sizes"], r"no set 'sizes'.*did you mean 'size'"),
    ([{"keep": {"a": "size.words > 1"}}], ["size", "pii"], r"no step reads 'pii'; remove it"),
    ([{"keep": {"a": "count(*) > 1"}}], [], r"'count_star' is an aggregate"),
    ([{"keep": {"a": "random() > 0.5"}}], [], r"'random' is volatile"),
    ([{"keep": {"a": "id = 'x'"}}, {"keep": {"a": "id = 'y'"}}], [], r"rules: 'a' appears twice"),
    ([{"keep": "gofer"}], [], r"no bundled configuration"),
    ([{"kep": "gopher"}], [], r"no step 'kep'; did you mean 'keep'"),
    ([{"dedup": {"by": "dedup_text"}}], [], r"'dedup_text' is not listed under attributes"),
    ([{"dedup": {"by": "size"}}], ["size"], r"'size' has no 'cluster'"),
    ([{"edit": {"remove": "pii.mail"}}], ["pii"], r"no attribute 'pii\.mail' \(span fields of 'pii': email\)"),
    ([{"edit": {"remove": "size.words"}}], ["size"], r"holds no spans but int32"),
    ([{"keep_after": {"min_characters": 5}}], [], r"keep_after has no effect without an edit"),
    ([{"sample": {"rate": 0.5}}, {"sample": {"rate": 0.5}}], [], r"2 sampling steps"),
    ([{"sample": {"rate": 0.5}}, {"split": {"name": "x", "fraction": 0.5}}], [], r"the sampling step is the last one"),
    ([{"sample": {"share": 1}}], [], r"there is no budget"),
    (["keep"], [], r"expected one step by its name"),
]


@pytest.mark.parametrize(("steps", "attributes", "message"), REFUSED, ids=[case[2][:24] for case in REFUSED])
def test_what_cannot_work_is_refused_before_any_work(
    web: str, tmp_path: Path, steps: Plain, attributes: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        mix_of(tmp_path / "out", source(web, *steps, attributes=attributes))
    assert not (tmp_path / "out").exists()


def test_budgets_that_have_no_effect_are_refused(web: str, tmp_path: Path) -> None:
    for budget, message in (({"bytes": 5}, "no source samples a share"), ({"tokens": 5}, "no source samples a share")):
        with pytest.raises(ConfigError, match=message):
            mix_of(tmp_path / "out", source(web), budget=budget)


def test_copies_must_not_take_the_name_of_another_shard(make_dataset: MakeDataset, tmp_path: Path) -> None:
    dataset = make_dataset({"a.jsonl": ["x"], "a.copy1.jsonl": ["y"]}, "d")
    with pytest.raises(ConfigError, match=r"a\.copy1\.jsonl"):
        mix_of(tmp_path / "out", source(dataset, {"sample": {"epochs": 2}}))


def test_an_empty_shard_is_part_of_a_mix(make_dataset: MakeDataset, tmp_path: Path) -> None:
    dataset = make_dataset({"a.jsonl": [], "b.jsonl": ["some text", "some text"]}, "d")
    measure(dataset, "dup", CLUSTERS, clusters(("k", 0), ("k", 1)))
    measure(dataset, "pii", {"email": SPANS}, [{"email": spans()}] * 2)
    steps = [{"dedup": {"by": "dup"}}, {"edit": {"remove": "pii.email"}}, {"sample": {"share": 1}}]
    run_mix(tmp_path / "out", source(dataset, *steps, attributes=["dup", "pii"]), budget={"bytes": 9})
    assert ids(tmp_path / "out") == ["b.jsonl-0"]


def test_a_new_shard_leaves_the_others_as_they_are(make_dataset: MakeDataset, tmp_path: Path) -> None:
    dataset = many(make_dataset, shards=2, rows=4)
    steps = [{"keep": {"any": "id <> ''"}}, {"split": {"name": "held", "fraction": 0.1}}]
    run_mix(tmp_path / "out", source(dataset, *steps))
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/documents/web").iterdir()}
    store(Path(dataset, "documents/00.jsonl"), b'{"id": "new", "text": "new"}\n')
    summary = run_mix(tmp_path / "out", source(dataset, *steps))
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert summary.counts["documents"] == 9


def test_documents_may_lie_in_parquet(tmp_path: Path) -> None:
    rows = {"id": ["a", "b"], "text": ["first", "second"], "metadata": ['{"url": "u"}', None]}
    (tmp_path / "d/documents").mkdir(parents=True)
    pq.write_table(pa.table(rows), tmp_path / "d/documents/x.parquet")
    run_mix(tmp_path / "out", source(str(tmp_path / "d"), {"keep": {"b": "id = 'a'"}}))
    assert documents(tmp_path / "out") == [{"id": "a", "text": "first", "metadata": {"url": "u"}}]


@pytest.mark.corpus
def test_no_address_that_was_found_is_left_in_real_mail(corpus: Path, tmp_path: Path) -> None:
    original = corpus / "corpus/usenet/documents"
    (tmp_path / "mail").mkdir()
    (tmp_path / "mail/documents").symlink_to(original)
    first = sorted(path.name for path in original.iterdir())[0]
    tag = TagConfig(datasets=[str(tmp_path / "mail")], taggers=["pii", "gopher"], include=[first])
    run_stage(Tag(tag), Local(1))
    steps = [{"keep": {"words": "gopher.word_count >= 50"}}, {"edit": {"replace": "pii.email", "with": "|||MAIL|||"}}]
    run_mix(tmp_path / "out", source(str(tmp_path / "mail"), *steps, attributes=["pii", "gopher"], include=[first]))
    run_stage(Tag(TagConfig(datasets=[str(tmp_path / "out")], taggers=["pii"])), Local(1))
    left = pq.read_table(next((tmp_path / "out/attributes/pii").rglob("*.parquet"))).column("pii").to_pylist()
    edits = funnel(str(tmp_path / "out"))["web"].edits["pii.email"]
    assert edits.spans > 1000
    assert sum(len(row["email"]) for row in left) == 0
