"""`sample`: how often the documents of a source are taken; the last step, and at most one.

    - sample: {rate: 0.1}                           each document with probability 0.1, by its own hash
    - sample: {epochs: 1.5}                         every document once, and each once more with probability 0.5
    - sample: {share: 0.7, max_epochs: 2}           share of the mix's `budget`, repeated at most twice
    - sample: {share: available, max_epochs: 4, min_share: 0.05}

For a share, documents are taken in the order of their hashes until the target is reached, counted as the budget says
(tokens, bytes or documents): what is written is within one document of it. `available` shares are what the sources
have after rules and edits, to the power of 1 / T with the budget's `temperature: T` (1: in proportion; more makes
small sources larger); no source gets less of the budget than its `min_share`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from dolma_pipe import mixer
from dolma_pipe.config import Config
from dolma_pipe.errors import ConfigError


class _Settings(Config, frozen=True):
    rate: float | None = None
    epochs: float | None = None
    share: float | Literal["available"] | None = None
    max_epochs: float | None = None
    min_share: float | None = None


class Sample(mixer.Step):
    def parts(self) -> Sequence[mixer.Sample]:
        given = mixer.settings(self, _Settings)
        chosen = [name for name in ("rate", "epochs", "share") if getattr(given, name) is not None]
        if len(chosen) != 1:
            raise ConfigError(f"{self.where}: give one of 'rate', 'epochs' and 'share', found {self.value!r}")
        proportional = given.share == "available"
        for name in (*([] if proportional else chosen), "max_epochs"):
            value = getattr(given, name)
            if value is not None and not 0 < value < 1e6:
                raise ConfigError(f"{self.where}: {name}: {value} is not a positive number below a million")
        self._check(given, proportional)
        epochs = given.rate if given.epochs is None else given.epochs
        share = 1.0 if proportional else given.share
        assert not isinstance(share, str)
        return [mixer.Sample(epochs, share, given.max_epochs or 1.0, proportional, given.min_share or 0.0)]

    def _check(self, given: _Settings, proportional: bool) -> None:
        if given.rate is not None and given.rate >= 1:
            raise ConfigError(f"{self.where}: rate: {given.rate} is not between 0 and 1; for repetition use 'epochs'")
        if given.epochs == 1:
            raise ConfigError(f"{self.where}: epochs: 1 has no effect; leave the step out")
        if given.share is None and given.max_epochs is not None:
            raise ConfigError(f"{self.where}: max_epochs has no effect without 'share'")
        if given.min_share is not None and not proportional:
            raise ConfigError(f"{self.where}: min_share has no effect without 'share: available'")
        if given.min_share is not None and not 0 < given.min_share < 1:
            raise ConfigError(f"{self.where}: min_share: {given.min_share} is not between 0 and 1")
