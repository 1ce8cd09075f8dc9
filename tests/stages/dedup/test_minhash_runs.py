"""Near duplicates: the same bytes whoever does the work and however often it stopped; signatures are made once."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import plain_minhash as plain
import pytest
from conftest import MakeDataset
from handmade import encode_lines, store, tree_of
from hypothesis import given, settings
from hypothesis import strategies as st
from mortal import KILLED
from plain_dedup import Crashing, Shuffled, dedup, documents, rows, without_clusters

from dolma_pipe import verify
from dolma_pipe.errors import DataError
from dolma_pipe.runners.local import Local
from dolma_pipe.stages.dedup.minhash import buckets, pairs, phases, signatures, stars
from dolma_pipe.stages.dedup.minhash.signatures import MinhashRules, choose_bands

RULES = MinhashRules(shingle=2, permutations=16, bands=8, rows=2, threshold=0.5)
SETTINGS = [
    f"minhash.{name}={getattr(RULES, name)}" for name in ("shingle", "permutations", "bands", "rows", "threshold")
]
NAMES = ("a", "b", "c/1", "c/2")
PHASES = ("sign", "bands", "pairs", "sets", "verify", "stars", "gather", "write")


def made_of(words: list[str], changes: int, draw: random.Random) -> str:
    kept = list(words)
    for _ in range(changes):
        kept[draw.randrange(len(kept))] = f"x{draw.randrange(50)}"
    return " ".join(kept)


def write_many(folder: Path) -> str:
    """A data set of four shards of copies, near copies and others."""
    draw = random.Random(5)
    bases = [[f"w{draw.randrange(200)}" for _ in range(draw.randint(3, 25))] for _ in range(12)]
    for name in NAMES:
        texts = [made_of(draw.choice(bases), draw.choice([0, 0, 1, 2, 6]), draw) for _ in range(30)]
        found = [{"id": f"{name}{row}", "text": text, "source": draw.choice("xy")} for row, text in enumerate(texts)]
        store(folder / "data/documents" / f"{name}.jsonl.zst", encode_lines(found))
    return str(folder / "data")


@pytest.fixture
def many(tmp_path: Path) -> str:
    return write_many(tmp_path)


def run(data: str, out: Path, **options: Any) -> dict[str, bytes]:
    """What a run writes."""
    dedup(data, by="minhash", name="found", attributes=str(out), minhash=RULES, partition_bytes=15_000, **options)
    return tree_of(out)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a run over `many` writes if nothing happens."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return run(write_many(folder), folder / "out")


def small_pages(patch: pytest.MonkeyPatch) -> None:
    for module, name, size in ((signatures, "PAGE", 7), (buckets, "PAGE_RECORDS", 50), (pairs, "CHUNK", 30)):
        patch.setattr(module, name, size)
    patch.setattr(stars, "AT_ONCE", 9)


@pytest.mark.parametrize("runner", [Local(2), Local(5), Shuffled(1), Shuffled(2)])
def test_whoever_does_the_work_writes_the_same(
    many: str, undisturbed: dict[str, bytes], runner: Any, tmp_path: Path
) -> None:
    assert run(many, tmp_path / "out", runner=runner) == undisturbed
    assert len([path for path in undisturbed if "/pairs/partition" in path]) > 2


def test_how_the_work_is_split_does_not_show(many: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dedup(many, by="minhash", minhash=RULES)
    whole = rows(many, "dedup_minhash")
    small_pages(monkeypatch)
    shutil.rmtree(Path(many, "attributes/_signatures"))
    dedup(many, by="minhash", minhash=RULES, name="split", partition_bytes=1000)
    assert rows(many, "split") == whole
    assert without_clusters(whole) == plain.near_duplicates([many], RULES, choose_bands(RULES))


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("scratch_survives", [True, False])
def test_a_run_that_was_stopped_is_finished_by_the_next(
    many: str, undisturbed: dict[str, bytes], tmp_path: Path, phase: str, scratch_survives: bool
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(many, tmp_path / "out", runner=Crashing(phase, 0 if phase == "stars" else 1))
    if not scratch_survives:
        shutil.rmtree(tmp_path / "out/found/_keys/_scratch", ignore_errors=True)
    assert run(many, tmp_path / "out") == undisturbed


@pytest.mark.parametrize(
    "place",
    [
        "_signatures/affine32_16_", "bands/0/c/2.arrays", "pairs/partition-00002", "sets/0/c/1.arrays",
        "verify/0/b.arrays", "stars/stars.arrays", "gather/partition-00001", "c/2.parquet",
    ],
)  # fmt: skip
def test_a_run_that_was_killed_is_finished_by_the_next(
    many: str, undisturbed: dict[str, bytes], tmp_path: Path, place: str
) -> None:
    flags = ["--by", "minhash", "--name", "found", "--attributes", str(tmp_path / "out")]
    chosen = [part for setting in (*SETTINGS, "partition_bytes=15_000") for part in ("--set", setting)]
    dead = subprocess.run([sys.executable, "-c", KILLED, place, "dedup", many, *flags, *chosen], capture_output=True)
    assert dead.returncode == -signal.SIGKILL, dead.stderr
    assert run(many, tmp_path / "out") == undisturbed


def test_a_second_run_does_nothing(many: str) -> None:
    first = dedup(many, by="minhash", minhash=RULES)
    before = tree_of(many)
    again = dedup(many, by="minhash", minhash=RULES)
    assert (first.skipped, again.done) == (0, 0)
    assert tree_of(many) == before
    assert not verify.verify(many).problems


class Reads:
    """Counts the shards that are read, by what for."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.paths: list[str] = []
        reader = phases.DocumentReader
        patch.setattr(
            phases, "DocumentReader", lambda shard, *rest, **more: self._note(shard) or reader(shard, *rest, **more)
        )

    def _note(self, shard: Any) -> None:
        self.paths.append(shard.name)


