"""Repeated n-grams of texts whose passages come again and go on otherwise, whatever the table's size."""

from __future__ import annotations

import numpy as np
import plain_definitions as plain
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma_pipe.batch import make_batch
from dolma_pipe.kernels import ngrams
from dolma_pipe.tagger import load

passages = st.lists(st.sampled_from(["a", "bb", "é", "D"]), min_size=1, max_size=14).map(" ".join)
ORDINARY, TINY = ngrams.MOST_SLOTS, 4


@st.composite
def texts(draw: st.DrawFn) -> str:
    """Few passages, many times."""
    parts = draw(st.lists(passages, min_size=1, max_size=4))
    return " ".join(draw(st.lists(st.sampled_from(parts), min_size=1, max_size=9)))


@pytest.mark.parametrize("most_slots", [ORDINARY, TINY])
@settings(max_examples=200, deadline=None)
@given(found=st.lists(texts(), min_size=1, max_size=3))
def test_passages_that_come_again_are_counted_as_the_definition_says(most_slots: int, found: list[str]) -> None:
    tagger = load("gopher_repetition")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ngrams, "MOST_SLOTS", most_slots)
        values = tagger.tag(make_batch(found))
    for row, text in enumerate(found):
        for name, expected in plain.gopher_repetition(text).items():
            assert pa.array(values[name], tagger.fields[name].type)[row].as_py() == expected, name


def test_a_text_with_more_grams_than_the_table_takes_gives_the_same_numbers() -> None:
    chosen = np.random.default_rng(0).integers(0, 40, 6000)
    words = [f"w{number}" for number in chosen]
    batch = make_batch([" ".join(words + words[:2000] + ["else"] + words[1000:3000])])
    results = [ngrams.ngram_signals(batch.data, batch.offsets, batch.marks, slots) for slots in (64, 1024, ORDINARY)]
    assert all(np.array_equal(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))
    assert results[0][1][0, -1, ngrams.COPIED] > 0
