"""Every passage that occurs twice is found, byte for byte, whoever does the work; the first copy stays."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

import plain_dedup
import pytest
from conftest import MakeDataset
from handmade import encode_lines, store, tree_of
from hypothesis import given, settings
from hypothesis import strategies as st
from mixes import documents as mixed
from mixes import run_mix
from mortal import mortal
from plain_dedup import Crashing, Shuffled

from dolma_pipe.config import bundled, load
from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.execution import Summary, run_stage
from dolma_pipe.runners.local import Local
from dolma_pipe.shards import DocumentReader, document_shards
from dolma_pipe.stages.dedup import DedupConfig, dedup_stage
from dolma_pipe.stages.dedup.substring import anchors, scenes
from dolma_pipe.stages.dedup.substring.anchors import SubstringRules
from dolma_pipe.stages.dedup.substring.stage import SubstringDedup

Document = dict[str, Any]


def dedup(*datasets: str, runner: Any = None, **options: Any) -> Summary:
    return plain_dedup.dedup(*datasets, runner=runner, by="substring", **options)


def rows(dataset: str, set_name: str = "dedup_substring") -> list[Document]:
    return [{name: row[name] for name in row if name != "id"} for row in plain_dedup.rows(dataset, set_name)]


def documents(datasets: list[str]) -> list[tuple[Document, str]]:
    """Place and text of every document, in documented order."""
    return [
        ({"dataset": Path(dataset).name, "shard": shard.name, "row": batch.first_row + i}, batch.text(i))
        for dataset in datasets
        for shard in document_shards(dataset)
        for batch in DocumentReader(shard)
        for i in range(len(batch))
    ]


# The definition in plain Python


def repeated_ranges(texts: list[bytes], length: int) -> list[list[tuple[int, int, int]]]:
    """Per text its runs of repeated bytes (start, end) and the text where the first window of each occurs first."""
    first: dict[bytes, tuple[int, int]] = {}
    found: list[list[tuple[int, int, int]]] = []
    for number, text in enumerate(texts):
        runs: list[tuple[int, int, int]] = []
        for at in range(len(text) - length + 1):
            other, place = first.setdefault(text[at : at + length], (number, at))
            if other < number or at - place >= length:
                if runs and at <= runs[-1][1]:
                    runs[-1] = (runs[-1][0], at + length, runs[-1][2])
                else:
                    runs.append((at, at + length, other))
        found.append(runs)
    return found


def spans_of(text: bytes, runs: list[tuple[int, int, int]], island: int) -> list[tuple[int, int, float, int, int]]:
    """Start, end (code points), score, bytes, first text: runs joined over islands and cut to whole characters."""
    joined: list[list[int]] = []  # start, end, repeated bytes, first text
    for start, end, other in runs:
        if joined and start - joined[-1][1] <= island:
            joined[-1][1:3] = [end, joined[-1][2] + end - start]
        else:
            joined.append([start, end, end - start, other])
    spans: list[tuple[int, int, float, int, int]] = []
    starts = [at for at in range(len(text) + 1) if at == len(text) or text[at] & 0xC0 != 0x80]
    for start, end, repeated, other in joined:
        inner = [at for at in starts if start <= at <= end]
        if len(inner) > 1:
            low, high = inner[0], inner[-1]
            spans.append((starts.index(low), starts.index(high), repeated / (end - start), high - low, other))
    return spans


def expected_rows(datasets: list[str], length: int, island: int) -> list[Document]:
    placed = documents(datasets)
    texts = [text.encode() for _, text in placed]
    found: list[Document] = []
    for text, runs in zip(texts, repeated_ranges(texts, length), strict=True):
        spans: list[Document] = [
            {"start": start, "end": end, "score": score, "bytes": size, "of": placed[other][0]}
            for start, end, score, size, other in spans_of(text, runs, island)
        ]
        removed = sum(span["end"] - span["start"] for span in spans)
        found.append({"duplicate": spans, "duplicate_fraction": removed / max(len(text.decode()), 1)})
    return found


pieces = st.sampled_from(["a", "b", "ab", "abcabcabd", "é", "漢", "aaaaaaaaa", "xyzzy", ""])
texts = st.lists(pieces, max_size=12).map("".join)
corpora = st.lists(st.lists(texts, max_size=4), min_size=1, max_size=4)


@settings(deadline=None, max_examples=40)
@given(corpora, st.integers(2, 12), st.integers(0, 3), st.sampled_from([1, 5, 1000]), st.sampled_from([200, 10**6]))
def test_any_corpus_gets_the_repeats_of_the_definition(
    corpus: list[list[str]], length: int, island: int, page: int, partition: int
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(anchors, "PAGE_ANCHORS", page)
        patch.setattr(os, "fsync", lambda _: None)  # hundreds of runs, none of which anyone wants to keep
        for number, shard in enumerate(corpus):
            lines = encode_lines([{"id": str(row), "text": text} for row, text in enumerate(shard)])
            store(Path(folder, "data/documents", f"{number}.jsonl"), lines)
        data = str(Path(folder, "data"))
        if not any(len(text.encode()) >= length for shard in corpus for text in shard):
            return
        rules = SubstringRules(min_bytes=length, max_island=min(island, length - 1))
        dedup(data, substring=rules, partition_bytes=partition)
        assert rows(data) == expected_rows([data], length, rules.island)


def expected_in(datasets: list[str], length: int, island: int = 0) -> list[list[Document]]:
    """The spans that each data set should have."""
    found = [row["duplicate"] for row in expected_rows(datasets, length, island)]
    sizes = [len(documents([dataset])) for dataset in datasets]
    return [found[sum(sizes[:i]) : sum(sizes[: i + 1])] for i in range(len(sizes))]


def spans(dataset: str, set_name: str = "dedup_substring") -> list[list[Document]]:
    return [row["duplicate"] for row in rows(dataset, set_name)]


def text_of(draw: random.Random, passages: list[str]) -> str:
    """Passages, or parts of them, with something else between."""
    parts: list[str] = []
    for _ in range(draw.randint(1, 5)):
        passage = draw.choice(passages)
        start = draw.randrange(len(passage) // 2)
        parts.append(passage[start:] if draw.random() < 0.5 else passage[: len(passage) - start])
        parts.append("".join(draw.choices("xyz ", k=draw.randint(0, 60))))
    return "".join(parts)


@pytest.fixture
def many(make_dataset: MakeDataset) -> str:
    draw = random.Random(9)
    passages = ["".join(draw.choices("abcde é漢\n", k=draw.randint(40, 300))) for _ in range(25)]
    names = ("a", "b", "c/1", "c/2", "d")
    return make_dataset({f"{name}.jsonl.zst": [text_of(draw, passages) for _ in range(20)] for name in names})


RULES = SubstringRules(min_bytes=50, max_island=10)


# What is repeated


def test_the_first_copy_of_a_passage_stays(make_dataset: MakeDataset) -> None:
    passage = "The quick brown fox jumps over the lazy dog. " * 2
    web = make_dataset({"b.jsonl": [f"1<{passage}>1", "no"], "a.jsonl": [f"2[{passage}]2"]}, "web")
    books = make_dataset({"a.jsonl": [f"3({passage})3"]}, "books")
    summary = dedup(web, books, substring=SubstringRules(min_bytes=80))
    span = {"start": 2, "end": 92, "score": 1.0, "bytes": 90, "of": {"dataset": "web", "shard": "a.jsonl", "row": 0}}
    assert spans(web) == [[], [span], []]
    assert spans(books) == [[span]]
    assert rows(books)[0]["duplicate_fraction"] == 90 / 94
    assert summary.counts["duplicate_passages"] == 2
    assert summary.counts["duplicate_bytes"] == 180


def test_a_text_that_repeats_itself_keeps_one_copy(make_dataset: MakeDataset) -> None:
    data = make_dataset({"a.jsonl": ["=" * 1000, "ab" * 125 + "-" + "ab" * 75]})
    dedup(data, substring=SubstringRules(min_bytes=100, max_island=0))
    first, second = spans(data)
    assert [(span["start"], span["end"]) for span in first] == [(100, 1000)]
    assert [(span["start"], span["end"]) for span in second] == [(100, 250), (251, 401)]


def test_a_character_of_which_a_part_is_repeated_stays(make_dataset: MakeDataset) -> None:
    one, two = "x" * 20 + "é", "x" * 20 + "è"  # both begin with the byte C3
    data = make_dataset({"a.jsonl": [one, two]})
    dedup(data, substring=SubstringRules(min_bytes=20, max_island=0))
    assert [(span["start"], span["end"], span["bytes"]) for span in spans(data)[1]] == [(0, 20, 20)]


@pytest.mark.parametrize(("island", "expected"), [(3, [(0, 40)]), (2, [(0, 20), (23, 40)])])
def test_an_island_between_two_repeats_goes_with_them(
    make_dataset: MakeDataset, island: int, expected: list[tuple[int, int]]
) -> None:
    data = make_dataset(
        {"a.jsonl": ["abcdefghij" * 2 + "123" + "klmnopqrstuvwxyz!", "abcdefghij" * 2 + "456" + "klmnopqrstuvwxyz!"]}
    )
    dedup(data, substring=SubstringRules(min_bytes=15, max_island=island))
    found = spans(data)[1]
    assert [(span["start"], span["end"]) for span in found] == expected
    assert found[0]["score"] == (37 / 40 if len(found) == 1 else 1.0)


@pytest.mark.parametrize("length", [20, 50, 200])
def test_mixed_passages_are_found_as_the_definition_says(many: str, length: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(anchors, "PAGE_ANCHORS", 300)
        dedup(many, substring=SubstringRules(min_bytes=length, max_island=7), partition_bytes=30_000)
    found = rows(many)
    assert found == expected_rows([many], length, 7)
    assert any(row["duplicate"] for row in found)


def test_when_more_windows_come_than_are_remembered_it_is_said_and_nothing_else_is_marked(many: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scenes, "WINDOWS_PER_CORE", 3)
        summary = dedup(many, substring=RULES)
    assert summary.counts["windows_not_remembered"] > 0
    everything = expected_rows([many], 50, 10)
    for row, full in zip(rows(many), everything, strict=True):
        inner = [(span["start"], span["end"]) for span in full["duplicate"]]
        assert all(any(a <= span["start"] and span["end"] <= b for a, b in inner) for span in row["duplicate"])


@pytest.mark.corpus
def test_passages_planted_in_real_text_are_found(corpus: Path, tmp_path: Path) -> None:
    """In 200 real documents: a part of each of the first 40 put into one of the last 40."""
    source = documents([str(corpus / "corpus" / name) for name in ("web", "speeches")])
    texts = [text for _, text in source if 3000 < len(text) < 30_000][:200]
    draw = random.Random(1)
    planted: list[tuple[int, str]] = []
    for number in range(40):
        start = draw.randrange(len(texts[number]) - 1200)
        planted.append((len(texts) - 40 + number, texts[number][start : start + draw.randint(600, 1200)]))
    for number, passage in planted:
        at = draw.randrange(len(texts[number]))
        texts[number] = texts[number][:at] + "\ue000" + passage + "\ue001" + texts[number][at:]
    store(tmp_path / "data/documents/a.jsonl", encode_lines([{"id": str(i), "text": t} for i, t in enumerate(texts)]))
    dedup(str(tmp_path / "data"))
    found = rows(str(tmp_path / "data"))
    for number, passage in planted:
        start = texts[number].index("\ue000") + 1
        inside = [span for span in found[number]["duplicate"] if span["start"] <= start]
        assert any(span["end"] >= start + len(passage) for span in inside)


# Who competes


def test_only_documents_that_pass_compete(make_dataset: MakeDataset) -> None:
    data = make_dataset({"a.jsonl": ["x" * 20, "x" * 20, "x" * 20]})
    summary = dedup(data, where="id <> 'a.jsonl-0'", substring=SubstringRules(min_bytes=15))
    assert [bool(found) for found in spans(data)] == [False, False, True]
    assert spans(data)[2][0]["of"]["row"] == 1
    assert summary.counts["not_competing"] == 1


def test_a_scope_ends_the_comparison(make_dataset: MakeDataset) -> None:
    one, two = (make_dataset({"a.jsonl": ["x" * 20, "y" * 9, "x" * 20]}, name) for name in ("one", "two"))
    dedup(one, two, scope="dataset", substring=SubstringRules(min_bytes=15))
    assert [bool(found) for found in spans(two)] == [False, False, True]
    assert spans(two)[2][0]["of"]["dataset"] == "two"


def test_what_was_kept_before_comes_first_and_gets_no_results(make_dataset: MakeDataset) -> None:
    draw = random.Random(4)
    passages = ["".join(draw.choices("abcde é", k=90)) for _ in range(6)]
    old, new = (make_dataset({"a.jsonl": [text_of(draw, passages) for _ in range(9)]}, name) for name in ("old", "new"))
    found = dedup(new, against=[old], substring=SubstringRules(min_bytes=30, max_island=0))
    assert spans(new) == expected_in([old, new], 30)[1]
    assert (found.counts["documents"], found.counts["kept_documents"]) == (9, 9)
    assert not Path(old, "attributes", "dedup_substring").exists()


def test_a_limit_reads_the_first_documents_of_every_shard(make_dataset: MakeDataset) -> None:
    data = make_dataset({"a.jsonl": ["x" * 20, "x" * 20], "b.jsonl": ["x" * 20, "x" * 20]})
    dedup(data, limit=1, substring=SubstringRules(min_bytes=15))
    tables = plain_dedup.written(Path(data, "attributes"), "dedup_substring")
    assert [bool(row["duplicate"]) for row in tables] == [False, True]


def test_the_bundled_configuration_runs(make_dataset: MakeDataset) -> None:
    data = make_dataset({"a.jsonl": ["x" * 600, "x" * 600, "x" * 600 + "y"]})
    plain_dedup.dedup(data, by="text")
    run_stage(dedup_stage(load(bundled("dedup/substring.yaml"), DedupConfig, datasets=[data])), Local(1))
    assert [bool(found) for found in spans(data)] == [False, False, True]


# What is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"substring": SubstringRules(min_bytes=1)}, "substring.min_bytes: 1 is not a length"),
        ({"substring": SubstringRules(min_bytes=10, max_island=10)}, "substring.max_island: 10 is not from 0 to 9"),
        ({"paragraph": plain_dedup.ALL_LINES}, "paragraph: has no effect with by: substring"),
        ({"partition_bytes": 0}, "partition_bytes: 0 holds no key"),
    ],
)
def test_a_setting_that_cannot_work_is_refused(make_dataset: MakeDataset, options: Any, message: str) -> None:
    data = make_dataset({"a.jsonl": ["x"]})
    with pytest.raises(ConfigError, match=message):
        dedup(data, **options)


def test_a_run_that_can_find_nothing_is_an_error(make_dataset: MakeDataset) -> None:
    data = make_dataset({"a.jsonl": ["x" * 499, "y" * 400]})
    with pytest.raises(DataError, match="no document has 500 bytes or more"):
        dedup(data)
    with pytest.raises(DataError, match="no document passes --where"):
        dedup(data, where="id = ''")
    dedup(data, substring=SubstringRules(min_bytes=100), expect_duplicates=True)
    other = make_dataset({"a.jsonl": ["abcdefghijklmnopqrstuvwxyz"]}, "other")
    with pytest.raises(DataError, match="no 20 bytes occur twice"):
        dedup(other, substring=SubstringRules(min_bytes=20, max_island=0), expect_duplicates=True)
    rules = SubstringRules(min_bytes=20, max_island=0)
    with pytest.raises(DataError, match="no 20 bytes occur twice"):  # but in what was kept before, within itself
        dedup(other, against=[data], substring=rules, expect_duplicates=True)


def test_a_corpus_without_documents_gets_attributes_without_rows(make_dataset: MakeDataset) -> None:
    data = make_dataset({"a.jsonl": []})
    dedup(data)
    assert rows(data) == []


def test_bad_rows_are_set_aside_and_counted(make_dataset: MakeDataset) -> None:
    data = make_dataset({"a.jsonl": ["x" * 20] * 150})
    with Path(data, "documents/a.jsonl").open("ab") as file:
        file.write(b"{broken\n")
    summary = dedup(data, substring=SubstringRules(min_bytes=15))
    assert summary.counts["bad_rows"] == 1
    assert sum(bool(found) for found in spans(data)) == 149


# The mix


def test_a_mix_removes_the_passages(make_dataset: MakeDataset, tmp_path: Path) -> None:
    passage = "A licence that every file begins with. "
    data = make_dataset({"a.jsonl": [passage + "one", passage + "two", "three"]})
    dedup(data, substring=SubstringRules(min_bytes=30))
    steps = [{"edit": {"remove": "dedup_substring.duplicate"}}]
    source = {"name": "web", "dataset": data, "attributes": ["dedup_substring"], "steps": steps}
    run_mix(tmp_path / "mix", source)
    assert [document["text"] for document in mixed(tmp_path / "mix")] == [passage + "one", "two", "three"]
    with pytest.raises(ConfigError, match=r"write - edit: \{remove: dedup_substring.duplicate\}"):
        run_mix(tmp_path / "other", {**source, "steps": [{"dedup": {"by": "dedup_substring"}}]})


# Whoever does the work

OPTIONS: dict[str, Any] = {"substring": RULES, "partition_bytes": 20_000}


def substring_run(data: str, to: Path, runner: Any = None) -> dict[str, bytes]:
    dedup(data, attributes=str(to), runner=runner, **OPTIONS)
    return tree_of(to)


def test_any_number_of_workers_writes_the_same(many: str, tmp_path: Path) -> None:
    runs = [
        substring_run(many, tmp_path / str(number), runner)
        for number, runner in enumerate([Local(1), Local(2), Local(5), Shuffled(1), Shuffled(2)])
    ]
    assert all(run == runs[0] for run in runs[1:])
    for phase in ("compare", "settle"):
        assert len(list((tmp_path / "0").glob(f"dedup_substring/_keys/_manifest/{phase}/*"))) > 2


@pytest.mark.parametrize("phase", SubstringDedup.phases)
@pytest.mark.parametrize("scratch_survives", [True, False])
def test_a_run_that_was_stopped_is_finished_by_the_next(
    many: str, tmp_path: Path, phase: str, scratch_survives: bool
) -> None:
    with pytest.raises(KeyboardInterrupt):
        substring_run(many, tmp_path / "stopped", Crashing(phase, 2))
    if not scratch_survives:
        shutil.rmtree(tmp_path / "stopped/dedup_substring/_keys/_scratch")
    assert substring_run(many, tmp_path / "stopped") == substring_run(many, tmp_path / "undisturbed")


def test_workers_that_are_killed_change_nothing(many: str, tmp_path: Path) -> None:
    config = DedupConfig(datasets=[many], by="substring", attributes=str(tmp_path / "mortal"), **OPTIONS)
    mercy = tmp_path / "mercy"
    mercy.mkdir()
    run_stage(mortal(dedup_stage(config), mercy), Local(2))
    assert sorted(path.name for path in mercy.iterdir()) == sorted(SubstringDedup.phases)
    assert tree_of(tmp_path / "mortal") == substring_run(many, tmp_path / "undisturbed")


def test_a_second_run_does_nothing_and_leaves_no_scratch(many: str, tmp_path: Path) -> None:
    before = substring_run(many, tmp_path)
    assert dedup(many, attributes=str(tmp_path), **OPTIONS).done == 0
    assert tree_of(tmp_path) == before
    assert not list(tmp_path.rglob("_scratch"))


def test_a_changed_shard_changes_what_it_must(many: str) -> None:
    dedup(many, **OPTIONS)
    Path(many, "documents/a.jsonl.zst").unlink()
    summary = dedup(many, **OPTIONS)
    assert summary.removed > 0
    assert rows(many) == expected_rows([many], 50, 10)
    assert not Path(many, "attributes/dedup_substring/a.parquet").exists()


def test_another_island_looks_for_nothing_again(many: str) -> None:
    dedup(many, **OPTIONS)
    other = SubstringRules(min_bytes=50, max_island=0)
    dedup(many, substring=other, partition_bytes=20_000)
    assert rows(many) == expected_rows([many], 50, 0)
