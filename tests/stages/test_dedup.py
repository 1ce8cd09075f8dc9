"""Dedup finds every copy, whoever does the work; it says whose, and decides nothing."""

from __future__ import annotations

import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from conftest import MakeDataset
from handmade import encode_lines, store, tree_of
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from dolma_pipe import manifest
from dolma_pipe.cli import app
from dolma_pipe.config import bundled, load
from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.execution import Summary, run_stage
from dolma_pipe.runners.local import Local
from dolma_pipe.shards import DocumentReader, document_shards
from dolma_pipe.stage import Job, Stage, perform
from dolma_pipe.stages.dedup import Dedup, DedupConfig, spill
from dolma_pipe.stages.dedup.keys import ParagraphRules
from dolma_pipe.url import UrlRules, normalize_url

Document = dict[str, Any]
ALL_LINES = ParagraphRules(min_characters=1)


class Shuffled(Local):
    """Does the jobs of a phase in an order of its own."""

    workers = 1

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def run(self, stage: Stage, jobs: Sequence[Job], report: Any) -> Iterator[Any]:
        for job in random.Random(self.seed).sample(list(jobs), len(jobs)):
            yield job, perform(stage, job, report)


def dedup(*datasets: str, runner: Any = None, **options: Any) -> Summary:
    return run_stage(Dedup(DedupConfig(datasets=list(datasets), **options)), runner or Local(1))


def rows(dataset: str, set_name: str) -> list[Document]:
    """Attribute rows of a data set, shard by shard, with their id."""
    found: list[Document] = []
    for shard in document_shards(dataset):
        table = pq.read_table(Path(dataset, "attributes", set_name, shard.stem + ".parquet"))
        found += [{"id": i, **row} for i, row in zip(table["id"].to_pylist(), table[set_name].to_pylist(), strict=True)]
    return found


def documents(dataset: str) -> list[tuple[str, int, Document]]:
    """Shard name, row and document, in documented order."""
    return [
        (shard.name, batch.first_row + i, batch.document(i))
        for shard in document_shards(dataset)
        for batch in DocumentReader(shard, ("id", "text", "source", "metadata"))
        for i in range(len(batch))
    ]


def written(folder: Path | str, set_name: str) -> dict[str, Any]:
    """The attribute tables of a run, without its records."""
    return {str(p): pq.read_table(p).to_pylist() for p in sorted(Path(folder).rglob("*.parquet")) if set_name in str(p)}


# Definitions in plain Python


def clusters_by(datasets: list[str], key: Callable[[Document], str | None]) -> list[Document]:
    members: dict[str, list[tuple[str, str, int, str]]] = {}
    order: list[tuple[str, str | None]] = []
    for dataset in datasets:
        for shard, row, document in documents(dataset):
            value = key(document) or None
            order.append((document["id"], value))
            if value is not None:
                members.setdefault(value, []).append((Path(dataset).name, shard, row, document["id"]))
    seen: dict[str, int] = {}
    found: list[Document] = []
    for identity, value in order:
        rank = seen.get(value, 0) if value is not None else 0
        size = len(members[value]) if value is not None else 1
        if value is not None:
            seen[value] = rank + 1
        first = dict(zip(("dataset", "shard", "row", "id"), members[value][0], strict=True)) if value and rank else None
        found.append({"id": identity, "is_duplicate": rank > 0, "duplicate_of": first, "size": size, "rank": rank})
    return found


def repeats_in(datasets: list[str], separator: str, least: int) -> list[Document]:
    seen: dict[str, Document] = {}
    found: list[Document] = []
    for dataset in datasets:
        for shard, row, document in documents(dataset):
            text, at, spans = document["text"], 0, []
            parts = text.split(separator)
            for number, part in enumerate(parts):
                end = at + len(part) + (len(separator) if number + 1 < len(parts) else 0)
                if len(part) >= least and part.strip():
                    if part in seen:
                        spans.append({"start": at, "end": end, "score": 1.0, "of": seen[part]})
                    else:
                        seen[part] = {"dataset": Path(dataset).name, "shard": shard, "row": row}
                at = end
            fraction = sum(span["end"] - span["start"] for span in spans) / max(len(text), 1)
            found.append({"id": document["id"], "duplicate": spans, "duplicate_fraction": fraction})
    return found


