"""Tokenizing: every document once, in an order that only the documents decide, in shards that say what they hold."""

from __future__ import annotations

import itertools
import json
import os
import resource
import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from handmade import encode_lines, store, tree_of
from tiny_tokenizers import EOS, grown, write_tokenizer
from tokenizing import Make, bins, documents, encoded, rows, tokenize

from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.execution import Message, run_stage
from dolma_pipe.runners.local import Local
from dolma_pipe.shards import encode_document
from dolma_pipe.stages.tokenize import Tokenize, TokenizeConfig
from dolma_pipe.stages.tokenize.layout import Stream
from dolma_pipe.stages.tokenize.order import ORDERED
from dolma_pipe.stages.tokenize.write import byte_marks
from dolma_pipe.tokens import TokenSet, verify


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def test_every_document_is_there_once_with_its_origin(tmp_path: Path, make_dataset: Make, tokenizer: str) -> None:
    first, second = documents(30), documents(20, "e")
    data = make_dataset({"a.jsonl": first, "sub/b.jsonl.zst": second})
    summary = tokenize(data, tmp_path / "tokens", tokenizer)
    found = list(rows(tmp_path / "tokens"))
    by_id = {document["id"]: document for document in [*first, *second]}
    assert sorted(row["id"] for row, _ in found) == sorted(by_id)
    for row, ids in found:
        document = by_id[row["id"]]
        assert ids == encoded(tokenizer, document["text"])
        assert row["bytes"] == len(document["text"].encode())
        assert row["source"] == document["source"]
        assert (row["dataset"], row["shard"]) == ("data", "a.jsonl" if row["id"][0] == "d" else "sub/b.jsonl.zst")
        assert (first if row["id"][0] == "d" else second)[row["row"]]["id"] == row["id"]
        assert (row["part"], row["parts"]) == (0, 1)
    assert summary.counts["documents"] == 50
    assert summary.counts["tokens"] == sum(len(ids) for _, ids in found)


def test_the_manifest_adds_up_and_verifies(tmp_path: Path, make_dataset: Make, tokenizer: str) -> None:
    data = make_dataset({"a.jsonl": documents(60)})
    tokenize(data, tmp_path / "tokens", tokenizer, seed=3)
    tokens = TokenSet.open(str(tmp_path / "tokens"))
    manifest = tokens.manifest
    assert verify(tokens) == []
    assert list(manifest.sources) == ["s0", "s1", "s2"]
    assert sum(source.documents for source in manifest.sources.values()) == manifest.documents == 60
    assert sum(source.tokens for source in manifest.sources.values()) == manifest.tokens
    assert manifest.tokens == sum(shard.tokens for shard in manifest.shards)
    assert manifest.bytes == sum(len(document["text"].encode()) for document in documents(60))
    assert (manifest.dtype, manifest.eos_id, manifest.pad_id, manifest.bos_id, manifest.seed) == (
        "uint16",
        0,
        1,
        None,
        3,
    )
    assert Path(tmp_path / "tokens" / "tokenizer.json").read_bytes() == Path(tokenizer).read_bytes()
    assert not (tmp_path / "tokens" / "_scratch").exists()


def test_documents_are_shuffled_by_the_seed_alone(tmp_path: Path, make_dataset: Make, tokenizer: str) -> None:
    data = make_dataset({"a.jsonl": documents(80)})
    orders = []
    for number, seed in enumerate((1, 1, 2)):
        tokenize(data, tmp_path / str(number), tokenizer, seed=seed)
        orders.append([row["id"] for row, _ in rows(tmp_path / str(number))])
    assert orders[0] == orders[1] != orders[2]
    assert orders[0] != [document["id"] for document in documents(80)]
    assert sorted(orders[0]) == sorted(orders[2])


def test_the_split_of_the_input_into_files_changes_no_token(tmp_path: Path, make_dataset: Make, tokenizer: str) -> None:
    found = documents(90)
    one = make_dataset({"all.jsonl": found}, name="one/data")
    three = make_dataset({"a.jsonl": found[:10], "b.jsonl.gz": found[10:60], "c.jsonl": found[60:]}, name="three/data")
    tokenize(one, tmp_path / "from one", tokenizer)
    tokenize(three, tmp_path / "from three", tokenizer)
    assert len(bins(tmp_path / "from one")) > 2
    assert bins(tmp_path / "from one") == bins(tmp_path / "from three")
    assert TokenSet.open(str(tmp_path / "from one")).hash == TokenSet.open(str(tmp_path / "from three")).hash


