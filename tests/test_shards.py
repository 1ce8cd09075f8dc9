"""Documents in: what is readable is read, what is not is set aside with its place and reason, nothing is lost."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from handmade import encode_lines, store
from hypothesis import given
from hypothesis import strategies as st

from dolma_pipe.errors import DataError
from dolma_pipe.shards import BadRow, DocumentReader, DocumentWriter, document_shards

GOOD = {"id": "a", "text": "first"}


def read(path: Path, **options: object) -> tuple[list[tuple[str, str]], list[BadRow], DocumentReader]:
    bad: list[BadRow] = []
    reader = DocumentReader(str(path), bad=bad.append, **options)  # type: ignore[arg-type]
    rows = [(i, t) for batch in reader for i, t in zip(batch.ids.to_pylist(), batch.texts(), strict=True)]
    assert reader.rows == len(rows)
    assert reader.bad_rows == len(bad)
    return rows, bad, reader


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz", "x.jsonl.zst", "x.json", "x.gz", "x.json.zst"])
def test_every_form_of_json_lines_is_read(tmp_path: Path, name: str) -> None:
    documents = [{"id": str(i), "text": f"text {i} é 😀\n"} for i in range(1000)]
    path = store(tmp_path / name, encode_lines(documents))
    rows, bad, reader = read(path)
    assert rows == [(d["id"], d["text"]) for d in documents]
    assert bad == []
    assert (reader.size, reader.hash) == (path.stat().st_size, xxhash.xxh3_128_hexdigest(path.read_bytes()))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"id": "b", "text": ', "invalid JSON"),
        (b"not json at all", "invalid JSON"),
        (b'{"id": "b", "text": "\xff\xfe"}', "invalid UTF-8 at byte 21"),
        (b'{"id": "b", "text": "x", "metadata": {"k": "\xff"}}', "invalid UTF-8"),
        (b'{"id": "b"}', "missing required field text"),
        (b'{"text": "b"}', "missing required field id"),
        (b'{"id": null, "text": "b"}', "not a document"),
        (b'{"id": 1.5, "text": "b"}', "not a document"),
        (b'{"id": "b", "text": 3}', "not a document"),
        (b"[1, 2]", "not a document"),
        (b'{"id": "b", "text": "x", "text": "y"}', "the key 'text' is repeated"),
        (b'{"id": "b", "text": "x", "metadata": {"k": 1, "k": 2}}', "the key 'k' is repeated"),
        (b'{"id": "b", "text": "x", "te\\u0078t": "y"}', "the key 'text' is repeated"),
        (b'{"id": "b", "text": "x", "metadata": {"score": NaN}}', "invalid JSON"),
        (b'{"id": "b", "text": "\\ud800"}', "surrogate"),
        (b'{"id": "b", "text": "x", "metadata": {"k": "\\udc00"}}', "surrogate"),
    ],
)
def test_a_bad_line_is_set_aside_with_its_place_and_the_others_are_read(
    tmp_path: Path, line: bytes, reason: str
) -> None:
    path = store(tmp_path / "x.jsonl", encode_lines([GOOD, "", line, {"id": "c", "text": "last"}]))
    rows, bad, _ = read(path)
    assert rows == [("a", "first"), ("c", "last")]
    (row,) = bad
    assert reason in row.reason
    assert (row.line, row.byte_offset, row.byte_length) == (3, path.read_bytes().index(line), len(line))
    assert base64.b64decode(row.raw_base64) == line


@pytest.mark.parametrize("columns", [("id", "text"), ("id", "text", "metadata", "source")])
def test_the_same_lines_are_bad_whatever_columns_are_read(tmp_path: Path, columns: tuple[str, ...]) -> None:
    lines = [GOOD, '{"id": "b", "text": "x", "source": 5}', '{"id": "c", "text": "x", "metadata": {"a": "\\ud800"}}']
    _, bad, _ = read(store(tmp_path / "x.jsonl", encode_lines(lines)), columns=columns)
    assert [row.line for row in bad] == [2, 3]


@pytest.mark.parametrize(
    "document",
    [
        {"id": "s", "text": " \n\t "},
        {"id": "n", "text": "nul \0 byte"},
        {"id": "e", "text": ""},
        {"id": "u", "text": "😀e\u0301\u202e"},
        {
            "id": "q",
            "text": "x",
            "metadata": {"\ud83d\ude00": "\ud83d\ude00", "a": {"a": 1}, "b": [{"a": 1}, {"a": 2}]},
        },
    ],
)
def test_unusual_documents_are_ordinary(tmp_path: Path, document: dict[str, object]) -> None:
    rows, bad, _ = read(store(tmp_path / "x.jsonl", json.dumps(document, ensure_ascii=True).encode() + b"\n"))
    assert bad == []
    assert rows == [(document["id"], document["text"])]


def test_integer_ids_become_strings(tmp_path: Path) -> None:
    rows, _, _ = read(
        store(tmp_path / "x.jsonl", b'{"id": 12345678901234567890123, "text": "a"}\n{"id": -1, "text": "b"}')
    )
    assert [i for i, _ in rows] == ["12345678901234567890123", "-1"]


def test_blank_lines_and_carriage_returns_are_no_rows(tmp_path: Path) -> None:
    path = store(tmp_path / "x.jsonl", b'\n  \n{"id": "a", "text": "x"}\r\n\r\n\t\n{"id": "b", "text": "y"}')
    rows, bad, _ = read(path)
    assert rows == [("a", "x"), ("b", "y")]
    assert bad == []


def test_an_empty_file_is_an_empty_shard(tmp_path: Path) -> None:
    assert read(store(tmp_path / "x.jsonl", b""))[:2] == ([], [])


@pytest.mark.parametrize("kind", ["gz", "zst"])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.8, 0.99])
def test_a_truncated_archive_is_a_quarantined_tail(tmp_path: Path, kind: str, share: float) -> None:
    documents = [{"id": str(i), "text": f"{i * 7919 % 10007} " * 50} for i in range(5000)]
    whole = store(tmp_path / f"whole.jsonl.{kind}", encode_lines(documents)).read_bytes()
    path = tmp_path / f"cut.jsonl.{kind}"
    path.write_bytes(whole[: int(len(whole) * share)])
    rows, bad, _ = read(path)
    assert rows == [(d["id"], d["text"]) for d in documents[: len(rows)]]
    assert len(rows) < len(documents)
    assert len(bad) == 1
    assert "truncated" in bad[0].reason or "empty" in bad[0].reason
    assert bad[0].line == len(rows) + 1


def test_a_line_of_100_mb_is_read(tmp_path: Path) -> None:
    text = "long line " * 10_000_000
    path = store(tmp_path / "x.jsonl", encode_lines([GOOD, {"id": "long", "text": text}, GOOD]))
    reader = DocumentReader(str(path))
    assert max(int(batch.offsets[-1]) for batch in reader) >= len(text)
    assert reader.rows == 3


def test_batches_cover_the_shard_in_order(tmp_path: Path) -> None:
    documents = [{"id": str(i), "text": "x" * (i % 1000)} for i in range(10_000)]
    path = store(tmp_path / "x.jsonl", encode_lines(documents))
    batches = list(DocumentReader(str(path), batch_bytes=200_000))
    assert len(batches) > 20
    assert [batch.first_row for batch in batches] == [sum(map(len, batches[:i])) for i in range(len(batches))]
    assert [i for batch in batches for i in batch.ids.to_pylist()] == [d["id"] for d in documents]


@pytest.mark.parametrize("limit", [0, 1, 7, 50, 1000])
def test_a_limit_ends_after_that_many_rows(tmp_path: Path, limit: int) -> None:
    path = store(tmp_path / "x.jsonl", encode_lines([{"id": str(i), "text": "x"} for i in range(50)]))
    rows, _, reader = read(path, limit=limit, lines=True)
    assert len(rows) == min(limit, 50)
    assert (reader.hash is None) == (limit <= 50)


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz", "x.jsonl.zst"])
def test_lines_pass_through_unchanged(tmp_path: Path, name: str) -> None:
    lines = [
        b'{"text":"b",  "id": 7, "extra": [1, 2.50], "metadata": {"z": 1, "a": "\\u00e9"}}',
        b'{"id":"c","text":""}',
    ]
    source = store(tmp_path / "in.jsonl", b"\n".join([lines[0], b"", b"broken", lines[1]]))
    with open(tmp_path / name, "wb") as stream:
        writer = DocumentWriter(stream, name)
        for batch in DocumentReader(str(source), lines=True):
            assert batch.raw is not None
            assert batch.raw_offsets is not None
            writer.write_ranges(batch.raw, batch.raw_offsets[:-1], batch.raw_offsets[1:])
        writer.close()
    back = [batch for batch in DocumentReader(str(tmp_path / name), lines=True)]
    assert back[0].raw is not None
    assert back[0].raw.tobytes() == b"".join(lines)
    assert writer.rows == 2


@given(st.lists(st.fixed_dictionaries({"id": st.text(), "text": st.text(), "source": st.none() | st.text()})))
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, documents: list[dict[str, str | None]]
) -> None:
    path = tmp_path_factory.mktemp("d") / "x.jsonl.zst"
    documents = [{k: v.encode("utf-8", "replace").decode() if v else v for k, v in d.items()} for d in documents]
    with open(path, "wb") as stream:
        writer = DocumentWriter(stream, path.name)
        writer.write(documents)
        writer.close()
    columns = ("id", "text", "source")
    found = [row for batch in DocumentReader(str(path), columns) for row in batch.columns.to_pylist()]
    assert found == documents


def parquet(path: Path, **columns: pa.Array) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=64)
    return path


def test_parquet_documents_are_read_with_integer_ids_and_struct_metadata(tmp_path: Path) -> None:
    path = parquet(
        tmp_path / "x.parquet",
        id=pa.array(range(200)),
        text=pa.array([f"text {i}" for i in range(200)]),
        metadata=pa.array([{"url": f"http://x/{i}"} for i in range(200)]),
    )
    batches = list(DocumentReader(str(path), ("id", "text", "metadata"), batch_bytes=500))
    assert len(batches) > 3
    assert [i for b in batches for i in b.ids.to_pylist()] == [str(i) for i in range(200)]
    assert [u for b in batches for u in b.metadata("url").to_pylist()] == [f"http://x/{i}" for i in range(200)]


def test_null_rows_of_parquet_are_set_aside(tmp_path: Path) -> None:
    path = parquet(tmp_path / "x.parquet", id=pa.array(["a", None, "c"]), text=pa.array(["x", "y", None]))
    rows, bad, _ = read(path)
    assert rows == [("a", "x")]
    assert [(row.line, row.reason) for row in bad] == [
        (2, "not a document: id is null"),
        (3, "not a document: text is null"),
    ]


def test_parquet_rows_become_lines(tmp_path: Path) -> None:
    path = parquet(tmp_path / "x.parquet", id=pa.array([1]), text=pa.array(["x"]), metadata=pa.array(['{"a":1}']))
    (batch,) = DocumentReader(str(path), lines=True)
    assert batch.raw is not None
    assert json.loads(batch.raw.tobytes()) == {"id": "1", "text": "x", "metadata": {"a": 1}}


def test_a_parquet_file_without_text_and_a_file_that_is_no_parquet_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no column 'text' \(columns: id\)"):
        read(parquet(tmp_path / "a.parquet", id=pa.array(["x"])))
    (tmp_path / "b.parquet").write_bytes(b"PAR1 nonsense PAR1")
    with pytest.raises(DataError, match="not a readable Parquet file"):
        read(tmp_path / "b.parquet")


def test_shards_are_listed_by_bytes_of_their_names(make_dataset: object) -> None:
    folder = make_dataset({"b/2.jsonl": [], "b/1.jsonl.gz": [], "B.jsonl.zst": [], "_x/y.txt": []})  # type: ignore[operator]
    assert [shard.name for shard in document_shards(folder)] == ["B.jsonl.zst", "b/1.jsonl.gz", "b/2.jsonl"]
    assert [shard.stem for shard in document_shards(folder, include=["b/*"], exclude=["*2*"])] == ["b/1"]


def test_strangers_twins_and_missing_folders_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder documents/"):
        document_shards(str(tmp_path))
    store(tmp_path / "documents" / "a.jsonl", b"")
    store(tmp_path / "documents" / "a.jsonl.gz", b"")
    with pytest.raises(DataError, match="share one stem"):
        document_shards(str(tmp_path))
    (tmp_path / "documents" / "a.jsonl.gz").rename(tmp_path / "documents" / "notes.txt")
    with pytest.raises(DataError, match=r"notes\.txt: not a document file"):
        document_shards(str(tmp_path))
    (tmp_path / "documents" / "notes.txt").unlink()
    with pytest.raises(DataError, match=r"no document files that match z\*"):
        document_shards(str(tmp_path), include=["z*"])


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz", "x.jsonl.zst"])
def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path, name: str) -> None:
    lines = encode_lines([GOOD, "bad", {"id": "c", "text": "last"}])
    rows, bad, _ = read(store(tmp_path / name, b"\xef\xbb\xbf" + lines))
    assert rows == [("a", "first"), ("c", "last")]
    assert [(row.line, row.byte_offset) for row in bad] == [(2, 3 + lines.index(b"bad"))]
    assert read(store(tmp_path / name, b"\xef\xbb\xbf"))[0] == []


def test_metadata_of_parquet_that_is_no_json_is_set_aside_and_the_rest_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    metadata = ['{\n  "a": 1\n}', "not json", None, '{"a": 1, "a": 2}', '{"a": NaN}', "[1]", "", '{"n": 1e5}']
    ids = [str(number) for number in range(len(metadata))]
    pq.write_table(pa.table({"id": ids, "text": ids, "metadata": metadata}), path)
    bad: list[BadRow] = []
    (batch,) = DocumentReader(str(path), bad=bad.append, lines=True)
    assert [row.line - 1 for row in bad] == [1, 3, 4, 6]
    assert all(row.reason.startswith("metadata: ") for row in bad)
    assert batch.raw is not None
    assert batch.raw_offsets is not None
    lines = [bytes(batch.raw[a:b]) for a, b in zip(batch.raw_offsets[:-1], batch.raw_offsets[1:], strict=True)]
    found = [json.loads(line).get("metadata") for line in lines]
    assert not any(b"\n" in line for line in lines)
    assert found == [{"a": 1}, None, [1], {"n": 1e5}]


@pytest.mark.parametrize(
    ("column", "kind"), [("text", pa.struct({"a": pa.int64()})), ("id", pa.float64()), ("text", pa.list_(pa.string()))]
)
def test_a_column_of_parquet_that_holds_no_strings_is_refused(tmp_path: Path, column: str, kind: pa.DataType) -> None:
    columns = {"id": pa.array(["a"]), "text": pa.array(["b"]), column: pa.array([None], kind)}
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    with pytest.raises(DataError, match=f"x.parquet: the column '{column}' holds .*; expected strings"):
        list(DocumentReader(str(tmp_path / "x.parquet")))


def test_bytes_and_dictionaries_of_parquet_are_read_as_strings(tmp_path: Path) -> None:
    ids = pa.array(["a", "b", "a"]).dictionary_encode()
    text = pa.array([b"one", b"\xff", b"three"], pa.binary())
    pq.write_table(pa.table({"id": ids, "text": text}), tmp_path / "x.parquet")
    rows, bad, _ = read(tmp_path / "x.parquet")
    assert rows == [("a", "one"), ("a", "three")]
    assert [(row.line, row.reason) for row in bad] == [(2, "invalid UTF-8 at byte 0 of the text")]


def test_any_name_in_utf_8_is_a_shard_and_another_is_refused(tmp_path: Path) -> None:
    names = ["a\nb.jsonl", "100 %.jsonl", "h#a?s.jsonl", "x" * 240 + ".jsonl", "日本 é.jsonl"]
    for name in names:
        store(tmp_path / "documents" / name, encode_lines([GOOD]))
    assert {shard.name for shard in document_shards(str(tmp_path))} == set(names)
    os.rename(tmp_path / "documents" / names[0], os.fsencode(tmp_path / "documents") + b"/\xff.jsonl")
    with pytest.raises(DataError, match=r"the name '.udcff.jsonl' is not UTF-8; rename the file"):
        document_shards(str(tmp_path))
