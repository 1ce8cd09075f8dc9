"""`keep_after`: what a text must still be once it was edited.

    - keep_after: {min_characters: 200}

Documents that no edit touched are not asked. What fails is dropped as `keep_after`, before
a copy is chosen from a cluster of duplicates.
"""

from __future__ import annotations

from collections.abc import Sequence

from dolma_pipe import mixer
from dolma_pipe.config import Config
from dolma_pipe.errors import ConfigError


class _Settings(Config, frozen=True):
    min_characters: int


class KeepAfter(mixer.Step):
    def parts(self) -> Sequence[mixer.KeepAfter]:
        given = mixer.settings(self, _Settings)
        if given.min_characters < 1:
            raise ConfigError(f"{self.where}: min_characters: {given.min_characters} has no effect; give 1 or more")
        return [mixer.KeepAfter(given.min_characters)]
