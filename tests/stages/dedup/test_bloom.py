"""A Bloom filter says what one worker would say that goes through the keys in order, and errs as often as it may."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash
from conftest import MakeDataset
from handmade import tree_of
from hypothesis import given, settings
from hypothesis import strategies as st
from mixes import documents as mixed
from mixes import run_mix
from mortal import mortal
from plain_dedup import ALL_LINES, Crashing, Shuffled, corpora, dedup, documents, rows, write_corpus, written

from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.execution import Options, run_stage
from dolma_pipe.kernels import bloom as kernels
from dolma_pipe.kernels.hashing import hash128_ranges
from dolma_pipe.runners.local import Local
from dolma_pipe.stages.dedup import DedupConfig, dedup_stage, spill
from dolma_pipe.stages.dedup.bloom import filter as filters
from dolma_pipe.stages.dedup.bloom.filter import BloomRules
from dolma_pipe.stages.dedup.documents import TextRules
from dolma_pipe.stages.dedup.paragraphs import NgramRules, ParagraphRules

Document = dict[str, Any]
RULES: dict[str, Document] = {"text": {}, "url": {}, "paragraph": {"paragraph": ALL_LINES}}
MASK = (1 << 64) - 1


class PlainFilter:
    """The filter as the documentation describes it."""

    def __init__(self, shape: filters.Shape) -> None:
        self.shape, self.bits = shape, set[tuple[int, int]]()

    def places(self, key: tuple[int, int]) -> set[tuple[int, int]]:
        block = key[0] * self.shape.blocks >> 64
        state, places = key[1] + self.finish(self.shape.seed), []
        for _ in range(-(-self.shape.probes // 4)):
            state = state + 0x9E3779B97F4A7C15 & MASK
            word = self.finish(state & MASK)
            places += [word >> 15 * i & 0x7FFF for i in range(4)]
        return {(block, place) for place in places[: self.shape.probes]}

    @staticmethod
    def finish(word: int) -> int:
        word = (word ^ word >> 33) * 0xC2B2AE3D27D4EB4F & MASK
        word = (word ^ word >> 29) * 0x165667B19E3779F9 & MASK
        return word ^ word >> 32

    def ask(self, key: tuple[int, int], adds: bool) -> bool:
        places = self.places(key)
        seen = places <= self.bits
        if adds:
            self.bits |= places
        return seen


def key_of(text: str) -> tuple[int, int]:
    data = text.encode()
    low, high = hash128_ranges(np.frombuffer(data, np.uint8), np.array([0]), np.array([len(data)]))[0].tolist()
    return low, high


def numbers(count: int, most: int, seed: int) -> list[str]:
    return [str(number) for number in np.random.default_rng(seed).integers(0, most, count).tolist()]


def random_keys(count: int, seed: int) -> tuple[Any, Any]:
    draw = np.random.default_rng(seed)
    return draw.integers(0, MASK, count, np.uint64), draw.integers(0, MASK, count, np.uint64)


def fill(shape: filters.Shape, first: Any, second: Any, adds: bool, words: Any) -> Any:
    block = kernels.blocks_of(first, shape.blocks)
    return kernels.look_up(words, block, second, np.arange(len(first)), shape.probes, np.uint64(shape.seed), adds)


# The filter


@pytest.mark.parametrize(("blocks", "probes", "seed"), [(1, 1, 0), (3, 7, 5), (1000, 20, MASK)])
def test_bits_are_where_the_documentation_says(blocks: int, probes: int, seed: int) -> None:
    shape = filters.Shape(blocks, 1, probes, seed)
    first, second = random_keys(300, probes)
    words = np.zeros(blocks * kernels.BLOCK_WORDS, "<u8")
    fill(shape, first, second, True, words)
    plain = PlainFilter(shape)
    for key in zip(first.tolist(), second.tolist(), strict=True):
        plain.ask(key, True)
    found = np.flatnonzero(np.unpackbits(words.view(np.uint8), bitorder="little"))
    assert {(int(bit) // 32768, int(bit) % 32768) for bit in found} == plain.bits


@pytest.mark.parametrize(("error_rate", "loads"), [(1e-2, (0.5, 1.0, 1.5)), (1e-4, (0.8, 1.0))])
def test_it_errs_as_often_as_the_theory_says(error_rate: float, loads: tuple[float, ...]) -> None:
    shape = filters.shape_for(300_000, error_rate, 1, 1 << 30)
    for load in loads:
        words = np.zeros(shape.blocks * kernels.BLOCK_WORDS, "<u8")
        added = int(load * 300_000)
        fill(shape, *random_keys(added, 2), True, words)
        asked = 3_000_000
        wrong = int(fill(shape, *random_keys(asked, 3), False, words).sum())
        expected = asked * filters.false_positive_rate(shape.blocks, shape.probes, added)
        assert abs(wrong - expected) < 5 * expected**0.5
        if load == 1.0:
            assert 0.9 * error_rate * asked < expected <= error_rate * asked


@pytest.mark.parametrize("error_rate", [0.1, 1e-3, 1e-6, 1e-12])
def test_it_is_as_small_as_it_can_be(error_rate: float) -> None:
    shape = filters.shape_for(10**8, error_rate, 0, 64 << 20)
    ideal = 10**8 * -np.log2(error_rate) / np.log(2)
    assert shape.blocks * kernels.BLOCK_BITS < 1.03 * ideal  # whole probes, uneven blocks
    assert filters.false_positive_rate(shape.blocks, shape.probes, 10**8) <= error_rate
    fewer = shape.blocks - shape.ranges - 1
    assert all(filters.false_positive_rate(fewer, probes, 10**8) > error_rate for probes in range(1, 50))


def test_a_small_filter_is_one_block() -> None:
    shape = filters.shape_for(1000, 1e-3, 0, 64 << 20)
    assert (shape.blocks, shape.ranges) == (1, 1)
    assert shape.probes < 12  # not thousands, however much room there is


# What it says


def test_every_document_is_asked_for_in_documented_order(make_dataset: MakeDataset, tmp_path: Path) -> None:
    """So full a filter that a tenth of its answers are wrong: whoever asks later gets other answers."""
    shards = {f"{name}.jsonl": numbers(4000, 10**6, number) for number, name in enumerate("badc")}
    data = make_dataset(shards)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spill, "PAGE_RECORDS", 1500)
        rules = BloomRules(save=str(tmp_path / "seen"), expected=16_000, error_rate=0.3)
        dedup(data, by="text", bloom=rules, partition_bytes=4096, runner=Shuffled(1))
    header = filters.read_header(str(tmp_path / "seen"))
    assert header.shape.ranges > 1
    plain = PlainFilter(header.shape)
    answers = [plain.ask(key_of(document["text"]), True) for _, _, document in documents(data)]
    assert [row["is_duplicate"] for row in rows(data, "dedup_text_bloom")] == answers
    texts = [document["text"] for _, _, document in documents(data)]
    assert sum(answers) > len(texts) - len(set(texts)) + 1000


@settings(deadline=None, max_examples=12)
@given(corpora, st.integers(0, 3), st.sampled_from([1, 3, 1000]))
def test_what_it_finds_are_the_copies_that_exact_deduplication_finds(corpus: Any, seed: int, page: int) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(spill, "PAGE_RECORDS", page)
        patch.setattr(os, "fsync", lambda _: None)  # hundreds of runs, none of which anyone wants to keep
        datasets = write_corpus(folder, corpus)
        everything = [document for dataset in datasets for _, _, document in documents(dataset)]
        for by, more in RULES.items():
            if not any(_has_key(document, by) for document in everything):
                continue
            rules = BloomRules(save=folder + "/" + by, expected=1000)
            dedup(*datasets, by=by, bloom=rules, runner=Shuffled(seed), **more)
            dedup(*datasets, by=by, **more)
            for dataset in datasets:
                found, exact = rows(dataset, f"dedup_{by}_bloom"), rows(dataset, f"dedup_{by}")
                assert [_answer(row) for row in found] == [_answer(row) for row in exact]


def _has_key(document: Document, by: str) -> bool:
    return bool(document["metadata"]["url"]) if by == "url" else bool(document["text"].strip())


def _answer(row: Document) -> Any:
    if "is_duplicate" in row:
        return row["is_duplicate"]
    return row["duplicate_fraction"], [(span["start"], span["end"], span["score"]) for span in row["duplicate"]]


def test_a_filter_that_is_not_saved_only_answers(make_dataset: MakeDataset, tmp_path: Path) -> None:
    may, june = make_dataset({"a.jsonl": ["x", "y"]}, "may"), make_dataset({"a.jsonl": ["z", "y", "z"]}, "june")
    dedup(may, by="text", bloom=BloomRules(save=str(tmp_path / "may.bloom"), expected=10))
    dedup(june, by="text", bloom=BloomRules(seen=str(tmp_path / "may.bloom")))
    assert [row["is_duplicate"] for row in rows(june, "dedup_text_bloom")] == [False, True, False]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["june", "may", "may.bloom"]


def test_month_by_month_is_the_same_as_all_at_once(make_dataset: MakeDataset, tmp_path: Path) -> None:
    may = make_dataset({f"{name}.jsonl": numbers(50, 90, number) for number, name in enumerate("ab")}, "may")
    june = make_dataset({f"{name}.jsonl": numbers(50, 90, number) for number, name in enumerate("cd", 2)}, "june")
    one, two, all_ = (str(tmp_path / name) for name in ("one", "two", "all"))
    dedup(may, june, by="text", bloom=BloomRules(save=all_, expected=1000, seed=7))
    at_once = rows(june, "dedup_text_bloom")
    dedup(may, by="text", bloom=BloomRules(save=one, expected=1000, seed=7))
    dedup(june, by="text", bloom=BloomRules(seen=one, save=two))
    assert rows(june, "dedup_text_bloom") == at_once
    assert 0 < sum(row["is_duplicate"] for row in at_once) < 100
    assert Path(two, "bits-00000").read_bytes() == Path(all_, "bits-00000").read_bytes()
    ours, theirs = filters.read_header(two), filters.read_header(all_)
    assert (ours.added, ours.shape, ours.hashes) == (theirs.added, theirs.shape, theirs.hashes)


def test_paragraphs_by_ngram_are_asked_for_too(make_dataset: MakeDataset, tmp_path: Path) -> None:
    data = make_dataset({"a.jsonl": ["one two three four\nfive", "one two three nine\nsix six six"]})
    rules = ParagraphRules(min_characters=1, by_ngram=NgramRules(length=2, min_overlap=0.5))
    dedup(data, by="paragraph", paragraph=rules, bloom=BloomRules(save=str(tmp_path / "seen"), expected=100))
    found = rows(data, "dedup_paragraph_bloom")
    assert found[0]["duplicate"] == []
    assert found[1]["duplicate"] == [
        {"start": 0, "end": 19, "score": 2 / 3}, {"start": 19, "end": 30, "score": 0.5},
    ]  # fmt: skip
    assert found[1]["duplicate_fraction"] == 1.0


@pytest.mark.corpus
def test_real_text_gets_the_answers_of_exact_deduplication(corpus: Path, tmp_path: Path) -> None:
    sources = [str(corpus / "corpus" / name) for name in ("web", "hackernews")]
    for by in ("text", "paragraph"):
        rules = BloomRules(save=str(tmp_path / by), expected=200_000, error_rate=1e-9)
        dedup(*sources, by=by, bloom=rules, attributes=str(tmp_path / "out"))
        dedup(*sources, by=by, attributes=str(tmp_path / "out"))
        found, exact = (written(tmp_path / "out", f"dedup_{by}{end}") for end in ("_bloom", ""))
        assert [_answer(row) for row in found] == [_answer(row) for row in exact]
        assert any(_answer(row) not in (False, (0.0, [])) for row in found)


# What is refused


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({}, "names no filter"),
        ({"save": "new"}, "bloom.expected: None is no number of keys"),
        ({"save": "new", "expected": 0.5}, "is no number of keys"),
        ({"save": "new", "expected": 10, "error_rate": 1}, "not between 0 and 1"),
        ({"save": "new", "expected": 10, "seed": -1}, "bloom.seed: -1"),
        ({"seen": "old", "error_rate": 0.1}, "bloom.error_rate: has no effect"),
        ({"seen": "old", "save": "new", "expected": 10}, "bloom.expected: has no effect"),
        ({"seen": "old", "save": "old/"}, "a filter is never changed"),
        ({"seen": "nowhere"}, "no Bloom filter"),
    ],
)
def test_rules_that_cannot_work_are_refused(make_dataset: MakeDataset, rules: Document, message: str) -> None:
    data = make_dataset({"a.jsonl": ["x"]})
    with pytest.raises(ConfigError, match=message):
        dedup(data, by="text", bloom=BloomRules(**rules))


@pytest.mark.parametrize("more", [{"by": "substring"}, {"by": "minhash"}, {"by": "text", "against": ["elsewhere"]}])
def test_what_a_filter_cannot_say_is_refused(make_dataset: MakeDataset, more: Document) -> None:
    data = make_dataset({"a.jsonl": ["x"]})
    with pytest.raises(ConfigError, match="has no effect"):
        dedup(data, bloom=BloomRules(save="new", expected=10), **more)


def test_more_keys_than_it_was_made_for_are_refused(make_dataset: MakeDataset, tmp_path: Path) -> None:
    data, save = make_dataset({"a.jsonl": [str(number) for number in range(4000)]}), str(tmp_path / "seen")
    with pytest.raises(
        DataError, match=r"about [34]\d{3} different keys came.* sized for 1000.* bloom.expected: 4\d{3}"
    ):
        dedup(data, by="text", bloom=BloomRules(save=save, expected=1000))
    assert not Path(save).exists()
    assert not list(Path(data, "attributes").rglob("*.parquet"))
    dedup(data, by="text", bloom=BloomRules(save=save, expected=4000))
    assert filters.read_header(save).added == 4000


def test_a_filter_of_something_else_is_not_overwritten(make_dataset: MakeDataset, tmp_path: Path) -> None:
    may, june = make_dataset({"a.jsonl": ["x", "y"]}, "may"), make_dataset({"a.jsonl": ["z", "y"]}, "june")
    rules = BloomRules(save=str(tmp_path / "seen"), expected=10)
    dedup(may, by="text", bloom=rules)
    with pytest.raises(ConfigError, match="was made of other documents"):
        dedup(june, by="text", bloom=rules)
    before = tree_of(tmp_path / "seen")
    run_stage(dedup_stage(DedupConfig(datasets=[may], by="text", bloom=rules)), Local(1), Options(force=True))
    assert tree_of(tmp_path / "seen") == before


def test_a_filter_of_other_keys_is_refused(make_dataset: MakeDataset, tmp_path: Path) -> None:
    data = make_dataset({"a.jsonl": ["x", "y"]})
    dedup(data, by="text", bloom=BloomRules(save=str(tmp_path / "seen"), expected=10))
    with pytest.raises(ConfigError, match=r"\(by: text there, id here\); they never match"):
        dedup(data, by="id", bloom=BloomRules(seen=str(tmp_path / "seen")))
    rules = TextRules(normalize=("lowercase",))
    with pytest.raises(ConfigError, match=r"\(text.normalize: \[\] there, \['lowercase'\] here\); they never match"):
        dedup(data, by="text", text=rules, bloom=BloomRules(seen=str(tmp_path / "seen")))


def test_more_keys_than_any_filter_holds_are_refused(make_dataset: MakeDataset, tmp_path: Path) -> None:
    data = make_dataset({"a.jsonl": ["x", "y"]})
    with pytest.raises(ConfigError, match=r"expected: 1e\+18 keys with an error rate of 1e-06 need 3.6.e\+18 bytes"):
        dedup(data, by="text", bloom=BloomRules(save=str(tmp_path / "seen"), expected=1e18))


def test_a_damaged_filter_is_refused(make_dataset: MakeDataset, tmp_path: Path) -> None:
    data = make_dataset({"a.jsonl": ["x", "y"]})
    dedup(data, by="text", bloom=BloomRules(save=str(tmp_path / "seen"), expected=10))
    bits = tmp_path / "seen" / "bits-00000"
    whole = bits.read_bytes()
    for broken in (whole[:-1], bytes(len(whole))):
        bits.write_bytes(broken)
        with pytest.raises(DataError, match="cut short or damaged"):
            dedup(data, by="text", bloom=BloomRules(seen=str(tmp_path / "seen")))
    header = tmp_path / "seen" / "filter.json"
    header.write_bytes(header.read_bytes().replace(b'"format": 1', b'"format": 2'))
    with pytest.raises(ConfigError, match="a filter of format 2"):
        dedup(data, by="text", bloom=BloomRules(seen=str(tmp_path / "seen")))


def test_a_run_that_finds_nothing_where_it_should_is_an_error(make_dataset: MakeDataset, tmp_path: Path) -> None:
    data = make_dataset({"a.jsonl": ["x", "y"]})
    dedup(data, by="text", bloom=BloomRules(save=str(tmp_path / "seen"), expected=10))
    dedup(data, by="text", bloom=BloomRules(seen=str(tmp_path / "seen")), expect_duplicates=True)
    other = make_dataset({"a.jsonl": ["z", "z"]}, "other")
    with pytest.raises(DataError, match="duplicates were expected"):
        dedup(other, by="text", bloom=BloomRules(seen=str(tmp_path / "seen")), expect_duplicates=True)


# The mix


def test_a_mix_keeps_what_was_not_seen(make_dataset: MakeDataset, tmp_path: Path) -> None:
    data = make_dataset({"a.jsonl": ["x x x", "y", "x x x", "z\nx x x"]})
    for by in ("text", "paragraph"):
        dedup(data, by=by, bloom=BloomRules(save=str(tmp_path / by), expected=10), **RULES[by])
    source = {"name": "web", "dataset": data, "attributes": ["dedup_text_bloom", "dedup_paragraph_bloom"]}
    edit = {"edit": {"remove": "dedup_paragraph_bloom.duplicate"}}
    run_mix(tmp_path / "mix", {**source, "steps": [{"keep": {"unseen": "NOT dedup_text_bloom.is_duplicate"}}, edit]})
    assert [document["text"] for document in mixed(tmp_path / "mix")] == ["x x x", "y", "z\n"]


@pytest.mark.parametrize(
    ("by", "step"),
    [
        ("text", r"keep: \{unseen: NOT dedup_text_bloom.is_duplicate\}"),
        ("paragraph", r"edit: \{remove: dedup_paragraph_bloom.duplicate\}"),
    ],
)
def test_a_mix_that_wants_clusters_is_told_what_to_write(
    make_dataset: MakeDataset, tmp_path: Path, by: str, step: str
) -> None:
    data, name = make_dataset({"a.jsonl": ["x", "y"]}), f"dedup_{by}_bloom"
    dedup(data, by=by, bloom=BloomRules(save=str(tmp_path / "seen"), expected=10), **RULES[by])
    source = {"name": "web", "dataset": data, "attributes": [name], "steps": [{"dedup": {"by": name}}]}
    with pytest.raises(ConfigError, match=step):
        run_mix(tmp_path / "mix", source)


# Whoever does the work


def bloom_run(data: str, to: Path, runner: Any = None, **more: Any) -> dict[str, bytes]:
    rules = BloomRules(save=str(to / "seen"), expected=3000, error_rate=1e-9)
    options = {"attributes": str(to / "out"), "partition_bytes": 4096, "bloom": rules}
    dedup(data, by="paragraph", paragraph=ALL_LINES, runner=runner, **options, **more)
    return tree_of(to)


def test_any_number_of_workers_writes_the_same(many: str, tmp_path: Path) -> None:
    runs = [
        bloom_run(many, tmp_path / str(number), runner)
        for number, runner in enumerate([Local(1), Local(2), Local(5), Shuffled(1), Shuffled(2)])
    ]
    assert all(run == runs[0] for run in runs[1:])
    assert filters.read_header(str(tmp_path / "0/seen")).shape.ranges > 2
    assert any(row["duplicate"] for row in written(tmp_path / "0", "dedup_paragraph_bloom"))


@pytest.mark.parametrize("phase", ["spill", "resolve", "write", "save"])
def test_a_run_that_was_stopped_is_finished_by_the_next(many: str, tmp_path: Path, phase: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        bloom_run(many, tmp_path / "stopped", Crashing(phase, 0 if phase == "save" else 2))
    finished = bloom_run(many, tmp_path / "stopped")
    assert finished == bloom_run(many, tmp_path / "undisturbed")


def test_a_worker_that_is_killed_leaves_no_bits_behind(many: str, tmp_path: Path) -> None:
    rules = BloomRules(save=str(tmp_path / "mortal/seen"), expected=3000, error_rate=1e-9)
    config = DedupConfig(
        datasets=[many], by="paragraph", paragraph=ALL_LINES, bloom=rules, partition_bytes=4096,
        attributes=str(tmp_path / "mortal/out"),
    )  # fmt: skip
    mercy = tmp_path / "mercy"
    mercy.mkdir()
    run_stage(mortal(dedup_stage(config), mercy), Local(2))
    assert sorted(path.name for path in mercy.iterdir()) == ["resolve", "spill", "write"]
    assert tree_of(tmp_path / "mortal") == bloom_run(many, tmp_path / "undisturbed")


def test_a_second_run_does_nothing_and_leaves_no_scratch(many: str, tmp_path: Path) -> None:
    before = bloom_run(many, tmp_path)
    rules = BloomRules(save=str(tmp_path / "seen"), expected=3000, error_rate=1e-9)
    options: Any = {"attributes": str(tmp_path / "out"), "partition_bytes": 4096, "bloom": rules}
    again = dedup(many, by="paragraph", paragraph=ALL_LINES, **options)
    assert again.done == 0
    assert tree_of(tmp_path) == before
    assert not list(tmp_path.rglob("_scratch"))


def test_the_header_says_what_is_needed_to_use_it_elsewhere(many: str, tmp_path: Path) -> None:
    bloom_run(many, tmp_path)
    header = json.loads((tmp_path / "seen/filter.json").read_bytes())
    assert header["hash"] == "MurmurHash3_x64_128"
    assert header["keys"]["by"] == "paragraph"
    assert header["shape"]["seed"] == 0
    assert header["added"] == 6 - 1  # pieces that are not empty
    bits = [(tmp_path / f"seen/bits-{number:05d}").read_bytes() for number in range(header["shape"]["ranges"])]
    assert [xxhash.xxh3_128_hexdigest(found) for found in bits] == header["hashes"]
    assert str(tmp_path) not in json.dumps(header)
