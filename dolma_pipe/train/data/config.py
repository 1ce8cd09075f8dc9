"""Which documents a run reads that has no token folders, as typed configuration; imports no torch."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from dolma_pipe.config import Config
from dolma_pipe.errors import ConfigError
from dolma_pipe.train.model.architecture import PositiveReal
from dolma_pipe.types import Plain


class DocumentSource(Config, frozen=True):
    """One data set, and its share of all training tokens."""

    dataset: str
    share: PositiveReal


class DocumentsConfig(Config, frozen=True):
    """Data sets to train on without token folders: documents are measured by `taggers`, judged by the rules of `keep`
    (bundled recipes, recipe files, rules by name) and encoded while the run reads them.

    Data sets either all have shares, or are shown as if they were one. `eos` ends documents (default: the
    tokenizer_config.json beside the tokenizer).
    """

    datasets: Annotated[list[str | DocumentSource], Meta(min_length=1)]
    tokenizer: str
    eos: str | None = None
    taggers: list[str | dict[str, Plain]] = []
    keep: list[str | dict[str, str]] = []

    @property
    def folders(self) -> list[str]:
        return [one if isinstance(one, str) else one.dataset for one in self.datasets]

    @property
    def shares(self) -> dict[str, float]:
        """The share of each folder; empty where data sets are shown as one."""
        return {one.dataset: one.share for one in self.datasets if not isinstance(one, str)}

    def check(self) -> None:
        if len(self.shares) not in (0, len(self.datasets)):
            raise ConfigError("documents.datasets: each needs a share, or none has one")
