"""A mix made again by its lock, and what is refused then."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from conftest import MakeDataset
from handmade import tree_of
from mixes import SPANS, documents, measure, mix_of, run_mix, spans

from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.stages.mix import Lock, check_lock, check_result, read_lock

STEPS: list[Any] = [
    {"keep": {"long": "size.words > 2", "any": "size.words >= 0"}},
    {"edit": {"replace": ["pii.email", "pii.ip"], "with": "<pii>"}},
    {"split": {"name": "held", "fraction": 0.2}},
    {"sample": {"epochs": 1.5}},
]


def dataset(make_dataset: MakeDataset, name: str = "web") -> str:
    made = make_dataset({f"{s}.jsonl": [f"text {s} {r}" for r in range(20)] for s in range(2)}, name)
    measure(made, "size", {"words": pa.int32()}, [{"words": n % 9} for n in range(40)])
    measure(made, "pii", {"email": SPANS, "ip": SPANS}, [{"email": spans((0, 3)), "ip": spans()}] * 40)
    return made


def source(data: str, steps: list[Any] = STEPS) -> dict[str, Any]:
    return {"name": "web", "dataset": data, "attributes": ["size", "pii"], "steps": steps}


@pytest.fixture
def made(make_dataset: MakeDataset, tmp_path: Path) -> tuple[str, Lock]:
    data = dataset(make_dataset)
    run_mix(tmp_path / "out", source(data), seed=4)
    return data, read_lock(str(tmp_path / "out"))


def test_the_same_lock_gives_the_same_bytes_elsewhere(made: tuple[str, Lock], tmp_path: Path) -> None:
    data, lock = made
    shutil.copytree(data, tmp_path / "elsewhere/copy")
    again = source(str(tmp_path / "elsewhere/copy"))
    check_lock(mix_of(tmp_path / "again", again, seed=4), lock, "mix.lock.json")
    run_mix(tmp_path / "again", again, seed=4, workers=2)
    check_result(read_lock(str(tmp_path / "again")), lock, "mix.lock.json")
    assert tree_of(tmp_path / "again") == tree_of(tmp_path / "out")


@pytest.mark.parametrize("changed", ["documents/1.jsonl", "attributes/pii/0.parquet"])
def test_a_changed_input_is_refused_with_its_name(made: tuple[str, Lock], tmp_path: Path, changed: str) -> None:
    data, lock = made
    if changed.startswith("documents"):
        Path(data, changed).write_text(Path(data, changed).read_text() + " ")
    else:
        measure(data, "pii", {"email": SPANS, "ip": SPANS}, [{"email": spans((0, 4)), "ip": spans()}] * 40)
    with pytest.raises(DataError, match=rf"{changed}: has changed since mix.lock.json was made"):
        check_lock(mix_of(tmp_path / "again", source(data), seed=4), lock, "mix.lock.json")


def test_a_missing_and_a_new_input_are_refused_with_their_names(
    made: tuple[str, Lock], make_dataset: MakeDataset, tmp_path: Path
) -> None:
    data, lock = made
    more = make_dataset({"2.jsonl": ["new"]}, "more")
    shutil.copytree(data, more, dirs_exist_ok=True)
    for name in ("size", "pii"):
        shutil.copy(Path(data, f"attributes/{name}/1.parquet"), Path(more, f"attributes/{name}/2.parquet"))
    with pytest.raises(DataError, match=r"documents/2\.jsonl: new since mix.lock.json was made"):
        check_lock(mix_of(tmp_path / "again", source(more), seed=4), lock, "mix.lock.json")
    Path(data, "documents/1.jsonl").unlink()
    with pytest.raises(DataError, match=r"web/documents/1\.jsonl: mix.lock.json was made of it"):
        check_lock(mix_of(tmp_path / "again", source(data), seed=4), lock, "mix.lock.json")


def test_another_setting_is_refused_with_its_place(made: tuple[str, Lock], tmp_path: Path) -> None:
    data, lock = made
    other = [{"keep": {"long": "size.words > 3", "any": "size.words >= 0"}}, *STEPS[1:]]
    with pytest.raises(ConfigError, match=r"sources\.web\.rules\.long is size\.words > 3, but .* has size\.words > 2"):
        check_lock(mix_of(tmp_path / "again", source(data, other), seed=4), lock, "mix.lock.json")
    with pytest.raises(ConfigError, match=r"seed is 5, but .* has 4"):
        check_lock(mix_of(tmp_path / "again", source(data), seed=5), lock, "mix.lock.json")


def test_the_lock_names_rules_and_edits_that_never_fired(made: tuple[str, Lock], tmp_path: Path) -> None:
    found = made[1].sources["web"]
    assert (found.never_failed, found.never_applied) == (["any"], ["pii.ip"])


def test_the_lock_says_what_each_epoch_wrote(made: tuple[str, Lock], tmp_path: Path) -> None:
    kept = made[1].sources["web"].funnel.kept
    assert [epoch.tokens for epoch in kept.epochs] == [None, None]
    assert kept.epochs[0].documents == kept.documents > kept.epochs[1].documents > 0
    assert sum(epoch.bytes for epoch in kept.epochs) == kept.written_bytes
    assert kept.written_bytes == sum(len(document["text"]) for document in documents(tmp_path / "out"))
