"""Taking documents down: out of tokens, out of what is made later; and whose a token is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handmade import encode_lines, store, tree_of
from mixes import run_mix
from tiny_tokenizers import write_tokenizer
from tokenizing import Make, documents, rows, tokenize

from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.execution import run_stage
from dolma_pipe.exposure import Exposure, exposures
from dolma_pipe.lineage import token_origin, upstream
from dolma_pipe.runners.local import Local
from dolma_pipe.shards import DocumentReader, document_shards
from dolma_pipe.stages.ingest import Ingest, IngestConfig
from dolma_pipe.takedown import tombstones
from dolma_pipe.takedown.removal import read_ids, take_down
from dolma_pipe.tokens import TokenSet
from dolma_pipe.verify import verify


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def tokenized(tmp_path: Path, make_dataset: Make, tokenizer: str, **options: Any) -> tuple[str, str]:
    long = {"id": "long", "text": "again and again " * 200, "source": "s0"}
    data = make_dataset({"a.jsonl": [*documents(40), long]})
    tokenize(data, tmp_path / "tokens", tokenizer, **{"shard_tokens": 400, **options})
    return data, str(tmp_path / "tokens")


@pytest.mark.parametrize("options", [{}, {"pack": "best-fit", "sequence_length": 100}])
def test_what_is_taken_down_is_padding_and_everything_else_stays(
    tmp_path: Path, make_dataset: Make, tokenizer: str, options: dict[str, Any]
) -> None:
    _, tokens = tokenized(tmp_path, make_dataset, tokenizer, **options)
    before, manifest = list(rows(Path(tokens))), TokenSet.open(tokens).manifest
    found = take_down(["d3", "long", "unknown"], [tokens])
    after, changed = list(rows(Path(tokens))), TokenSet.open(tokens)
    gone = [(row, ids) for row, ids in before if row["id"] in ("d3", "long")]
    assert (found.documents, found.tokens) == (2, sum(len(ids) for _, ids in gone))
    assert len(gone) > 3
    for (old, ids), (new, now) in zip(before, after, strict=True):
        if old["id"] in ("d3", "long"):
            closing = [0] if old["part"] == old["parts"] - 1 else []
            assert now == [1] * (len(ids) - len(closing)) + closing
            assert new == {**old, "masked": True}
        else:
            assert (new, now) == (old, ids)
    assert verify(tokens).problems == []
    left = changed.manifest
    assert left.documents == manifest.documents - 2
    assert left.masked == manifest.masked + found.tokens
    assert left.tokens == manifest.tokens
    assert sum(source.tokens for source in left.sources.values()) == left.tokens - left.masked
    assert changed.hash == manifest.hash != left.hash


def test_taking_down_twice_changes_nothing_more(tmp_path: Path, make_dataset: Make, tokenizer: str) -> None:
    _, tokens = tokenized(tmp_path, make_dataset, tokenizer)
    take_down(["d3"], [tokens])
    before = tree_of(tokens)
    assert take_down(["d3"], [tokens]).documents == 0
    assert tree_of(tokens) == before
    identity = TokenSet.open(tokens).hash
    take_down(["d4"], [tokens])
    assert TokenSet.open(tokens).hash == identity


def test_tombstones_lie_in_every_folder_that_the_tokens_were_made_from(
    tmp_path: Path, make_dataset: Make, tokenizer: str
) -> None:
    data, tokens = tokenized(tmp_path, make_dataset, tokenizer)
    assert upstream(tokens) == [data]
    assert take_down(["d3", "d5"], [tokens]).tombstones == {tokens: 2, data: 2}
    assert tombstones.read(data) == {"d3", "d5"}
    assert take_down(["d5", "d6"], [data]).tombstones == {data: 1}


def test_tokenize_leaves_out_what_was_taken_down(tmp_path: Path, make_dataset: Make, tokenizer: str) -> None:
    data, tokens = tokenized(tmp_path, make_dataset, tokenizer)
    order = [row["id"] for row, _ in rows(Path(tokens)) if row["part"] == 0]
    take_down(["d3"], [tokens])
    summary = tokenize(data, Path(tokens), tokenizer, shard_tokens=400)
    assert summary.counts["taken_down"] == 1
    assert summary.counts["tokens"] == TokenSet.open(tokens).manifest.tokens
    assert [row["id"] for row, _ in rows(Path(tokens)) if row["part"] == 0] == [name for name in order if name != "d3"]
    assert verify(tokens).problems == []
    assert TokenSet.open(tokens).manifest.masked == 0
    assert tokenize(data, Path(tokens), tokenizer, shard_tokens=400).done == 0


def test_a_split_of_a_mix_obeys_the_tombstones_of_the_mix(tmp_path: Path, make_dataset: Make, tokenizer: str) -> None:
    data = make_dataset({"web/a.jsonl": documents(5)}, name="mixed/splits/held_out")
    tombstones.add(str(tmp_path / "mixed"), ["d3"])
    tokenize(data, tmp_path / "tokens", tokenizer)
    assert {row["id"] for row, _ in rows(tmp_path / "tokens")} == {"d0", "d1", "d2", "d4"}


def test_a_mix_drops_what_was_taken_down_and_says_why(tmp_path: Path, make_dataset: Make) -> None:
    data = make_dataset({"a.jsonl": [{"id": "it's", "text": "one"}, {"id": "b", "text": "two"}]})
    tombstones.add(data, ["it's"])
    summary = run_mix(tmp_path / "mixed", {"name": "web", "dataset": data}, keep_rejected=True)
    kept = [
        name
        for shard in document_shards(str(tmp_path / "mixed"))
        for batch in DocumentReader(shard)
        for name in batch.ids.to_pylist()
    ]
    assert kept == ["b"]
    assert summary.counts["dropped"] == 1
    assert not list((tmp_path / "mixed").glob("_rejected/taken_down/**/*.jsonl*"))
    assert "taken_down" in (tmp_path / "mixed" / "mix.lock.json").read_text()
    tombstones.add(str(tmp_path / "mixed"), ["b"])
    run_mix(tmp_path / "mixed", {"name": "web", "dataset": data}, keep_rejected=True)
    assert not list((tmp_path / "mixed" / "documents").rglob("*.zst"))


def test_ingest_leaves_out_what_was_taken_down(tmp_path: Path) -> None:
    lines = [{"id": name, "text": name} for name in ("a", "b", "c")]
    raw = store(tmp_path / "raw.jsonl", encode_lines(lines))
    for gone, expected in (([], ["a", "b", "c"]), (["b"], ["a", "c"])):
        tombstones.add(str(tmp_path / "data"), gone)
        run_stage(Ingest(IngestConfig(inputs=[str(raw)], to=str(tmp_path / "data"))), Local())
        [batch] = [b for shard in document_shards(str(tmp_path / "data")) for b in DocumentReader(shard)]
        assert batch.ids.to_pylist() == expected


def test_checkpoints_that_were_made_from_the_tokens_are_listed(
    tmp_path: Path, make_dataset: Make, tokenizer: str
) -> None:
    _, tokens = tokenized(tmp_path, make_dataset, tokenizer)
    for run, seen in (("one", TokenSet.open(tokens).hash), ("other", "0" * 32)):
        record = {"step": 5, "tokens": 640, "data": {"mixtures": [{"sources": [{"manifest": seen}]}]}}
        store(tmp_path / run / "checkpoints" / "step-5" / "checkpoint.json", json.dumps(record).encode())
    runs = [str(tmp_path / run) for run in ("one", "other")]
    expected = [Exposure(str(tmp_path / "one" / "checkpoints" / "step-5"), None)]
    assert exposures(runs, ["d3"], [tokens]) == expected
    take_down(["d3"], [tokens])
    assert exposures(runs, ["d3"], [tokens]) == expected, "the tokens are known by what they were"
    with pytest.raises(DataError, match="no checkpoints"):
        exposures([str(tmp_path)], ["d3"], [tokens])


def test_ids_are_given_or_listed_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("one\ntwo\n\n")
    assert read_ids([str(tmp_path / "ids.txt"), "three", "one"]) == ["one", "two", "three"]


def test_a_folder_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither a token folder"):
        take_down(["a"], [str(tmp_path)])


@pytest.mark.parametrize("file", ["shard-00000.bin", "shard-00000.docs.parquet", "tokenizer.json", "manifest.json"])
def test_verify_finds_a_flipped_bit_in_any_file(tmp_path: Path, make_dataset: Make, tokenizer: str, file: str) -> None:
    _, tokens = tokenized(tmp_path, make_dataset, tokenizer)
    path = Path(tokens) / file
    data = bytearray(path.read_bytes())
    place = data.index(b'"seed"') + 8 if file == "manifest.json" else len(data) // 2
    data[place] ^= 1
    path.write_bytes(data)
    assert any(file in problem for problem in verify(tokens).problems)


def raw_to_tokens(tmp_path: Path, tokenizer: str) -> str:
    """Three lines of a raw file, ingested, mixed, tokenized."""
    lines = [{"id": name, "text": f"the text of {name}"} for name in ("a", "b", "c")]
    raw = store(tmp_path / "raw.jsonl", encode_lines(lines))
    run_stage(Ingest(IngestConfig(inputs=[str(raw)], to=str(tmp_path / "data"))), Local())
    keep = {"keep": {"others": "id <> 'a'"}}
    run_mix(tmp_path / "mixed", {"name": "web", "dataset": str(tmp_path / "data"), "steps": [keep]})
    tokenize(str(tmp_path / "mixed"), tmp_path / "tokens", tokenizer)
    return str(tmp_path / "tokens")


def test_a_token_is_followed_to_its_raw_line(tmp_path: Path, tokenizer: str) -> None:
    tokens = raw_to_tokens(tmp_path, tokenizer)
    for row, _ in rows(Path(tokens)):
        found = token_origin(tokens, f"shard-00000:{row['end'] - 1}")
        assert (found.id, found.source, found.text) == (row["id"], "web", f"the text of {row['id']}")
        number = "abc".index(row["id"])
        assert [(Path(step.file).parent.parent.name, step.row) for step in found.steps[:2]] == [
            ("documents", number - 1),
            ("data", number),
        ]
        assert (Path(found.steps[2].file).name, found.steps[2].row) == ("raw.jsonl", number + 1)
    assert upstream(tokens) == [str(tmp_path / "mixed"), str(tmp_path / "data")]


def test_a_token_whose_text_has_gone_still_has_a_name(tmp_path: Path, make_dataset: Make, tokenizer: str) -> None:
    data, tokens = tokenized(tmp_path, make_dataset, tokenizer)
    (Path(data) / "documents" / "a.jsonl").unlink()
    found = token_origin(tokens, "shard-00000.bin:0")
    assert found.text is None
    assert found.id == next(rows(Path(tokens)))[0]["id"]
    assert found.start == 0 < found.end


@pytest.mark.parametrize("place", ["shard-00000", "shard-00099:1", "shard-00000:x", "shard-00000:99999"])
def test_a_place_that_is_none_is_refused(tmp_path: Path, make_dataset: Make, tokenizer: str, place: str) -> None:
    _, tokens = tokenized(tmp_path, make_dataset, tokenizer)
    with pytest.raises(ConfigError, match="--token"):
        token_origin(tokens, place)


def test_padding_is_of_no_document(tmp_path: Path, make_dataset: Make, tokenizer: str) -> None:
    _, tokens = tokenized(tmp_path, make_dataset, tokenizer, pack="best-fit", sequence_length=100)
    shard = TokenSet.open(tokens).shards[0]
    table = shard.documents()
    padding = int(table["end"].to_numpy()[np.flatnonzero(table["parts"].to_numpy() == 0)[0]]) - 1
    found = token_origin(tokens, f"{shard.name}:{padding}")
    assert (found.parts, found.id, found.steps, found.masked) == (0, "", [], True)
