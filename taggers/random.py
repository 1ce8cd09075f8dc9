"""A number drawn for each document by a hash of its id: the same in every run, file and order."""

from __future__ import annotations

from typing import Any

import numpy as np

from dolma_pipe.batch import Batch
from dolma_pipe.draws import draws
from dolma_pipe.errors import ConfigError
from dolma_pipe.tagger import Tagger, real

PURPOSE = "random"


class Random(Tagger):
    """One uniform number; documents with one id have one number, whatever they say.

    seed: another seed, other numbers, independent of those of the first.
    """

    version = 1
    fields = {
        "uniform": real(
            "uniform in [0, 1): the upper 53 bits of xxh3_64 over (seed, 'random', '', id, 0), each behind its length"
        )
    }

    def __init__(self, *, seed: int = 0) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(f"random: seed is {seed!r}; it must be a whole number")
        self.seed = seed

    def tag(self, batch: Batch) -> dict[str, Any]:
        drawn = draws(self.seed, PURPOSE, "", batch.ids)
        return {"uniform": (drawn >> np.uint64(11)).astype(np.float64) / (1 << 53)}
