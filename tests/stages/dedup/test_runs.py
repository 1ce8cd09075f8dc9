"""The same bytes, whoever does the work, and however often it was stopped."""

from __future__ import annotations

import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import MakeDataset
from handmade import encode_lines, store, tree_of
from mortal import KILLED
from plain_dedup import (
    ALL_LINES,
    Crashing,
    Shuffled,
    clusters_by,
    dedup,
    repeats_in,
    rows,
    without_clusters,
    written,
)

from dolma_pipe import manifest
from dolma_pipe.runners.local import Local
from dolma_pipe.stage import Job, Stage, perform
from dolma_pipe.stages.dedup import spill
from dolma_pipe.stages.dedup.documents import TextRules
from dolma_pipe.stages.dedup.paragraphs import NgramRules, ParagraphRules

GRAMS = ParagraphRules(min_characters=1, by_ngram=NgramRules(length=2, min_overlap=0.5))
KINDS: dict[str, dict[str, Any]] = {
    "text": {"by": "text"},
    "normalized": {"by": "text", "text": TextRules(normalize=("lowercase", "whitespace"))},
    "url": {"by": "url"},
    "scoped": {"by": "text", "scope": "source"},
    "paragraph": {"by": "paragraph", "paragraph": ALL_LINES},
    "ngrams": {"by": "paragraph", "paragraph": GRAMS},
    "against": {"by": "text"},
}


def run(kind: str, data: str, out: Path, **options: Any) -> None:
    """One kind of dedup of `data`; `against` has half of it as kept before, in a data set beside it."""
    datasets: list[str] = [data]
    if kind == "against":
        old, new = (str(out.parent / f"{out.name}-{half}") for half in ("old", "new"))
        shutil.copytree(Path(data, "documents/c"), Path(old, "documents/c"), dirs_exist_ok=True)
        shutil.copytree(data, new, dirs_exist_ok=True)
        shutil.rmtree(Path(new, "documents/c"))
        datasets, options = [new], {**options, "against": [old]}
    dedup(*datasets, name="found", attributes=str(out), **KINDS[kind], **options)


@pytest.mark.parametrize(
    ("kind", "workers"), [*((kind, 2) for kind in KINDS if kind != "paragraph"), ("paragraph", 2), ("paragraph", 5)]
)
def test_any_number_of_workers_writes_the_same(many: str, kind: str, workers: int, tmp_path: Path) -> None:
    runs: list[dict[str, Any]] = []
    for number, runner in enumerate([Local(1), Local(workers), Shuffled(1), Shuffled(2)]):
        run(kind, many, tmp_path / f"run{number}" / "out", partition_bytes=20_000, runner=runner)
        runs.append(tree_of(tmp_path / f"run{number}" / "out"))
    assert all(found == runs[0] for found in runs[1:])
    assert any(row.get("is_duplicate") or row.get("duplicate") for row in written(tmp_path / "run0", "found"))