def test_workers_change_nothing(tmp_path: Path, make_dataset: Make, tokenizer: str) -> None:
    data = make_dataset({f"{name}.jsonl": documents(40, name) for name in ("a", "bb", "ccc")})
    tokenize(data, tmp_path / "one", tokenizer)
    tokenize(data, tmp_path / "two", tokenizer, workers=2)
    assert tree_of(tmp_path / "one") == tree_of(tmp_path / "two")


def test_there_may_be_more_input_shards_than_files_that_may_be_open(
    tmp_path: Path, make_dataset: Make, tokenizer: str
) -> None:
    data = make_dataset({f"{number}.jsonl": documents(2, f"n{number}-") for number in range(60)})
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 40, hard))
    try:
        assert tokenize(data, tmp_path / "tokens", tokenizer, shard_tokens=100_000).counts["shards"] == 1
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_order_does_not_depend_on_how_much_is_merged_at_once(
    tmp_path: Path, make_dataset: Make, tokenizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_dataset({"a.jsonl": documents(70), "b.jsonl": documents(50, "e")})
    tokenize(data, tmp_path / "at once", tokenizer)
    monkeypatch.setattr("dolma_pipe.stages.tokenize.order.MERGED_AT_ONCE", 7)
    monkeypatch.setattr("dolma_pipe.stages.tokenize.stage.SORTED_AT_ONCE", 1)
    monkeypatch.setattr("dolma_pipe.stages.tokenize.write.PIECE_TOKENS", 100)
    monkeypatch.setattr("dolma_pipe.stages.tokenize.write.TABLE_ROWS", 11)
    tokenize(data, tmp_path / "bit by bit", tokenizer)
    assert bins(tmp_path / "at once") == bins(tmp_path / "bit by bit")
    assert list(rows(tmp_path / "at once")) == list(rows(tmp_path / "bit by bit"))


def test_shards_close_at_the_last_document_end_at_or_below_their_size(
    tmp_path: Path, make_dataset: Make, tokenizer: str
) -> None:
    data = make_dataset({"a.jsonl": documents(100)})
    tokenize(data, tmp_path / "tokens", tokenizer, shard_tokens=500)
    shards = TokenSet.open(str(tmp_path / "tokens")).shards
    lengths = [np.diff(shard.documents()["end"].to_numpy(), prepend=0).tolist() for shard in shards]
    assert len(shards) > 3
    for this, following in itertools.pairwise(lengths):
        assert 0 < sum(this) <= 500 < sum(this) + following[0]


def test_only_a_document_longer_than_a_shard_is_split(tmp_path: Path, make_dataset: Make, tokenizer: str) -> None:
    long = {"id": "long", "text": "Größe " * 410, "source": "s"}
    data = make_dataset({"a.jsonl": [*documents(10, longest=20), long, *documents(10, "e", longest=20)]})
    tokenize(data, tmp_path / "tokens", tokenizer, shard_tokens=300)
    parts = [(row, ids) for row, ids in rows(tmp_path / "tokens") if row["id"] == "long"]
    expected = encoded(tokenizer, long["text"])
    assert [row["part"] for row, _ in parts] == list(range(-(-len(expected) // 300)))
    assert {row["parts"] for row, _ in parts} == {len(parts)}
    assert [number for _, ids in parts for number in ids] == expected
    assert [len(ids) for _, ids in parts[:-1]] == [300] * (len(parts) - 1)
    assert sum(row["bytes"] for row, _ in parts) == len(long["text"].encode())
    assert all(row["bytes"] > 0 for row, _ in parts)
    assert all(row["parts"] == 1 for row, _ in rows(tmp_path / "tokens") if row["id"] != "long")
    tokens = TokenSet.open(str(tmp_path / "tokens"))
    assert verify(tokens) == []
    assert tokens.manifest.sources["s"].documents == 1


def test_parts_weigh_what_their_tokens_do() -> None:
    weights = np.array([3, 1, 2, 4, 0])
    assert byte_marks(10, weights).tolist() == [0, 3, 4, 6, 10, 10]
    assert byte_marks(7, np.zeros(3, np.int64)).tolist() == [0, 2, 4, 7]


@pytest.mark.parametrize("piece", [1, 3, 100])
def test_cuts_are_those_of_the_rule_told_plainly(piece: int) -> None:
    draw = np.random.default_rng(7)
    for target in (1, 4, 10, 15):
        for _ in range(60):
            lengths = draw.choice([1, 2, 3, 5, 9, 10, 11, 20, 35], int(draw.integers(1, 30)))
            stream, documents = Stream(target), np.zeros(len(lengths), ORDERED)
            documents["tokens"] = lengths
            found = [stream.add(documents[start : start + piece]) for start in range(0, len(lengths), piece)]
            sizes = np.concatenate([pieces["tokens"] for placed in found for _, pieces in placed])
            begins = np.concatenate([[0], np.cumsum(sizes)])
            ends = np.concatenate([[0], np.cumsum(lengths)])
            assert begins[stream.starts[0]].tolist() == plain_cuts(ends.tolist(), target)
            assert begins[-1] == ends[-1]


def plain_cuts(ends: list[int], target: int) -> list[int]:
    cuts = [0]
    while ends[-1] - cuts[-1] > target:
        fitting = [end for end in ends if cuts[-1] < end <= cuts[-1] + target]
        cuts.append(fitting[-1] if fitting else cuts[-1] + target)
    return cuts


def test_a_document_that_spells_end_of_text_stays_one_document(
    tmp_path: Path, make_dataset: Make, tokenizer: str
) -> None:
    data = make_dataset({"a.jsonl": [f"one{EOS}two", EOS * 3, "plain"]})
    tokenize(data, tmp_path / "tokens", tokenizer)
    [shard] = TokenSet.open(str(tmp_path / "tokens")).shards
    ends = shard.documents()["end"].to_numpy()
    assert np.flatnonzero(shard.map() == 0).tolist() == (ends - 1).tolist()
    assert len(ends) == 3


def test_empty_documents_are_kept(tmp_path: Path, make_dataset: Make, tokenizer: str) -> None:
    data = make_dataset({"a.jsonl": ["", "x", ""]})
    tokenize(data, tmp_path / "tokens", tokenizer)
    assert sorted((row["bytes"], len(ids)) for row, ids in rows(tmp_path / "tokens")) == [(0, 1), (0, 1), (1, 2)]


def test_documents_without_a_source_get_the_name_of_their_data_set(
    tmp_path: Path, make_dataset: Make, tokenizer: str
) -> None:
    first, second = (
        make_dataset({"a.jsonl": ["x", "y"]}, name="web"),
        make_dataset({"a.jsonl": documents(3)}, name="books"),
    )
    tokenize([first, second], tmp_path / "tokens", tokenizer)
    assert {row["source"] for row, _ in rows(tmp_path / "tokens")} == {"web", "s0", "s1", "s2"}
    assert {row["dataset"] for row, _ in rows(tmp_path / "tokens")} == {"web", "books"}


def mixed(make_dataset: Make) -> str:
    """What a mix leaves: a folder per source, copies beside their originals, a lock."""
    found = documents(20)
    data = make_dataset(
        {"prose/a.jsonl": found, "prose/a.copy1.jsonl": found, "code/b.jsonl": documents(5, "c")}, name="mix"
    )
    store(Path(data) / "mix.lock.json", b"{}")
    return data


def test_the_source_of_a_mix_is_the_mix_source(tmp_path: Path, make_dataset: Make, tokenizer: str) -> None:
    data = mixed(make_dataset)
    tokenize(data, tmp_path / "tokens", tokenizer)
    manifest = TokenSet.open(str(tmp_path / "tokens")).manifest
    assert {name: total.documents for name, total in manifest.sources.items()} == {"code": 5, "prose": 40}
    assert manifest.origins[0].mix is not None
    held_out = Path(data) / "splits" / "held_out" / "documents" / "prose"
    shutil.copytree(Path(data) / "documents" / "prose", held_out)
    tokenize(str(held_out.parent.parent), tmp_path / "held out", tokenizer)
    assert list(TokenSet.open(str(tmp_path / "held out")).manifest.sources) == ["prose"]


def test_copies_of_a_document_do_not_lie_together(tmp_path: Path, make_dataset: Make, tokenizer: str) -> None:
    tokenize(mixed(make_dataset), tmp_path / "tokens", tokenizer)
    order = [row["id"] for row, _ in rows(tmp_path / "tokens")]
    together = sum(this == following for this, following in itertools.pairwise(order))
    assert together < 8


def test_a_second_run_has_nothing_to_do(tmp_path: Path, make_dataset: Make, tokenizer: str) -> None:
    data = make_dataset({"a.jsonl": documents(30)})
    tokenize(data, tmp_path / "tokens", tokenizer)
    assert tokenize(data, tmp_path / "tokens", tokenizer).done == 0


def encode_times(to: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (to / "_cache").rglob("*.ids")}


def test_only_changed_input_is_encoded_again(tmp_path: Path, make_dataset: Make, tokenizer: str) -> None:
    shards = {f"{name}.jsonl": documents(20, name) for name in ("a", "bb", "ccc")}
    data = make_dataset(shards)
    tokenize(data, tmp_path / "tokens", tokenizer)
    before = encode_times(tmp_path / "tokens")
    shards["bb.jsonl"][3]["text"] = "something else"
    store(Path(data) / "documents" / "bb.jsonl", encode_lines(shards["bb.jsonl"]))
    tokenize(data, tmp_path / "tokens", tokenizer)
    after = encode_times(tmp_path / "tokens")
    assert [name for name in after if after[name] != before[name]] == ["bb.ids"]
    fresh = make_dataset(shards, name="fresh/data")
    tokenize(fresh, tmp_path / "fresh", tokenizer)
    assert bins(tmp_path / "fresh") == bins(tmp_path / "tokens")
    tokenize(data, tmp_path / "tokens", tokenizer, seed=5)
    assert encode_times(tmp_path / "tokens") == after


def test_input_that_is_gone_takes_its_tokens_along(tmp_path: Path, make_dataset: Make, tokenizer: str) -> None:
    data = make_dataset({"a.jsonl": documents(60), "b.jsonl": documents(20, "e")})
    tokenize(data, tmp_path / "tokens", tokenizer)
    shards = len(bins(tmp_path / "tokens"))
    os.unlink(Path(data) / "documents" / "a.jsonl")
    tokenize(data, tmp_path / "tokens", tokenizer)
    assert {row["id"][0] for row, _ in rows(tmp_path / "tokens")} == {"e"}
    assert len(bins(tmp_path / "tokens")) == len(TokenSet.open(str(tmp_path / "tokens")).shards) < shards


def test_without_its_cache_a_finished_folder_is_still_finished(
    tmp_path: Path, make_dataset: Make, tokenizer: str
) -> None:
    data = make_dataset({"a.jsonl": documents(30)})
    tokenize(data, tmp_path / "tokens", tokenizer, keep_cache=False)
    assert not (tmp_path / "tokens" / "_cache").exists()
    assert tokenize(data, tmp_path / "tokens", tokenizer, keep_cache=False).done == 0
    before = bins(tmp_path / "tokens")
    (tmp_path / "tokens" / "shard-00000.bin").unlink()
    tokenize(data, tmp_path / "tokens", tokenizer, keep_cache=False)
    assert bins(tmp_path / "tokens") == before


def test_a_run_that_was_cut_off_is_finished_by_the_next(
    tmp_path: Path, make_dataset: Make, tokenizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_dataset({"a.jsonl": documents(60)})
    tokenize(data, tmp_path / "whole", tokenizer)
    with monkeypatch.context() as patch:
        patch.setattr("dolma_pipe.stages.tokenize.write._encoded", lambda *_: 1 / 0)
        with pytest.raises(Exception, match="division by zero"):
            tokenize(data, tmp_path / "cut", tokenizer)
    assert bins(tmp_path / "cut") == {}
    assert not (tmp_path / "cut" / "manifest.json").exists()
    tokenize(data, tmp_path / "cut", tokenizer)
    assert tree_of(tmp_path / "cut") == tree_of(tmp_path / "whole")


def test_many_ids_are_written_as_uint32(tmp_path: Path, make_dataset: Make) -> None:
    data = make_dataset({"a.jsonl": documents(10)})
    small, large = write_tokenizer(tmp_path / "small"), grown(write_tokenizer(tmp_path / "large"), 70_000)
    tokenize(data, tmp_path / "16", small)
    tokenize(data, tmp_path / "32", large)
    sets = [TokenSet.open(str(tmp_path / name)) for name in ("16", "32")]
    assert [tokens.manifest.dtype for tokens in sets] == ["uint16", "uint32"]
    assert sets[0].shards[0].map()[-1] == sets[1].shards[0].map()[-1] == 0
    assert [len(ids) for _, ids in rows(tmp_path / "16")] == [len(ids) for _, ids in rows(tmp_path / "32")]


def test_bad_lines_are_quarantined_and_counted(tmp_path: Path, make_dataset: Make, tokenizer: str) -> None:
    lines = [encode_document(document) for document in documents(20)]
    data = make_dataset({"a.jsonl": []})
    store(Path(data) / "documents" / "a.jsonl", encode_lines([*lines, b'{"id": "x"}']))
    summary = tokenize(data, tmp_path / "tokens", tokenizer, max_bad_fraction=0.2)
    assert (summary.counts["documents"], summary.counts["bad_rows"]) == (20, 1)
    [quarantined] = (tmp_path / "tokens" / "_quarantine").rglob("*.jsonl")
    assert msgspec.json.decode(quarantined.read_bytes())["line"] == 21


def test_escapes_of_surrogates_are_characters_in_pairs_and_bad_rows_alone(
    tmp_path: Path, make_dataset: Make, tokenizer: str
) -> None:
    data = make_dataset({"a.jsonl": []})
    lines = [rb'{"id": "pair", "text": "a \ud83d\ude00 b"}', rb'{"id": "alone", "text": "a \ud83d b"}']
    store(Path(data) / "documents" / "a.jsonl", encode_lines(lines))
    summary = tokenize(data, tmp_path / "tokens", tokenizer, max_bad_fraction=1.0)
    assert [(row["id"], ids) for row, ids in rows(tmp_path / "tokens")] == [("pair", encoded(tokenizer, "a 😀 b"))]
    assert summary.counts["bad_rows"] == 1


def test_the_run_says_what_encodes(tmp_path: Path, make_dataset: Make, tokenizer: str) -> None:
    said: list[Any] = []
    for engine in ("auto", "tokenizers"):
        config = TokenizeConfig(
            datasets=[make_dataset({"a.jsonl": ["x"]})], to=str(tmp_path / engine), tokenizer=tokenizer, engine=engine
        )
        run_stage(Tokenize(config), Local(), on_event=said.append)
    texts = [event.text for event in said if isinstance(event, Message) and "encoding" in event.text]
    assert len(texts) == 2
    assert "its ids equal to those of tokenizers" in texts[0]
    assert texts[1].endswith("(as asked)")


def test_no_documents_is_an_error(tmp_path: Path, make_dataset: Make, tokenizer: str) -> None:
    with pytest.raises(DataError, match="no documents to tokenize"):
        tokenize(make_dataset({"a.jsonl": []}), tmp_path / "tokens", tokenizer)


@pytest.mark.parametrize("missing", ["datasets", "to", "tokenizer"])
def test_what_is_not_given_is_named(missing: str) -> None:
    given = {"datasets": ["data"], "to": "tokens", "tokenizer": "tokenizer.json"}
    del given[missing]
    with pytest.raises(ConfigError, match=f"tokenize: {missing} is missing"):
        Tokenize(TokenizeConfig(**given))  # type: ignore[arg-type]


def test_two_data_sets_of_one_name_are_refused(tmp_path: Path, make_dataset: Make, tokenizer: str) -> None:
    both = [make_dataset({"a.jsonl": ["x"]}, name=f"{where}/data") for where in ("one", "two")]
    with pytest.raises(ConfigError, match="two data sets are called 'data'"):
        tokenize(both, tmp_path / "tokens", tokenizer)


@pytest.mark.corpus
def test_real_sources_become_tokens_that_verify(tmp_path: Path, corpus: Path) -> None:
    tokenizer = str(corpus / "tokenizers" / "allenai_gpt-neox-olmo-dolma-v1_5.json")
    data = [str(corpus / "corpus" / name) for name in ("web", "github_code")]
    tokenize(data, tmp_path / "tokens", tokenizer, eos=EOS, limit=150, shard_tokens=100_000, workers=2)
    tokens = TokenSet.open(str(tmp_path / "tokens"))
    assert verify(tokens) == []
    assert tokens.manifest.eos_id == 50279
    reader = tokenizer_of(tokenizer)
    texts = {name: read_texts(Path(folder)) for name, folder in zip(("web", "github_code"), data, strict=True)}
    for row, ids in list(rows(tmp_path / "tokens"))[::17]:
        text = texts[row["dataset"]][row["shard"]][row["row"]]
        if row["parts"] == 1:
            assert ids == [*reader.encode(text, add_special_tokens=False).ids, 50279]


def tokenizer_of(path: str) -> Any:
    import tokenizers

    found = tokenizers.Tokenizer.from_file(path)
    found.encode_special_tokens = True
    return found


def read_texts(dataset: Path) -> dict[str, list[str]]:
    files = tree_of(dataset / "documents")
    return {name: [json.loads(line)["text"] for line in data.splitlines()] for name, data in files.items()}
