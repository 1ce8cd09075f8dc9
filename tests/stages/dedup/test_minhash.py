"""Near duplicates are those of the definition: similar to a document that stays, and compared with it."""

from __future__ import annotations

import os
import random
import tempfile
from pathlib import Path
from typing import Any

import plain_minhash as plain
import pytest
from conftest import MakeDataset
from handmade import encode_lines, store
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_dedup import Document, Shuffled, dedup, documents, rows, without_clusters

from dolma_pipe.config import bundled, load
from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.execution import run_stage
from dolma_pipe.runners.local import Local
from dolma_pipe.stages.dedup import DedupConfig, dedup_stage
from dolma_pipe.stages.dedup.minhash import buckets, pairs, shingles, signatures, similarity, stars
from dolma_pipe.stages.dedup.minhash.signatures import Bands, MinhashRules, choose_bands

SMALL = {"shingle": 2, "permutations": 12, "bands": 6, "rows": 2}
WORDS = [*"abcdefgh"]
texts = st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join)
corpora = st.lists(st.lists(st.lists(texts, max_size=6), min_size=1, max_size=3), min_size=1, max_size=2)
verified = st.fixed_dictionaries({
    "verify": st.sampled_from(["jaccard", "containment", "signature"]), "threshold": st.sampled_from([0.3, 0.5, 0.8]),
})  # fmt: skip
rules = st.builds(
    lambda how, **more: MinhashRules(**how, **more),
    st.one_of(verified, st.just({"verify": "none"})),
    shingle=st.sampled_from([1, 2]), permutations=st.just(12), bands=st.just(6), rows=st.sampled_from([1, 2]),
    bucket_limit=st.sampled_from([1, 2, 100]), seed=st.integers(0, 5),
)  # fmt: skip


def write(folder: str, corpus: list[list[list[str]]]) -> list[str]:
    """Data sets of shards of texts."""
    for number, shards in enumerate(corpus):
        for shard, content in enumerate(shards):
            found = [{"id": f"{number}.{shard}.{row}", "text": text} for row, text in enumerate(content)]
            store(Path(folder, f"set{number}", "documents", f"{shard}.jsonl"), encode_lines(found))
    return [str(Path(folder, f"set{number}")) for number in range(len(corpus))]


def found_in(*datasets: str, name: str = "dedup_minhash") -> list[Document]:
    return without_clusters([row for dataset in datasets for row in rows(dataset, name)])


def expected_in(datasets: list[str], chosen: MinhashRules) -> list[Document]:
    return plain.near_duplicates(datasets, chosen, choose_bands(chosen))


