"""Packed sequences and masked documents, as a model sees them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from token_folders import EOS, Row, write_shards

from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.tokens import MANIFEST, Manifest, Packing
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


def test_padding_is_no_document_of_a_batch(tmp_path: Path) -> None:
    traced = Loader([DataSource(tokens=packed(tmp_path), epochs=1)], 6, 0).documents(0, 2, 6)
    assert sorted((one.id, one.start, one.end) for one in traced) == [("d0", 1, 3), ("d1", 3, 5), ("d3", 7, 12)]


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


def buckets(tmp_path: Path) -> str:
    """Three sequences of four tokens (2 to 4), and two of eight (20, 21)."""
    short = [Row([token] * 3 + [EOS]) for token in (2, 3, 4)]
    long = [Row([token] * 7 + [EOS]) for token in (20, 21)]
    folder = write_shards(tmp_path / "t", [short, long], pad=PAD, packing=Packing("best-fit", [4, 8], 5, 0))
    path = Path(folder, MANIFEST)
    manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    lengths = zip(manifest.shards, (4, 8), strict=True)
    entries = [msgspec.structs.replace(entry, sequence_length=length) for entry, length in lengths]
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(manifest, shards=entries)))
    return folder


def test_a_phase_shows_the_sequences_of_its_length_whole(tmp_path: Path) -> None:
    folder = buckets(tmp_path)
    loader = Loader([DataSource(tokens=folder, epochs=1)], 8, 0, row_length=4)
    loader.add([DataSource(tokens=folder, epochs=1)], 2, 8)
    short, long = loader.batch(0, 4, length=4), loader.batch(2, 2)
    shown = {tuple(row): labels for row, labels in zip(short.inputs.tolist(), short.labels.tolist(), strict=True)}
    for token in (2, 3):
        assert shown[token, token, token, EOS] == [token, token, EOS, IGNORED]
    assert sorted(labels[:3] for labels in shown.values()) == [[IGNORED] * 3, *([n, n, EOS] for n in (2, 3, 4))]
    assert sorted(long.inputs[:, 0].tolist()) == [20, 21]
    for row, labels in zip(long.inputs.tolist(), long.labels.tolist(), strict=True):
        assert labels[:7] == [*row[:6], EOS]
    assert list(loader.passes(4)) == [f"{folder} (sequences of 4)", f"{folder} (sequences of 8)"]
    assert {one.token_shard for one in loader.documents(0, 4, 4)} == {"shard-00000"}
    assert [source["sequences"] for mix in loader.identity()["mixtures"] for source in mix["sources"]] == [4, 8]
    loader.exclude(loader.documents(2, 1, 8))
    assert (loader.batch(2, 2).labels == IGNORED).all(dim=1).sum() == 1


def test_a_length_that_no_sequence_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="fitted into sequences of 4 or 8"):
        Loader([DataSource(tokens=buckets(tmp_path), epochs=1)], 16, 0)


def test_folders_with_another_end_of_text_are_refused(tmp_path: Path) -> None:
    one = write_shards(tmp_path / "one", [[Row([5, 6, EOS])]])
    other = write_shards(tmp_path / "other", [[Row([1, 5, 6, EOS])]], bos=1)
    with pytest.raises(DataError, match="with another end-of-text or begin-of-text token"):
        Loader([DataSource(tokens=one, share=1), DataSource(tokens=other, share=1)], 2, 0)
