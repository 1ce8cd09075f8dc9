"""The YAML of a mix: the only place with thresholds."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from dolma_pipe.config import Config
from dolma_pipe.types import Plain


class Budget(Config, frozen=True):
    """What the shares are shares of, and what amounts are counted in: one of `tokens`, `bytes` and `documents`.

    Bytes are those of the UTF-8 text as written. Tokens are those of the same text by `tokenizer` (a tokenizer.json,
    or its folder), with the end-of-text that each document gets (`eos`, where no tokenizer_config.json names it); or,
    with `bytes_per_token` and no tokenizer, an estimate from its bytes. `temperature` is for shares that are
    `available`. `on_shortfall` says what happens when a source offers less than its target: `error` says by how much,
    `cap` takes what there is, `redistribute` lets the other shared sources make up for it as far as they can.
    """

    bytes: int | None = None
    tokens: int | None = None
    documents: int | None = None
    tokenizer: str | None = None
    eos: str | None = None
    bytes_per_token: float | None = None
    temperature: float = 1.0
    on_shortfall: Literal["error", "cap", "redistribute"] = "error"


class SourceConfig(Config, frozen=True):
    """One source: documents of a data set, the attribute sets its steps read, and the steps."""

    name: str
    dataset: str
    include: list[str] = []
    exclude: list[str] = []
    attributes_from: str | None = None
    attributes: list[str] = []
    steps: list[Plain] = []


class MixConfig(Config, frozen=True):
    """All of a mix. `to` and `dataset` are relative to the working directory, recipe files to the mix file.

    `limit` are the documents read of each shard: rules, dedups, splits and amounts know of no others.
    """

    to: str
    sources: list[SourceConfig]
    seed: int = 0
    budget: Budget | None = None
    compression: Literal["zst", "gz", "none"] = "zst"
    keep_rejected: bool = False
    limit: Annotated[int, Meta(gt=0)] | None = None
    max_bad_fraction: float = 0.01