@settings(deadline=None, max_examples=40)
@given(corpora, rules, st.integers(0, 3), st.sampled_from([1, 3, 1000]), st.sampled_from([200, 10**6]))
def test_any_corpus_gets_the_stars_of_the_definition(
    corpus: Any, chosen: MinhashRules, seed: int, page: int, partition: int
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        for module, name in ((signatures, "PAGE"), (buckets, "PAGE_RECORDS"), (pairs, "CHUNK"), (stars, "AT_ONCE")):
            patch.setattr(module, name, page)
        for module, name in ((similarity, "AT_ONCE"), (shingles, "ROWS_APART"), (shingles, "VALUES_APART")):
            patch.setattr(module, name, page)
        patch.setattr(os, "fsync", lambda _: None)  # hundreds of runs, none of which anyone wants to keep
        datasets = write(folder, corpus)
        if not any(document["text"] for dataset in datasets for _, _, document in documents(dataset)):
            return
        dedup(*datasets, by="minhash", minhash=chosen, partition_bytes=partition, runner=Shuffled(seed))
        assert found_in(*datasets) == expected_in(datasets, chosen)
        clusters = [row for dataset in datasets for row in rows(dataset, "dedup_minhash")]
        assert all((row["cluster"] is None) == (row["size"] == 1) for row in clusters)
        centres = {row["cluster"]: row["id"] for row in clusters if row["cluster"] and not row["rank"]}
        assert all(centres[row["cluster"]] == row["duplicate_of"]["id"] for row in clusters if row["rank"])


def near(words: list[str], changed: int) -> str:
    """The words with the last ones replaced."""
    return " ".join([*words[: len(words) - changed], *(f"new{i}" for i in range(changed))])


def test_copies_and_near_copies_are_found_across_data_sets(make_dataset: MakeDataset) -> None:
    draw = random.Random(1)
    one, other = ([f"w{draw.randrange(10**6)}" for _ in range(200)] for _ in range(2))
    web = make_dataset(
        {"a.jsonl": [" ".join(one), " ".join(other)], "b.jsonl.gz": [near(one, 3), near(one, 150)]}, "web"
    )
    books = make_dataset({"0.jsonl": [" ".join(other).upper() + "!", "short", near(other, 1), "Short."]}, "books")
    summary = dedup(web, books, by="minhash")
    found = {row["id"]: row for dataset in (web, books) for row in rows(dataset, "dedup_minhash")}
    assert [name for name, row in found.items() if row["is_duplicate"]] == [
        "b.jsonl.gz-0", "0.jsonl-0", "0.jsonl-2", "0.jsonl-3",
    ]  # fmt: skip
    assert found["b.jsonl.gz-0"]["duplicate_of"] == {
        "dataset": "web", "shard": "a.jsonl", "row": 0, "id": "a.jsonl-0", "similarity": 193 / 199, "bands": 12,
    }  # fmt: skip
    assert found["0.jsonl-0"]["duplicate_of"]["similarity"] == 1.0
    assert [(found[name]["text"], found[name]["near"]) for name in ("0.jsonl-0", "0.jsonl-2")] == [(0, []), (2, [0])]
    assert found["a.jsonl-1"]["size"] == 3
    assert {row["size"] for name, row in found.items() if name == "b.jsonl.gz-1"} == {1}
    assert (summary.counts["duplicates"], summary.counts["clusters"], summary.counts["same_words"]) == (4, 3, 2)


def test_a_chain_of_changes_is_no_cluster(make_dataset: MakeDataset) -> None:
    draw = random.Random(1)
    words = [f"w{draw.randrange(10**6)}" for _ in range(300)]
    versions = [" ".join([*(f"n{i}" for i in range(30 * step)), *words[30 * step :]]) for step in range(10)]
    data = make_dataset({"a.jsonl": versions})
    dedup(data, by="minhash", minhash=MinhashRules(threshold=0.75, bands=32, rows=4))
    found = rows(data, "dedup_minhash")
    assert [row["rank"] for row in found] == [0, 1] * 5
    assert all(row["duplicate_of"]["similarity"] >= 0.75 for row in found if row["rank"])


def test_documents_without_words_are_counted_and_never_duplicates(make_dataset: MakeDataset) -> None:
    data = make_dataset({"a.jsonl": ["", "...", " \n", "...", "word", "wörd?"]})
    summary = dedup(data, by="minhash")
    assert [row["rank"] for row in rows(data, "dedup_minhash")] == [0, 0, 0, 0, 0, 1]
    assert summary.counts["missing_keys"] == 4


def test_short_documents_are_duplicates_of_equal_ones_only(make_dataset: MakeDataset) -> None:
    data = make_dataset(
        {"a.jsonl": ["one two three", "One, two, three!", "one two four", "one two", "one two three four"]}
    )
    dedup(data, by="minhash", minhash=MinhashRules(threshold=0.1, bands=64, rows=2))
    assert [row["size"] for row in rows(data, "dedup_minhash")] == [2, 2, 1, 1, 1]


def test_what_counts_as_a_difference_can_be_chosen(make_dataset: MakeDataset) -> None:
    data = make_dataset({"a.jsonl": ["Zoë paid 10 euros", "zoe paid 12 euros", "ZOË PAID 10 EUROS!"]})

    def ranks(**options: Any) -> list[int]:
        dedup(data, by="minhash", minhash=MinhashRules(**options))
        return [row["rank"] for row in rows(data, "dedup_minhash")]

    assert ranks() == [0, 0, 1]
    assert ranks(ignore_numbers=True) == [0, 1, 2]
    assert ranks(lowercase=False) == [0, 0, 0]
    assert ranks(ignore_punctuation=False) == [0, 0, 0]
    assert ranks(ignore_numbers=True, ignore_accents=False) == [0, 0, 1]


def test_a_short_excerpt_is_contained_in_the_whole(make_dataset: MakeDataset) -> None:
    draw = random.Random(1)
    words = [f"w{draw.randrange(10**6)}" for _ in range(400)]
    data = make_dataset({"a.jsonl": [" ".join(words), " ".join(words[:200])]})
    chosen: dict[str, Any] = {"threshold": 0.9, "bands": 64, "rows": 2}
    dedup(data, by="minhash", minhash=MinhashRules(**chosen))
    assert [row["rank"] for row in rows(data, "dedup_minhash")] == [0, 0]
    dedup(data, by="minhash", minhash=MinhashRules(**chosen, verify="containment"))
    assert rows(data, "dedup_minhash")[1]["duplicate_of"]["similarity"] == 1.0


def test_a_hot_bucket_costs_no_more_than_its_limit_a_document(make_dataset: MakeDataset) -> None:
    page = " ".join(f"menu{i}" for i in range(300))
    data = make_dataset({"a.jsonl": [f"{page} item{i}" for i in range(200)]})
    summary = dedup(data, by="minhash", minhash=MinhashRules(bucket_limit=2))
    assert summary.counts["candidates"] <= 2 * 14 * 200
    assert summary.counts["not_compared"] > 10_000
    assert [row["rank"] for row in rows(data, "dedup_minhash")] == list(range(200))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 0.0}, r"threshold: 0\.0 is not above 0"),
        ({"threshold": 1.1}, r"threshold: 1\.1 is not"),
        ({"weights": (0.5, 0.6)}, "do not add up to 1"),
        ({"bands": 4}, "give both bands and rows"),
        ({"bands": 20, "rows": 7}, "need more than 128 permutations"),
        ({"shingle": 0}, "shingle: 0 is less than 1"),
        ({"seed": 2**32}, "is not below 2\\^32"),
        ({"bands": 4, "rows": 4, "weights": (0.5, 0.5)}, "weights: have no effect"),
        ({"bands": 4, "rows": 4, "verify": "none", "threshold": 0.5}, "threshold: has no effect"),
        ({"bucket_limit": 0}, "bucket_limit: 0 is less than 1"),
        ({"bucket_limit": 10**9}, "bucket_limit: 1000000000 is more than"),
        ({"shingle": 10**9}, "shingle: 1000000000 is more than"),
        ({"permutations": 10**5}, "permutations: 100000 is more than"),
    ],
)
def test_rules_that_cannot_work_are_refused(two_sets: list[str], options: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        dedup(*two_sets, by="minhash", minhash=MinhashRules(**options))


def test_rules_of_minhash_have_no_effect_on_other_keys(two_sets: list[str]) -> None:
    with pytest.raises(ConfigError, match="minhash: has no effect with by: text"):
        dedup(*two_sets, by="text", minhash=MinhashRules())


def test_the_bundled_configuration_has_the_defaults(make_dataset: MakeDataset) -> None:
    config = load(bundled("dedup/minhash.yaml"), DedupConfig, datasets=[make_dataset({"a.jsonl": ["x", "x"]})])
    assert config.minhash == MinhashRules()
    assert run_stage(dedup_stage(config), Local(1)).counts["duplicates"] == 1


def test_a_corpus_without_words_is_an_error(make_dataset: MakeDataset) -> None:
    with pytest.raises(DataError, match="no document has a word"):
        dedup(make_dataset({"a.jsonl": ["", "!!"]}), by="minhash")


def test_a_corpus_without_documents_gets_attributes_without_rows(make_dataset: MakeDataset) -> None:
    data = make_dataset({"a.jsonl": []})
    dedup(data, by="minhash")
    assert rows(data, "dedup_minhash") == []


def test_finding_nothing_is_an_error_where_something_was_expected(make_dataset: MakeDataset) -> None:
    data = make_dataset({"a.jsonl": ["one thing", "another"]})
    with pytest.raises(DataError, match="none of 2 documents is like another"):
        dedup(data, by="minhash", expect_duplicates=True)


@pytest.mark.parametrize("threshold", [0.999, 1.0])
def test_one_band_is_enough_where_everything_has_to_agree(make_dataset: MakeDataset, threshold: float) -> None:
    words = [f"w{i}" for i in range(50)]
    texts = [" ".join(words), " ".join(words).upper(), " ".join([*words[1:], "other"]), " ".join(words[:5] * 9)]
    data = make_dataset({"a.jsonl": [*texts, " ".join(words[:5] * 12)]})  # the last two have the same shingles
    rules = MinhashRules(threshold=threshold)
    assert choose_bands(rules).number == 1
    dedup(data, by="minhash", minhash=rules)
    assert [row["rank"] for row in rows(data, "dedup_minhash")] == [0, 1, 0, 0, 1]


def test_bands_are_chosen_as_datasketch_chooses_them() -> None:
    from datasketch import MinHashLSH

    for threshold in (0.5, 0.7, 0.8, 0.95):
        for weights in ((0.5, 0.5), (0.1, 0.9)):
            lsh = MinHashLSH(threshold=threshold, num_perm=128, weights=weights)
            assert choose_bands(MinhashRules(threshold=threshold, weights=weights)) == (lsh.b, lsh.r)
    assert choose_bands(MinhashRules(bands=14, rows=8)) == Bands(14, 8)
    assert choose_bands(MinhashRules(threshold=1.0)) == Bands(1, 128)
    assert choose_bands(MinhashRules(threshold=0.99, permutations=64)) == Bands(1, 52)  # which it finds, and refuses
