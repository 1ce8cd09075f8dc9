"""`limit`: a mix of the first documents of every shard is the mix of a data set that has no others."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from conftest import MakeDataset
from handmade import tree_of
from mixes import ids, measure, mix_of, run_mix
from plain_dedup import ALL_LINES, dedup

from dolma_pipe.config import convert
from dolma_pipe.errors import AlignmentError, ConfigError, DataError
from dolma_pipe.execution import run_stage
from dolma_pipe.runners.local import Local
from dolma_pipe.stages.mix import MixConfig, check_lock, read_lock
from dolma_pipe.stages.mix.explanation import inquiry
from dolma_pipe.stages.mix.explanation.explanation import explain
from dolma_pipe.stages.mix.prediction.prediction import predict
from dolma_pipe.stages.tag import Tag, TagConfig

FIRST = 7
COUNTS = {"a.jsonl": 20, "b.jsonl.gz": 3, "c.jsonl": FIRST}
RULE = {"keep": {"long": "length.words >= 4"}}


def texts(count: int, name: str) -> list[dict[str, Any]]:
    """Texts of several lines, many of them repeated, some texts too."""
    draw = random.Random(name)
    lines = [f"line number {number} of this set" for number in range(12)]
    found = ["\n".join(draw.sample(lines, draw.randint(1, 3))) for _ in range(count)]
    return [{"id": f"{name}-{number}", "text": text} for number, text in enumerate(found)]


@pytest.fixture
def web(make_dataset: MakeDataset) -> str:
    """Shards of 20, 3 and 7 documents."""
    return make_dataset({name: texts(count, name) for name, count in COUNTS.items()}, "web")


def tag(dataset: str, **more: Any) -> None:
    run_stage(Tag(TagConfig(datasets=[dataset], taggers=["length"], **more)), Local(1))


def measured(dataset: str) -> str:
    tag(dataset)
    dedup(dataset, by="text")
    dedup(dataset, by="paragraph", paragraph=ALL_LINES)
    return dataset


def source(dataset: str, *steps: Any, sets: tuple[str, ...] = ("length",)) -> dict[str, Any]:
    return {"name": "web", "dataset": dataset, "attributes": list(sets), "steps": list(steps)}


@pytest.mark.parametrize(
    ("sets", "steps"),
    [
        (("length",), [RULE]),
        (("length", "dedup_text"), [RULE, {"dedup": {"by": "dedup_text"}}]),
        (("length", "dedup_paragraph"), [RULE, {"dedup": {"by": "dedup_paragraph"}}]),
        (("length", "dedup_text"), [RULE, {"dedup": {"by": "dedup_text", "prefer": "longest"}},
                                    {"split": {"name": "dev", "documents": 2}}, {"limit": {"bytes": 250}},
                                    {"sample": {"epochs": 1.5}}]),
        ((), [{"sample": {"rate": 0.6}}]),
    ],
)  # fmt: skip
def test_a_limited_mix_is_that_of_a_data_set_with_no_other_documents(
    web: str, make_dataset: MakeDataset, tmp_path: Path, sets: tuple[str, ...], steps: list[Any]
) -> None:
    short = make_dataset({name: texts(count, name)[:FIRST] for name, count in COUNTS.items()}, "short")
    for dataset in (web, short):
        measured(dataset)
    run_mix(tmp_path / "of_web", source(web, *steps, sets=sets), limit=FIRST, workers=2)
    run_mix(tmp_path / "of_short", source(short, *steps, sets=sets))
    limited, other = (
        tree_of(tmp_path / name, ignore=("_manifest", "mix.lock.json", "_provenance"))
        for name in ("of_web", "of_short")
    )
    assert limited == other
    assert limited
    mine, its = (read_lock(str(tmp_path / name)).sources["web"].funnel for name in ("of_web", "of_short"))
    assert mine == its
    assert mine.read.documents == FIRST + 3 + FIRST


def test_a_limited_mix_needs_no_more_than_limited_measurements(web: str, tmp_path: Path) -> None:
    tag(web, limit=FIRST)
    run_mix(tmp_path / "out", source(web, RULE), limit=5)
    assert read_lock(str(tmp_path / "out")).sources["web"].funnel.read.documents == 13
    with pytest.raises(AlignmentError, match=r"length/a\.parquet: .* tag (it|this shard) again"):
        run_mix(tmp_path / "out", source(web, RULE), limit=FIRST + 1)
    with pytest.raises(AlignmentError, match=r"length/a\.parquet: .* tag (it|this shard) again"):
        run_mix(tmp_path / "out", source(web, RULE))


def test_a_limited_run_is_not_taken_for_a_whole_one(web: str, tmp_path: Path) -> None:
    mine = source(measured(web), RULE, {"dedup": {"by": "dedup_text"}}, sets=("length", "dedup_text"))
    run_mix(tmp_path / "out", mine, limit=FIRST)
    limited = read_lock(str(tmp_path / "out"))
    assert run_mix(tmp_path / "out", mine, limit=FIRST).done == 0
    whole = run_mix(tmp_path / "out", mine)
    assert whole.skipped == 0
    run_mix(tmp_path / "fresh", mine)
    assert tree_of(tmp_path / "out") == tree_of(tmp_path / "fresh")
    assert read_lock(str(tmp_path / "out")).definition != limited.definition
    with pytest.raises(ConfigError, match=r"limit is nothing, but a\.lock has 7"):
        check_lock(mix_of(tmp_path / "out", mine), limited, "a.lock")


def test_a_budget_is_not_made_smaller_by_a_limit(web: str, tmp_path: Path) -> None:
    mine = source(measured(web), {"sample": {"share": 1}}, sets=())
    with pytest.raises(
        DataError, match=r"offers 17 of 25 documents .* only the first 7 documents are read: say --set budget\.on_short"
    ):
        run_mix(tmp_path / "out", mine, limit=FIRST, budget={"documents": 25})
    run_mix(tmp_path / "out", mine, limit=FIRST, budget={"documents": 25, "on_shortfall": "cap"})
    assert len(ids(tmp_path / "out")) == 17


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_of_nothing_is_refused(web: str, tmp_path: Path, limit: int) -> None:
    with pytest.raises(ConfigError, match="limit"):
        mix_of(tmp_path / "out", source(web), limit=limit)


def test_a_limited_mix_is_predicted(web: str, tmp_path: Path) -> None:
    for sets, steps in (
        (["length", "dedup_text"], [RULE, {"dedup": {"by": "dedup_text"}}]),
        (["length"], [RULE, {"keep": {"named": "id <> 'a.jsonl-0'"}}]),
        (["length", "dedup_paragraph"], [RULE, {"dedup": {"by": "dedup_paragraph"}}]),
    ):
        mine = source(measured(web), *steps, sets=tuple(sets))
        config = convert({"to": str(tmp_path / "out"), "sources": [mine], "limit": FIRST}, MixConfig, "mix.yaml")
        [found] = predict(config, "mix.yaml").sources.values()
        run_mix(tmp_path / "out", mine, limit=FIRST)
        assert found.read.documents == 17
        assert found.kept.documents == read_lock(str(tmp_path / "out")).sources["web"].funnel.kept.documents


def test_a_document_that_was_not_read_is_none_of_the_mix(web: str, tmp_path: Path) -> None:
    run_mix(tmp_path / "out", source(measured(web), RULE), limit=FIRST)
    sources = inquiry.made(str(tmp_path / "out"), {})
    assert explain(sources, "a.jsonl-6", str(tmp_path / "out"), [])[0].row == 6
    with pytest.raises(DataError, match=r"no source of the mix has a document 'a\.jsonl-7' among the first 7 of a sh"):
        explain(sources, "a.jsonl-7", str(tmp_path / "out"), [])


def test_rows_that_cannot_be_read_are_counted_as_far_as_is_read(make_dataset: MakeDataset, tmp_path: Path) -> None:
    dataset = make_dataset({"a.jsonl": ["one", b"{", "two", "three", b"}"]})
    run_mix(tmp_path / "out", source(dataset, sets=()), limit=3, max_bad_fraction=0.9)
    assert len(ids(tmp_path / "out")) == 3


def test_spans_of_a_limited_shard_are_edited(make_dataset: MakeDataset, tmp_path: Path) -> None:
    dataset = make_dataset({"a.jsonl": ["call me", "call you", "call them"]})
    kind = pa.list_(pa.struct({"start": pa.int32(), "end": pa.int32(), "score": pa.float64()}))
    row = {"call": [{"start": 0, "end": 5, "score": 1.0}]}
    measure(dataset, "spans", {"call": kind}, [row, row, row])
    run_mix(tmp_path / "out", source(dataset, {"edit": {"remove": "spans.call"}}, sets=("spans",)), limit=2)
    assert [line.split(b'"text":')[1] for line in tree_of(tmp_path / "out")["documents/web/a.jsonl.zst"].splitlines()]