def test_signatures_are_kept_for_another_threshold(many: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dedup(many, by="minhash", minhash=RULES)
    reads = Reads(monkeypatch)
    stricter = MinhashRules(shingle=2, permutations=16, bands=5, rows=3, threshold=0.8, verify="signature")
    dedup(many, by="minhash", minhash=stricter, name="strict")
    assert reads.paths == []
    assert without_clusters(rows(many, "strict")) == plain.near_duplicates([many], stricter, choose_bands(stricter))


def test_signatures_are_kept_when_a_data_set_is_added(
    many: str, make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    dedup(many, by="minhash", minhash=RULES)
    more = make_dataset({"new.jsonl": ["never seen before", "nor this one"]}, "more")
    reads = Reads(monkeypatch)
    dedup(many, more, by="minhash", minhash=RULES)
    assert reads.paths.count("new.jsonl") == 1
    assert all(reads.paths.count(f"{name}.jsonl.zst") <= 1 for name in NAMES)  # the texts of candidates alone


def test_a_changed_shard_changes_what_it_must(many: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dedup(many, by="minhash", minhash=RULES)
    store(Path(many, "documents/c/1.jsonl.zst"), encode_lines([{"id": "new", "text": "never seen"}]))
    summary = dedup(many, by="minhash", minhash=RULES)
    assert without_clusters(rows(many, "dedup_minhash")) == plain.near_duplicates([many], RULES, choose_bands(RULES))
    assert summary.skipped >= 3  # the signatures of the others


def test_a_shard_that_is_gone_takes_attributes_and_signatures_along(many: str) -> None:
    dedup(many, by="minhash", minhash=RULES)
    Path(many, "documents/a.jsonl.zst").unlink()
    dedup(many, by="minhash", minhash=RULES)
    assert [path for path in Path(many, "attributes").rglob("a.*") if "stat" not in path.parts] == []
    assert without_clusters(rows(many, "dedup_minhash")) == plain.near_duplicates([many], RULES, choose_bands(RULES))


def test_signatures_of_shards_that_are_left_out_stay(many: str) -> None:
    dedup(many, by="minhash", minhash=RULES)
    kept = sorted(path.name for path in Path(many, "attributes/_signatures").rglob("*.arrays"))
    dedup(many, by="minhash", minhash=RULES, include=["c/*"], name="some")
    assert sorted(path.name for path in Path(many, "attributes/_signatures").rglob("*.arrays")) == kept


def test_records_name_no_path_of_this_machine(many: str) -> None:
    dedup(many, by="minhash", minhash=RULES)
    records = [path for path in Path(many, "attributes").rglob("*.json") if not {"runs", "stat"} & set(path.parts)]
    assert len(records) > 20
    assert all(str(many) not in path.read_text() for path in records)


# Who competes


words = st.lists(st.sampled_from([*"abcdef"]), max_size=8).map(" ".join)


@settings(deadline=None, max_examples=15)
@given(st.lists(words, max_size=8), st.lists(words, min_size=1, max_size=8), st.sampled_from(["jaccard", "signature"]))
def test_new_documents_are_compared_with_all_that_were_kept(before: list[str], after: list[str], how: Any) -> None:
    """Whatever was kept stays; what is new goes if it is like something kept, or like something new that stays."""
    chosen = MinhashRules(shingle=2, permutations=16, bands=8, rows=2, threshold=0.5, verify=how)
    if not any(after):
        return
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        small_pages(patch)
        old, new = (str(Path(folder, name)) for name in ("old", "new"))
        for name, texts in ((old, before), (new, after)):
            found = [{"id": f"{row}", "text": text} for row, text in enumerate(texts)]
            store(Path(name, "documents/0.jsonl"), encode_lines(found))
        dedup(new, by="minhash", against=[old], minhash=chosen, partition_bytes=500)
        everything = plain.read([old, new], chosen)
        kept = len(before)
        verified = plain.verified(everything, chosen, choose_bands(chosen))
        scored = {pair: score for pair, score in verified.items() if pair[1] >= kept}
        centres = plain.settle(len(everything), scored)
        first = {one.words: number for number, one in reversed(list(enumerate(everything))) if one.words}
        removed = [
            number in centres or first.get(one.words, number) < number
            for number, one in enumerate(everything) if number >= kept
        ]  # fmt: skip
        assert [row["is_duplicate"] for row in rows(new, "dedup_minhash")] == removed
        assert not list(Path(old).rglob("*.parquet"))


def test_signatures_of_what_was_kept_are_made_once(
    many: str, make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = next(document["text"] for _, _, document in documents(many) if document["text"].count(" ") > 10)
    new = make_dataset({"new.jsonl": [text.upper(), "something else"]}, "new")
    found = dedup(new, by="minhash", against=[many], minhash=RULES)
    before = tree_of(many)
    assert [row["is_duplicate"] for row in rows(new, "dedup_minhash")] == [True, False]
    assert (found.counts["documents"], found.counts["kept_documents"]) == (2, sum(1 for _ in documents(many)))
    reads = Reads(monkeypatch)
    store(Path(new, "documents/new.jsonl"), encode_lines([{"id": "1", "text": "something else"}]))
    dedup(new, by="minhash", against=[many], minhash=RULES)
    assert reads.paths == ["new.jsonl"]  # nothing is similar, so no text is read again
    assert tree_of(many) == before


def test_documents_that_do_not_compete_are_nobodys_copy(make_dataset: MakeDataset) -> None:
    data = make_dataset({"a.jsonl": ["same words here", "same words here", "Same words here!", "another", "another"]})
    dedup(data, by="id")
    where = "id NOT IN ('a.jsonl-0', 'a.jsonl-4') AND dedup_id.rank = 0"
    summary = dedup(data, by="minhash", where=where)
    assert [(row["rank"], row["size"]) for row in rows(data, "dedup_minhash")] == [
        (0, 1),
        (0, 2),
        (1, 2),
        (0, 1),
        (0, 1),
    ]
    assert summary.counts["not_competing"] == 2
    with pytest.raises(DataError, match="no document passes --where"):
        dedup(data, by="minhash", where="dedup_id.rank > 5")


def test_only_documents_of_one_scope_are_duplicates(many: str) -> None:
    dedup(many, by="minhash", minhash=RULES, scope="source", where="source <> 'z'")
    source = {document["id"]: document["source"] for _, _, document in documents(many)}
    found = rows(many, "dedup_minhash")
    assert any(row["rank"] for row in found)
    assert all(source[row["id"]] == source[row["duplicate_of"]["id"]] for row in found if row["rank"])
    everywhere = sum(row["rank"] > 0 for row in found)
    dedup(many, by="minhash", minhash=RULES)
    assert sum(row["rank"] > 0 for row in rows(many, "dedup_minhash")) > everywhere


def test_data_sets_can_be_scopes(make_dataset: MakeDataset) -> None:
    one, other = (make_dataset({"a.jsonl": ["same", "same"]}, name) for name in ("one", "other"))
    dedup(one, other, by="minhash", scope="dataset")
    assert [row["size"] for data in (one, other) for row in rows(data, "dedup_minhash")] == [2, 2, 2, 2]


def test_bad_rows_are_set_aside_and_counted(make_dataset: MakeDataset) -> None:
    data = make_dataset({"a.jsonl": [*["the same text"] * 150, "last"]})
    with Path(data, "documents/a.jsonl").open("ab") as file:
        file.write(b"{broken\n")
    summary = dedup(data, by="minhash")
    assert summary.counts["bad_rows"] == 1
    assert [row["rank"] for row in rows(data, "dedup_minhash")] == [*range(150), 0]
