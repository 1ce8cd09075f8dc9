"""Small tokenizers for tests, trained on the spot."""

from __future__ import annotations

import json
from pathlib import Path

from dolma_pipe.stages.tokenizer import MASKS, learn_reference, make_tokenizer

TEXT = (
    "The quick brown fox jumps over the lazy dog, again and again. It's what they've done; we'll see 1234 of them.\n\n"
    "def f(x):\n    return x + 1\n\nÜber die Wörter: ganz schöne Grüße.  Два слова. 日本語の文。 😀😀\n"
) * 5
EOS, PADDING = "<|endoftext|>", "<|padding|>"


def write_tokenizer(folder: Path, merges: int = 60, named: bool = True) -> str:
    """A tokenizer.json of 261 + `merges` ids; unless `named`, nothing beside it says which token ends documents."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tokenizer.json"
    path.write_text(make_tokenizer(learn_reference([TEXT.encode()], merges), [EOS, PADDING], MASKS))
    if named:
        (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": EOS}, "pad_token": PADDING}))
    return str(path)


def grown(path: str, size: int) -> str:
    """The same tokenizer with so many ids that they need another dtype: the new ones are never used."""
    spec = json.loads(Path(path).read_text())
    vocabulary = spec["model"]["vocab"]
    for number in range(len(vocabulary) + len(MASKS), size):
        vocabulary[f"unused {number}"] = number
    Path(path).write_text(json.dumps(spec))
    return path