def without_clusters(found: list[Document]) -> list[Document]:
    return [{name: value for name, value in row.items() if name != "cluster"} for row in found]


urls = st.sampled_from([None, "", "http://a.org/x", "https://A.org:443/x/?utm_source=1", "https://a.org/y"])
lines = st.sampled_from(["one", "two", "漢字", "🦆", "", " ", "three é"])
corpora = st.lists(  # data sets of shards of (url, lines)
    st.lists(st.lists(st.tuples(urls, st.lists(lines, max_size=4)), max_size=5), min_size=1, max_size=3),
    min_size=1, max_size=2,
)  # fmt: skip


def write_corpus(folder: str, corpus: Any) -> list[str]:
    datasets: list[str] = []
    for number, shards in enumerate(corpus):
        for shard, content in enumerate(shards):
            found = [
                {"id": f"{number}.{shard}.{row}", "text": "\n".join(text), "metadata": {"url": url}}
                for row, (url, text) in enumerate(content)
            ]
            store(Path(folder, f"set{number}", "documents", f"{shard}.jsonl"), encode_lines(found))
        datasets.append(str(Path(folder, f"set{number}")))
    return datasets


@settings(deadline=None, max_examples=15)
@given(corpora, st.integers(0, 3), st.sampled_from([1, 3, 1000]), st.sampled_from([200, 10**6]))
def test_any_corpus_gets_the_clusters_of_the_definition(corpus: Any, seed: int, page: int, partition: int) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(spill, "PAGE_RECORDS", page)
        patch.setattr(os, "fsync", lambda _: None)  # hundreds of runs, none of which anyone wants to keep
        datasets = write_corpus(folder, corpus)
        everything = [document for dataset in datasets for _, _, document in documents(dataset)]
        ways: list[tuple[str, Callable[[Document], str | None]]] = [
            ("text", lambda document: document["text"]),
            ("url", lambda document: normalize_url(document["metadata"]["url"] or "")),
        ]
        for by, key in ways:
            if everything and not any(key(document) for document in everything):
                continue
            dedup(*datasets, by=by, partition_bytes=partition, runner=Shuffled(seed))
            found = [row for dataset in datasets for row in rows(dataset, f"dedup_{by}")]
            assert without_clusters(found) == clusters_by(datasets, key)
            assert all((row["cluster"] is None) == (row["size"] == 1) for row in found)
            pairs = [(row["cluster"], key(document)) for row, document in zip(found, everything, strict=True)]
            shared = {(cluster, value) for cluster, value in pairs if cluster}
            assert len({cluster for cluster, _ in shared}) == len({value for _, value in shared}) == len(shared)


@settings(deadline=None, max_examples=15)
@given(corpora, st.integers(0, 3), st.sampled_from([1, 3, 1000]), st.sampled_from([200, 10**6]))
def test_any_corpus_gets_the_repeats_of_the_definition(corpus: Any, seed: int, page: int, partition: int) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(spill, "PAGE_RECORDS", page)
        patch.setattr(os, "fsync", lambda _: None)  # hundreds of runs, none of which anyone wants to keep
        datasets = write_corpus(folder, corpus)
        expected = repeats_in(datasets, "\n", 1)
        if any(document["text"].strip() for dataset in datasets for _, _, document in documents(dataset)):
            dedup(*datasets, by="paragraph", paragraph=ALL_LINES, partition_bytes=partition, runner=Shuffled(seed))
            assert [row for dataset in datasets for row in rows(dataset, "dedup_paragraph")] == expected


# Documents


@pytest.fixture
def two_sets(make_dataset: MakeDataset) -> list[str]:
    web = make_dataset(
        {
            "b.jsonl.gz": ["alpha", "beta", {"id": "b2", "text": "gamma", "metadata": {"url": "http://a.org/1"}}],
            "a/1.jsonl.zst": ["beta", "", {"id": "a2", "text": "delta", "metadata": {"url": "https://a.org/1/"}}],
        },
        "web",
    )
    books = make_dataset({"0.jsonl": ["alpha", "omega", "", "omega", "alpha"]}, "books")
    return [web, books]


