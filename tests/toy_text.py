"""A byte-level tokenizer of 64 tokens, made by hand, and a folder of tokens that it made."""

from __future__ import annotations

from pathlib import Path

import xxhash
from token_folders import EOS, VOCABULARY, Row, write_shards
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEQW:?.,'"
MERGES = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("Ġ", "a"), ("i", "n"), ("o", "n"), ("e", "r"), ("Ġ", "c"), ("a", "t")]


def toy_tokenizer() -> Tokenizer:
    """Characters that it does not know stand for nothing."""
    pieces = ["<|endoftext|>", "Ġ", "Ċ", *CHARACTERS, *("".join(pair) for pair in MERGES)]
    pieces += ["<|user|>", "<|assistant|>"]
    pieces += [f"<{number}>" for number in range(VOCABULARY - len(pieces))]
    tokenizer = Tokenizer(models.BPE({piece: number for number, piece in enumerate(pieces)}, MERGES))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    marks = ["<|endoftext|>", "<|user|>", "<|assistant|>"]
    tokenizer.add_special_tokens([AddedToken(mark, special=True) for mark in marks])
    assert tokenizer.token_to_id("<|endoftext|>") == EOS
    return tokenizer


def text_tokens(folder: Path, texts: list[str], source: str = "web") -> str:
    """Texts as one shard of tokens, with the tokenizer beside it."""
    tokenizer = toy_tokenizer()
    raw = tokenizer.to_str().encode()
    rows = [Row([*tokenizer.encode(text).ids, EOS], source, len(text.encode())) for text in texts]
    write_shards(folder, [rows], tokenizer=xxhash.xxh3_128_hexdigest(raw))
    (folder / "tokenizer.json").write_bytes(raw)
    return str(folder)
