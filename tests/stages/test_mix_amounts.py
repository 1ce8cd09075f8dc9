"""Amounts of a mix: tokens, bytes and documents; shares, temperature, limits, splits by groups."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import MakeDataset
from handmade import tree_of
from hypothesis import given
from hypothesis import strategies as st
from mixes import CLUSTERS, SPANS, clusters, documents, ids, measure, mix_of, run_mix, spans
from tiny_tokenizers import write_tokenizer

from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.execution import run_stage
from dolma_pipe.mixer import Sample
from dolma_pipe.runners.local import Local
from dolma_pipe.stages.mix import Budget, funnel, read_lock
from dolma_pipe.stages.mix.amounts.budget import targets
from dolma_pipe.stages.mix.lock import LockedSource
from dolma_pipe.stages.tag import Tag, TagConfig
from dolma_pipe.tokenizer import identify, open_tokenizer
from dolma_pipe.types import Plain

WORDS = ("over the lazy dog", "the quick brown fox", "def f(x): return x + 1", "schöne Grüße 日本語")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def texts(shards: int, rows: int) -> dict[str, list[str]]:
    return {
        f"{s}.jsonl": [" ".join(WORDS[(s + i) % 4] for i in range(r % 7 + 1)) for r in range(rows)]
        for s in range(shards)
    }


def source(dataset: str, *steps: Plain, name: str = "web", attributes: Sequence[str] = ()) -> Plain:
    return {"name": name, "dataset": dataset, "attributes": list(attributes), "steps": list(steps)}


def locked(out: Path, name: str = "web") -> LockedSource:
    return read_lock(str(out)).sources[name]


def counted(folder: Path, tokenizer: str) -> list[int]:
    """Tokens of every document of a folder, end-of-text included, one by one."""
    opened = open_tokenizer(identify(tokenizer))
    return [
        len(opened.encode(np.frombuffer(text, np.uint8), np.array([0, len(text)]))[0]) + 1
        for text in (document["text"].encode() for document in documents(folder))
    ]


# Shares --------------------------------------------------------------------------------------------------------------


def test_shares_of_tokens_count_the_text_as_written(make_dataset: MakeDataset, tmp_path: Path, tokenizer: str) -> None:
    dataset = make_dataset(texts(3, 40), "d")
    cut = [{"email": spans((0, 9)) if n % 2 else spans()} for n in range(120)]
    measure(dataset, "pii", {"email": SPANS}, cut)
    edit = {"edit": {"replace": "pii.email", "with": "|||EMAIL_ADDRESS|||"}}
    run_mix(
        tmp_path / "out",
        source(dataset, edit, {"sample": {"share": 1}}, attributes=["pii"]),
        budget={"tokens": 900, "tokenizer": tokenizer},
    )
    tokens = counted(tmp_path / "out", tokenizer)
    found = locked(tmp_path / "out")
    assert found.target is not None
    assert (found.target.unit, found.target.realised, found.target.is_estimate) == ("tokens", sum(tokens), False)
    assert 900 <= sum(tokens) < 900 + max(tokens)
    assert found.funnel.kept.written_tokens == sum(tokens)


def test_counts_of_the_tokens_tagger_are_used_and_only_edited_documents_counted_anew(
    make_dataset: MakeDataset, tmp_path: Path, tokenizer: str
) -> None:
    dataset = make_dataset(texts(2, 30), "d")
    measure(dataset, "pii", {"email": SPANS}, [{"email": spans((0, 3)) if n == 7 else spans()} for n in range(60)])
    tag: Any = {"name": "tokens", "tokenizer": tokenizer}
    run_stage(Tag(TagConfig(datasets=[dataset], taggers=[tag])), Local(1))
    steps = [{"edit": {"remove": "pii.email"}}, {"sample": {"share": 1}}]
    budget = {"tokens": 500, "tokenizer": tokenizer}
    for name, sets in (("counted", ["pii", "tokens"]), ("encoded", ["pii"])):
        run_mix(tmp_path / name, source(dataset, *steps, attributes=sets), budget=budget)
    assert tree_of(tmp_path / "counted/documents") == tree_of(tmp_path / "encoded/documents")
    assert sum(counted(tmp_path / "counted", tokenizer)) == locked(tmp_path / "counted").target.realised  # pyright: ignore
    other = write_tokenizer(tmp_path / "other", merges=20)
    with pytest.raises(ConfigError, match="no step reads 'tokens'"):
        mix_of(tmp_path / "x", source(dataset, *steps, attributes=["pii", "tokens"]),
               budget={"tokens": 500, "tokenizer": other})  # fmt: skip


def test_tokens_may_be_estimated_from_bytes_and_the_lock_says_so(make_dataset: MakeDataset, tmp_path: Path) -> None:
    dataset = make_dataset(texts(2, 30), "d")
    run_mix(tmp_path / "out", source(dataset, {"sample": {"share": 1}}),
            budget={"tokens": 400, "bytes_per_token": 4})  # fmt: skip
    target = locked(tmp_path / "out").target
    expected = sum(round(len(document["text"].encode()) / 4) + 1 for document in documents(tmp_path / "out"))
    assert target is not None
    assert (target.is_estimate, target.realised) == (True, expected)


def test_shares_of_documents_are_reached_exactly(make_dataset: MakeDataset, tmp_path: Path) -> None:
    one, two = make_dataset(texts(3, 40), "one"), make_dataset(texts(1, 20), "two")
    sources = (source(one, {"sample": {"share": 3}}, name="one"),
               source(two, {"sample": {"share": 1, "max_epochs": 2}}, name="two"))  # fmt: skip
    run_mix(tmp_path / "out", *sources, budget={"documents": 120})
    assert [funnel(str(tmp_path / "out"))[name].kept.copies for name in ("one", "two")] == [90, 30]
    epochs = locked(tmp_path / "out", "two").funnel.kept.epochs
    assert [epoch.documents for epoch in epochs] == [20, 10]


def test_a_shortfall_says_by_how_many_tokens(make_dataset: MakeDataset, tmp_path: Path, tokenizer: str) -> None:
    dataset = make_dataset(texts(1, 5), "d")
    with pytest.raises(DataError, match=r"'web' offers \d+ of 9,000 tokens \(\d+ x 1\), [\d,]+ too few"):
        run_mix(tmp_path / "out", source(dataset, {"sample": {"share": 1}}),
                budget={"tokens": 9000, "tokenizer": tokenizer})  # fmt: skip


def sizes_and_shares(samples: dict[str, Sample], available: dict[str, int], **budget: Any) -> dict[str, int]:
    return targets(Budget(**budget), samples, available)


def test_temperature_flattens_what_is_available() -> None:
    samples = {name: Sample(share=1.0, max_epochs=9, is_proportional=True) for name in ("en", "de")}
    available = {"en": 900, "de": 100}
    assert sizes_and_shares(samples, available, bytes=500) == {"en": 450, "de": 50}
    assert sizes_and_shares(samples, available, bytes=400, temperature=2.0) == {"en": 300, "de": 100}


@given(st.lists(st.tuples(st.integers(1, 10**6), st.floats(0, 0.2)), min_size=1, max_size=5), st.floats(0.2, 10))
def test_no_source_gets_less_than_its_least_share(sizes: list[tuple[int, float]], temperature: float) -> None:
    samples = {
        str(n): Sample(share=1.0, max_epochs=1e9, is_proportional=True, min_share=least)
        for n, (_, least) in enumerate(sizes)
    }
    available = {str(n): size for n, (size, _) in enumerate(sizes)}
    found = sizes_and_shares(samples, available, documents=10**9, temperature=temperature)
    assert abs(sum(found.values()) - 10**9) <= len(sizes)
    assert all(found[name] >= sample.min_share * 10**9 - 1 for name, sample in samples.items())


@given(st.lists(st.tuples(st.integers(0, 10**6), st.floats(0.1, 5)), min_size=1, max_size=5), st.integers(1, 10**6))
def test_a_redistributed_budget_is_spent_as_far_as_the_sources_go(sizes: list[tuple[int, float]], total: int) -> None:
    samples = {str(n): Sample(share=share) for n, (_, share) in enumerate(sizes)}
    available = {str(n): size for n, (size, _) in enumerate(sizes)}
    found = sizes_and_shares(samples, available, bytes=total, on_shortfall="redistribute")
    assert all(found[name] <= available[name] for name in samples)
    assert abs(sum(found.values()) - min(total, sum(available.values()))) <= len(sizes)


def test_available_shares_follow_from_what_is_left(make_dataset: MakeDataset, tmp_path: Path) -> None:
    big, small = make_dataset(texts(4, 40), "big"), make_dataset(texts(1, 10), "small")
    step = {"sample": {"share": "available", "max_epochs": 4}}
    sources = (source(big, step, name="big"), source(small, step, name="small"))
    run_mix(tmp_path / "out", *sources, budget={"documents": 100, "temperature": 2})
    assert [funnel(str(tmp_path / "out"))[name].kept.copies for name in ("big", "small")] == [80, 20]


# Limits --------------------------------------------------------------------------------------------------------------


def test_a_limit_is_not_exceeded_and_the_next_document_would(make_dataset: MakeDataset, tmp_path: Path) -> None:
    dataset = make_dataset(texts(3, 30), "d")
    for unit, most in (("documents", 31), ("bytes", 2000)):
        run_mix(tmp_path / unit, source(dataset, {"limit": {unit: most}}))
        kept = funnel(str(tmp_path / unit))["web"].kept
        size = {"documents": kept.documents, "bytes": kept.written_bytes}[unit]
        assert most - 150 < size <= most
        assert funnel(str(tmp_path / unit))["web"].dropped["over_limit"].documents == 90 - kept.documents
    assert len(ids(tmp_path / "documents")) == 31


def test_a_limit_that_is_not_reached_takes_all(make_dataset: MakeDataset, tmp_path: Path) -> None:
    run_mix(tmp_path / "out", source(make_dataset(texts(2, 5), "d"), {"limit": {"documents": 10}}))
    assert len(ids(tmp_path / "out")) == 10


def test_a_sample_repeats_what_the_limit_left(make_dataset: MakeDataset, tmp_path: Path) -> None:
    dataset = make_dataset(texts(2, 30), "d")
    run_mix(tmp_path / "out", source(dataset, {"limit": {"documents": 10}}, {"sample": {"epochs": 3}}))
    found = ids(tmp_path / "out")
    assert len(found) == 30
    assert len(set(found)) == 10


# Splits --------------------------------------------------------------------------------------------------------------


def pages(make_dataset: MakeDataset, name: str, hosts: int = 12) -> str:
    urls = (f"HTTPS://user@H{n % hosts}.Example.ORG:443/p{n}" if n % 2 else f"h{n % hosts}.example.org./p{n}" for n in
            range(90))  # fmt: skip
    rows = [{"id": f"{name}-{n}", "text": f"text {n}", "metadata": {"url": url}} for n, url in enumerate(urls)]
    rows += [{"id": f"{name}-alone-{n}", "text": "no page"} for n in range(60)]
    return make_dataset({"a.jsonl": rows[:40], "b.jsonl": rows[40:]}, name)


def host_of(name: str) -> int | str:
    return name if "alone" in name else int(name.rpartition("-")[2]) % 12


@pytest.mark.parametrize("amount", [{"fraction": 0.3}, {"documents": 40}, {"bytes": 300}])
def test_pages_of_a_host_never_straddle_a_split(
    make_dataset: MakeDataset, tmp_path: Path, amount: dict[str, float]
) -> None:
    sources = [source(pages(make_dataset, name), {"split": {"name": "test", "by": "host", **amount}}, name=name)
               for name in ("one", "two")]  # fmt: skip
    run_mix(tmp_path / "out", *sources)
    train, test = ({host_of(name) for name in ids(tmp_path / "out" / part)} for part in ("", "splits/test"))
    assert not train & test
    assert len(test) > 5
    assert any(isinstance(host, str) for host in test)
    if "documents" in amount:
        assert 40 <= len(ids(tmp_path / "out/splits/test")) < 40 + 16


def test_near_copies_never_straddle_a_split(make_dataset: MakeDataset, tmp_path: Path) -> None:
    sources: list[Plain] = []
    for name in ("one", "two"):
        dataset = make_dataset(texts(2, 40), name)
        rows = clusters(*((f"c{n % 20}", n) if n % 4 else None for n in range(80)))
        measure(dataset, "dedup_minhash", CLUSTERS, rows)
        split = {"split": {"name": "test", "fraction": 0.3, "by": "dedup_minhash"}}
        sources.append(source(dataset, split, name=name, attributes=["dedup_minhash"]))
    run_mix(tmp_path / "out", *sources)
    sides = []
    for part in ("", "splits/test"):
        number = [40 * int(name[0]) + int(name.rpartition("-")[2]) for name in ids(tmp_path / "out" / part)]
        sides.append({n % 20 for n in number if n % 4})
    assert not sides[0] & sides[1]
    assert sides[1]


def test_groups_over_the_mix_need_the_same_split_in_every_source(make_dataset: MakeDataset, tmp_path: Path) -> None:
    one, two = pages(make_dataset, "one"), pages(make_dataset, "two")
    split = {"name": "test", "fraction": 0.3, "by": "host"}
    with pytest.raises(ConfigError, match=r"source 'two' does not have the same step.*scope: source"):
        mix_of(tmp_path / "out", source(one, {"split": split}, name="one"), source(two, name="two"))
    alone = source(one, {"split": {**split, "scope": "source"}}, name="one")
    run_mix(tmp_path / "out", alone, source(two, name="two"))
    assert funnel(str(tmp_path / "out"))["one"].splits["test"].documents


# Laws ----------------------------------------------------------------------------------------------------------------


def everything(make_dataset: MakeDataset) -> list[Plain]:
    """Two sources with every step that ends where an amount is reached."""
    found: list[Plain] = []
    for name, shards in (("one", 4), ("two", 2)):
        dataset = make_dataset(texts(shards, 30), name)
        count = shards * 30
        measure(dataset, "dup", CLUSTERS, clusters(*((f"c{n % 40}", n) if n % 3 else None for n in range(count))))
        measure(dataset, "pii", {"email": SPANS}, [{"email": spans((0, n % 9))} for n in range(count)])
        steps = [
            {"edit": {"replace": "pii.email", "with": "<mail>"}},
            {"split": {"name": "test", "tokens": 100, "by": "dup"}},
            {"split": {"name": "dev", "documents": 3}}, {"limit": {"tokens": 800}},
            {"sample": {"share": "available", "max_epochs": 3}},
        ]  # fmt: skip
        found.append(source(dataset, *steps, name=name, attributes=["dup", "pii"]))
    return found


def test_amounts_end_at_the_same_documents_for_any_number_of_workers(
    make_dataset: MakeDataset, tmp_path: Path, tokenizer: str
) -> None:
    sources = everything(make_dataset)
    budget = {"tokens": 1200, "tokenizer": tokenizer, "temperature": 1.5}
    for workers in (1, 2):
        run_mix(tmp_path / str(workers), *sources, budget=budget, seed=5, workers=workers, keep_rejected=True)
    assert tree_of(tmp_path / "1") == tree_of(tmp_path / "2")
    assert run_mix(tmp_path / "1", *sources, budget=budget, seed=5, keep_rejected=True).done == 0
    for name, found in funnel(str(tmp_path / "1")).items():
        found.check(name)
        assert found.dropped["over_limit"].documents
    assert sum(found.splits["test"].written_tokens or 0 for found in funnel(str(tmp_path / "1")).values()) >= 100


REFUSED: list[tuple[list[Plain], dict[str, Any] | None, str]] = [
    ([{"limit": {"tokens": 5}}], None, "an amount in tokens, but by which tokenizer"),
    ([{"limit": {"bytes": 5}}, {"limit": {"bytes": 6}}], None, "limit is given twice"),
    ([{"sample": {"share": 1}}], {"tokens": 5}, "an amount in tokens, but by which tokenizer"),
    ([{"sample": {"share": 1}}], {"tokens": 5, "bytes": 6}, "tokens and bytes: shares are counted in one of them"),
    ([{"sample": {"share": 1}}], {"documents": 0}, "documents: 0 is not a number of 1 or more"),
    ([{"sample": {"share": 1}}], {"documents": 9, "temperature": 2}, "temperature has no effect"),
    ([{"sample": {"share": 1}}], {"bytes": 9, "eos": "x"}, "eos has no effect without a tokenizer"),
    ([{"sample": {"share": 1}}], {"tokens": 9, "tokenizer": "gone.json"}, "gone.json: no such tokenizer"),
    ([{"sample": {"share": "available", "min_share": 0.5}}], {"bytes": 9, "temperature": -1}, "not a positive number"),
    ([{"split": {"name": "a", "fraction": 0.1, "by": "dup"}}], None, "'dup' is not listed under attributes"),
]


@pytest.mark.parametrize(("steps", "budget", "message"), REFUSED, ids=[case[2][:28] for case in REFUSED])
def test_amounts_that_cannot_be_had_are_refused_before_any_work(
    make_dataset: MakeDataset, tmp_path: Path, steps: list[Plain], budget: dict[str, Any] | None, message: str
) -> None:
    dataset = make_dataset(texts(1, 2), "d")
    with pytest.raises(ConfigError, match=message):
        mix_of(tmp_path / "out", source(dataset, *steps), **({"budget": budget} if budget else {}))


def test_given_and_available_shares_do_not_mix(make_dataset: MakeDataset, tmp_path: Path) -> None:
    dataset = make_dataset(texts(1, 2), "d")
    sources = [source(dataset, {"sample": {"share": share}}, name=f"n{n}") for n, share in enumerate((1, "available"))]
    with pytest.raises(ConfigError, match="say 'available' for all or for none"):
        mix_of(tmp_path / "out", *sources, budget={"bytes": 9})


@pytest.mark.parametrize("compression", ["gz", "none"])
def test_documents_may_be_written_otherwise_compressed(
    make_dataset: MakeDataset, tmp_path: Path, compression: str
) -> None:
    run_mix(tmp_path / "out", source(make_dataset({"a.jsonl": ["x"]}, "d")), compression=compression)
    (path,) = (tmp_path / "out/documents/web").iterdir()
    assert path.name == {"gz": "a.jsonl.gz", "none": "a.jsonl"}[compression]
    if compression == "none":
        assert json.loads(path.read_text())["text"] == "x"
