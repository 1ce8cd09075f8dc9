"""Token shards in other systems' forms, byte for byte, and back."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handmade import tree_of
from tiny_tokenizers import EOS, write_tokenizer
from token_folders import Row, write_shards
from tokenizing import Make, bins, documents, rows, tokenize

from dolma_pipe.config import convert
from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.execution import Summary, run_stage
from dolma_pipe.runners.local import Local
from dolma_pipe.stages.export_tokens import ExportConfig, ExportTokens
from dolma_pipe.stages.import_tokens import ImportConfig, ImportTokens
from dolma_pipe.takedown.removal import take_down
from dolma_pipe.tokens import TokenSet
from dolma_pipe.verify import verify


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def export(tokens: str | Path, to: Path, form: str, workers: int = 1) -> dict[str, bytes]:
    """The files of an export, without its records."""
    config = convert({"tokens": str(tokens), "to": str(to), "format": form}, ExportConfig, "test")
    run_stage(ExportTokens(config), Local(workers))
    return {path.name: path.read_bytes() for path in sorted(to.iterdir()) if path.is_file()}


def import_tokens(folder: Path, to: Path, form: str, tokenizer: str, **options: Any) -> Summary:
    given = {"folder": str(folder), "to": str(to), "format": form, "tokenizer": tokenizer, **options}
    return run_stage(ImportTokens(convert(given, ImportConfig, "test")), Local())


def two_documents(tmp_path: Path) -> str:
    return write_shards(tmp_path / "tokens", [[Row([5, 6, 0]), Row([7, 0])]])


def half_masked(tmp_path: Path) -> str:
    return write_shards(tmp_path / "tokens", [[Row([5, 6, 0]), Row([1, 1, 0], masked=True), Row([7, 0])]])


def test_olmo_gets_a_headerless_array_and_the_boundaries(tmp_path: Path) -> None:
    found = export(two_documents(tmp_path), tmp_path / "out", "olmo")
    assert list(found) == ["shard-00000.csv.gz", "shard-00000.npy"]
    assert found["shard-00000.npy"] == b"\x05\0\x06\0\0\0\x07\0\0\0"
    expected = b"0,3,d0,data/documents/a.jsonl,1\r\n3,5,d1,data/documents/a.jsonl,2\r\n"
    assert gzip.decompress(found["shard-00000.csv.gz"]) == expected


def test_olmo_gets_a_label_mask_where_something_is_masked(tmp_path: Path) -> None:
    found = export(half_masked(tmp_path), tmp_path / "out", "olmo")
    assert found["shard-00000.label_mask.npy"] == bytes([1, 1, 1, 0, 0, 0, 1, 1])


def test_numpy_loads_what_is_exported_for_it(tmp_path: Path) -> None:
    export(half_masked(tmp_path), tmp_path / "out", "npy")
    assert np.load(tmp_path / "out" / "shard-00000.npy").tolist() == [5, 6, 0, 1, 1, 0, 7, 0]
    assert np.load(tmp_path / "out" / "shard-00000.ends.npy").tolist() == [3, 6, 8]
    assert np.load(tmp_path / "out" / "shard-00000.label_mask.npy").tolist() == [True] * 3 + [False] * 3 + [True] * 2


def test_datatrove_gets_ids_ends_and_three_lines_of_metadata(tmp_path: Path) -> None:
    found = export(two_documents(tmp_path), tmp_path / "out", "datatrove")
    assert found == {
        "shard-00000.ds": b"\x05\0\x06\0\0\0\x07\0\0\0",
        "shard-00000.ds.index": b"\x03\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0",
        "shard-00000.ds.metadata": b"tokenizer.json|2\n5\n5.00 T",
    }


def test_megatron_gets_its_index(tmp_path: Path) -> None:
    found = export(two_documents(tmp_path), tmp_path / "out", "megatron")
    assert found["shard-00000.bin"] == b"\x05\0\x06\0\0\0\x07\0\0\0"
    expected = b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, 8, 2, 3) + struct.pack("<2i2q3q", 3, 2, 0, 6, 0, 1, 2)
    assert found["shard-00000.idx"] == expected


def test_megatron_has_no_masked_documents(tmp_path: Path) -> None:
    found = export(half_masked(tmp_path), tmp_path / "out", "megatron")
    assert found["shard-00000.bin"] == b"\x05\0\x06\0\0\0\x07\0\0\0"


def test_mds_gets_documents_as_samples(tmp_path: Path) -> None:
    found = export(two_documents(tmp_path), tmp_path / "out", "mds")
    config = (
        b'{"column_encodings": ["ndarray:uint16"], "column_names": ["tokens"], "column_sizes": [null], '
        b'"compression": null, "format": "mds", "hashes": [], "size_limit": 67108864, "version": 2}'
    )
    first, second = b"\x08\0\0\0\x04\x03\x05\0\x06\0\0\0", b"\x06\0\0\0\x04\x02\x07\0\0\0"
    begin = 4 + 12 + len(config)
    offsets = struct.pack("<3I", begin, begin + len(first), begin + len(first) + len(second))
    assert found["shard.00000.00000.mds"] == b"\x02\0\0\0" + offsets + config + first + second
    index = json.loads(found["index.json"])
    assert index["shards"][0]["samples"] == 2
    assert index["shards"][0]["raw_data"] == {
        "basename": "shard.00000.00000.mds", "bytes": len(found["shard.00000.00000.mds"]), "hashes": {},
    }  # fmt: skip


def test_mds_gets_packed_sequences_as_samples(tmp_path: Path, make_dataset: Make, tokenizer: str) -> None:
    data = make_dataset({"a.jsonl": documents(30)})
    tokenize(data, tmp_path / "tokens", tokenizer, pack="best-fit", sequence_length=64)
    found = export(tmp_path / "tokens", tmp_path / "out", "mds")
    index = json.loads(found["index.json"])
    assert index["shards"][0]["column_encodings"] == ["ndarray:uint16:64"]
    assert index["shards"][0]["column_sizes"] == [128]
    stored = b"".join(found[shard["raw_data"]["basename"]][-128 * shard["samples"] :] for shard in index["shards"])
    assert stored == b"".join(bins(tmp_path / "tokens").values())


def test_a_large_vocabulary_is_int32_for_megatron(tmp_path: Path, make_dataset: Make) -> None:
    from tiny_tokenizers import grown

    large = grown(write_tokenizer(tmp_path / "large"), 65_520)
    tokenize(make_dataset({"a.jsonl": ["abc"]}), tmp_path / "tokens", large)
    found = export(tmp_path / "tokens", tmp_path / "out", "megatron")
    [stored] = bins(tmp_path / "tokens").values()
    assert np.frombuffer(found["shard-00000.bin"], "<i4").tolist() == np.frombuffer(stored, "<u2").tolist()
    assert found["shard-00000.idx"][17] == 4


@pytest.mark.parametrize("form", ["olmo", "datatrove", "megatron"])
def test_what_is_exported_comes_back(tmp_path: Path, make_dataset: Make, tokenizer: str, form: str) -> None:
    data = make_dataset({"a.jsonl": documents(60), "sub/b.jsonl": documents(20, "e")})
    tokenize(data, tmp_path / "tokens", tokenizer)
    export(tmp_path / "tokens", tmp_path / form, form)
    import_tokens(tmp_path / form, tmp_path / "back", form, tokenizer)
    assert bins(tmp_path / "back") == bins(tmp_path / "tokens")
    before, after = list(rows(tmp_path / "tokens")), list(rows(tmp_path / "back"))
    assert [(row["bytes"], row["end"], ids) for row, ids in before] == [(r["bytes"], r["end"], ids) for r, ids in after]
    assert verify(str(tmp_path / "back")).problems == []
    if form == "olmo":
        names = ("id", "dataset", "shard", "row")
        assert [[row[n] for n in names] for row, _ in before] == [[row[n] for n in names] for row, _ in after]
    assert import_tokens(tmp_path / form, tmp_path / "back", form, tokenizer).done == 0
    assert TokenSet.open(str(tmp_path / "back")).manifest.documents == 80


@pytest.mark.parametrize("form", ["olmo", "datatrove"])
def test_masks_come_back(tmp_path: Path, make_dataset: Make, tokenizer: str, form: str) -> None:
    tokenize(make_dataset({"a.jsonl": documents(30)}), tmp_path / "tokens", tokenizer)
    take_down(["d3", "d7"], [str(tmp_path / "tokens")])
    export(tmp_path / "tokens", tmp_path / form, form)
    import_tokens(tmp_path / form, tmp_path / "back", form, tokenizer)
    masked = [[row["masked"] for row, _ in rows(tmp_path / name)] for name in ("tokens", "back")]
    assert masked[0] == masked[1]
    left, right = (TokenSet.open(str(tmp_path / name)).manifest for name in ("tokens", "back"))
    assert (left.masked, left.documents, left.bytes) == (right.masked, right.documents, right.bytes)


def test_without_boundaries_the_end_of_text_marks_them(tmp_path: Path, tokenizer: str) -> None:
    (tmp_path / "olmo").mkdir()
    (tmp_path / "olmo" / "part.npy").write_bytes(np.array([5, 6, 0, 7, 0], "<u2").tobytes())
    import_tokens(tmp_path / "olmo", tmp_path / "tokens", "olmo", tokenizer, source="old")
    assert [(row["id"], row["source"], row["shard"], ids) for row, ids in rows(tmp_path / "tokens")] == [
        ("part:0", "old", "part.npy", [5, 6, 0]),
        ("part:1", "old", "part.npy", [7, 0]),
    ]


@pytest.mark.parametrize(
    ("ids", "complaint"),
    [([5, 6], "its documents end"), ([5, 9999, 0], "the id 9999 is none of"), ([5, 0, 6, 7], "its documents end")],
)
def test_files_of_another_tokenizer_are_refused(tmp_path: Path, tokenizer: str, ids: list[int], complaint: str) -> None:
    (tmp_path / "olmo").mkdir()
    (tmp_path / "olmo" / "part.npy").write_bytes(np.array(ids, "<u2").tobytes())
    with pytest.raises(DataError, match=complaint):
        import_tokens(tmp_path / "olmo", tmp_path / "tokens", "olmo", tokenizer, eos=EOS)


def test_a_header_of_numpys_is_not_read_as_tokens(tmp_path: Path, tokenizer: str) -> None:
    (tmp_path / "olmo").mkdir()
    np.save(tmp_path / "olmo" / "part.npy", np.array([5, 6, 0, 7, 0], "<u2"))
    with pytest.raises(DataError, match=r"part\.npy: a NumPy file with a header"):
        import_tokens(tmp_path / "olmo", tmp_path / "tokens", "olmo", tokenizer)


def test_an_index_of_another_kind_is_refused(tmp_path: Path, tokenizer: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.bin").write_bytes(b"\x05\0\0\0")
    (tmp_path / "in" / "a.idx").write_bytes(b"TNTIDX\0\0" + bytes(40))
    with pytest.raises(DataError, match="not an index of Megatron's"):
        import_tokens(tmp_path / "in", tmp_path / "tokens", "megatron", tokenizer)
    with pytest.raises(DataError, match=r"no \*\.ds files"):
        import_tokens(tmp_path / "in", tmp_path / "tokens", "datatrove", tokenizer)


def test_exports_resume_and_do_not_depend_on_workers(tmp_path: Path, make_dataset: Make, tokenizer: str) -> None:
    tokenize(make_dataset({"a.jsonl": documents(60)}), tmp_path / "tokens", tokenizer)
    export(tmp_path / "tokens", tmp_path / "one", "mds")
    export(tmp_path / "tokens", tmp_path / "two", "mds", workers=2)
    assert tree_of(tmp_path / "one") == tree_of(tmp_path / "two")
    config = ExportConfig(str(tmp_path / "tokens"), str(tmp_path / "one"), "mds")
    assert run_stage(ExportTokens(config), Local()).done == 0
    (tmp_path / "one" / "shard.00000.00000.mds").unlink()
    assert run_stage(ExportTokens(config), Local()).done == 1
    assert verify(str(tmp_path / "one")).problems == []
    with pytest.raises(ConfigError, match="the tokens themselves"):
        ExportTokens(ExportConfig(str(tmp_path / "tokens"), str(tmp_path / "tokens"), "mds"))
