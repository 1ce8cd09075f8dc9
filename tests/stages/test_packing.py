"""Packing: sequences that are full, documents that are whole, boundaries that are stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handmade import tree_of
from hypothesis import given
from hypothesis import strategies as st
from tiny_tokenizers import write_tokenizer
from tokenizing import Make, bins, documents, encoded, rows, tokenize

from dolma_pipe.errors import ConfigError
from dolma_pipe.kernels.packing import best_fit
from dolma_pipe.stages.tokenize import TokenizeConfig
from dolma_pipe.tokens import TokenSet, verify


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def packed(tmp_path: Path, make_dataset: Make, tokenizer: str, **options: Any) -> Path:
    data = make_dataset({"a.jsonl": [*documents(60), *documents(8, "long", longest=400)]})
    tokenize(data, tmp_path / "tokens", tokenizer, **options)
    assert verify(TokenSet.open(str(tmp_path / "tokens"))) == []
    return tmp_path / "tokens"


def texts() -> dict[str, str]:
    return {found["id"]: found["text"] for found in [*documents(60), *documents(8, "long", longest=400)]}


def pieces(to: Path) -> dict[str, list[tuple[int, list[int]]]]:
    """The parts of each document, and their tokens."""
    found: dict[str, list[tuple[int, list[int]]]] = {}
    for row, ids in rows(to):
        if not row["masked"]:
            found.setdefault(row["id"], []).append((row["part"], ids))
    return found


def sequences(to: Path, length: int) -> list[list[tuple[str, int, int]]]:
    """Per sequence: (id, tokens, parts) of its rows; a row never crosses the end of one."""
    found: list[list[tuple[str, int, int]]] = []
    for row, ids in rows(to):
        if not found or sum(size for _, size, _ in found[-1]) == length:
            found.append([])
        found[-1].append((row["id"], len(ids), row["parts"]))
        assert sum(size for _, size, _ in found[-1]) <= length
    return found


def test_best_fit_keeps_every_document_that_fits_whole(tmp_path: Path, make_dataset: Make, tokenizer: str) -> None:
    to = packed(tmp_path, make_dataset, tokenizer, pack="best-fit", sequence_length=128)
    manifest = TokenSet.open(str(to)).manifest
    for name, text in texts().items():
        expected, parts = encoded(tokenizer, text), pieces(to)[name]
        assert [number for _, ids in sorted(parts) for number in ids] == expected
        assert len(parts) == max(-(-len(expected) // 128), 1)
    found = sequences(to, 128)
    assert {sum(size for _, size, _ in sequence) for sequence in found} == {128}
    assert manifest.packing is not None
    assert (manifest.packing.method, manifest.packing.sequence_lengths) == ("best-fit", [128])
    assert manifest.packing.sequences == len(found) == manifest.tokens // 128
    assert manifest.packing.padding == manifest.masked < manifest.tokens // 10
    assert manifest.documents == len(texts())
    assert sum(source.bytes for source in manifest.sources.values()) == sum(len(t.encode()) for t in texts().values())
    assert all(shard.tokens % 128 == 0 and shard.sequence_length == 128 for shard in manifest.shards)
    assert len(manifest.shards) > 1


def test_concatenation_fills_shards_with_whole_sequences(tmp_path: Path, make_dataset: Make, tokenizer: str) -> None:
    to = packed(tmp_path, make_dataset, tokenizer, pack="concatenate", sequence_length=100, shard_tokens=350)
    manifest = TokenSet.open(str(to)).manifest
    for name, text in texts().items():
        assert [number for _, ids in sorted(pieces(to)[name]) for number in ids] == encoded(tokenizer, text)
    assert {shard.tokens for shard in manifest.shards[:-1]} == {300}
    assert manifest.shards[-1].tokens % 100 == 0
    assert manifest.packing is not None
    assert manifest.packing.padding == manifest.masked < 100
    *_, (last, ids) = rows(to)
    assert (last["masked"], last["parts"], last["id"], set(ids)) == (True, 0, "", {1})


def test_buckets_put_documents_into_the_shortest_sequence_that_holds_them(
    tmp_path: Path, make_dataset: Make, tokenizer: str
) -> None:
    to = packed(tmp_path, make_dataset, tokenizer, pack="best-fit", sequence_length=[512, 64])
    tokens = TokenSet.open(str(to))
    assert [shard.entry.sequence_length for shard in tokens.shards] == sorted(
        [shard.entry.sequence_length or 0 for shard in tokens.shards]
    )
    for shard in tokens.shards:
        lengths = np.diff(shard.documents()["end"].to_numpy(), prepend=0)
        real = lengths[~shard.documents()["masked"].to_numpy()]
        assert (real <= 64).all() if shard.entry.sequence_length == 64 else (real > 0).all()
        assert shard.entry.tokens % (shard.entry.sequence_length or 1) == 0
    for name, text in texts().items():
        assert [number for _, ids in sorted(pieces(to)[name]) for number in ids] == encoded(tokenizer, text)


def test_packing_depends_on_documents_alone(tmp_path: Path, make_dataset: Make, tokenizer: str) -> None:
    found = documents(90)
    one = make_dataset({"all.jsonl": found}, name="one/data")
    three = make_dataset({"a.jsonl": found[:10], "b.jsonl": found[10:60], "c.jsonl": found[60:]}, name="three/data")
    for method in ("best-fit", "concatenate"):
        outs = [tmp_path / f"{method} {name}" for name in ("one", "three", "workers")]
        for data, to, workers in zip((one, three, three), outs, (1, 1, 2), strict=True):
            tokenize(data, to, tokenizer, workers, pack=method, sequence_length=64)
        assert bins(outs[0]) == bins(outs[1])
        assert tree_of(outs[1]) == tree_of(outs[2])


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60))
def test_best_fit_is_that_of_the_definition(sizes: list[int]) -> None:
    items = np.sort(np.array(sizes))[::-1].copy()
    assert best_fit(items, 40).tolist() == plain_best_fit(items.tolist(), 40)


def plain_best_fit(sizes: list[int], capacity: int) -> list[int]:
    """Each item into the fullest bin that has room; of equally full ones into the one filled last."""
    rooms: list[tuple[int, int]] = []
    bins: list[int] = []
    for step, size in enumerate(sizes):
        fitting = [(room, -stamp, number) for number, (room, stamp) in enumerate(rooms) if room >= size]
        if not fitting:
            rooms.append((capacity, 0))
            fitting = [(capacity, 0, len(rooms) - 1)]
        room, _, number = min(fitting)
        rooms[number] = (room - size, step + 1)
        bins.append(number)
    return bins


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"pack": "best-fit"}, "belong together"),
        ({"sequence_length": 64}, "belong together"),
        ({"pack": "concatenate", "sequence_length": [64, 128]}, "several are for best-fit"),
        ({"pack": "best-fit", "sequence_length": [64, 64]}, "different numbers"),
        ({"pack": "best-fit", "sequence_length": 4096, "shard_tokens": 100}, "less than a sequence"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        TokenizeConfig(datasets=["d"], to="t", tokenizer="t.json", **settings).check()