def test_copies_are_found_across_shards_and_data_sets(two_sets: list[str]) -> None:
    summary = dedup(*two_sets, by="text")
    found = {row["id"]: row for dataset in two_sets for row in rows(dataset, "dedup_text")}
    assert [name for name, row in found.items() if row["is_duplicate"]] == [
        "b.jsonl.gz-1", "0.jsonl-0", "0.jsonl-3", "0.jsonl-4",
    ]  # fmt: skip
    alpha = [found[name] for name in ("b.jsonl.gz-0", "0.jsonl-0", "0.jsonl-4")]
    assert [(row["rank"], row["size"]) for row in alpha] == [(0, 3), (1, 3), (2, 3)]
    assert len({row["cluster"] for row in alpha}) == 1
    assert alpha[0]["duplicate_of"] is None
    assert alpha[2]["duplicate_of"] == {"dataset": "web", "shard": "b.jsonl.gz", "row": 0, "id": "b.jsonl.gz-0"}
    assert summary.counts["duplicates"] == 4
    assert summary.counts["clusters"] == 3
    assert summary.counts["missing_keys"] == 2


def test_data_sets_come_in_the_order_given(two_sets: list[str]) -> None:
    dedup(*reversed(two_sets), by="text")
    assert [row["id"] for dataset in two_sets for row in rows(dataset, "dedup_text") if row["is_duplicate"]] == [
        "b.jsonl.gz-0", "b.jsonl.gz-1", "0.jsonl-3", "0.jsonl-4",
    ]  # fmt: skip


def test_empty_and_missing_keys_are_counted_and_never_duplicates(two_sets: list[str]) -> None:
    summary = dedup(*two_sets, by="url")
    found = [row for dataset in two_sets for row in rows(dataset, "dedup_url")]
    assert [row["id"] for row in found if row["is_duplicate"]] == ["b2"]
    assert summary.counts["missing_keys"] == 9
    lone = [row for row in found if row["cluster"] is None]
    assert {(row["is_duplicate"], row["size"], row["rank"], row["duplicate_of"]) for row in lone} == {
        (False, 1, 0, None)
    }


def test_url_rules_can_be_changed(two_sets: list[str]) -> None:
    dedup(*two_sets, by="url", url=UrlRules(ignore_trailing_slash=False), name="strict")
    assert not any(row["is_duplicate"] for row in rows(two_sets[0], "strict"))


def test_any_field_can_be_the_key(make_dataset: MakeDataset) -> None:
    data = make_dataset(
        {
            "a.jsonl": [
                {"id": 1, "text": "x", "source": "s", "metadata": {"doi": {"n": 7}}},
                {"id": 2, "text": "y", "source": "s", "metadata": {"doi": {"n": 7}}},
                {"id": 3, "text": "z", "source": "t", "metadata": {"doi": {}}},
            ]
        }
    )
    dedup(data, by="metadata.doi.n")
    dedup(data, by="source")
    assert [row["rank"] for row in rows(data, "dedup_metadata_doi_n")] == [0, 1, 0]
    assert [row["rank"] for row in rows(data, "dedup_source")] == [0, 1, 0]


def test_a_key_that_no_document_has_is_an_error(two_sets: list[str]) -> None:
    with pytest.raises(DataError, match=r"no document has metadata\.doi"):
        dedup(*two_sets, by="metadata.doi")
    with pytest.raises(DataError, match="paragraph of 20 characters or more"):
        dedup(*two_sets, by="paragraph")
    assert not list(Path(two_sets[0], "attributes").rglob("*.parquet"))


