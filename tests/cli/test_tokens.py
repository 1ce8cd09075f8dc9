"""Tokens on the command line: packing, whose a token is, other forms, taking down; and one line for what cannot be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_tokenizers import write_tokenizer
from tokenizing import documents, tokenize

from dolma_pipe.tokens import TokenSet

Cli = Callable[..., Any]
Make = Callable[..., str]


@pytest.fixture
def tokenizer(tmp_path: Path) -> str:
    return write_tokenizer(tmp_path / "tokenizer")


@pytest.fixture
def tokens(tmp_path: Path, make_dataset: Make, tokenizer: str) -> str:
    tokenize(make_dataset({"a.jsonl": documents(20)}), tmp_path / "tokens", tokenizer)
    return str(tmp_path / "tokens")


def test_packing_is_asked_for_by_two_flags(cli: Cli, tmp_path: Path, make_dataset: Make, tokenizer: str) -> None:
    data, to = make_dataset({"a.jsonl": documents(20)}), str(tmp_path / "packed")
    flags = ("--pack", "best-fit", "--sequence-length", "64,256", "--json")
    assert cli("tokenize", data, "--tokenizer", tokenizer, "--to", to, *flags).code == 0
    packing = TokenSet.open(to).manifest.packing
    assert packing is not None
    assert packing.sequence_lengths == [64, 256]
    wrong = cli("tokenize", data, "--tokenizer", tokenizer, "--to", to, "--pack", "best-fit", "--sequence-length", "x")
    assert (wrong.code, wrong.err.splitlines()[-1][:33]) == (2, "error: --sequence-length 'x': exp")


def test_a_token_is_shown_with_its_document(cli: Cli, tokens: str) -> None:
    said = cli("why", "--token", "shard-00000:5", "--in", tokens)
    first = next(iter(TokenSet.open(tokens).shards[0].documents().to_pylist()))
    assert said.out.startswith(f"shard-00000:5 is in tokens 0:{first['end']}, document '{first['id']}' of s")
    assert f"row {first['row']} of " in said.out
    told = json.loads(cli("why", "--token", "shard-00000:5", "--in", tokens, "--json").out)
    assert (told["id"], told["text"]) == (first["id"], documents(20)[first["row"]]["text"])


def test_documents_are_taken_down_and_said_to_be(cli: Cli, tokens: str) -> None:
    said = cli("take-down", "d3", "d4", "--in", tokens)
    assert said.code == 0
    assert said.out.startswith("2 documents of ")
    assert f"{tokens}/_tombstones.jsonl: 2 new" in said.out
    assert cli("verify", tokens).code == 0
    noted = cli("export", tokens, "--format", "megatron", "--to", f"{tokens}/../megatron")
    assert "megatron has no label masks" in noted.err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("export", "TOKENS", "--format", "onnx", "--to", "x"), "--format 'onnx'"),
        (("export", "nowhere", "--format", "olmo", "--to", "x"), "nowhere/manifest.json: no such file"),
        (("import-tokens", "TOKENS", "--format", "olmo", "--tokenizer", "none.json", "--to", "x"), "no such tokenizer"),
        (("take-down", "d1", "--in", "nowhere"), "neither a token folder"),
        (("why", "--token", "shard-7:1", "--in", "TOKENS"), "expected SHARD:OFFSET"),
        (("why", "--token", "shard-00000:1"), "name a token and its folder"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    cli: Cli, tokens: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    said = cli(*(tokens if one == "TOKENS" else one for one in arguments))
    [line] = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert said.code != 0
    assert complaint in line
