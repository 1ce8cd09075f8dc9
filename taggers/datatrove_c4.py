"""C4's rules as datatrove's C4 quality filter has them, where `c4` has the paper's: for `keep: datatrove_c4`.

Lines are pieces of `str.splitlines()`, stripped. Each is judged in this order: a word of more than 1,000 code points:
the line goes; citations (`[12]`, `[]`, `[edit]`, `[citation needed]`) are cut out; it does not end in `. ? ! " '`, or
ends in `...`: it goes; it has fewer than `min_words` words, citations among them: it goes; it holds "lorem ipsum": the
document goes; "javascript": the line goes; `{`: the document goes; a phrase of a policy notice (see `c4`): the line
goes. So the document's two rules do not see lines that went before, and end the loop. Case is folded for ASCII only.

`terminal_punctuation: false` is FineWeb's setting, which keeps lines without a mark at their end. Sentences are counted
as `c4` counts them; datatrove asks spaCy's sentencizer.

What datatrove then writes is the text without the spans of `removed` and with a newline for each of `breaks`, so a mix
says `edit: {remove: datatrove_c4.removed}`, `edit: {replace: datatrove_c4.breaks, with: "\\n"}`, and a view likewise.

Source: datatrove 0.10, `pipeline/filters/c4_filters.py`, `C4QualityFilter`; FineWeb: `examples/fineweb.py`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from dolma_pipe.batch import Batch
from dolma_pipe.errors import ConfigError
from dolma_pipe.kernels import datatrove_c4 as kernels
from dolma_pipe.kernels.alphabetic import UNICODE_VERSION, bitmap
from dolma_pipe.kernels.utf8 import bytes_to_chars
from dolma_pipe.tagger import Field, Tagger, count, flag, span_array, spans


class DatatroveC4(Tagger):
    """Counts, flags and edits; all 0, false or none for an empty document."""

    version = 1
    model_hash = f"unicode-{UNICODE_VERSION}"
    fields = {
        "lorem_ipsum": flag('the loop over lines ended at one with "lorem ipsum" in any case'),
        "curly_brace": flag("the loop over lines ended at one with `{`"),
        "kept_line_count": count("lines that stay, up to where the loop ended"),
        "sentence_count": count("sentences in those, counted as by `c4`"),
        "removed": spans(
            "what is cut: lines that go, all behind where the loop ended, citations, white space around lines"
        ),
        "breaks": spans("what becomes one newline: between two lines that stay, where the text has none of its own"),
    }

    def __init__(self, min_words: int = 3, terminal_punctuation: bool = True) -> None:
        if min_words < 1:
            raise ConfigError(f"datatrove_c4: min_words is {min_words}; a line that stays has at least 1 word")
        self.min_words = min_words
        self.terminal_punctuation = terminal_punctuation

    def tag(self, batch: Batch) -> dict[str, Any]:
        found, removed, removed_offsets, breaks, break_offsets = kernels.datatrove_c4_signals(
            batch.data, batch.offsets, batch.marks, _decimals(), self.min_words, self.terminal_punctuation
        )
        return {
            "lorem_ipsum": found[kernels.LOREM] > 0,
            "curly_brace": found[kernels.BRACES] > 0,
            "kept_line_count": found[kernels.KEPT],
            "sentence_count": found[kernels.SENTENCES],
            "removed": _located(self.fields["removed"], batch, removed, removed_offsets),
            "breaks": _located(self.fields["breaks"], batch, breaks, break_offsets),
        }


@cache
def _decimals() -> Any:
    return bitmap(str.isdecimal)


def _located(field: Field, batch: Batch, found: Any, offsets: Any) -> pa.ListArray:
    """Spans in bytes of the batch as spans in code points of each document."""
    edges = np.stack((found.starts[: offsets[-1]], found.ends[: offsets[-1]]), 1).ravel()
    documents = np.repeat(np.arange(len(batch)), 2 * np.diff(offsets))
    places = bytes_to_chars(batch.data, batch.offsets, documents, edges.astype(np.int64))
    return span_array(field, offsets, places[0::2], places[1::2])
