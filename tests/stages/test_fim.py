"""Fill-in-the-middle: which documents are rearranged, and that nothing of them is lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from handmade import tree_of
from tiny_tokenizers import EOS, PADDING, TEXT
from tokenizing import Make, documents, opened, rows, tokenize

from dolma_pipe.errors import ConfigError
from dolma_pipe.stages.tokenizer import MASKS, learn_reference, make_tokenizer
from dolma_pipe.tokens import TokenSet, verify

SENTINELS = ["<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>"]
PREFIX, MIDDLE, SUFFIX = 2, 3, 4


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("tokenizer")
    (folder / "tokenizer.json").write_text(
        make_tokenizer(learn_reference([TEXT.encode()], 60), [EOS, PADDING, *SENTINELS], MASKS)
    )
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": EOS, "pad_token": PADDING}))
    return str(folder / "tokenizer.json")


def decode(tokenizer: str, ids: list[int]) -> str:
    import tokenizers

    return tokenizers.Tokenizer.from_file(tokenizer).decode(ids, skip_special_tokens=False)


def restored(tokenizer: str, ids: list[int]) -> str:
    """The text of a document's ids, whatever their order."""
    assert ids.pop() == 0
    if not ids or ids[0] != PREFIX:
        return decode(tokenizer, ids)
    if ids[1] == SUFFIX:
        suffix, rest = ids[2 : ids.index(MIDDLE)], ids[ids.index(MIDDLE) + 1 :]
        return decode(tokenizer, rest) + decode(tokenizer, suffix)
    suffix, middle = ids.index(SUFFIX), ids.index(MIDDLE)
    parts = (ids[1:suffix], ids[middle + 1 :], ids[suffix + 1 : middle])
    return "".join(decode(tokenizer, part) for part in parts)


def test_rearranged_documents_hold_the_same_text(tmp_path: Path, make_dataset: Make, tokenizer: str) -> None:
    found = documents(200)
    tokenize(make_dataset({"a.jsonl": found}), tmp_path / "tokens", tokenizer, fim={"rate": 0.5, "spm_rate": 0.4})
    tokens = TokenSet.open(str(tmp_path / "tokens"))
    assert verify(tokens) == []
    all_rows = list(rows(tmp_path / "tokens"))
    rearranged = [ids for _, ids in all_rows if ids[0] == PREFIX]
    spm = [ids for ids in rearranged if ids[1] == SUFFIX]
    assert 70 < len(rearranged) < 130
    assert 20 < len(spm) < 70
    assert {tuple(ids.count(number) for number in (PREFIX, MIDDLE, SUFFIX)) for ids in rearranged} == {(1, 1, 1)}
    texts = {document["id"]: document["text"] for document in found}
    for row, ids in all_rows:
        assert restored(tokenizer, list(ids)) == texts[row["id"]]
        assert row["bytes"] == len(texts[row["id"]].encode())
    assert tokens.manifest.fim is not None
    assert (tokens.manifest.fim.rate, tokens.manifest.fim.documents) == (0.5, len(rearranged))


def test_only_the_sources_that_are_named_are_rearranged(tmp_path: Path, make_dataset: Make, tokenizer: str) -> None:
    data = make_dataset({"a.jsonl": documents(60)})
    tokenize(data, tmp_path / "tokens", tokenizer, fim={"rate": 1.0, "sources": ["s1"]})
    for row, ids in rows(tmp_path / "tokens"):
        assert (ids[0] == PREFIX) == (row["source"] == "s1" and row["bytes"] > 0)


def test_the_seed_and_the_document_decide_and_nothing_else(tmp_path: Path, make_dataset: Make, tokenizer: str) -> None:
    found = documents(60)
    one = make_dataset({"all.jsonl": found}, name="one/data")
    two = make_dataset({"a.jsonl": found[:25], "b.jsonl": found[25:]}, name="two/data")
    settings: dict[str, Any] = {"fim": {"rate": 0.5}}
    tokenize(one, tmp_path / "1", tokenizer, **settings)
    tokenize(two, tmp_path / "2", tokenizer, **settings)
    tokenize(two, tmp_path / "workers", tokenizer, 2, **settings)
    tokenize(two, tmp_path / "other seed", tokenizer, seed=1, **settings)
    by_id = [{row["id"]: ids for row, ids in rows(tmp_path / name)} for name in ("1", "2", "other seed")]
    assert by_id[0] == by_id[1] != by_id[2]
    assert tree_of(tmp_path / "2") == tree_of(tmp_path / "workers")


def test_a_document_cannot_spell_a_sentinel(tmp_path: Path, make_dataset: Make, tokenizer: str) -> None:
    data = make_dataset({"a.jsonl": ["".join(SENTINELS) * 3] * 1})
    tokenize(data, tmp_path / "tokens", tokenizer, fim={"rate": 1.0})
    [(_, ids)] = rows(tmp_path / "tokens")
    assert [ids.count(number) for number in (PREFIX, MIDDLE, SUFFIX)] == [1, 1, 1]


def test_tokens_that_the_tokenizer_lacks_are_refused(tmp_path: Path, make_dataset: Make, tokenizer: str) -> None:
    assert opened(tokenizer).special_id("<|fim_middle|>", "fim middle") == MIDDLE
    with pytest.raises(ConfigError, match=r"the fim prefix token '<PRE>' is not a special token of it"):
        tokenize(make_dataset({"a.jsonl": ["x"]}), tmp_path / "tokens", tokenizer, fim={"rate": 0.5, "prefix": "<PRE>"})
    with pytest.raises(ConfigError, match="no effect"):
        tokenize(make_dataset({"a.jsonl": ["x"]}), tmp_path / "tokens", tokenizer, fim={"rate": 0.0})


@pytest.mark.parametrize(
    ("fim", "message"),
    [
        ({"suffix": EOS}, "ends or begins documents"),
        ({"suffix": SENTINELS[0]}, "three tokens"),
        ({"sources": ["s1", "s9"]}, r"no document is of 's9' \(sources: s0, s1"),
    ],
)
def test_what_would_spoil_documents_or_have_no_effect_is_refused(
    tmp_path: Path, make_dataset: Make, tokenizer: str, fim: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        tokenize(make_dataset({"a.jsonl": documents(20)}), tmp_path / "tokens", tokenizer, fim={"rate": 1.0, **fim})
