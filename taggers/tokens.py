"""How many tokens a document has, counted by the tokenizer that the user names: what a budget is spent in."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from dolma_pipe.batch import Batch
from dolma_pipe.errors import ConfigError
from dolma_pipe.kernels.ratios import ratio
from dolma_pipe.tagger import Tagger, count64, real
from dolma_pipe.tokenizer import Engine, Identity, Tokenizer, identify, open_tokenizer

COMPARED = 8
"""Documents at the beginning of every shard that both implementations encode."""


class Tokens(Tagger):
    """Exact counts, by `tokenizers` or by gigatoken where its ids are proven equal; 0 and 0.0 for an empty document.

    tokenizer: a tokenizer.json or a folder that has one; it must be named. eos: the token that ends a document, where
    no tokenizer_config.json beside it says so. engine: auto, gigatoken or tokenizers.
    """

    version = 2
    fields = {
        "count": count64("tokens of the text alone; `tokenize` writes one more per document (eos), or two (bos)"),
        "bytes_per_token": real("bytes of the text in UTF-8 / tokens"),
    }

    def __init__(self, *, tokenizer: str | None = None, eos: str | None = None, engine: Engine = "auto") -> None:
        if engine not in ("auto", "gigatoken", "tokenizers"):
            raise ConfigError(f"tokens: engine is {engine!r}; it must be auto, gigatoken or tokenizers")
        self.path, self.eos, self.engine = tokenizer, eos, engine

    @functools.cached_property
    def identity(self) -> Identity:
        if self.path is None:
            raise ConfigError("tokens: which tokenizer? Write {name: tokens, tokenizer: FILE}")
        return identify(self.path, self.eos)

    @property
    def model_hash(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.identity.hash

    @property
    def loaded(self) -> Tokenizer:
        return open_tokenizer(self.identity, self.engine)

    def tag(self, batch: Batch) -> dict[str, Any]:
        if batch.first_row == 0 and len(batch):
            self.loaded.check_sample(batch, COMPARED)
        counts = np.diff(self.loaded.encode(batch.data, batch.offsets)[1])
        return {"count": counts, "bytes_per_token": ratio(np.diff(batch.offsets), counts)}
