"""Tagging: one pass, aligned rows, the same bytes for any workers, only the missing sets on a rerun."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from handmade import encode_lines, store, tree_of

from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.execution import Summary, run_stage
from dolma_pipe.runners.local import Local
from dolma_pipe.stages.tag import Tag, TagConfig

Make = Callable[..., str]


def size(name: str = "size", **options: object) -> dict[str, object]:
    return {"name": name, "use": "toy_taggers:Size", **options}


def tag(dataset: str | list[str], *taggers: object, workers: int = 1, **options: object) -> Summary:
    datasets = [dataset] if isinstance(dataset, str) else dataset
    return run_stage(Tag(TagConfig(datasets=datasets, taggers=list(taggers), **options)), Local(workers))  # type: ignore[arg-type]


def rows(dataset: str, name: str, stem: str = "a") -> list[dict[str, object]]:
    table = pq.read_table(f"{dataset}/attributes/{name}/{stem}.parquet")
    return [
        {"id": i, **(v or {"null": True})}
        for i, v in zip(table["id"].to_pylist(), table[name].to_pylist(), strict=True)
    ]


def test_every_document_has_a_row_in_order(make_dataset: Make) -> None:
    data = make_dataset({"a.jsonl": ["one", "", "three"], "sub/b.jsonl.gz": ["é😀"]})
    summary = tag(data, size())
    assert rows(data, "size") == [
        {"id": "a.jsonl-0", "characters": 3, "half": 1.5},
        {"id": "a.jsonl-1", "characters": 0, "half": 0.0},
        {"id": "a.jsonl-2", "characters": 5, "half": 2.5},
    ]
    assert rows(data, "size", "sub/b")[0]["characters"] == 2
    assert summary.counts["documents"] == 4
    assert summary.counts["bytes"] == 3 + 5 + 6


def test_a_pass_computes_the_missing_sets_only(make_dataset: Make) -> None:
    data = make_dataset({"a.jsonl": ["x"], "b.jsonl": ["y"]})
    tag(data, size("one"))
    before = (Path(data) / "attributes/one/a.parquet").stat().st_mtime_ns
    assert tag(data, size("one"), size("two")).done == 2
    assert (Path(data) / "attributes/one/a.parquet").stat().st_mtime_ns == before
    assert tag(data, size("one"), size("two")).done == 0
    assert tag(data, size("one", factor=2), size("two")).done == 2
    assert rows(data, "one")[0]["characters"] == 2


def test_a_changed_shard_is_tagged_again_and_a_gone_one_loses_its_attributes(make_dataset: Make) -> None:
    data = make_dataset({"a.jsonl": ["x"], "b.jsonl": ["y"]})
    tag(data, size())
    store(Path(data) / "documents/a.jsonl", encode_lines([{"id": "n", "text": "new text"}]))
    assert tag(data, size()).done == 1
    assert rows(data, "size")[0]["characters"] == 8
    os.unlink(Path(data) / "documents/b.jsonl")
    assert tag(data, size()).removed == 1
    assert not (Path(data) / "attributes/size/b.parquet").exists()


def test_a_shard_left_out_by_a_glob_keeps_its_attributes(make_dataset: Make) -> None:
    data = make_dataset({"a.jsonl": ["x"], "b.jsonl": ["y"]})
    tag(data, size())
    assert tag(data, size(), include=["a*"]).removed == 0
    assert (Path(data) / "attributes/size/b.parquet").exists()


@pytest.mark.parametrize("workers", [2, 3])
def test_any_number_of_workers_gives_the_same_files(make_dataset: Make, workers: int) -> None:
    shards = {f"{i}.jsonl.zst": [f"text {j} " * (j % 7) for j in range(50)] for i in range(7)}
    one, many = make_dataset(shards, name="one"), make_dataset(shards, name="many")
    tag(one, "length", size())
    tag(many, "length", size(), workers=workers)
    assert tree_of(Path(one) / "attributes") == tree_of(Path(many) / "attributes")


def test_bad_rows_are_quarantined_counted_and_limited(make_dataset: Make) -> None:
    lines = [{"id": str(i), "text": "x" * 20} for i in range(300)]
    data = make_dataset({"a.jsonl": [*lines, b"not json", b'{"id": "u", "text": "\xff"}']})
    summary = tag(data, size())
    assert (summary.counts["documents"], summary.counts["bad_rows"]) == (300, 2)
    quarantined = (Path(data) / "attributes/_quarantine/a.jsonl").read_text().splitlines()
    assert len(quarantined) == 2
    assert '"line":301' in quarantined[0]
    with pytest.raises(DataError, match=r"2 of 302 rows \(32 of 6032 bytes\)"):
        tag(data, size(), max_bad_fraction=0.001)


def test_attributes_may_lie_elsewhere_so_that_the_data_set_stays_untouched(make_dataset: Make, tmp_path: Path) -> None:
    data = make_dataset({"a.jsonl": ["x"]})
    tag(data, size(), attributes=str(tmp_path / "elsewhere"))
    assert sorted(os.listdir(data)) == ["documents"]
    assert (tmp_path / "elsewhere/size/a.parquet").exists()


def test_several_data_sets_are_one_run(make_dataset: Make) -> None:
    one, two = make_dataset({"a.jsonl": ["x"]}, name="one"), make_dataset({"a.jsonl": ["yy"]}, name="two")
    assert tag([one, two], size()).done == 2
    assert rows(two, "size")[0]["characters"] == 2


def test_metadata_is_read_where_a_tagger_asks_for_it(make_dataset: Make) -> None:
    documents = [{"id": "1", "text": "", "metadata": {"url": "x.org/y"}}, {"id": "2", "text": ""}]
    data = make_dataset({"a.jsonl": documents})
    tag(data, {"name": "url", "use": "toy_taggers:Url"})
    assert [row["host"] for row in rows(data, "url")] == ["x.org", ""]


def test_a_gated_tagger_skips_what_a_cheaper_one_ruled_out_and_writes_null(make_dataset: Make) -> None:
    data = make_dataset({"a.jsonl": ["xx", "a longer text", ""]})
    gated = size("big", only_where="size.characters > 5")
    tag(data, size(), gated)
    assert [row.get("null", False) for row in rows(data, "big")] == [True, False, True]
    assert rows(data, "big")[1]["characters"] == 13
    assert tag(data, size(), gated).done == 0
    assert tag(data, size(factor=3), gated).done == 1
    assert [row.get("null", False) for row in rows(data, "big")] == [False, False, True]


def test_a_gate_that_names_what_no_earlier_tagger_writes_is_refused(make_dataset: Make) -> None:
    data = make_dataset({"a.jsonl": ["xx"]})
    with pytest.raises(ConfigError, match=r"size\.charaters"):
        tag(data, size(), size("big", only_where="size.charaters > 5"))
    with pytest.raises(ConfigError, match="later"):
        tag(data, size("big", only_where="later.characters > 5"), size("later"))


def test_a_failing_tagger_is_named_with_the_shard_and_rows(make_dataset: Make) -> None:
    data = make_dataset({"a.jsonl": ["x", "y"]})
    with pytest.raises(DataError, match=r"a\.jsonl: the tagger 'broken' failed on rows 0 to 1: ZeroDivisionError"):
        tag(data, {"name": "broken", "use": "toy_taggers:Broken"})
    assert not list((Path(data) / "attributes").rglob("*.parquet"))


def test_a_limit_reads_the_first_documents_of_every_shard(make_dataset: Make) -> None:
    data = make_dataset({"a.jsonl": ["x"] * 10, "b.jsonl": ["y"]})
    assert tag(data, size(), limit=3).counts["documents"] == 4


def test_a_name_used_twice_and_an_empty_request_are_refused(make_dataset: Make) -> None:
    data = make_dataset({"a.jsonl": ["x"]})
    with pytest.raises(ConfigError, match="'size' is used twice"):
        tag(data, size(), size())
    with pytest.raises(ConfigError, match="name at least one data set and one tagger"):
        tag(data)


def test_a_data_set_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder documents/"):
        tag(str(tmp_path / "nowhere"), size())
