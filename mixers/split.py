"""`split`: documents held out of the training text, in `splits/<name>/`.

    - split: {name: validation, fraction: 0.01}                each document by its own hash
    - split: {name: test, bytes: 10_000_000}                   in the order of their hashes until that much is reached
    - split: {name: test, documents: 1000}                     also tokens, by the budget's tokenizer
    - split: {name: test, fraction: 0.01, by: host}            all pages of a host (`metadata.url`), or none
    - split: {name: test, fraction: 0.01, by: dedup_minhash}   all copies of a cluster, or none
    - split: {name: test, fraction: 0.01, by: url.registered_domain, scope: source}

Splits are taken after the rules, the dedup and the edits, before any limit and sample. A document is in the first
split that takes it. By a group, the groups are drawn: near copies never lie on both sides. A document without one
(no URL, no duplicate) is a group of its own. Groups reach over all sources of the mix, which then all have the same
step, and an amount is that of all sources together; `scope: source` ends them at the source.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from dolma_pipe import mixer
from dolma_pipe.config import Config
from dolma_pipe.errors import ConfigError


class _Settings(Config, frozen=True):
    name: str
    fraction: float | None = None
    documents: int | None = None
    bytes: int | None = None
    tokens: int | None = None
    by: str | None = None
    scope: Literal["mix", "source"] | None = None


class Split(mixer.Step):
    def parts(self) -> Sequence[mixer.Split]:
        given = mixer.settings(self, _Settings)
        amount = mixer.one_amount(self, given.documents, given.bytes, given.tokens)
        if (given.fraction is None) == (amount is None):
            raise ConfigError(
                f"{self.where}: give either 'fraction', or one of 'documents', 'bytes' and 'tokens', "
                f"found {self.value!r}"
            )
        if given.fraction is not None and not 0 < given.fraction < 1:
            raise ConfigError(f"{self.where}: fraction: {given.fraction} is not between 0 and 1")
        if given.by is None and given.scope is not None:
            raise ConfigError(f"{self.where}: scope has no effect without 'by'; remove it")
        scope = "source" if given.by is None else given.scope or "mix"
        return [mixer.Split(mixer.folder_name(self, given.name), given.fraction, amount, given.by, scope)]
