"""Attributes stay beside the documents they describe, or are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from dolma_pipe.attributes import AttributeReader, AttributeWriter, attribute_path, attribute_sets
from dolma_pipe.errors import AlignmentError, DataError
from dolma_pipe.shards import Shard
from dolma_pipe.tagger import span_array, spans

TYPES = {"n": pa.int32(), "x": pa.float64()}


def write(path: Path, ids: list[str], bad_rows: int = 0) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as stream:
        writer = AttributeWriter(stream, "s", TYPES, {"version": 1})
        for i in range(0, len(ids), 3):
            part = pa.array(ids[i : i + 3])
            writer.write(part, {"n": np.arange(i, i + len(part)), "x": np.full(len(part), 0.5)})
        writer.close(shard={"hash": "h"}, bad_rows=bad_rows)
    return str(path)


def test_rows_are_given_back_in_any_portions(tmp_path: Path) -> None:
    ids = [str(i) for i in range(10)]
    reader = AttributeReader(write(tmp_path / "a.parquet", ids), "s")
    found = [
        row["n"] for size in (4, 1, 5) for row in reader.read(pa.array([ids.pop(0) for _ in range(size)])).to_pylist()
    ]
    reader.finish("h", 0)
    assert found == list(range(10))
    assert reader.types == TYPES
    assert reader.about["version"] == 1


def test_only_the_fields_asked_for_are_read(tmp_path: Path) -> None:
    reader = AttributeReader(write(tmp_path / "a.parquet", ["a"]), "s", ["x"])
    assert reader.read(pa.array(["a"])).to_pylist() == [{"x": 0.5}]


def test_a_row_of_another_document_is_refused_with_both_ids(tmp_path: Path) -> None:
    reader = AttributeReader(write(tmp_path / "a.parquet", ["a", "b", "c"]), "s")
    reader.read(pa.array(["a"]))
    with pytest.raises(AlignmentError, match="row 2 is of document 'c', the shard has 'z' there"):
        reader.read(pa.array(["b", "z"]))


def test_too_few_and_too_many_rows_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", ["a", "b"])
    with pytest.raises(AlignmentError, match="ends after row 2"):
        AttributeReader(path, "s").read(pa.array(["a", "b", "c"]))
    reader = AttributeReader(path, "s")
    reader.read(pa.array(["a"]))
    with pytest.raises(AlignmentError, match="2 rows for a shard of 1 documents"):
        reader.finish("h", 0)


def test_a_shard_that_changed_since_is_refused(tmp_path: Path) -> None:
    reader = AttributeReader(write(tmp_path / "a.parquet", ["a"], bad_rows=2), "s")
    reader.read(pa.array(["a"]))
    with pytest.raises(AlignmentError, match="has changed since it was measured"):
        reader.finish("other", 2)
    with pytest.raises(AlignmentError, match="2 bad rows when measured, 0 now"):
        reader.finish("h", 0)


def test_a_missing_file_and_another_set_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such attribute file"):
        AttributeReader(str(tmp_path / "a.parquet"), "s")
    with pytest.raises(DataError, match="holds no column 't'"):
        AttributeReader(write(tmp_path / "a.parquet", ["a"]), "t")


def test_a_tagger_that_returns_too_little_or_null_is_refused(tmp_path: Path) -> None:
    with open(tmp_path / "x", "wb") as stream:
        writer = AttributeWriter(stream, "s", TYPES, {})
        with pytest.raises(DataError, match=r"declares 'x' but did not return it"):
            writer.write(pa.array(["a"]), {"n": [1]})
        with pytest.raises(DataError, match=r"s\.n: 2 values for 1 documents"):
            writer.write(pa.array(["a"]), {"n": [1, 2], "x": [1.0]})
        with pytest.raises(DataError, match=r"s\.n: the tagger returned null"):
            writer.write(pa.array(["a"]), {"n": pa.array([None], pa.int32()), "x": [1.0]})
        writer.close()


def test_spans_are_lists_of_structs_per_document(tmp_path: Path) -> None:
    field = spans("where", kind=pa.string())
    array = span_array(field, [0, 2, 2, 3], [0, 5, 1], [2, 6, 3], kind=["a", "b", "c"])
    assert array.to_pylist() == [
        [{"start": 0, "end": 2, "score": 1.0, "kind": "a"}, {"start": 5, "end": 6, "score": 1.0, "kind": "b"}],
        [],
        [{"start": 1, "end": 3, "score": 1.0, "kind": "c"}],
    ]
    with open(tmp_path / "x.parquet", "wb") as stream:
        writer = AttributeWriter(stream, "s", {"where": field.type}, {})
        writer.write(pa.array(["a", "b", "c"]), {"where": array})
        writer.close()
    assert (
        AttributeReader(str(tmp_path / "x.parquet"), "s").read(pa.array(["a", "b", "c"])).field("where").equals(array)
    )


def test_sets_are_found_by_their_folders(tmp_path: Path) -> None:
    shard = Shard("data", "a/0001.jsonl.zst")
    path = attribute_path(str(tmp_path), "gopher", shard)
    assert path == f"{tmp_path}/gopher/a/0001.parquet"
    write(Path(path), ["a"])
    assert attribute_sets(str(tmp_path)) == ["gopher"]
    assert attribute_sets(str(tmp_path / "none")) == []
