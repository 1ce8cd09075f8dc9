"""Token folders: what is written is what is read, and what does not fit together is said."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from token_folders import EOS, Row, write_shards

from dolma_pipe.errors import DataError
from dolma_pipe.token_writer import ShardWriter
from dolma_pipe.tokens import DOCUMENTS, TokenSet, dtype_for, verify


def folder_of(tmp_path: Path) -> str:
    shards = [
        [Row([5, 6, EOS]), Row([EOS], bytes=0)],
        [Row([7, 8, 9], part=0, parts=2)],
        [Row([1, EOS], part=1, parts=2)],
    ]
    return write_shards(tmp_path / "tokens", shards)


def test_a_folder_reads_back_what_was_written(tmp_path: Path) -> None:
    tokens = TokenSet.open(folder_of(tmp_path))
    assert [shard.map().tolist() for shard in tokens.shards] == [[5, 6, 0, 0], [7, 8, 9], [1, 0]]
    assert tokens.total_tokens == 9
    assert [len(shard) for shard in tokens.shards] == [4, 3, 2]
    table = tokens.shards[0].documents()
    assert table.schema.equals(DOCUMENTS)
    assert table["end"].to_pylist() == [3, 4]
    assert table["source"].to_pylist() == ["web", "web"]


def test_ends_lie_right_after_the_end_of_text_of_each_document(tmp_path: Path) -> None:
    shard = TokenSet.open(folder_of(tmp_path)).shards[0]
    assert (shard.map()[shard.documents()["end"].to_numpy() - 1] == EOS).all()


def test_the_csv_is_what_olmo_reads(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "tokens", [[Row([5, EOS]), Row([6, 7, EOS])]])
    stored = (Path(folder) / "shard-00000.csv.gz").read_bytes()
    assert stored[4:8] == b"\0\0\0\0", "no time of day in the header"
    rows = list(csv.reader(io.StringIO(gzip.decompress(stored).decode(), newline="")))
    assert rows == [["0", "2", "d0", "data/documents/a.jsonl", "1"], ["2", "5", "d1", "data/documents/a.jsonl", "2"]]


def test_odd_names_are_quoted_in_the_csv_as_python_does() -> None:
    names = ["plain", "a,b", 'say "x"', "two\nlines", "", "é\r", "日本"]
    documents = [(name, 10**number) for number, name in enumerate(names)]
    stream, expected, end = io.BytesIO(), io.StringIO(newline=""), 0
    writer = ShardWriter(io.BytesIO(), io.BytesIO(), stream)
    for some in (documents, documents[2:5]):
        writer.write_documents(described(some))
        for name, size in some:
            start, end = end, end + size
            csv.writer(expected).writerow([start, end, name, f"d/documents/{name}.jsonl", size + 1])
    writer.close()
    assert gzip.decompress(stream.getvalue()).decode() == expected.getvalue()


def described(documents: list[tuple[str, int]]) -> pa.Table:
    """A table of documents that have a name and a size, which is their row, too."""
    names, sizes = (list(column) for column in zip(*documents, strict=True))
    many = len(names)
    columns: list[Any] = [
        np.cumsum(sizes), names, ["web"] * many, sizes, ["d"] * many, [f"{name}.jsonl" for name in names], sizes,
        [0] * many, [1] * many, [False] * many,
    ]  # fmt: skip
    arrays = [pa.array(column).cast(field.type) for column, field in zip(columns, DOCUMENTS, strict=True)]
    return pa.Table.from_arrays(arrays, schema=DOCUMENTS)


def test_ids_are_two_bytes_wide_where_they_fit() -> None:
    assert dtype_for(50280) == dtype_for(1 << 16) == np.dtype("<u2")
    assert dtype_for((1 << 16) + 1) == np.dtype("<u4")


def test_a_folder_without_manifest_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"manifest\.json: no such file.*dolma-pipe tokenize"):
        TokenSet.open(str(tmp_path))


def test_a_manifest_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"dtype": "uint16"}')
    with pytest.raises(DataError, match="not a manifest of token shards"):
        TokenSet.open(str(tmp_path))


@pytest.mark.parametrize("change", [lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes()[:-2])])
def test_a_missing_or_short_shard_is_an_error_that_names_it(tmp_path: Path, change: object) -> None:
    folder = folder_of(tmp_path)
    change(Path(folder) / "shard-00001.bin")  # type: ignore[operator]
    with pytest.raises(DataError, match=r"shard-00001\.bin"):
        TokenSet.open(folder)


def test_a_table_of_another_shard_is_an_error_that_names_it(tmp_path: Path) -> None:
    folder = Path(folder_of(tmp_path))
    (folder / "shard-00001.docs.parquet").write_bytes((folder / "shard-00000.docs.parquet").read_bytes())
    with pytest.raises(DataError, match=r"shard-00001\.docs\.parquet: 2 documents that end at token 4.*says 1 and 3"):
        TokenSet.open(str(folder)).shards[1].documents()


def test_the_hash_follows_the_tokens_not_where_their_text_lay(tmp_path: Path) -> None:
    folder = Path(folder_of(tmp_path))
    before = TokenSet.open(str(folder)).hash
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["origins"] = [{"dataset": "elsewhere", "mix": None}]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert TokenSet.open(str(folder)).hash == before
    manifest["shards"][0]["hash"] = "0" * 32
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert TokenSet.open(str(folder)).hash != before


def test_verify_names_every_flaw(tmp_path: Path) -> None:
    folder = Path(folder_of(tmp_path))
    (folder / "shard-00000.bin").write_bytes(np.array([5, 6, 3, 999], "<u2").tobytes())
    problems = "\n".join(verify(TokenSet.open(str(folder))))
    assert "tokenizer.json: gone" in problems
    assert "the id 999 is not below the vocabulary's 64" in problems
    assert "a document does not end with the end-of-text id 0" in problems
    assert "shard-00000.bin: hash" in problems
