"""Tables of text are records: a document a row, and a reason for every row that is none."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path
from typing import Any

import pytest
from handmade import store
from hypothesis import given
from hypothesis import strategies as st

from dolma_pipe.inputs.files import find_files
from dolma_pipe.inputs.reader import Bad, Found, InputReader
from dolma_pipe.inputs.records import Fields
from dolma_pipe.inputs.tables import table_rows


def read(path: Path, **fields: str) -> list[Any]:
    [file] = find_files([str(path)], "auto")
    return list(InputReader(file, Fields(**fields), 1 << 20, main_content=True))


@pytest.mark.parametrize(("name", "sign"), [("t.csv", ","), ("t.tsv", "\t"), ("t.csv.gz", ",")])
def test_every_row_is_a_document_and_its_other_fields_are_metadata(tmp_path: Path, name: str, sign: str) -> None:
    rows = [["id", "text", "title"], ["a", 'One,\ttwo\nthree "four"', "Ä"], ["b", "", ""]]
    told = io.StringIO(newline="")
    csv.writer(told, delimiter=sign).writerows(rows)
    data = told.getvalue().encode()
    store(tmp_path / name, b"\xef\xbb\xbf" + data)
    found = read(tmp_path / name)
    assert [(one.line, one.document["id"], one.document["text"]) for one in found] == [
        (1, "a", rows[1][1]),
        (2, "b", ""),
    ]
    assert [one.document["metadata"] for one in found] == [{"title": "Ä"}, {"title": ""}]


def test_rows_that_are_no_documents_say_why(tmp_path: Path) -> None:
    store(tmp_path / "t.csv", b"text,url\nx,y\nonly one\n\nx,y,z\nlast,u\n")
    good, one, three, last = read(tmp_path / "t.csv", id="")
    assert isinstance(good, Found)
    assert (last.line, last.document["id"], last.document["text"]) == (4, "t.csv#4", "last")
    reasons = [(bad.row.line, bad.row.reason) for bad in (one, three)]
    assert reasons == [(2, "1 fields, where the first line names 2"), (3, "3 fields, where the first line names 2")]
    assert "the field 'id' is missing: there are text, url" in read(tmp_path / "t.csv")[0].row.reason


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'id,text\na,x\nb,"no end', "after row 1"),
        (b"id,text\na,x\nb,\xff\n", "after row "),
        (b"id,id\na,x\n", "names the field 'id' twice"),
    ],
)
def test_a_table_that_cannot_be_read_on_is_a_quarantined_tail(tmp_path: Path, data: bytes, reason: str) -> None:
    store(tmp_path / "t.csv", data)
    *_, last = read(tmp_path / "t.csv")
    assert isinstance(last, Bad)
    assert "not readable as a table" in last.row.reason
    assert reason in last.row.reason


def test_a_cut_archive_gives_its_whole_rows_and_a_quarantined_tail(tmp_path: Path) -> None:
    rows = "".join(f"{n},text {n * 7919}\n" for n in range(5000))
    data = gzip.compress(f"id,text\n{rows}".encode())
    (tmp_path / "t.csv.gz").write_bytes(data[: len(data) // 2])
    found = read(tmp_path / "t.csv.gz")
    assert any(isinstance(one, Found) for one in found)
    assert isinstance(found[-1], Bad)


TEXTS = st.text(st.characters(exclude_characters="\0", codec="utf-8"))


@given(
    st.lists(st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8")), min_size=2, max_size=2)),
    st.integers(1, 9),
)
def test_what_is_written_is_read_however_it_is_cut(rows: list[list[str]], size: int) -> None:
    told = io.StringIO(newline="")
    csv.writer(told).writerows([["id", "text"], *rows])
    data = told.getvalue().encode()
    found = list(table_rows([data[i : i + size] for i in range(0, len(data), size)], tabs=False))
    assert found == [{"id": first, "text": second} for first, second in rows]


def test_files_that_are_no_text_are_skipped_by_what_they_are(tmp_path: Path) -> None:
    for name, data in {"a.zip": b"PK\x03\x04\0", "b.pdf": b"%PDF-1.7\n\xe2\xe3", "c": b"BZh9\0"}.items():
        store(tmp_path / name, data)
    reasons = [one.reason for name in ("a.zip", "b.pdf", "c") for one in read(tmp_path / name)]
    assert [reason.split(":")[0].split(",")[0] for reason in reasons] == [
        "a zip archive (or .docx", "a PDF", "compressed with bzip2",
    ]  # fmt: skip
