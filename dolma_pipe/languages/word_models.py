"""What a word is: three models, so that a text in any script has words.

`whitespace`   what `str.split()` gives; Chinese, Japanese, Thai, Lao, Khmer and Burmese have none
`unicode`      those, split further at Unicode's default word boundaries (UAX #29): punctuation apart, ideographs one by
               one; no dictionary
`icu`          the same, with ICU's dictionaries for the six languages above: `pip install 'dolma_pipe[languages]'`

The two finer models count punctuation marks as words, as the tokenizers of datatrove (FineWeb-2) do, and take U+200B,
a space without width, for white space.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal, get_args
from weakref import WeakKeyDictionary

import numpy as np
import xxhash

from dolma_pipe.batch import Batch, Bytes, Int32s, Int64s, Segments
from dolma_pipe.errors import ConfigError
from dolma_pipe.kernels.alphabetic import CODE_POINTS
from dolma_pipe.kernels.marks import Marks, mark_words
from dolma_pipe.kernels.ranges import join_lines
from dolma_pipe.kernels.utf8 import chars_to_bytes
from dolma_pipe.kernels.wordbreaks import holds_dictionary, mark_breaks, split_breaks, word_break_table
from dolma_pipe.languages.icu import load_icu

WordModel = Literal["whitespace", "unicode", "icu"]

_BYTES_AT_ONCE = 1 << 20
_EVERY = np.full(CODE_POINTS // 8, 0xFF, np.uint8)
"""The bitmap of all code points."""
_known: WeakKeyDictionary[Batch, dict[str, Segments]] = WeakKeyDictionary()


def checked(model: str, owner: str) -> WordModel:
    """The model of that name; refused where it does not exist or its package is not installed."""
    for known in get_args(WordModel):
        if model == known:
            if known == "icu":
                load_icu(f"{owner}: words: icu")
            return known
    raise ConfigError(f"{owner}: words is {model!r}; it must be one of {', '.join(get_args(WordModel))}")


def identity(model: WordModel) -> str:
    """What shapes a model's words besides our own code: the data it goes by; "" for whitespace."""
    if model == "whitespace":
        return ""
    table = f"breaks-{xxhash.xxh3_64_hexdigest(word_break_table().tobytes())}"
    return table if model == "unicode" else f"{table} icu-{load_icu('words: icu').icu_version}"


def words(batch: Batch, model: WordModel) -> Segments:
    """The words of every document; split once per batch, whoever asks."""
    if model == "whitespace":
        return batch.words
    known = _known.setdefault(batch, {})
    if model not in known:
        known[model] = _split(batch, model)
    return known[model]


def marks(batch: Batch, model: WordModel) -> Marks:
    """The words of every document as bits."""
    if model == "whitespace":
        return batch.marks
    if model == "unicode":
        return mark_breaks(batch.data, batch.offsets, batch.marks, word_break_table(), _EVERY)
    index = words(batch, model)
    return mark_words(index.starts, index.ends, len(batch.data))


def _split(batch: Batch, model: WordModel) -> Segments:
    pieces, table = batch.words, word_break_table()
    if model == "icu":
        given = holds_dictionary(batch.data, pieces.starts, pieces.ends, table)
        starts, ends = _icu_words(batch.data, pieces.starts[given], pieces.ends[given])
    else:
        given, starts = np.zeros(len(pieces.starts), np.bool_), np.empty(0, np.int64)
        ends = starts
    found = split_breaks(
        batch.data, pieces.starts, pieces.ends, pieces.chars, pieces.offsets, table, given, starts, ends
    )
    return Segments(*found)


def _icu_words(data: Bytes, starts: Int32s, ends: Int32s) -> tuple[Int64s, Int64s]:
    """Byte positions of what ICU makes of each text `data[starts[i]:ends[i]]`, about a megabyte at once."""
    turns = np.cumsum(ends - starts, dtype=np.int64) // _BYTES_AT_ONCE
    cuts = [0, *(np.flatnonzero(np.diff(turns)) + 1).tolist(), len(starts)]
    parts = [_icu_part(data, starts[a:b], ends[a:b]) for a, b in pairwise(cuts) if b > a]
    none = np.empty(0, np.int64)
    return np.concatenate([none, *(part[0] for part in parts)]), np.concatenate([none, *(part[1] for part in parts)])


def _icu_part(data: Bytes, starts: Int32s, ends: Int32s) -> tuple[Int64s, Int64s]:
    """The texts go to ICU as lines of one text, and U+200B as a newline too: no word reaches over one."""
    lines = join_lines(data, starts, ends)
    text = lines.tobytes().decode().replace("\u200b", "\n")
    stops = np.cumsum(np.fromiter(map(len, load_icu("").breakers.WordBreaker(text, "root")), np.int64))
    begins = np.concatenate(([0], stops))[:-1]
    is_word = np.frombuffer(text.encode("utf-32-le"), np.uint32)[begins] != 0x0A
    places, whole = np.stack((begins[is_word], stops[is_word])), np.array([0, len(lines)])
    none = np.zeros(places.shape[1], np.int64)
    found = [chars_to_bytes(lines, whole, none, place) for place in places]
    firsts = np.concatenate(([0], np.cumsum(ends - starts + 1, dtype=np.int64)))[:-1]
    shift = (starts.astype(np.int64) - firsts)[np.searchsorted(firsts, found[0], side="right") - 1]
    return found[0] + shift, found[1] + shift