def test_a_corpus_without_documents_gets_attributes_without_rows(make_dataset: MakeDataset) -> None:
    data = make_dataset({"a.jsonl": []})
    dedup(data, by="text")
    assert rows(data, "dedup_text") == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "txet"}, "not one of url, text"),
        ({"by": "metadata."}, "not one of url, text"),
        ({"by": "text", "url": UrlRules()}, "url: has no effect with by: text"),
        ({"by": "url", "paragraph": ALL_LINES}, "paragraph: has no effect with by: url"),
        ({"by": "paragraph", "paragraph": ParagraphRules(separator="")}, "empty string separates nothing"),
        ({"by": "text", "name": "a-b"}, "cannot name an attribute set"),
        ({"by": "text", "partition_bytes": 0}, "partition_bytes: 0 holds no key"),
    ],
)
def test_a_setting_that_cannot_work_is_refused(two_sets: list[str], options: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        dedup(*two_sets, **options)


def test_a_data_set_given_twice_is_refused(two_sets: list[str]) -> None:
    with pytest.raises(ConfigError, match="given twice"):
        dedup(two_sets[0], two_sets[0] + "/", by="text")


def test_data_sets_of_one_name_are_told_apart(make_dataset: MakeDataset) -> None:
    one, two = make_dataset({"0.jsonl": ["x"]}, "one/web"), make_dataset({"0.jsonl": ["x"]}, "two/web")
    dedup(one, two, by="text")
    assert rows(two, "dedup_text")[0]["duplicate_of"]["dataset"] == "one/web"


def test_results_of_read_only_data_sets_go_elsewhere(two_sets: list[str], tmp_path: Path) -> None:
    dedup(*two_sets, by="text", attributes=str(tmp_path / "out"))
    assert sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.parquet")) == [
        "books/dedup_text/0.parquet", "web/dedup_text/a/1.parquet", "web/dedup_text/b.parquet",
    ]  # fmt: skip
    assert not Path(two_sets[0], "attributes").exists()


def test_the_footer_names_the_shard_and_the_rules(two_sets: list[str]) -> None:
    from dolma_pipe.attributes import AttributeReader

    dedup(*two_sets, by="url")
    about = AttributeReader(two_sets[1] + "/attributes/dedup_url/0.parquet", "dedup_url").about
    (reader,) = (DocumentReader(shard) for shard in document_shards(two_sets[1]))
    assert sum(len(batch) for batch in reader) == about["rows"]
    assert about["shard"] == {"name": "0.jsonl", "size": reader.size, "hash": reader.hash}
    assert about["url"]["ignore_scheme"] is True


def test_bad_rows_are_set_aside_and_counted(make_dataset: MakeDataset) -> None:
    data = make_dataset({"a.jsonl": [*["the same text"] * 150, "last"]})
    with Path(data, "documents/a.jsonl").open("ab") as file:
        file.write(b"{broken\n")
    for by in ("text", "id"):  # without the text nobody knows how many bytes there are: rows alone are compared
        summary = dedup(data, by=by)
        assert summary.counts["bad_rows"] == 1
        assert Path(data, "attributes/_quarantine/a.jsonl").read_bytes().count(b"\n") == 1
    assert [row["rank"] for row in rows(data, "dedup_text")] == [*range(150), 0]


def test_a_key_that_is_everywhere_is_spilled_once_a_page(make_dataset: MakeDataset) -> None:
    data = make_dataset({"a.jsonl": ["the same"] * 500})
    dedup(data, by="text")
    record = manifest.read(data + "/attributes/dedup_text/_manifest/spill/0/a.json")
    assert record is not None
    assert record.facts["keys"] == 1
    assert [row["rank"] for row in rows(data, "dedup_text")] == list(range(500))


def test_a_limit_reads_the_first_documents_of_every_shard(two_sets: list[str]) -> None:
    dedup(*two_sets, by="text", limit=1)
    assert [(row["id"], row["rank"]) for dataset in two_sets for row in rows(dataset, "dedup_text")] == [
        ("a/1.jsonl.zst-0", 0), ("b.jsonl.gz-0", 0), ("0.jsonl-0", 1),
    ]  # fmt: skip


