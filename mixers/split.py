"""`split`: documents held out of the training text, in `splits/<name>/`.

    - split: {name: validation, fraction: 0.01}       each document by its own hash
    - split: {name: test, bytes: 10_000_000}          in the order of their hashes until that much text is reached

Splits are taken after the rules, the dedup and the edits, and before any sample. A document is
in the first split that takes it.
"""

from __future__ import annotations

from collections.abc import Sequence

from dolma_pipe import mixer
from dolma_pipe.config import Config
from dolma_pipe.errors import ConfigError


class _Settings(Config, frozen=True):
    name: str
    fraction: float | None = None
    bytes: int | None = None


class Split(mixer.Step):
    def parts(self) -> Sequence[mixer.Split]:
        given = mixer.settings(self, _Settings)
        if (given.fraction is None) == (given.bytes is None):
            raise ConfigError(f"{self.where}: give either 'fraction' or 'bytes', found {self.value!r}")
        if given.fraction is not None and not 0 < given.fraction < 1:
            raise ConfigError(f"{self.where}: fraction: {given.fraction} is not between 0 and 1")
        if given.bytes is not None and given.bytes < 1:
            raise ConfigError(f"{self.where}: bytes: {given.bytes} holds nothing; give 1 or more")
        return [mixer.Split(mixer.folder_name(self, given.name), given.fraction, given.bytes)]
