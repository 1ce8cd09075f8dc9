"""Lines that are found while they are read, and those that hold a word, equal their definition in plain Python."""

from __future__ import annotations

import numpy as np
import plain_definitions as plain
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma_pipe.batch import make_batch
from dolma_pipe.kernels import segment
from dolma_pipe.kernels.marks import outer_words
from dolma_pipe.languages import word_models


@settings(max_examples=150, deadline=None)
@given(texts=st.lists(plain.texts, min_size=1, max_size=6))
def test_lines_with_a_word_are_those_of_the_definition(texts: list[str]) -> None:
    batch = make_batch(texts)
    lines, data = batch.filled_lines, batch.data.tobytes()
    found = [data[a:b].decode() for a, b in zip(lines.starts, lines.ends, strict=True)]
    assert found == [line for text in texts for line in plain.filled_lines(text)]
    assert lines.chars.tolist() == [len(line) for line in found]
    assert np.diff(lines.offsets).tolist() == [len(plain.filled_lines(text)) for text in texts]
    owners = np.repeat(np.arange(len(texts)), np.diff(lines.offsets)).tolist()
    for owner, line, place in zip(owners, found, lines.places.tolist(), strict=True):
        assert texts[owner][place : place + len(line)] == line
        assert place == 0 or texts[owner][place - 1] == "\n"
    froms, tos = outer_words(batch.marks, lines.starts, lines.ends)
    assert [data[a:b].decode() for a, b in zip(froms, tos, strict=True)] == [line.strip() for line in found]


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(plain.texts, min_size=1, max_size=6))
def test_lines_are_counted_and_found_in_another_text_with_the_same_lines(texts: list[str]) -> None:
    batch = make_batch(texts)
    assert batch.line_counts.tolist() == [text.count("\n") + 1 for text in texts]
    other = make_batch(["\n".join(f"<{line}>" for line in text.split("\n")) for text in texts])
    count = len(batch.filled_lines.starts)
    starts, ends = segment.matching_lines(batch.data, batch.offsets, batch.marks, other.data, other.offsets, count)
    found = [other.data[a:b].tobytes().decode() for a, b in zip(starts, ends, strict=True)]
    assert found == [f"<{line}>" for text in texts for line in plain.filled_lines(text)]


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(plain.texts, min_size=1, max_size=4))
def test_marks_of_unicode_words_are_those_of_the_words(texts: list[str]) -> None:
    batch = make_batch(texts)
    words, marks = word_models.words(batch, "unicode"), word_models.marks(batch, "unicode")
    starts = np.flatnonzero(np.unpackbits(marks.starts.view(np.uint8), bitorder="little"))
    inside = np.flatnonzero(np.unpackbits(marks.inside.view(np.uint8), bitorder="little"))
    assert starts.tolist() == words.starts.tolist()
    assert inside.tolist() == [i for a, b in zip(words.starts, words.ends, strict=True) for i in range(a, b)]
