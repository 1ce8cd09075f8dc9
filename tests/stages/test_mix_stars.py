"""Of near duplicates, a mix removes only what was compared with something that stays, whatever it prefers."""

from __future__ import annotations

import os
import random
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from conftest import MakeDataset
from handmade import encode_lines, store
from hypothesis import given, settings
from hypothesis import strategies as st
from mixes import CLUSTERS, clusters, ids, measure, mix_of, run_mix
from plain_dedup import dedup, documents, rows
from plain_minhash import read, similarity

from dolma_pipe.errors import ConfigError
from dolma_pipe.stages.dedup.minhash.signatures import MinhashRules
from dolma_pipe.stages.mix.copies import clusters as mix_clusters

STARS = {**CLUSTERS, "text": pa.int64(), "near": pa.list_(pa.int32())}
Member = tuple[str, int, int, list[int]]  # star, rank, text, near


def star_rows(members: list[Member | None]) -> list[dict[str, Any]]:
    return [dict(zip(STARS, member or (None, 0, 0, []), strict=True)) for member in members]


def source(data: str, *steps: Any, **more: Any) -> dict[str, Any]:
    return {
        "name": Path(data).name,
        "dataset": data,
        "attributes": ["near", *more.pop("also", [])],
        "steps": list(steps),
    }


@pytest.fixture
def star(make_dataset: MakeDataset) -> str:
    """A centre, two members that were compared with each other, one that was not, a copy of the last."""
    data = make_dataset({"a.jsonl": ["centre", "one", "like one"], "b.jsonl.gz": ["two", "two", "alone"]})
    members: list[Member | None] = [
        ("x", 0, 0, []), ("x", 1, 1, [0]), ("x", 2, 2, [0, 1]), ("x", 3, 3, [0]), ("x", 4, 3, [0]), None,
    ]  # fmt: skip
    measure(data, "near", STARS, star_rows(members))
    return data


def kept(star: str, tmp_path: Path, *steps: Any) -> list[str]:
    run_mix(tmp_path / "out", source(star, *steps))
    return ids(tmp_path / "out")


def test_the_centre_stays_for_all(star: str, tmp_path: Path) -> None:
    assert kept(star, tmp_path, {"dedup": {"by": "near"}}) == ["a.jsonl-0", "b.jsonl.gz-2"]


def test_without_the_centre_its_members_are_compared_with_each_other(star: str, tmp_path: Path) -> None:
    rule = {"keep": {"rule": "id <> 'a.jsonl-0'"}}
    assert kept(star, tmp_path, rule, {"dedup": {"by": "near"}}) == ["a.jsonl-1", "b.jsonl.gz-0", "b.jsonl.gz-2"]


def test_a_better_member_removes_what_it_was_compared_with_and_no_more(star: str, tmp_path: Path) -> None:
    prefer = {"max": "CASE id WHEN 'b.jsonl.gz-1' THEN 2 WHEN 'a.jsonl-2' THEN 1 ELSE 0 END"}
    assert kept(star, tmp_path, {"dedup": {"by": "near", "prefer": prefer}}) == [
        "a.jsonl-2", "b.jsonl.gz-1", "b.jsonl.gz-2",
    ]  # fmt: skip


def test_stars_end_at_a_source_with_scope(make_dataset: MakeDataset, tmp_path: Path) -> None:
    one, other = (make_dataset({"0.jsonl": [name]}, name) for name in ("one", "other"))
    measure(one, "near", STARS, star_rows([("x", 0, 0, [])]))
    measure(other, "near", STARS, star_rows([("x", 1, 1, [0])]))
    for scope, expected in (("mix", 1), ("source", 2)):
        step = {"dedup": {"by": "near", "scope": scope}}
        run_mix(tmp_path / scope, source(one, step), source(other, step))
        assert len(ids(tmp_path / scope)) == expected


def test_a_set_cannot_be_of_near_duplicates_here_and_of_equal_ones_there(
    make_dataset: MakeDataset, tmp_path: Path
) -> None:
    one, other = (make_dataset({"0.jsonl": [name]}, name) for name in ("one", "other"))
    measure(one, "near", STARS, star_rows([None]))
    measure(other, "near", CLUSTERS, clusters(None))
    step = {"dedup": {"by": "near"}}
    with pytest.raises(ConfigError, match="near duplicates in some sources"):
        mix_of(tmp_path / "out", source(one, step), source(other, step))


words = st.lists(st.sampled_from([*"abcdef"]), min_size=1, max_size=8).map(" ".join)
CHOSEN = MinhashRules(shingle=1, permutations=16, bands=16, rows=1, threshold=0.6)


@settings(deadline=None, max_examples=25)
@given(st.lists(words, min_size=1, max_size=12), st.sets(st.integers(0, 11)), st.integers(0, 99), st.booleans())
def test_whatever_is_removed_is_like_something_that_stays(
    texts: list[str], failing: set[int], seed: int, prefers: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        patch.setattr(mix_clusters, "PARTITION_BYTES", 150)
        data = _dataset(folder, texts)
        dedup(data, by="minhash", minhash=CHOSEN, name="near")
        order = random.Random(seed).sample(range(len(texts)), len(texts)) if prefers else list(range(len(texts)))[::-1]
        cases = " ".join(f"WHEN '{n}' THEN {place}" for n, place in enumerate(order))
        passing = ", ".join(f"'{n}'" for n in range(len(texts)) if n not in failing)
        if not passing:
            return
        step = {"dedup": {"by": "near", "prefer": {"max": f"CASE id {cases} ELSE 0 END"}}}
        run_mix(f"{folder}/out", source(data, {"keep": {"rule": f"id IN ({passing})"}}, step))
        stays = {int(name) for name in ids(f"{folder}/out")}
        attributes, candidates = rows(data, "near"), read([data], CHOSEN)

        def related(one: int, other: int) -> bool:
            first, second = attributes[one], attributes[other]
            same_star = first["cluster"] is not None and first["cluster"] == second["cluster"]
            known = (
                first["text"] == second["text"] or first["text"] in second["near"] or second["text"] in first["near"]
            )
            return same_star and known

        for number in set(range(len(texts))) - failing - stays:
            better = [n for n in stays if related(n, number) and order[n] > order[number]]
            assert better
            assert all(similarity(candidates[n], candidates[number], CHOSEN) >= CHOSEN.threshold for n in better)
        assert not any(related(one, other) for one in stays for other in stays if one < other)


def _dataset(folder: str, texts: list[str]) -> str:
    found = [{"id": str(n), "text": text} for n, text in enumerate(texts)]
    half = len(found) // 2
    store(Path(folder, "data/documents/0.jsonl"), encode_lines(found[:half]))
    store(Path(folder, "data/documents/1.jsonl"), encode_lines(found[half:]))
    assert len(documents(f"{folder}/data")) == len(texts)
    return f"{folder}/data"
