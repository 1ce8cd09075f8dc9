"""What amounts of a mix are counted in: documents, bytes of the text as written, or its tokens."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from dolma_pipe.batch import Batch
from dolma_pipe.errors import ConfigError
from dolma_pipe.mixer import Unit
from dolma_pipe.stages.mix.config import Budget
from dolma_pipe.tokenizer import Identity, identify, open_tokenizer
from dolma_pipe.types import Plain

Int64s = npt.NDArray[np.int64]
COMPARED = 4
"""Documents of each batch that both implementations encode."""
UNITS: Final[tuple[Unit, ...]] = ("tokens", "bytes", "documents")


class Counting(msgspec.Struct, frozen=True):
    """`unit` is what shares of the budget are counted in. Tokens are known by a tokenizer, or estimated from bytes."""

    unit: Unit = "bytes"
    tokenizer: Identity | None = None
    bytes_per_token: float | None = None

    @property
    def knows_tokens(self) -> bool:
        return self.tokenizer is not None or self.bytes_per_token is not None

    @property
    def about(self) -> Plain:
        """What shapes the numbers, without a path."""
        found = self.tokenizer
        tokenizer = {"hash": found.hash, **found.names._asdict()} if found is not None else None
        return {"unit": self.unit, "tokenizer": tokenizer, "bytes_per_token": self.bytes_per_token}

    @property
    def extra(self) -> int:
        """Tokens of a document beside those of its text: end-of-text, and where it says so a first one."""
        return 1 + (self.tokenizer is not None and self.tokenizer.names.bos is not None)

    def warm(self) -> str | None:
        """Load the tokenizer; says what counts tokens."""
        if self.tokenizer is None:
            return None
        return f"counting tokens with {open_tokenizer(self.tokenizer).describe()}"

    def encoded(self, texts: Batch) -> Int64s:
        """Tokens of each text as `tokenize` would write it."""
        if self.tokenizer is None:
            return self.estimated(np.diff(texts.offsets))
        return open_tokenizer(self.tokenizer).count_tokens(texts) if len(texts) else np.zeros(0, np.int64)

    def check(self, texts: Batch) -> None:
        """Compare both implementations of the tokenizer on some of the texts."""
        if self.tokenizer is not None and len(texts):
            open_tokenizer(self.tokenizer).check_sample(texts, COMPARED)

    def estimated(self, sizes: Any) -> Int64s:
        """Tokens of texts of so many bytes, by `bytes_per_token`."""
        return np.rint(sizes / (self.bytes_per_token or 1.0)).astype(np.int64) + self.extra


def counting(budget: Budget | None, file: str) -> Counting:
    """How a mix counts; raises `ConfigError` for a budget that does not say."""
    if budget is None:
        return Counting()
    given: list[Unit] = [unit for unit in UNITS if getattr(budget, unit) is not None]
    if len(given) > 1:
        raise ConfigError(f"{file}: budget: {given[0]} and {given[1]}: shares are counted in one of them; remove one")
    for unit in given:
        if getattr(budget, unit) < 1:
            raise ConfigError(f"{file}: budget: {unit}: {getattr(budget, unit)} is not a number of 1 or more")
    if budget.tokenizer is not None and budget.bytes_per_token is not None:
        raise ConfigError(f"{file}: budget: bytes_per_token has no effect beside a tokenizer; remove one of them")
    if budget.bytes_per_token is not None and not 0.1 <= budget.bytes_per_token <= 100:
        raise ConfigError(f"{file}: budget: bytes_per_token: {budget.bytes_per_token} is not between 0.1 and 100")
    if budget.eos is not None and budget.tokenizer is None:
        raise ConfigError(f"{file}: budget: eos has no effect without a tokenizer")
    known = budget.tokenizer is not None or budget.bytes_per_token is not None
    unit: Unit = given[0] if given else "tokens" if known else "bytes"
    identity = identify(budget.tokenizer, budget.eos) if budget.tokenizer is not None else None
    return Counting(unit, identity, budget.bytes_per_token)