def test_the_command_prints_what_was_found(two_sets: list[str]) -> None:
    result = CliRunner().invoke(app, ["dedup", *two_sets, "--by", "text", "--name", "copies", "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["counts"]["duplicates"] == 4
    assert rows(two_sets[1], "copies")[4]["rank"] == 2


@pytest.mark.parametrize("name", ["url", "text", "paragraph"])
def test_the_bundled_configurations_run(make_dataset: MakeDataset, name: str) -> None:
    page = {"id": "1", "text": "A paragraph that is long enough.", "metadata": {"url": "https://a.org"}}
    data = make_dataset({"a.jsonl": [page, {**page, "id": "2"}]})
    dedup(data, by="text")
    config = load(bundled(f"dedup/{name}.yaml"), DedupConfig, datasets=[data])
    assert run_stage(Dedup(config), Local(1)).counts["documents"] == 2


# Paragraphs


def test_a_repeat_in_the_same_document_is_a_duplicate(make_dataset: MakeDataset) -> None:
    data = make_dataset({"a.jsonl": ["🦆🦆\nnew é\n🦆🦆\n\n\n🦆🦆", "new é\n"]})
    dedup(data, by="paragraph", paragraph=ALL_LINES)
    first, second = rows(data, "dedup_paragraph")
    here = {"dataset": "data", "shard": "a.jsonl", "row": 0}
    assert first["duplicate"] == [
        {"start": 9, "end": 12, "score": 1.0, "of": here}, {"start": 14, "end": 16, "score": 1.0, "of": here},
    ]  # fmt: skip
    assert first["duplicate_fraction"] == 5 / 16
    assert second["duplicate"] == [{"start": 0, "end": 6, "score": 1.0, "of": here}]
    assert second["duplicate_fraction"] == 1.0


def test_short_and_blank_paragraphs_are_left_alone(make_dataset: MakeDataset) -> None:
    brace = "\n".join(["}", " " * 40, "\u3000" * 40, "x" * 19])
    data = make_dataset({"a.jsonl": [brace, brace, "y" * 20, "y" * 20]})
    dedup(data, by="paragraph")
    assert [len(row["duplicate"]) for row in rows(data, "dedup_paragraph")] == [0, 0, 0, 1]


def test_the_separator_is_part_of_the_span(make_dataset: MakeDataset) -> None:
    text = "first paragraph,\nin two lines\n\nsecond\n\nfirst paragraph,\nin two lines\n\nthird"
    data = make_dataset({"a.jsonl": [text]})
    dedup(data, by="paragraph", paragraph=ParagraphRules(separator="\n\n", min_characters=1))
    (span,) = rows(data, "dedup_paragraph")[0]["duplicate"]
    assert text[: span["start"]] + text[span["end"] :] == "first paragraph,\nin two lines\n\nsecond\n\nthird"


def removed(document: Document, row: Document) -> str:
    text = document["text"]
    for span in reversed(row["duplicate"]):
        text = text[: span["start"]] + text[span["end"] :]
    return text


def test_no_paragraph_of_a_kept_document_disappears(make_dataset: MakeDataset) -> None:
    draw = random.Random(5)
    texts = ["\n".join(draw.choices(["aa", "bb", "cc", "dd 漢", "ee", ""], k=draw.randint(1, 3))) for _ in range(60)]
    data = make_dataset({"a.jsonl": texts[:30], "b.jsonl": texts[30:]})
    dedup(data, by="text")
    dedup(data, by="paragraph", paragraph=ALL_LINES, where="NOT dedup_text.is_duplicate")
    copies = [row["is_duplicate"] for row in rows(data, "dedup_text")]
    found = rows(data, "dedup_paragraph")
    assert 0 < sum(copies) < len(texts)
    assert all(not row["duplicate"] for row, copy in zip(found, copies, strict=True) if copy)
    kept = [
        (document, removed(document, row))
        for (_, _, document), row, copy in zip(documents(data), found, copies, strict=True)
        if not copy
    ]
    before = [line for document, _ in kept for line in document["text"].split("\n") if line]
    after = [line for _, text in kept for line in text.split("\n") if line]
    assert sorted(after) == sorted(set(before))


# where


def test_documents_that_do_not_compete_are_nobodys_copy(make_dataset: MakeDataset) -> None:
    data = make_dataset({"a.jsonl": ["x", "x", "x", "y", "y"]})
    dedup(data, by="id")  # any set will do: its rank is 0 everywhere
    summary = dedup(data, by="text", where="id NOT IN ('a.jsonl-0', 'a.jsonl-4') AND dedup_id.rank = 0")
    found = rows(data, "dedup_text")
    assert [(row["rank"], row["size"]) for row in found] == [(0, 1), (0, 2), (1, 2), (0, 1), (0, 1)]
    assert found[2]["duplicate_of"]["row"] == 1
    assert summary.counts["not_competing"] == 2
    assert summary.counts["missing_keys"] == 0


def test_several_conditions_shall_all_hold(make_dataset: MakeDataset) -> None:
    data = make_dataset({"a.jsonl": ["x", "x", "x"]})
    dedup(data, by="id")
    dedup(data, by="text", where=["dedup_id.rank = 0", "id <> 'a.jsonl-0'"])
    assert [row["size"] for row in rows(data, "dedup_text")] == [1, 2, 2]


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("dedup_url.rank = 0", "no attribute"),
        ("dedup_id.ranks = 0", "did you mean dedup_id.rank"),
        ("dedup_id.rank + 1", "must yield true or false"),
        ("dedup_text.rank = 0", "the set this run writes"),
    ],
)
def test_a_where_that_cannot_work_is_refused(make_dataset: MakeDataset, where: str, message: str) -> None:
    data = make_dataset({"a.jsonl": ["x", "y"]})
    dedup(data, by="id")
    dedup(data, by="text")
    with pytest.raises(ConfigError, match=message):
        dedup(data, by="text", where=where)


