from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tiny_tokenizers import EOS, write_tokenizer

from dolma_pipe.batch import make_batch
from dolma_pipe.errors import ConfigError
from dolma_pipe.tagger import load

TEXTS = ["", "The quick brown fox\n\njumps 12 times", "日本語の文。 😀", f"text that spells {EOS}", "a"]


def count(tokenizer: str, texts: list[str], **options: Any) -> dict[str, list[float]]:
    found = load({"name": "tokens", "tokenizer": tokenizer, **options}).tag(make_batch(texts))
    return {name: values.tolist() for name, values in found.items()}


@pytest.mark.parametrize("engine", ["auto", "tokenizers"])
def test_counts_are_those_of_the_reference_and_no_text_forges_an_end(tmp_path: Path, engine: str) -> None:
    path = write_tokenizer(tmp_path)
    reference = tokenizers.Tokenizer.from_file(path)
    reference.encode_special_tokens = True
    expected = [len(reference.encode(text, add_special_tokens=False).ids) for text in TEXTS]
    found = count(path, TEXTS, engine=engine)
    assert found["count"] == expected
    assert found["bytes_per_token"] == [len(t.encode()) / n if n else 0.0 for t, n in zip(TEXTS, expected, strict=True)]


def test_a_tokenizer_must_be_named_before_any_work() -> None:
    with pytest.raises(ConfigError, match="tokens: which tokenizer"):
        _ = load("tokens").model_hash


def test_the_definition_follows_the_tokenizer_file(tmp_path: Path) -> None:
    hashes = {load({"name": "tokens", "tokenizer": write_tokenizer(tmp_path / str(n), n)}).model_hash for n in (40, 60)}
    assert len(hashes) == 2


def test_the_end_of_text_is_named_where_the_tokenizer_does_not_say_it(tmp_path: Path) -> None:
    path = write_tokenizer(tmp_path, named=False)
    with pytest.raises(ConfigError, match="which token ends a document"):
        count(path, TEXTS)
    assert count(path, ["a"], eos=EOS)["count"] == [1]


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(ConfigError, match="engine is 'fast'"):
        load({"name": "tokens", "engine": "fast"})
