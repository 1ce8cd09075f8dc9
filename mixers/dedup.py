"""`dedup`: one copy of every cluster of duplicates stays, the best of those that passed every rule.

    - dedup: {by: dedup_text}                                    the first copy in the order of the data
    - dedup: {by: dedup_url, prefer: latest}                     by the documents' `created`
    - dedup: {by: dedup_minhash, prefer: longest}                by `length.characters`
    - dedup: {by: dedup_minhash, prefer: {max: quality.score}}   by any number that can be computed

What is equally good is decided by the order of the data. Clusters reach over all
sources of the mix that dedup by the same set; `scope: source` ends them at the source.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from dolma_pipe import mixer
from dolma_pipe.config import Config
from dolma_pipe.errors import ConfigError
from dolma_pipe.rules import Expression


class _Largest(Config, frozen=True):
    max: str


class _Settings(Config, frozen=True):
    by: str
    prefer: Literal["first", "longest", "latest"] | _Largest = "first"
    scope: Literal["mix", "source"] = "mix"


class Dedup(mixer.Step):
    def parts(self) -> Sequence[mixer.Dedup]:
        given = mixer.settings(self, _Settings)
        if not given.by.isidentifier():
            raise ConfigError(f"{self.where}: by: {given.by!r} is not the name of an attribute set, as in dedup_text")
        sql = given.prefer.max if isinstance(given.prefer, _Largest) else None
        if given.prefer == "longest":
            sql = "length.characters"
        prefer = None if sql is None else Expression(f"dedup {given.by}: prefer", sql, self.file, "DOUBLE")
        return [mixer.Dedup(given.by, prefer, given.prefer == "latest", given.scope)]
