"""Upsampling: percentiles by weight, the curve and its integral, tables of rates, what the lock says of it."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from conftest import MakeDataset
from handmade import tree_of
from hypothesis import given, settings
from hypothesis import strategies as st
from mixes import CLUSTERS, clusters, ids, measure, mix_of, run_mix

from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.mixer import Sample, Upsample
from dolma_pipe.rules import Expression
from dolma_pipe.stages.mix import funnel, read_lock
from dolma_pipe.stages.mix.amounts.cuts import Cut
from dolma_pipe.stages.mix.amounts.upsampling import (
    HALF,
    Groups,
    Rates,
    divide,
    group_means,
    keys,
    priorities,
    solve,
    spill,
    standing,
)
from dolma_pipe.types import Plain

VALUE = Expression("by", "q.score", "mix.yaml", "DOUBLE")


def source(dataset: str, *steps: Plain, name: str = "web", attributes: Sequence[str] = ("q",)) -> Plain:
    return {"name": name, "dataset": dataset, "attributes": list(attributes), "steps": list(steps)}


@pytest.fixture
def graded(make_dataset: MakeDataset) -> str:
    """400 documents in four shards, with a score and one of two topics; a tenth of the scores are alike."""
    rows = {f"{s}.jsonl": [f"document {s} {r} " + "x" * (r % 50) for r in range(100)] for s in range(4)}
    dataset = make_dataset(rows, "graded")
    scores = [(n * 37 % 400) / 400 if n % 10 else 0.5 for n in range(400)]
    topics = ["math" if n % 4 == 0 else "web" for n in range(400)]
    types = {"score": pa.float64(), "topic": pa.string()}
    measure(dataset, "q", types, [{"score": a, "topic": b} for a, b in zip(scores, topics, strict=True)])
    return dataset


# The arithmetic ------------------------------------------------------------------------------------------------------

FLOATS = st.floats(allow_nan=False)


@given(st.lists(FLOATS, min_size=2, max_size=20))
def test_keys_are_in_the_order_of_the_values(values: list[float]) -> None:
    found = keys(np.array(values))
    order = np.argsort(np.array(values), kind="stable")
    assert (np.diff(found[order].astype(object)) >= 0).all()
    assert [int(a) == int(b) for a, b in pairwise(found)] == [a == b for a, b in pairwise(values)]


def spilled(tmp_path: Path, shards: list[tuple[list[str], list[float], list[int]]]) -> list[str]:
    paths: list[str] = []
    for number, (groups, values, weights) in enumerate(shards):
        stream = io.BytesIO()
        spill(stream, groups, np.array(values, np.float64), np.array(weights, np.int64))
        (tmp_path / f"{number}.bin").write_bytes(stream.getvalue())
        paths.append(str(tmp_path / f"{number}.bin"))
    return paths


ROWS = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([0.0, 0.1, 0.25, 0.5, -3.0, 7.5, 1e9]),
                          st.integers(1, 9)), min_size=1, max_size=60)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(ROWS, st.integers(2, 9), st.floats(0, 0.9), st.floats(1, 9), st.floats(0.05, 1))
def test_the_mean_rate_is_the_one_that_was_asked_for(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, float, int]], buckets: int, start: float,
    most: float, part: float,
) -> None:  # fmt: skip
    folder = tmp_path_factory.mktemp("s")
    halves = [rows[: len(rows) // 2], rows[len(rows) // 2 :]]
    paths = spilled(folder, [tuple(map(list, zip(*half, strict=True))) for half in halves if half])  # pyright: ignore
    groups = divide(paths, buckets)
    how = Upsample(VALUE, VALUE, start=start, max_epochs=most, buckets=buckets)
    mean = most * (1 - start) * part
    found = solve(how, dict.fromkeys(groups, mean), groups)
    for name, its in found.items():
        mine = [row for row in rows if row[0] == name]
        assert sum(b.documents for b in its) == len(mine)
        whole = sum(b.weight for b in its)
        assert whole == sum(weight for _, _, weight in mine)
        assert sum(b.rate * b.weight for b in its) == pytest.approx(mean * whole)
        assert all(one.rate <= other.rate + 1e-9 for one, other in pairwise(its))
        assert max(b.rate for b in its) <= most + 1e-9
        below = np.cumsum([b.weight for b in its]) / whole <= start
        assert all(b.rate == 0 for b, low in zip(its, below, strict=True) if low)
    where = standing(Rates(found), np.array([v for _, v, _ in rows]), [g for g, _, _ in rows])
    rates = {(g, v): r for (g, v, _), r in zip(rows, where.rates.tolist(), strict=True)}
    total = sum(rates[g, v] * weight for g, v, weight in rows)
    assert total == pytest.approx(sum(mean * weight for _, _, weight in rows))


def test_percentiles_are_of_weight_and_not_of_documents(tmp_path: Path) -> None:
    paths = spilled(tmp_path, [([""] * 5, [1, 2, 3, 4, 5], [96, 1, 1, 1, 1])])
    (groups,) = divide(paths, 20).values()
    assert [(b.least, b.documents) for b in groups] == [(1.0, 1), (2.0, 4)]


def test_the_curve_is_the_power_that_ends_at_the_cap(tmp_path: Path) -> None:
    paths = spilled(tmp_path, [([""] * 100, list(range(100)), [1] * 100)])
    how = Upsample(VALUE, start=0.4, max_epochs=7, buckets=10)
    (found,) = solve(how, {"": 1.05}, divide(paths, 10)).values()  # 7 * 0.6 / 1.05 - 1 = 3: a cubic
    expected = [np.mean([7 * max(x - 0.4, 0) ** 3 / 0.6**3 for x in np.linspace(a, a + 0.1, 2001)])
                for a in np.arange(10) / 10]  # fmt: skip
    assert [b.rate for b in found] == pytest.approx(expected, abs=5e-3)


@given(st.lists(st.just(0.0) | st.floats(1e-6, 1), min_size=1, max_size=50), st.integers(0, 9))
def test_half_of_the_priorities_takes_each_with_its_own_probability(fractions: list[float], seed: int) -> None:
    drawn = np.random.default_rng(seed).integers(0, 1 << 63, len(fractions), np.uint64) * np.uint64(2)
    taken = HALF.takes(priorities(drawn, np.array(fractions)), 0, np.arange(len(fractions)))
    expected = [float(d) / 2.0**64 < f for d, f in zip(drawn, fractions, strict=True)]
    assert taken.tolist() == expected


def test_groups_divide_a_source_by_their_shares() -> None:
    how = Upsample(VALUE, VALUE, start=0.0, max_epochs=4, shares=(("a", 3.0), ("b", 1.0)))
    groups: Groups = {name: solve_bucket(weight) for name, weight in (("a", 100), ("b", 100))}
    means = group_means(Sample(epochs=1.0, max_epochs=4, upsample=how), groups, None, None, "web")
    assert means == {"a": 1.5, "b": 0.5}
    with pytest.raises(DataError, match=r"'a' offers 400 of 600, 200 too few"):
        group_means(Sample(epochs=4.0, max_epochs=4, upsample=how), groups, None, None, "web")
    with pytest.raises(DataError, match="no share for 'c'"):
        group_means(Sample(epochs=1.0, max_epochs=4, upsample=how), {**groups, "c": groups["a"]}, None, None, "web")
    with pytest.raises(DataError, match="no document is in 'b'"):
        group_means(Sample(epochs=1.0, max_epochs=4, upsample=how), {"a": groups["a"]}, None, None, "web")


def solve_bucket(weight: int) -> list[Any]:
    from dolma_pipe.stages.mix.amounts.upsampling import Bucket

    return [Bucket(0.0, 0, 1, weight)]


# Mixes ---------------------------------------------------------------------------------------------------------------


def test_better_documents_are_taken_more_often_within_their_group(graded: str, tmp_path: Path) -> None:
    step = {"upsample": {"by": "q.score", "group": "q.topic", "start": 0.4, "max_epochs": 7, "epochs": 1.2}}
    run_mix(tmp_path / "out", source(graded, step), seed=3)
    found = read_lock(str(tmp_path / "out")).sources["web"]
    assert list(found.upsampled) == ["math", "web"]
    for buckets in found.upsampled.values():
        assert sum(b.weight * b.rate for b in buckets) == pytest.approx(1.2 * sum(b.weight for b in buckets))
        assert [b.copies for b in buckets if b.rate == 0] == [0] * sum(b.rate == 0 for b in buckets)
        assert all(abs(b.copies - b.rate * b.documents) <= b.documents for b in buckets)
        assert max(b.rate for b in buckets) <= 7
    copies = Counter(ids(tmp_path / "out"))
    assert max(copies.values()) in (6, 7)
    kept = found.funnel.kept
    assert sum(b.copies for its in found.upsampled.values() for b in its) == kept.copies == sum(copies.values())
    assert sum(b.written for its in found.upsampled.values() for b in its) == kept.written_bytes
    found.funnel.check("web")


def test_an_upsampled_source_reaches_its_share_within_one_document(graded: str, tmp_path: Path) -> None:
    step = {"upsample": {"by": "q.score", "start": 0.3, "max_epochs": 5, "share": 1}}
    run_mix(tmp_path / "out", source(graded, step), budget={"bytes": 20_000})
    found = read_lock(str(tmp_path / "out")).sources["web"]
    assert found.target is not None
    assert 20_000 <= found.target.realised < 20_000 + 70
    with pytest.raises(DataError, match=r"'web' offers [\d,]+ of 90,000 bytes"):
        run_mix(tmp_path / "more", source(graded, step), budget={"bytes": 90_000})


def test_groups_get_their_shares_of_a_budget(graded: str, tmp_path: Path) -> None:
    step = {"upsample": {"by": "q.score", "group": "q.topic", "max_epochs": 6, "share": 1,
                         "groups": {"math": 1, "web": 1}}}  # fmt: skip
    run_mix(tmp_path / "out", source(graded, step), budget={"documents": 500})
    found = read_lock(str(tmp_path / "out")).sources["web"]
    written = {name: sum(b.written for b in its) for name, its in found.upsampled.items()}
    assert sum(written.values()) == 500
    assert abs(written["math"] - 250) < 25


def test_clusters_are_repeated_by_their_size(make_dataset: MakeDataset, tmp_path: Path) -> None:
    dataset = make_dataset({"a.jsonl": [f"t{n}" for n in range(8)]}, "d")
    rows = clusters(*(("k", n) if n < 5 else None for n in range(8)))
    sizes = [5] * 5 + [1] * 3
    types = {**CLUSTERS, "size": pa.int64()}
    measure(dataset, "dup", types, [{**row, "size": size} for row, size in zip(rows, sizes, strict=True)])
    steps = [{"dedup": {"by": "dup"}}, {"upsample": {"by": "dup.size", "rates": {"1": 1, "2": 2, "5": 3}}}]
    run_mix(tmp_path / "out", source(dataset, *steps, attributes=["dup"]))
    assert Counter(ids(tmp_path / "out")) == {"a.jsonl-0": 3, "a.jsonl-5": 1, "a.jsonl-6": 1, "a.jsonl-7": 1}
    (buckets,) = read_lock(str(tmp_path / "out")).sources["web"].upsampled.values()
    assert [(b.least, b.realised_rate, b.documents, b.copies) for b in buckets] == [
        (1, 1.0, 3, 3), (2, 0.0, 0, 0), (5, 3.0, 1, 3),
    ]  # fmt: skip


def test_what_lies_below_the_table_is_dropped(graded: str, tmp_path: Path) -> None:
    run_mix(tmp_path / "out", source(graded, {"upsample": {"by": "q.score", "rates": {"0.75": 1}}}))
    found = funnel(str(tmp_path / "out"))["web"]
    assert 0 < found.kept.documents == found.kept.copies < 100
    assert found.dropped["not_sampled"].documents == 400 - found.kept.documents


def test_upsampling_does_not_depend_on_workers_or_files(graded: str, make_dataset: MakeDataset, tmp_path: Path) -> None:
    step = {"upsample": {"by": "q.score", "group": "q.topic", "start": 0.4, "max_epochs": 7, "share": 1}}
    budget = {"bytes": 15_000}
    for workers in (1, 2):
        run_mix(tmp_path / str(workers), source(graded, step), budget=budget, workers=workers)
    assert tree_of(tmp_path / "1") == tree_of(tmp_path / "2")
    assert run_mix(tmp_path / "1", source(graded, step), budget=budget).done == 0
    run_mix(tmp_path / "1", source(graded, step), budget=budget, seed=8)
    run_mix(tmp_path / "8", source(graded, step), budget=budget, seed=8)
    assert tree_of(tmp_path / "1") == tree_of(tmp_path / "8") != tree_of(tmp_path / "2")


def test_how_documents_lie_in_files_does_not_matter(make_dataset: MakeDataset, tmp_path: Path) -> None:
    rows = [{"id": f"n{n}", "text": "x" * (n % 23 + 1)} for n in range(80)]
    step = {"upsample": {"by": "q.score", "start": 0.2, "max_epochs": 4, "share": 1}}
    taken: list[Counter[str]] = []
    for name, cuts in (("one", [0, 80]), ("three", [0, 7, 50, 80])):
        dataset = make_dataset({f"{a}.jsonl": rows[a:b] for a, b in pairwise(cuts)}, name)
        order = [int(row["id"][1:]) for a, b in sorted(pairwise(cuts), key=lambda cut: f"{cut[0]}.jsonl")
                 for row in rows[a:b]]  # fmt: skip
        measure(dataset, "q", {"score": pa.float64()}, [{"score": n * 37 % 80 / 80} for n in order])
        run_mix(tmp_path / f"{name}-out", source(dataset, step), budget={"bytes": 1500})
        taken.append(Counter(ids(tmp_path / f"{name}-out")))
    assert taken[0] == taken[1]


@pytest.mark.parametrize(("step", "message"), [
    ({"by": "q.score", "rates": {"1": 0}}, "takes no document"),
    ({"by": "q.score", "rates": {"x": 2}}, "rates: expected numbers"),
    ({"by": "q.score", "rates": {"1": 2}, "epochs": 2}, "epochs has no effect beside 'rates'"),
    ({"by": "q.score", "max_epochs": 2}, "give 'rates', or one of 'epochs' and 'share'"),
    ({"by": "q.score", "epochs": 2}, "max_epochs: how often"),
    ({"by": "q.score", "epochs": 5, "start": 0.4, "max_epochs": 7}, "epochs: 5 on average cannot be had.*makes 4.2"),
    ({"by": "q.score", "epochs": 1, "start": 1.0, "max_epochs": 7}, "start: 1.0 is no percentile"),
    ({"by": "q.score", "epochs": 1, "max_epochs": 7, "groups": {"a": 1}}, "groups has no effect without 'group'"),
    ({"by": "q.score", "epochs": 1, "max_epochs": 7, "buckets": 1}, "buckets: 1 is not between"),
    ({"by": "q.scor", "epochs": 1, "max_epochs": 7}, "did you mean q.score"),
    ({"by": "q.topic", "epochs": 1, "max_epochs": 7}, "yields VARCHAR, expected a number"),
    ({"by": "q.score", "share": 1, "max_epochs": 7}, "there is no budget"),
])  # fmt: skip
def test_upsampling_that_makes_no_sense_is_refused(graded: str, tmp_path: Path, step: Plain, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        mix_of(tmp_path / "out", source(graded, {"upsample": step}))


def test_a_cut_in_the_middle_is_half_of_all_draws() -> None:
    assert Cut(1 << 63) == HALF
