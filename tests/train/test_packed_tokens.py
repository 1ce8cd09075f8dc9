"""Packed sequences and masked documents, as a model sees them."""

from __future__ import annotations

from pathlib import Path

import pytest
from token_folders import EOS, Row, write_shards

from dolma_pipe.tokens import Packing
from dolma_pipe.train.config import DataSource
from dolma_pipe.train.data.chunks import IGNORED
from dolma_pipe.train.data.loader import Loader

PAD = 1


def packed(tmp_path: Path) -> str:
    """Two sequences of six tokens: two documents and padding, and the first part of a long document."""
    padding = Row([PAD], bytes=0, part=0, parts=0, masked=True)
    shard = [Row([5, 6, EOS]), Row([7, EOS]), padding, Row([20, 21, 22, 23, 24, 25], part=0, parts=2)]
    return write_shards(tmp_path / "t", [shard], pad=PAD, packing=Packing("best-fit", [6], 2, 1))


@pytest.mark.parametrize("apart", [False, True])
def test_a_packed_sequence_predicts_its_own_documents(tmp_path: Path, apart: bool) -> None:
    batch = Loader([DataSource(tokens=packed(tmp_path), epochs=1)], 6, 0, within_documents=apart).batch(0, 2)
    rows = {tuple(row[:2]): labels for row, labels in zip(batch.inputs.tolist(), batch.labels.tolist(), strict=True)}
    assert rows[5, 6] == [6, EOS, IGNORED if apart else 7, EOS, IGNORED, IGNORED]
    assert rows[20, 21][:5] == [21, 22, 23, 24, 25]
    assert rows[20, 21][5] == IGNORED


def test_concatenated_documents_go_on_in_the_next_sequence(tmp_path: Path) -> None:
    shard = [Row([5, 6, 7, 8, 9, 10, 11, EOS, 12, EOS, 13, EOS])]
    folder = write_shards(tmp_path / "t", [shard], pad=PAD, packing=Packing("concatenate", [6], 2, 0))
    batch = Loader([DataSource(tokens=folder, epochs=1)], 6, 0).batch(0, 2)
    assert [6, 7, 8, 9, 10, 11] in batch.labels.tolist()


def test_a_document_that_was_taken_down_keeps_others_apart(tmp_path: Path) -> None:
    gone = Row([PAD, PAD, EOS], masked=True)
    folder = write_shards(tmp_path / "t", [[Row([5, 6, EOS]), gone, Row([7, 8, EOS])]], pad=PAD)
    batch = Loader([DataSource(tokens=folder, epochs=1)], 8, 0, within_documents=True).batch(0, 1)
    assert batch.inputs[0].tolist() == [5, 6, EOS, PAD, PAD, EOS, 7, 8]
    assert batch.labels[0].tolist() == [6, EOS, *[IGNORED] * 4, 8, EOS]
    assert batch.documents is not None
    assert batch.documents[0].tolist() == [0, 0, 0, 1, 1, 1, 2, 2]
