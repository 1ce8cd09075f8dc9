"""Keys are of the bytes alone; paragraphs are pieces of `text.split(separator)`, placed in code points."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dolma_pipe.batch import make_batch
from dolma_pipe.kernels.hashing import hash128
from dolma_pipe.kernels.keys import document_keys, split_paragraphs

pieces = st.sampled_from(["\n", "\n\n", "\r", "a", "bc", "é", "漢字", "🦆", " ", "\u00a0", "\u3000", "\x1c", "xyz" * 9])
texts = st.lists(st.lists(pieces, max_size=12).map("".join), min_size=1, max_size=5)


def bytes_of(value: str) -> np.ndarray:
    return np.frombuffer(value.encode(), np.uint8)


def expected(text: str, separator: str, min_chars: int) -> list[tuple[int, int, str]]:
    found: list[tuple[int, int, str]] = []
    at = 0
    parts = text.split(separator)
    for number, part in enumerate(parts):
        after = at + len(part) + (len(separator) if number + 1 < len(parts) else 0)
        if len(part) >= min_chars and part.strip():
            found.append((at, after, part))
        at = after
    return found


def check(batch_of: list[str], separator: str, min_chars: int, competes: list[bool]) -> None:
    """What the kernel finds is what the definition gives."""
    batch = make_batch(batch_of)
    starts, ends, spans, counts, chars = split_paragraphs(
        batch.data, batch.offsets, np.array(competes), bytes_of(separator), min_chars
    )
    found = [
        (int(a), int(b), batch.data[start:end].tobytes().decode())
        for (a, b), start, end in zip(spans, starts, ends, strict=True)
    ]
    wanted = [expected(text, separator, min_chars) if one else [] for text, one in zip(batch_of, competes, strict=True)]
    assert found == [paragraph for document in wanted for paragraph in document]
    assert counts.tolist() == [len(document) for document in wanted]
    assert chars.tolist() == [len(text) for text in batch_of]


@settings(deadline=None)  # the first call compiles
@given(texts, st.sampled_from(["\n", "\n\n", "é", "漢", "ab"]), st.integers(0, 4), st.data())
@example(["a\n\n\nb", "\n\n\n", ""], "\n\n", 0, None)
def test_paragraphs_are_what_split_gives(batch_of: list[str], separator: str, min_chars: int, data: Any) -> None:
    competes = data.draw(st.lists(st.booleans(), min_size=len(batch_of), max_size=len(batch_of))) if data else None
    check(batch_of, separator, min_chars, competes or [True] * len(batch_of))


separators = ["\n", "\n\n", "\r\n\r\n", "---", "aa", "aba", "é", "漢", "🦆🦆", "\u2028", " ", "\u00a0\u00a0", "=" * 70]
blanks = [" ", "\t", "\x1c", "\x85", "\u00a0", "\u2003", "\u3000", "\u2029"]


@st.composite
def straddling(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A separator, and texts in which it, parts of it, white space and wide characters lie across multiples of 64."""
    separator = draw(st.sampled_from(separators))
    filler = st.tuples(st.sampled_from(["x", "é", "漢", "🦆", *blanks]), st.integers(0, 66)).map(
        lambda run: run[0] * run[1]
    )
    part = st.integers(1, len(separator)).map(lambda length: separator[:length])
    piece = st.one_of(filler, part, st.just(separator), st.sampled_from(blanks))
    return separator, draw(st.lists(st.lists(piece, max_size=8).map("".join), min_size=1, max_size=4))


@settings(deadline=None, max_examples=200)
@given(straddling(), st.integers(0, 70), st.data())
@example(("---", ["x---   ---y"]), 1, None)  # a separator that can be seen is no part of what it ends
@example(("---", ["x" * 62 + "---" + " " * 64 + "---y"]), 1, None)
@example(("=" * 70, ["é" * 31 + "=" * 70 + "\u3000" * 30 + "=" * 70]), 1, None)
@example(("aa", ["x" * 63 + "aaaaa" + "x" * 61 + "aa"]), 0, None)
def test_nothing_changes_where_masks_end(found: tuple[str, list[str]], min_chars: int, data: Any) -> None:
    separator, batch_of = found
    competes = data.draw(st.lists(st.booleans(), min_size=len(batch_of), max_size=len(batch_of))) if data else None
    check(batch_of, separator, min_chars, competes or [True] * len(batch_of))


def test_a_paragraph_at_the_end_of_the_text_has_no_separator_in_its_span() -> None:
    batch = make_batch(["🦆 one\ntwo", "🦆 one\ntwo\n"])
    _, _, spans, _, _ = split_paragraphs(batch.data, batch.offsets, np.ones(2, np.bool_), bytes_of("\n"), 1)
    assert spans.tolist() == [[0, 6], [6, 9], [0, 6], [6, 10]]


def test_the_minimum_counts_code_points_without_the_separator() -> None:
    batch = make_batch(["漢字漢\nab\n"])
    _, _, spans, _, _ = split_paragraphs(batch.data, batch.offsets, np.ones(1, np.bool_), bytes_of("\n"), 3)
    assert spans.tolist() == [[0, 4]]


@settings(deadline=None)  # the first call compiles
@given(texts, st.data())
def test_documents_without_a_value_have_no_key(batch_of: list[str], data: st.DataObject) -> None:
    batch = make_batch(batch_of)
    competes = np.array(data.draw(st.lists(st.booleans(), min_size=len(batch_of), max_size=len(batch_of))))
    first, second, counts = document_keys(batch.data, batch.offsets, competes)
    keyed = [text for text, one in zip(batch_of, competes.tolist(), strict=True) if one and text]
    wanted = [tuple(map(int, hash128(bytes_of(text), 0, len(text.encode())))) for text in keyed]
    assert list(zip(first.tolist(), second.tolist(), strict=True)) == wanted
    assert counts.tolist() == [int(bool(one and text)) for text, one in zip(batch_of, competes.tolist(), strict=True)]
