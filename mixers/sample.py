"""`sample`: how often the documents of a source are taken; the last step, and at most one.

    - sample: {rate: 0.1}                       each document with probability 0.1, by its own hash
    - sample: {epochs: 1.5}                     every document once, and each once more with probability 0.5
    - sample: {share: 0.7, max_epochs: 2}       share of the mix's `budget`, repeated at most twice

For a share, documents are taken in the order of their hashes until the target is reached:
the text as written is within one document of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from dolma_pipe import mixer
from dolma_pipe.config import Config
from dolma_pipe.errors import ConfigError


class _Settings(Config, frozen=True):
    rate: float | None = None
    epochs: float | None = None
    share: float | None = None
    max_epochs: float | None = None


class Sample(mixer.Step):
    def parts(self) -> Sequence[mixer.Sample]:
        given = mixer.settings(self, _Settings)
        chosen = [name for name in ("rate", "epochs", "share") if getattr(given, name) is not None]
        if len(chosen) != 1:
            raise ConfigError(f"{self.where}: give one of 'rate', 'epochs' and 'share', found {self.value!r}")
        for name in (*chosen, "max_epochs"):
            value = getattr(given, name)
            if value is not None and not 0 < value < 1e6:
                raise ConfigError(f"{self.where}: {name}: {value} is not a positive number below a million")
        if given.rate is not None and given.rate >= 1:
            raise ConfigError(f"{self.where}: rate: {given.rate} is not between 0 and 1; for repetition use 'epochs'")
        if given.epochs == 1:
            raise ConfigError(f"{self.where}: epochs: 1 has no effect; leave the step out")
        if given.share is None and given.max_epochs is not None:
            raise ConfigError(f"{self.where}: max_epochs has no effect without 'share'")
        epochs = given.rate if given.epochs is None else given.epochs
        return [mixer.Sample(epochs, given.share, 1.0 if given.max_epochs is None else given.max_epochs)]