@pytest.mark.parametrize("kind", KINDS)
def test_how_the_keys_are_split_does_not_show(
    many: str, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(kind, many, tmp_path / "whole")
    monkeypatch.setattr(spill, "PAGE_RECORDS", 7)
    run(kind, many, tmp_path / "split", partition_bytes=1000)
    whole, split = written(tmp_path / "whole", "found"), written(tmp_path / "split", "found")
    assert repr(whole).replace("whole", "") == repr(split).replace("split", "")
    assert len(list((tmp_path / "split/found/_keys/_manifest/resolve").iterdir())) > 3


def test_a_second_run_does_nothing_and_leaves_no_scratch(many: str) -> None:
    first = dedup(many, by="text")
    before = tree_of(many)
    again = dedup(many, by="text")
    assert (first.skipped, again.done) == (0, 0)
    assert tree_of(many) == before
    assert not list(Path(many).rglob("_scratch"))


def test_a_changed_shard_changes_what_it_must(many: str) -> None:
    dedup(many, by="text")
    store(Path(many, "documents/c/1.jsonl.zst"), encode_lines([{"id": "new", "text": "🦆\nnever seen"}]))
    dedup(many, by="text")
    assert without_clusters(rows(many, "dedup_text")) == clusters_by([many], lambda document: document["text"])


def test_a_shard_that_is_gone_takes_its_attributes_along(many: str) -> None:
    dedup(many, by="text")
    Path(many, "documents/a.jsonl.zst").unlink()
    summary = dedup(many, by="text")
    assert not Path(many, "attributes/dedup_text/a.parquet").exists()
    assert summary.removed > 0
    assert without_clusters(rows(many, "dedup_text")) == clusters_by([many], lambda document: document["text"])


@pytest.mark.parametrize("phase", ["spill", "resolve", "write"])
@pytest.mark.parametrize("scratch_survives", [True, False])
@pytest.mark.parametrize("kind", ["text", "ngrams", "against"])
def test_a_run_that_was_stopped_is_finished_by_the_next(
    many: str, tmp_path: Path, kind: str, phase: str, scratch_survives: bool
) -> None:
    out, undisturbed = tmp_path / "a/out", tmp_path / "b/out"
    with pytest.raises(KeyboardInterrupt):
        run(kind, many, out, runner=Crashing(phase, 2), partition_bytes=2000)
    if not scratch_survives:
        shutil.rmtree(out / "found/_keys/_scratch")
    run(kind, many, out, partition_bytes=2000)
    run(kind, many, undisturbed, partition_bytes=2000)
    assert tree_of(out) == tree_of(undisturbed)


@pytest.mark.parametrize("place", ["kept/a.arrays", "spill/c/2.arrays", "resolve/partition-00003", "c/2.parquet"])
def test_a_run_that_was_killed_is_finished_by_the_next(many: str, tmp_path: Path, place: str) -> None:
    old = str(tmp_path / "old")
    shutil.copytree(many, old)
    out, undisturbed = tmp_path / "a/out", tmp_path / "b/out"
    options: dict[str, Any] = {"by": "paragraph", "against": [old], "paragraph": ALL_LINES, "partition_bytes": 2000}
    flags = ["--by", "paragraph", "--against", old, "--attributes", str(out)]
    settings = ["--set", "partition_bytes=2000", "--set", "paragraph.min_characters=1"]
    dead = subprocess.run([sys.executable, "-c", KILLED, place, "dedup", many, *flags, *settings], capture_output=True)
    assert dead.returncode == -signal.SIGKILL
    dedup(many, attributes=str(out), **options)
    dedup(many, attributes=str(undisturbed), **options)
    assert tree_of(out) == tree_of(undisturbed)


class Weighing(Local):
    """Notes how many bytes a job takes on its way to a worker."""

    workers = 1

    def __init__(self) -> None:
        self.bytes: dict[str, int] = {}

    def run(self, stage: Stage, jobs: Sequence[Job], report: Any) -> Iterator[Any]:
        for job in jobs:
            self.bytes[job.phase] = max(self.bytes.get(job.phase, 0), len(pickle.dumps(job)))
            yield job, perform(stage, job, report)


def test_a_job_does_not_grow_with_the_number_of_shards(make_dataset: MakeDataset) -> None:
    found: list[dict[str, int]] = []
    for count in (10, 90):
        runner = Weighing()
        data = make_dataset({f"{number:02}.jsonl": ["same"] for number in range(count)}, f"of{count}")
        dedup(data, by="text", runner=runner)
        found.append(runner.bytes)
    assert all(abs(found[1][phase] - found[0][phase]) <= 8 for phase in ("spill", "resolve", "write"))


def test_an_attribute_file_that_is_lost_is_made_again(many: str) -> None:
    dedup(many, by="text")
    before = tree_of(many)
    Path(many, "attributes/dedup_text/b.parquet").unlink()
    summary = dedup(many, by="text")
    assert tree_of(many) == before
    assert summary.done > 0


def test_records_name_no_path_of_this_machine(many: str) -> None:
    dedup(many, by="text")
    records = list(Path(many, "attributes/dedup_text").rglob("*.json"))
    assert len(records) > 10
    kept = [path for path in records if not {"runs", "stat"} & set(path.parts)]
    assert all(str(many) not in path.read_text() for path in kept)
    assert all(manifest.read(str(path)) is not None for path in kept)


@pytest.mark.corpus
def test_the_duplicates_of_real_sources_are_found(corpus: Path, tmp_path: Path) -> None:
    sources = [str(corpus / "corpus" / name) for name in ("web", "hackernews", "stackexchange")]
    dedup(*sources, by="text", attributes=str(tmp_path))
    found = [row for name in sources for row in written(tmp_path / Path(name).name, "dedup_text")]
    expected = clusters_by(sources, lambda document: document["text"])
    assert [row["rank"] for row in found] == [row["rank"] for row in expected]
    dedup(*sources, by="paragraph", attributes=str(tmp_path))
    found = [row for name in sources for row in written(tmp_path / Path(name).name, "dedup_paragraph")]
    assert [row["duplicate"] for row in found] == [row["duplicate"] for row in repeats_in(sources, ParagraphRules())]
