"""gigatoken, as `tokenizer` uses it where it is proven: without special tokens, from UTF-8 to ids without a list.

It agrees with the reference on what a letter is, but not on every character that Unicode has added since: the two
put new combining marks in another order, and compose new letters or do not (of gigatoken 0.10 and tokenizers 0.23,
with NFC). So a character that is met for the first time is encoded by both, among others that it can change places or
compose with; documents with one on which they differ are left to the reference.
"""

from __future__ import annotations

import functools
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from dolma_pipe.batch import Bytes, Int64s

UInt32s = NDArray[np.uint32]
Slow = Callable[[Sequence[str]], list[UInt32s]]
"""The reference: texts to ids."""

CODE_POINTS = 0x110000
_FRAME = "a{0}b {0}{0}1 e\u0345{0}\u0334."
"""A character between letters, before a digit, twice, and after the last and before the first of combining marks."""


class FastEncoder:
    """gigatoken where every character of a document is proven, the reference for other documents."""

    def __init__(self, gigatoken: Any, slow: Slow) -> None:
        self._gigatoken = gigatoken
        self._slow = slow
        self._verdicts = _old_characters().copy()

    def encode(self, data: Bytes, offsets: Int64s) -> tuple[UInt32s, Int64s]:
        """Ids of every text `data[offsets[i]:offsets[i + 1]]`, behind one another, and their int64[n + 1] offsets."""
        from dolma_pipe.kernels.characters import MET, find_doubtful

        doubtful, met = find_doubtful(data, offsets, self._verdicts)
        if met:
            self._judge(np.flatnonzero(self._verdicts == MET))
            doubtful, _ = find_doubtful(data, offsets, self._verdicts)
        ids, ends = encode_fast(self._gigatoken, data, offsets)
        return self._replaced(data, offsets, ids, ends, np.flatnonzero(doubtful)) if doubtful.any() else (ids, ends)

    def _replaced(
        self, data: Bytes, offsets: Int64s, ids: UInt32s, ends: Int64s, rows: Int64s
    ) -> tuple[UInt32s, Int64s]:
        """The ids with those of some documents from the reference."""
        found = self._slow([data[offsets[row] : offsets[row + 1]].tobytes().decode() for row in rows])
        parts, at = [ids[:0]], 0
        for row, right in zip(rows, found, strict=True):
            parts += [ids[at : ends[row]], right]
            at = ends[row + 1]
        lengths = np.diff(ends)
        lengths[rows] = [len(right) for right in found]
        return np.concatenate([*parts, ids[at:]]), np.concatenate([[0], np.cumsum(lengths)])

    def _judge(self, codes: Int64s) -> None:
        from dolma_pipe.kernels.characters import SURE, UNSURE

        texts = [_FRAME.format(chr(code)) + " ".join(_composed_of().get(chr(code), ())) for code in codes]
        encoded = [text.encode() for text in texts]
        offsets = np.cumsum([0, *map(len, encoded)])
        ids, ends = encode_fast(self._gigatoken, np.frombuffer(b"".join(encoded), np.uint8), offsets)
        for i, right in enumerate(self._slow(texts)):
            same = np.array_equal(ids[ends[i] : ends[i + 1]], right)
            self._verdicts[codes[i]] = SURE if same and _is_known(codes[i]) else UNSURE


def _is_known(code: int) -> bool:
    """Whether `unicodedata` says what a character composes with. Pictographs compose with nothing, even new ones."""
    return unicodedata.category(chr(code)) != "Cn" or 0x1F000 <= code < 0x1FC00


@functools.cache
def _old_characters() -> NDArray[np.uint8]:
    """Verdicts: sure of ASCII, and of the first plane as it was in Unicode 3.2, whose normal forms are for ever."""
    from dolma_pipe.kernels.characters import SURE

    category = unicodedata.ucd_3_2_0.category
    verdicts = np.zeros(CODE_POINTS, np.uint8)
    verdicts[: 1 << 16] = [0 if category(chr(code)) == "Cn" else SURE for code in range(1 << 16)]
    return verdicts


@functools.cache
def _composed_of() -> dict[str, list[str]]:
    """The pairs of characters that make one, by either of the two."""
    found: dict[str, list[str]] = defaultdict(list)
    for code in range(CODE_POINTS):
        parts = unicodedata.decomposition(chr(code))
        if " " in parts and not parts.startswith("<"):
            pair = "".join(chr(int(part, 16)) for part in parts.split())
            for part in pair:
                found[part].append(pair)
    return found


def load_fast(spec: dict[str, Any]) -> Any:
    """`gigatoken` without the special tokens; `ValueError` says why it cannot be."""
    special = [token["content"] for token in spec["added_tokens"] if token["special"]]
    others = [token for token in spec["added_tokens"] if not token["special"]]
    for name in special:
        for other in others:
            if _may_overlap(name, other["content"]):
                raise ValueError(f"the special token {name!r} can overlap the token {other['content']!r}")
    try:
        import gigatoken

        return gigatoken.Tokenizer.from_json(msgspec.json.encode({**spec, "added_tokens": others}))
    except ImportError as error:
        raise ValueError(f"gigatoken cannot be imported: {error}") from error
    except BaseException as error:  # a Rust panic is not an Exception
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        raise ValueError(f"gigatoken cannot read it: {' '.join(str(error).split())[:200] or repr(error)}") from error


def _may_overlap(special: str, other: str) -> bool:
    """Can a match of `special` hide one of `other` that starts inside it?"""
    return any(other.startswith(special[i:]) or special[i:].startswith(other) for i in range(len(special)))


def encode_fast(fast: Any, data: Any, offsets: Int64s) -> tuple[UInt32s, Int64s]:
    """gigatoken's ids of every text `data[offsets[i]:offsets[i + 1]]`, and their int64[n + 1] offsets."""
    import awkward as ak

    characters = ak.contents.NumpyArray(data, parameters={"__array__": "char"})
    texts = ak.contents.ListOffsetArray(ak.index.Index64(offsets), characters, parameters={"__array__": "string"})
    found = fast.encode_batch(ak.Array(texts), parallel=False).layout.to_ListOffsetArray64(True)
    ends = np.asarray(found.offsets.data)
    return np.asarray(found.content.data)[: ends[-1]], ends