def test_a_where_that_nothing_passes_is_an_error(make_dataset: MakeDataset) -> None:
    data = make_dataset({"a.jsonl": ["x", "y"]})
    dedup(data, by="id")
    with pytest.raises(DataError, match="no document passes --where"):
        dedup(data, by="text", where="dedup_id.rank > 5")


# Whoever does the work


@pytest.fixture
def many(make_dataset: MakeDataset) -> str:
    draw = random.Random(3)
    pieces = ["a", "b", "ç", "dé", "🦆", ""]
    return make_dataset(
        {
            f"{name}.jsonl.zst": ["\n".join(draw.choices(pieces, k=draw.randint(0, 4))) for _ in range(40)]
            for name in ("a", "b", "c/1", "c/2", "d", "e")
        }
    )


@pytest.mark.parametrize(("by", "workers"), [("text", 2), ("paragraph", 5)])
def test_any_number_of_workers_writes_the_same(many: str, by: str, workers: int, tmp_path: Path) -> None:
    rules = {"paragraph": ALL_LINES} if by == "paragraph" else {}
    runs: list[dict[str, bytes]] = []
    for number, runner in enumerate([Local(1), Local(workers), Shuffled(1), Shuffled(2)]):
        out = tmp_path / f"run{number}"
        dedup(many, by=by, attributes=str(out), partition_bytes=20_000, runner=runner, **rules)
        runs.append(tree_of(out))
    assert all(run == runs[0] for run in runs[1:])
    assert any(row["is_duplicate"] if by == "text" else row["duplicate"] for row in table_rows(tmp_path / "run0", by))


def table_rows(folder: Path, by: str) -> list[Document]:
    return [row[f"dedup_{by}"] for rows_ in written(folder, f"dedup_{by}").values() for row in rows_]


