"""ingest: every file and every row ends as a document, in the quarantine or in the list of skipped files."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from dolma_pipe.config import bundled, load
from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.execution import Options, Summary, run_stage
from dolma_pipe.inputs.records import Fields
from dolma_pipe.runners.local import Local
from dolma_pipe.shards import DocumentReader, document_shards
from dolma_pipe.stages.ingest import Ingest, IngestConfig


def ingest(*inputs: Path, to: Path, workers: int = 1, options: Options = Options(), **settings: Any) -> Summary:
    config = IngestConfig(inputs=[str(path) for path in inputs], to=str(to), **settings)
    return run_stage(Ingest(config), Local(workers), options)


def documents(dataset: Path) -> list[dict[str, Any]]:
    columns = ("id", "text", "source", "added", "created", "metadata")
    readers = [DocumentReader(shard, columns) for shard in document_shards(str(dataset))]
    return [batch.document(i) for reader in readers for batch in reader for i in range(len(batch))]


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()]


def content(dataset: Path) -> bytes:
    paths = sorted((dataset / "documents").iterdir())
    return b"".join(zstandard.ZstdDecompressor().stream_reader(path.read_bytes()).read() for path in paths)


def write_records(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "in"
    (root / "pkg").mkdir(parents=True)
    (root / "pkg" / "__init__.py").write_text("VERSION = 1\n")
    (root / "README.md").write_text("# Hello\n\nGrüße\n")
    (root / "LICENSE").write_text("Do as you like.\n")
    return root


def test_a_file_is_a_document_named_by_its_path(folder: Path, tmp_path: Path) -> None:
    ingest(folder, to=tmp_path / "out", added="2024-05-31")
    found = documents(tmp_path / "out")
    assert [(one["id"], one["text"]) for one in found] == [
        ("LICENSE", "Do as you like.\n"),
        ("README.md", "# Hello\n\nGrüße\n"),
        ("pkg/__init__.py", "VERSION = 1\n"),
    ]
    assert {(one["source"], one["added"]) for one in found} == {("out", "2024-05-31")}
    assert found[2]["metadata"] == {"path": "pkg/__init__.py", "extension": ".py", "language": "python"}


def test_names_are_relative_to_the_folder_that_holds_all_inputs(folder: Path, tmp_path: Path) -> None:
    ingest(folder / "pkg", folder / "README.md", to=tmp_path / "out")
    assert [one["id"] for one in documents(tmp_path / "out")] == ["README.md", "pkg/__init__.py"]
    with pytest.raises(ConfigError, match="two of the inputs"):
        ingest(folder, folder / "pkg", to=tmp_path / "again")


def test_binary_and_empty_files_are_skipped_and_listed(folder: Path, tmp_path: Path) -> None:
    (folder / "logo.bin").write_bytes(b"\x89\0\1\2")
    (folder / "empty.py").write_bytes(b"")
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("[core]")
    summary = ingest(folder, to=tmp_path / "out")
    assert (summary.counts["documents"], summary.counts["skipped_files"], summary.counts["files"]) == (3, 2, 5)
    skipped = {one["file"]: one["reason"] for one in lines(tmp_path / "out" / "_skipped")}
    assert skipped == {"empty.py": "empty", "logo.bin": "binary: a NUL byte at byte 1"}


def test_text_that_cannot_be_read_is_quarantined(folder: Path, tmp_path: Path) -> None:
    (folder / "latin.txt").write_bytes("café".encode("latin-1"))
    (folder / "nul.md").write_bytes(b"a\0b")
    (folder / "long.txt").write_text("x" * 5000)
    (folder / "cut.txt.gz").write_bytes(gzip.compress(b"hello " * 100)[:-9])
    summary = ingest(folder, to=tmp_path / "out", max_document_bytes=4000, max_bad_fraction=1.0)
    reasons = {one["file"]: one["reason"] for one in lines(tmp_path / "out" / "_quarantine")}
    assert reasons == {
        "latin.txt": "invalid UTF-8 at byte 3",
        "nul.md": "a NUL byte at byte 1",
        "long.txt": "longer than max_document_bytes (5,000 > 4,000)",
        "cut.txt.gz": "truncated gzip stream",
    }
    assert summary.counts["bad_rows"] == 4
    assert summary.counts["documents"] == 3


def test_too_many_bad_rows_fail_the_run(folder: Path, tmp_path: Path) -> None:
    (folder / "latin.txt").write_bytes(b"\xe9")
    with pytest.raises(DataError, match=r"1 of 4 rows .* max_bad_fraction"):
        ingest(folder, to=tmp_path / "out")


def test_every_kind_of_bad_record_is_quarantined_with_its_place(tmp_path: Path) -> None:
    good, last = b'{"id":1,"text":"a"}\n', b'{"id":"z","text":" "}'
    bad = [
        b"{", b'{"id":"b"}', b'{"id":"c","text":"x","text":"y"}', b'{"id":"d","text":"\\ud800"}',
        b'{"id":"e","text":"\xff"}', b'{"id":"f","text":"x","v":NaN}', b"[1]", b'{"id":true,"text":""}',
        b'{"id":"g","text":"x","metadata":3}',
    ]  # fmt: skip
    path = tmp_path / "x.jsonl"
    path.write_bytes(good + b"\n".join(bad) + b"\n\n" + last)
    summary = ingest(path, to=tmp_path / "out", max_bad_fraction=1.0)
    assert [one["id"] for one in documents(tmp_path / "out")] == ["1", "z"]
    rows = lines(tmp_path / "out" / "_quarantine")
    assert [one["line"] for one in rows] == list(range(2, 2 + len(bad)))
    whole = path.read_bytes()
    assert [whole[one["byte_offset"] :][: one["byte_length"]] for one in rows] == bad
    assert [one["reason"].split(":")[0] for one in rows] == [
        "invalid JSON", "the field 'text' is missing", "invalid JSON", "a surrogate escape without its other half",
        "invalid UTF-8 at byte 18 of the line", "invalid JSON", "expected an object, found list",
        "the field 'id' is bool, expected a string", "metadata is int, expected an object",
    ]  # fmt: skip
    assert (summary.counts["documents"], summary.counts["bad_rows"]) == (2, len(bad))


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.ZstdCompressor().compress], ids=["gz", "zst"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_cut_archive_gives_what_it_holds_and_a_quarantined_tail(tmp_path: Path, compress: Any, share: float) -> None:
    texts = [f"{i} " + "".join(chr(97 + (i * j) % 26) for j in range(1, 200)) for i in range(2000)]
    whole = compress("".join(json.dumps({"id": i, "text": text}) + "\n" for i, text in enumerate(texts)).encode())
    path = tmp_path / ("x.jsonl.gz" if compress is gzip.compress else "x.jsonl.zst")
    path.write_bytes(whole[: int(len(whole) * share)])
    summary = ingest(path, to=tmp_path / "out", max_bad_fraction=1.0)
    tail = lines(tmp_path / "out" / "_quarantine")
    assert len(tail) == 1
    assert "truncated" in tail[0]["reason"]
    kept = summary.counts.get("documents", 0)
    assert tail[0]["line"] == kept + 1
    if kept:
        assert [one["text"] for one in documents(tmp_path / "out")] == texts[:kept]


def test_an_overlong_line_is_quarantined_and_the_next_one_read(tmp_path: Path) -> None:
    path = write_records(tmp_path / "x.jsonl", {"id": "a", "text": "x" * 3_000_000}, {"id": "b", "text": "short"})
    ingest(path, to=tmp_path / "out", max_document_bytes=1_000_000, max_bad_fraction=1.0)
    assert [one["id"] for one in documents(tmp_path / "out")] == ["b"]
    [row] = lines(tmp_path / "out" / "_quarantine")
    assert row["byte_length"] > 3_000_000
    assert len(row["raw_base64"]) < 100_000


def test_fields_of_other_names_are_mapped_and_the_rest_is_kept_as_metadata(tmp_path: Path) -> None:
    record = {"doc": 7, "content": "hi", "link": "http://a.b/", "score": 0.5, "tags": ["x"], "source": "theirs"}
    path = write_records(tmp_path / "x.jsonl", record)
    ingest(path, to=tmp_path / "out", fields=Fields(id="doc", text="content", url="link"))
    [found] = documents(tmp_path / "out")
    assert (found["id"], found["text"], found["source"]) == ("7", "hi", "theirs")
    assert found["metadata"] == {"score": 0.5, "tags": ["x"], "url": "http://a.b/"}
    ingest(path, to=tmp_path / "named", fields=Fields(id="", text="content"), source="ours")
    [found] = documents(tmp_path / "named")
    assert (found["id"], found["source"]) == ("x.jsonl#1", "ours")


def test_parquet_rows_are_documents(tmp_path: Path) -> None:
    table = pa.table({"id": [1, 2], "text": ["a", None], "metadata": ['{"url": "u"}', None], "n": [3, 4]})
    pq.write_table(table, tmp_path / "x.parquet")
    summary = ingest(tmp_path / "x.parquet", to=tmp_path / "out", max_bad_fraction=1.0)
    [found] = documents(tmp_path / "out")
    assert (found["id"], found["text"], found["metadata"]) == ("1", "a", {"url": "u", "n": 3})
    assert summary.counts["bad_rows"] == 1


def test_html_gives_its_text(tmp_path: Path) -> None:
    page = "<html><head><title>T</title></head><body><h1>Head</h1><p>Grüße &amp; more</p></body></html>"
    (tmp_path / "p.html").write_text(page, encoding="utf-8")
    ingest(tmp_path / "p.html", to=tmp_path / "out")
    [found] = documents(tmp_path / "out")
    assert "Grüße & more" in found["text"]
    assert found["metadata"]["title"] == "T"


def test_a_repeated_id_is_an_error_that_names_both_places(tmp_path: Path) -> None:
    write_records(tmp_path / "a.jsonl", {"id": "x", "text": "1"}, {"id": "y", "text": "2"})
    write_records(tmp_path / "b.jsonl", {"id": "z", "text": "3"}, {"id": "y", "text": "4"})
    with pytest.raises(DataError, match=r"id 'y' is there 2 times, at a.jsonl:2 and b.jsonl:2"):
        ingest(tmp_path / "a.jsonl", tmp_path / "b.jsonl", to=tmp_path / "out")


def test_content_does_not_depend_on_workers(folder: Path, tmp_path: Path) -> None:
    for i in range(40):
        (folder / f"f{i:02d}.txt").write_text(f"{i} text " * 200)
    ingest(folder, to=tmp_path / "one" / "d", shard_bytes=9000)
    ingest(folder, to=tmp_path / "two" / "d", shard_bytes=9000, workers=2)
    one, two = (sorted(path.name for path in (tmp_path / n / "d" / "documents").iterdir()) for n in ("one", "two"))
    assert one == two
    assert len(one) > 3
    assert content(tmp_path / "one" / "d") == content(tmp_path / "two" / "d")


def test_a_large_file_is_spread_over_shards_in_order(tmp_path: Path) -> None:
    path = write_records(tmp_path / "x.jsonl", *({"id": i, "text": "word " * 20} for i in range(2000)))
    ingest(path, to=tmp_path / "out", shard_bytes=50_000)
    assert len(document_shards(str(tmp_path / "out"))) == 4
    assert [one["id"] for one in documents(tmp_path / "out")] == [str(i) for i in range(2000)]
    links = pq.read_table(tmp_path / "out" / "_provenance" / "00000-0003.parquet").to_pylist()
    assert links[-1] == {"id": "1999", "file": "x.jsonl", "line": 2000}


def test_a_second_run_does_nothing_and_a_changed_file_only_its_group(folder: Path, tmp_path: Path) -> None:
    for i in range(20):
        (folder / f"f{i:02d}.txt").write_text(f"{i} text " * 200)
    first = ingest(folder, to=tmp_path / "out", shard_bytes=9000)
    assert ingest(folder, to=tmp_path / "out", shard_bytes=9000).done == 0
    (folder / "f03.txt").write_text("x text " * 200)
    again = ingest(folder, to=tmp_path / "out", shard_bytes=9000)
    assert again.done == 2 < first.done
    assert "x text" in {one["id"]: one["text"] for one in documents(tmp_path / "out")}["f03.txt"]


def test_shards_that_are_no_longer_written_go_away(tmp_path: Path) -> None:
    path = write_records(tmp_path / "x.jsonl", *({"id": i, "text": "word " * 20} for i in range(2000)))
    ingest(path, to=tmp_path / "out", shard_bytes=50_000)
    ingest(path, to=tmp_path / "out", shard_bytes=500_000)
    assert len(document_shards(str(tmp_path / "out"))) == 1
    assert len(documents(tmp_path / "out")) == 2000


def test_globs_choose_files_and_a_choice_of_nothing_is_an_error(folder: Path, tmp_path: Path) -> None:
    ingest(folder, to=tmp_path / "out", include=["*.py", "*.md"], exclude=["pkg/*"])
    assert [one["id"] for one in documents(tmp_path / "out")] == ["README.md"]
    with pytest.raises(DataError, match="none of 3 files matches"):
        ingest(folder, to=tmp_path / "none", include=["*.rs"])


def test_a_limit_takes_the_first_documents(folder: Path, tmp_path: Path) -> None:
    ingest(folder, to=tmp_path / "out", limit=2)
    assert [one["id"] for one in documents(tmp_path / "out")] == ["LICENSE", "README.md"]


def test_unusable_settings_are_refused_before_any_work(folder: Path, tmp_path: Path) -> None:
    for settings in ({"added": "yesterday"}, {"shard_bytes": 0}, {"limit": 0}, {"format": "pdf"}):
        with pytest.raises(ConfigError):
            ingest(folder, to=tmp_path / "out", **settings)
    with pytest.raises(DataError, match="no such file or folder"):
        ingest(folder / "nowhere", to=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_may_not_be_written_is_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be made"):
        ingest(folder, to=tmp_path / "file" / "out")


@pytest.mark.parametrize("name", ["code", "records", "web"])
def test_the_bundled_configurations_can_be_read(name: str) -> None:
    assert load(bundled(f"ingest/{name}.yaml"), IngestConfig).to


@pytest.mark.corpus
def test_real_documents_come_back_as_they_are(corpus: Path, tmp_path: Path) -> None:
    source = corpus / "corpus" / "s2_abstracts"
    ingest(source / "documents", to=tmp_path / "out")
    assert documents(tmp_path / "out") == documents(source)
