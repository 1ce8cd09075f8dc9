"""gigatoken, as `tokenizer` uses it where it is proven: without special tokens, from UTF-8 to ids without a list."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from dolma_pipe.batch import Int64s

UInt32s = NDArray[np.uint32]


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
    """Ids of every text `data[offsets[i]:offsets[i + 1]]`, behind one another, and their int64[n + 1] offsets."""
    import awkward as ak

    characters = ak.contents.NumpyArray(data, parameters={"__array__": "char"})
    texts = ak.contents.ListOffsetArray(ak.index.Index64(offsets), characters, parameters={"__array__": "string"})
    found = fast.encode_batch(ak.Array(texts), parallel=False).layout.to_ListOffsetArray64(True)
    ends = np.asarray(found.offsets.data)
    return np.asarray(found.content.data)[: ends[-1]], ends
