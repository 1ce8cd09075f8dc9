"""Ids that are kept by input shard come back as they were, in whatever pieces they were written."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_pipe.stages.tokenize.ids import Ids, IdsWriter, map_ids, planes_for
from dolma_pipe.tokens import dtype_for

VOCABULARIES = [1 << 8, 1 << 16, (1 << 16) + 1, 1 << 17, 152_000, 1 << 20]


def stored(path: Path, batches: list[list[int]], vocab_size: int) -> Ids:
    planes = planes_for(vocab_size)
    with path.open("wb") as stream:
        writer = IdsWriter(stream, planes)
        for batch in batches:
            writer.write(np.array(batch, dtype_for(vocab_size)))
        writer.close()
    return map_ids(str(path), writer.total, planes)


@st.composite
def written(draw: st.DrawFn) -> tuple[int, list[list[int]], list[tuple[int, int]]]:
    """A vocabulary's size, batches of its ids, and ranges of all of them."""
    size = draw(st.sampled_from(VOCABULARIES))
    batches = draw(st.lists(st.lists(st.integers(0, size - 1), max_size=30), max_size=6))
    total = sum(map(len, batches))
    ends = st.tuples(st.integers(0, total), st.integers(0, total)).map(lambda pair: (min(pair), max(pair)))
    return size, batches, draw(st.lists(ends, max_size=8))


@given(written())
def test_ranges_of_ids_are_what_was_written(case: tuple[int, list[list[int]], list[tuple[int, int]]]) -> None:
    size, batches, ranges = case
    ids = [number for batch in batches for number in batch]
    starts = np.array([start for start, _ in ranges], np.int64)
    lengths = np.array([end - start for start, end in ranges], np.int64)
    out = np.zeros(lengths.sum(), dtype_for(size))
    with tempfile.TemporaryDirectory() as folder:
        stored(Path(folder, "a.ids"), batches, size).copy(starts, lengths, out, np.cumsum(lengths) - lengths)
    assert out.tolist() == [number for start, end in ranges for number in ids[start:end]]


def test_an_id_takes_no_more_bits_than_its_vocabulary_needs(tmp_path: Path) -> None:
    ids = list(range(0, 80_000, 10))
    stored(tmp_path / "a.ids", [ids], 100_278)
    assert (tmp_path / "a.ids").stat().st_size <= len(ids) * 17 / 8 + 2


def test_ids_that_are_not_there_are_an_error(tmp_path: Path) -> None:
    ids, out = stored(tmp_path / "a.ids", [[1, 2, 3]], 1 << 17), np.zeros(4, np.uint32)
    with pytest.raises(IndexError, match="outside"):
        ids.copy(np.array([0]), np.array([4]), out, np.array([0]))