def test_how_the_keys_are_split_does_not_show(many: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dedup(many, by="text", attributes=str(tmp_path / "whole"))
    monkeypatch.setattr(spill, "PAGE_RECORDS", 7)
    dedup(many, by="text", attributes=str(tmp_path / "split"), partition_bytes=1000)
    whole, split = table_rows(tmp_path / "whole", "text"), table_rows(tmp_path / "split", "text")
    assert whole == split
    assert len(list((tmp_path / "split/dedup_text/_manifest/resolve").iterdir())) > 10


# Again


def test_a_second_run_does_nothing_and_leaves_no_scratch(many: str) -> None:
    first = dedup(many, by="text")
    before = tree_of(many)
    again = dedup(many, by="text")
    assert (first.skipped, again.done) == (0, 0)
    assert tree_of(many) == before
    assert not list(Path(many).rglob("_scratch"))


def test_a_changed_shard_changes_what_it_must(many: str) -> None:
    dedup(many, by="text")
    store(Path(many, "documents/c/1.jsonl.zst"), encode_lines([{"id": "new", "text": "🦆\nnever seen"}]))
    dedup(many, by="text")
    assert without_clusters(rows(many, "dedup_text")) == clusters_by([many], lambda document: document["text"])


def test_a_shard_that_is_gone_takes_its_attributes_along(many: str) -> None:
    dedup(many, by="text")
    Path(many, "documents/a.jsonl.zst").unlink()
    summary = dedup(many, by="text")
    assert not Path(many, "attributes/dedup_text/a.parquet").exists()
    assert summary.removed > 0
    assert without_clusters(rows(many, "dedup_text")) == clusters_by([many], lambda document: document["text"])


class Crashing(Local):
    """Stops as a killed run does: after some jobs of one phase."""

    workers = 1

    def __init__(self, phase: str, after: int) -> None:
        self.phase, self.after = phase, after

    def run(self, stage: Stage, jobs: Sequence[Job], report: Any) -> Iterator[Any]:
        for done, job in enumerate(jobs):
            if job.phase == self.phase and done == self.after:
                raise KeyboardInterrupt
            yield job, perform(stage, job, report)


@pytest.mark.parametrize("phase", ["spill", "resolve", "write"])
@pytest.mark.parametrize("scratch_survives", [True, False])
def test_a_run_that_was_killed_is_finished_by_the_next(
    many: str, tmp_path: Path, phase: str, scratch_survives: bool
) -> None:
    out, undisturbed = tmp_path / "out", tmp_path / "undisturbed"
    options: dict[str, Any] = {"by": "text", "partition_bytes": 2000}
    with pytest.raises(KeyboardInterrupt):
        dedup(many, attributes=str(out), runner=Crashing(phase, 2), **options)
    if not scratch_survives:
        shutil.rmtree(out / "dedup_text/_scratch")
    dedup(many, attributes=str(out), **options)
    dedup(many, attributes=str(undisturbed), **options)
    assert tree_of(out) == tree_of(undisturbed)


def test_an_attribute_file_that_is_lost_is_made_again(many: str) -> None:
    dedup(many, by="text")
    before = tree_of(many)
    Path(many, "attributes/dedup_text/b.parquet").unlink()
    summary = dedup(many, by="text")
    assert tree_of(many) == before
    assert summary.done > 0


def test_records_name_no_path_of_this_machine(many: str) -> None:
    dedup(many, by="text")
    records = list(Path(many, "attributes/dedup_text/_manifest").rglob("*.json"))
    assert len(records) > 10
    kept = [path for path in records if not {"runs", "stat"} & set(path.parts)]
    assert all(str(many) not in path.read_text() for path in kept)
    assert all(manifest.read(str(path)) is not None for path in kept)


@pytest.mark.corpus
def test_the_duplicates_of_real_sources_are_found(corpus: Path, tmp_path: Path) -> None:
    sources = [str(corpus / "corpus" / name) for name in ("web", "hackernews", "stackexchange")]
    dedup(*sources, by="text", attributes=str(tmp_path))
    found = [row for name in sources for row in table_rows(tmp_path / Path(name).name, "text")]
    expected = clusters_by(sources, lambda document: document["text"])
    assert [row["rank"] for row in found] == [row["rank"] for row in expected]
    dedup(*sources, by="paragraph", attributes=str(tmp_path))
    found = [row for name in sources for row in table_rows(tmp_path / Path(name).name, "paragraph")]
    assert [row["duplicate"] for row in found] == [row["duplicate"] for row in repeats_in(sources, "\n", 20)]
