"""Taggers that a test can foresee."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from dolma_pipe.batch import Batch
from dolma_pipe.tagger import Field, Tagger, count, real, string


class Size(Tagger):
    version = 1
    fields: ClassVar[dict[str, Field]] = {"characters": count("code points"), "half": real("half of them")}

    def __init__(self, factor: int = 1) -> None:
        self.factor = factor

    def tag(self, batch: Batch) -> dict[str, Any]:
        characters = np.array([len(text) for text in batch.texts()], np.int64) * self.factor
        return {"characters": characters, "half": characters / 2}


class Url(Tagger):
    version = 1
    fields: ClassVar[dict[str, Field]] = {"host": string("host of metadata.url")}
    columns = ("metadata",)

    def tag(self, batch: Batch) -> dict[str, Any]:
        return {"host": [(url or "").partition("/")[0] for url in batch.metadata("url").to_pylist()]}


class Broken(Tagger):
    version = 1
    fields: ClassVar[dict[str, Field]] = {"x": count("never given")}

    def tag(self, batch: Batch) -> dict[str, Any]:
        raise ZeroDivisionError("oops")
