"""How long a document is, in four units."""

from __future__ import annotations

from typing import Any

import numpy as np

from dolma_pipe.batch import Batch
from dolma_pipe.tagger import Tagger, count, count64


class Length(Tagger):
    """Bytes, code points, words and lines; 0, 0, 0 and 1 for an empty document."""

    version = 1
    fields = {
        "bytes": count64("bytes of the text in UTF-8"),
        "characters": count64("Unicode code points of the text"),
        "words": count("pieces of `str.split()`"),
        "lines": count('pieces of `text.split("\\n")`: newlines plus one'),
    }

    def tag(self, batch: Batch) -> dict[str, Any]:
        return {
            "bytes": np.diff(batch.offsets),
            "characters": batch.char_counts,
            "words": batch.word_counts,
            "lines": batch.line_counts,
        }
