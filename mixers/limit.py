"""`limit`: at most so much of a source.

    - limit: {documents: 100_000}
    - limit: {bytes: 2_000_000_000}
    - limit: {tokens: 1_000_000_000}          by the tokenizer that the mix's budget names

Documents are taken in the order of their hashes as long as the amount is not exceeded. This comes after the splits,
so that they do not depend on it, and before a sample, which then repeats or thins out what is left. A document above
the limit is dropped as `over_limit`.
"""

from __future__ import annotations

from collections.abc import Sequence

from dolma_pipe import mixer
from dolma_pipe.config import Config
from dolma_pipe.errors import ConfigError


class _Settings(Config, frozen=True):
    documents: int | None = None
    bytes: int | None = None
    tokens: int | None = None


class Limit(mixer.Step):
    def parts(self) -> Sequence[mixer.Limit]:
        given = mixer.settings(self, _Settings)
        amount = mixer.one_amount(self, given.documents, given.bytes, given.tokens)
        if amount is None:
            raise ConfigError(f"{self.where}: give one of 'documents', 'bytes' and 'tokens', found {self.value!r}")
        return [mixer.Limit(amount)]
