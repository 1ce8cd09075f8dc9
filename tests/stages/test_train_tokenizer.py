"""Training a tokenizer: the reference's merges, whichever way the text lies and whoever learns them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from tiny_tokenizers import TEXT

from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.execution import Summary, run_stage
from dolma_pipe.runners.local import Local
from dolma_pipe.shards import DocumentReader
from dolma_pipe.stages.text_sample import Sample
from dolma_pipe.stages.tokenizer import (
    CUT,
    MASKS,
    TokenizerConfig,
    TrainTokenizer,
    byte_letters,
    cut,
    learn_fast,
    learn_reference,
    make_tokenizer,
)
from dolma_pipe.stages.tokenizer_comparison import compare
from dolma_pipe.takedown import tombstones
from dolma_pipe.tokenizer import identify, open_tokenizer

Make = Callable[..., str]


def train(data: str | list[str], to: Path, **options: Any) -> Summary:
    datasets = [data] if isinstance(data, str) else data
    config = TokenizerConfig(datasets=datasets, to=str(to), **{"vocab_size": 300, **options})
    return run_stage(TrainTokenizer(config), Local(1))


def test_what_is_trained_can_be_used_at_once(tmp_path: Path, make_dataset: Make) -> None:
    train(make_dataset({"a.jsonl": [TEXT, TEXT[::2]]}), tmp_path / "out")
    found = open_tokenizer(identify(str(tmp_path / "out")))
    assert found.vocab_size == 300
    assert (found.eos_id, found.pad_id, found.bos_id) == (0, 1, None)
    assert found.describe().startswith("gigatoken")
    again = tokenizers.Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json"))
    assert again.decode(again.encode(TEXT).ids) == TEXT
    assert again.encode(f"x {MASKS[0]}").ids[-1] == 297


def test_the_file_is_the_one_that_tokenizers_would_have_trained(tmp_path: Path, make_dataset: Make) -> None:
    train(make_dataset({"a.jsonl": [TEXT]}), tmp_path, added_tokens=())
    theirs = tokenizers.Tokenizer(tokenizers.models.BPE())
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    theirs.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    special = ["<|endoftext|>", "<|padding|>"]
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    theirs.train_from_iterator([TEXT], trainer)
    assert json.loads((tmp_path / "tokenizer.json").read_bytes()) == json.loads(theirs.to_str())


def test_the_split_of_the_input_changes_nothing(tmp_path: Path, make_dataset: Make) -> None:
    texts = [{"id": str(i), "text": TEXT[i * 20 : i * 30 + 90]} for i in range(20)]
    one = make_dataset({"a.jsonl": texts}, name="one/data")
    two = make_dataset({"a.jsonl": texts[:7], "b.jsonl.zst": texts[7:]}, name="two/data")
    for limit in (1 << 20, 800):
        train(one, tmp_path / "one", max_bytes=limit)
        train(two, tmp_path / "two", max_bytes=limit)
        assert (tmp_path / "one" / "tokenizer.json").read_bytes() == (tmp_path / "two" / "tokenizer.json").read_bytes()


@pytest.mark.corpus
@pytest.mark.parametrize("source", ["web", "github_code", "german_law"])
def test_both_learners_find_the_same_merges_in_real_text(corpus: Path, source: str) -> None:
    path = min((corpus / "corpus" / source / "documents").iterdir())
    batch = next(iter(DocumentReader(str(path), batch_bytes=1 << 20)))
    text = CUT.join(text.encode() for text in batch.texts())[: 1 << 20].rpartition(CUT)[0]
    assert learn_fast([text], 2000) == learn_reference([text], 2000)


def test_both_learners_find_the_same_merges_in_made_up_text() -> None:
    draw = np.random.default_rng(0)
    for _ in range(5):
        letters = draw.choice(list("ab \n'sé漢😀1.\u0301\u00a0\t"), 4000)
        text = "".join(letters).encode()
        assert learn_fast([text], 100) == learn_reference([text], 100)


def test_too_little_text_is_an_error_and_not_an_invention(tmp_path: Path, make_dataset: Make) -> None:
    with pytest.raises(DataError, match="too little for 695 merges"):
        train(make_dataset({"a.jsonl": ["hello world", "hello"]}), tmp_path, vocab_size=1000 - 44)


def test_no_merge_is_learned_from_special_tokens_and_masks() -> None:
    assert cut([b"a<|endoftext|>b", b"c"], ["<|endoftext|>"]) == CUT.join([b"a", b"b", b"c"])


def test_a_sample_is_the_lowest_draws_up_to_the_target() -> None:
    draw = np.random.default_rng(1)
    draws, sizes = draw.integers(0, 50, 400).astype(np.uint64), draw.integers(0, 30, 400)
    for target in (1, 500, 3000, 10**6):
        sample = Sample(target)
        for start in range(0, 400, 37):
            sample.add(draws[start : start + 37], sizes[start : start + 37])
        sample.settle()
        taken = np.concatenate([sample.takes(draws[start : start + 23], start) for start in range(0, 400, 23)])
        order = np.lexsort((np.arange(400), draws))
        expected = order[np.cumsum(sizes[order]) - sizes[order] < target]
        assert np.flatnonzero(taken).tolist() == sorted(expected.tolist())


def test_a_byte_cap_uses_about_so_much(tmp_path: Path, make_dataset: Make) -> None:
    data = make_dataset({"a.jsonl": [TEXT[i : i + 100] for i in range(0, 2000, 10)]})
    counts = train(data, tmp_path, max_bytes=5000, vocab_size=290).counts
    assert 5000 <= counts["used_bytes"] < 5300
    assert counts["used_documents"] < counts["documents"] == 200


def test_it_is_trained_once(tmp_path: Path, make_dataset: Make) -> None:
    data = make_dataset({"a.jsonl": [TEXT]})
    assert train(data, tmp_path / "t.json").done == 1
    assert train(data, tmp_path / "t.json").done == 0
    assert train(data, tmp_path / "t.json", vocab_size=301).done == 1


def test_a_vocabulary_without_room_for_merges_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="need 262 at least"):
        train("data", tmp_path, vocab_size=200)


def test_letters_of_bytes_are_those_of_tokenizers() -> None:
    assert sorted(byte_letters()) == sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    spec = json.loads(make_tokenizer([], ["<|endoftext|>"], []))
    made = tokenizers.Tokenizer.from_str(json.dumps(spec))
    for byte, letter in enumerate(byte_letters()[:128]):
        assert made.encode(chr(byte)).tokens == [letter]


def test_nothing_is_printed(tmp_path: Path, make_dataset: Make, capfd: pytest.CaptureFixture[str]) -> None:
    text = " ".join(f"word{number}" for number in range(2000))
    train(make_dataset({"a.jsonl": [text]}), tmp_path, vocab_size=280)
    assert capfd.readouterr() == ("", "")


def weighted(make_dataset: Make) -> str:
    texts = [
        {"id": f"{name}{i}", "text": f"{word} " * 40, "source": name}
        for name, word in (("latin", "abcab"), ("greek", "αβγαβ"))
        for i in range(20)
    ]
    return make_dataset({"a.jsonl": texts})


def test_sources_are_sampled_by_their_weights(tmp_path: Path, make_dataset: Make) -> None:
    data = weighted(make_dataset)
    size = len("αβγαβ ".encode()) * 40
    summary = train(data, tmp_path / "greek", weights={"greek": 1}, max_bytes=5 * size, vocab_size=268)
    assert (summary.counts["used_documents"], summary.counts["used_bytes"]) == (5, 5 * size)
    found = json.loads((tmp_path / "greek" / "tokenizer.json").read_bytes())["model"]["merges"]
    assert not any("a" in left + right for left, right in found)
    both = train(data, tmp_path / "both", weights={"greek": 3, "latin": 1}, max_bytes=4 * size, vocab_size=268)
    assert both.counts["used_bytes"] == pytest.approx(4 * size, abs=size)


def test_what_was_taken_down_teaches_nothing(tmp_path: Path, make_dataset: Make) -> None:
    data = weighted(make_dataset)
    train(data, tmp_path / "out", vocab_size=265)
    tombstones.add(data, [f"greek{i}" for i in range(20)])
    assert train(data, tmp_path / "out", vocab_size=265).counts["used_documents"] == 20
    found = json.loads((tmp_path / "out" / "tokenizer.json").read_bytes())["model"]["merges"]
    assert all("a" in left + right or "b" in left + right or "c" in left + right for left, right in found)


def test_a_weight_for_no_source_is_refused(tmp_path: Path, make_dataset: Make) -> None:
    with pytest.raises(ConfigError, match=r"weights: no document is of 'latni' \(sources: greek, latin\)"):
        train(weighted(make_dataset), tmp_path / "out", weights={"latni": 1, "greek": 1})


def test_tokenizers_are_compared_by_source_and_language(tmp_path: Path, make_dataset: Make) -> None:
    english, german = "The quick brown fox jumps over the lazy dog again. ", "Der schnelle braune Fuchs springt. "
    texts = {"english": english, "german": german}
    rows = [{"id": f"{n}{i}", "text": text * 8, "source": n} for n, text in texts.items() for i in range(4)]
    data = make_dataset({"a.jsonl": rows})
    train(data, tmp_path / "small", vocab_size=270)
    train(data, tmp_path / "large", vocab_size=300)
    found = compare([data], [str(tmp_path / "small"), str(tmp_path / "large" / "tokenizer.json")])
    by_name = {(row.kind, row.name): row for row in found}
    expected = {("source", "english"), ("source", "german"), ("language", "en"), ("language", "de")}
    assert expected <= {*by_name}
    assert by_name["all", "all"].bytes == sum(len(row["text"].encode()) for row in rows)
    assert by_name["source", "german"].documents == 4
    for row in found:
        small, large = row.bytes_per_token
        assert 1 < small < large
    opened = open_tokenizer(identify(str(tmp_path / "small")))
    [batch] = DocumentReader(f"{data}/documents/a.jsonl")
    assert by_name["all", "all"].tokens[0] == int(opened.count_tokens(batch).sum()) - len(batch)
