"""What is said of a document is what the mix did with it, or would do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import MakeDataset
from mixes import CLUSTERS, SPANS, clusters, documents, lines, measure, mix_of, run_mix, spans
from plain_dedup import ALL_LINES, dedup
from token_folders import Row, write_shards
from typer.testing import CliRunner

from dolma_pipe.cli import app
from dolma_pipe.config import convert
from dolma_pipe.errors import DataError
from dolma_pipe.stages.mix import MixConfig
from dolma_pipe.stages.mix.explanation import inquiry
from dolma_pipe.stages.mix.explanation.absences import absences
from dolma_pipe.stages.mix.explanation.explanation import explain
from dolma_pipe.stages.mix.explanation.rejections import samples
from dolma_pipe.stages.mix.explanation.stories import Story
from dolma_pipe.stages.mix.prediction.rehearsal import rehearsal

SIZE = {"words": pa.int32(), "score": pa.float64()}
STEPS = [
    {"keep": {"long": "size.words BETWEEN 2 AND 9", "good": "size.score >= 0.5"}}, {"dedup": {"by": "dedup_text"}},
    {"edit": {"remove": "pii.email"}},
]  # fmt: skip


@pytest.fixture
def sources(make_dataset: MakeDataset) -> list[dict[str, Any]]:
    """`a` and its copy in another source, `b` that fails both rules, `c` that an edit empties."""
    texts = {"a": "alpha beta", "b": "b", "c": "x@y.zz"}
    rows = [{"words": 2, "score": 0.9}, {"words": 1, "score": 0.1}, {"words": 3, "score": 0.7}]
    found: list[dict[str, Any]] = []
    for rank, name in enumerate(("web", "books")):
        dataset = make_dataset({"s.jsonl": [{"id": id, "text": text} for id, text in texts.items()]}, name)
        measure(dataset, "size", SIZE, rows)
        measure(dataset, "dedup_text", CLUSTERS, clusters(("k", rank), None, None))
        measure(dataset, "pii", {"email": SPANS}, [{"email": found} for found in (spans((0, 6)), [], spans((0, 6)))])
        found.append({"name": name, "dataset": dataset, "attributes": ["size", "dedup_text", "pii"], "steps": STEPS})
    return found


def stories(sources: list[dict[str, Any]], to: Path, document: str, *tokens: str, **more: Any) -> list[Story]:
    run_mix(to, *sources, **more)
    return explain(inquiry.made(str(to), {}), document, str(to), tokens)


def foreseen(sources: list[dict[str, Any]], to: Path, document: str) -> list[Story]:
    config = convert({"to": str(to), "sources": sources}, MixConfig, "mix.yaml")
    with rehearsal(config, "mix.yaml") as stage:
        stage.decide()
        return explain(inquiry.planned(stage), document, None, decided=stage)


def test_a_kept_document_says_where_it_lies(sources: list[dict[str, Any]], tmp_path: Path) -> None:
    found = stories(sources, tmp_path / "out", "a")[0]
    assert (found.source, found.fate, found.reasons) == ("web", "kept", [])
    place = found.written[0]
    assert json.loads(lines(place.file)[place.row])["id"] == "a"
    assert (place.copy, place.edits) == (0, 1)
    assert [(edit.edit, edit.start, edit.end, edit.text) for edit in found.edits] == [("pii.email", 0, 6, "alpha ")]


def test_a_dropped_document_says_all_rules_with_values_and_thresholds(
    sources: list[dict[str, Any]], tmp_path: Path
) -> None:
    found = stories(sources, tmp_path / "out", "b")[0]
    assert (found.fate, found.reasons, found.written) == ("dropped", ["long", "good"], [])
    long, good = found.rules
    assert (long.holds, long.values) == (False, {"size.words": 1})
    assert [(c.operator, c.threshold, c.value) for c in long.compared] == [(">=", 2.0, 1.0), ("<=", 9.0, 1.0)]
    assert (good.sql, good.values) == ("size.score >= 0.5", {"size.score": 0.1})


def test_a_copy_says_which_one_stays(sources: list[dict[str, Any]], tmp_path: Path) -> None:
    found = stories(sources, tmp_path / "out", "a")[1]
    assert (found.source, found.fate, found.reasons) == ("books", "dropped", ["dedup_text"])
    [cluster] = found.clusters
    assert (cluster.cluster, cluster.size) == ("k", 2)
    copies = [(copy.source, copy.row, copy.passes, copy.stays) for copy in cluster.copies]
    assert copies == [("books", 0, True, False), ("web", 0, True, True)]


@pytest.mark.parametrize("more", [{}, {"keep_rejected": True}, {"limit": 2}])
def test_the_list_of_what_is_absent_says_what_the_stories_say(
    sources: list[dict[str, Any]], tmp_path: Path, more: dict[str, Any]
) -> None:
    run_mix(tmp_path / "out", *sources, **more)
    found = inquiry.made(str(tmp_path / "out"), {})
    listed = [(one.source, one.id, one.reasons) for one in absences(found, str(tmp_path / "out"))]
    told = [story for id in "abc"[: more.get("limit")] for story in explain(found, id, str(tmp_path / "out"))]
    wanted = [(story.source, story.id, story.reasons) for story in told if story.fate == "dropped"]
    assert sorted(listed) == sorted(wanted)


def test_what_an_edit_emptied_says_so(sources: list[dict[str, Any]], tmp_path: Path) -> None:
    found = stories(sources, tmp_path / "out", "c")[0]
    assert (found.fate, found.reasons) == ("dropped", ["empty_after_edit"])


def test_every_copy_and_its_tokens_are_named(sources: list[dict[str, Any]], tmp_path: Path) -> None:
    steps = [{"sample": {"epochs": 2.5}}]
    once = [{**sources[0], "attributes": [], "steps": steps}]
    run_mix(tmp_path / "out", *once)
    folder = tokens_of(tmp_path / "tokens", tmp_path / "out")
    found = explain(inquiry.made(str(tmp_path / "out"), {}), "b", str(tmp_path / "out"), [folder])[0]
    assert [place.copy for place in found.written] in ([0, 1], [0, 1, 2])
    files = sorted((tmp_path / "out/documents").rglob("*.zst"))
    assert {Path(place.file) for place in found.written} <= set(files)
    for place in found.written:
        [part] = place.tokens
        assert (part.end - part.start, part.shard) == (3, "shard-00000")


def tokens_of(folder: Path, mixed: Path) -> str:
    """Token shards of a mix with three tokens a document, in the order of its files."""
    names = sorted(path.relative_to(mixed / "documents").as_posix() for path in (mixed / "documents").rglob("*.zst"))
    counts = [len(lines(mixed / "documents" / name)) for name in names]
    write_shards(folder, [[Row([1, 2, 0], part=0) for count in counts for _ in range(count)]])
    path = folder / "shard-00000.docs.parquet"
    table = pq.read_table(path)
    places = [(name, row) for name, count in zip(names, counts, strict=True) for row in range(count)]
    columns = {"dataset": [mixed.name] * len(places), "shard": [p[0] for p in places], "row": [p[1] for p in places]}
    for name, values in columns.items():
        index = table.schema.get_field_index(name)
        table = table.set_column(
            index, table.schema.field(index), pa.array(values).cast(table.schema.field(index).type)
        )
    pq.write_table(table, path)
    return str(folder)


def test_held_out_and_undrawn_documents_say_so(sources: list[dict[str, Any]], tmp_path: Path) -> None:
    steps = [{"split": {"name": "held", "fraction": 0.5}}, {"sample": {"rate": 0.3}}]
    plain = [{**sources[0], "attributes": [], "steps": steps}]
    run_mix(tmp_path / "out", *plain)
    asked = inquiry.made(str(tmp_path / "out"), {})
    held = {d["id"] for d in documents(tmp_path / "out/splits/held")} if (tmp_path / "out/splits").exists() else set()
    kept = {d["id"] for d in documents(tmp_path / "out")}
    for name in ("a", "b", "c"):
        found = explain(asked, name, str(tmp_path / "out"))[0]
        expected = "held out in held" if name in held else "kept" if name in kept else "dropped"
        assert (found.fate, found.reasons) == (expected, ["not_sampled"] if expected == "dropped" else [])
        assert foreseen(plain, tmp_path / "no", name)[0].fate == f"would be {expected}"


@pytest.mark.parametrize("document", ["a", "b", "c"])
@pytest.mark.parametrize("keep", [False, True])
def test_what_is_foreseen_is_what_happened(
    sources: list[dict[str, Any]], tmp_path: Path, document: str, keep: bool
) -> None:
    # lengths let the plan tell what an edit empties
    for source in sources:
        length = {"bytes": pa.int64(), "characters": pa.int64()}
        measure(source["dataset"], "length", length, [{"bytes": n, "characters": n} for n in (10, 1, 6)])
    before = foreseen(sources, tmp_path / "out", document)
    after = stories(sources, tmp_path / "out", document, keep_rejected=keep)
    assert [story.fate for story in before] == [f"would be {story.fate}" for story in after]
    assert [story.reasons for story in before] == [story.reasons for story in after]
    assert [story.clusters for story in before] == [story.clusters for story in after]


def test_paragraphs_that_give_way_to_better_copies_are_foreseen(make_dataset: MakeDataset, tmp_path: Path) -> None:
    texts = ["one\ntwo\nown", "two\nthree\nmine", "three\none\nlast"]
    dataset = make_dataset({"s.jsonl": [{"id": str(i), "text": text} for i, text in enumerate(texts)]}, "web")
    dedup(dataset, by="paragraph", paragraph=ALL_LINES)
    steps = [{"dedup": {"by": "dedup_paragraph"}}]
    web = [{"name": "web", "dataset": dataset, "attributes": ["dedup_paragraph"], "steps": steps}]
    run_mix(tmp_path / "out", *web)
    for number, document in enumerate(documents(tmp_path / "out")):
        edits = foreseen(web, tmp_path / "no", str(number))[0].edits
        left = texts[number]
        for edit in reversed(edits):
            left = left[: edit.start] + left[edit.end :]
        assert left == document["text"]
        assert len(edits) == number


def test_an_id_that_is_not_there_is_an_error_with_guesses(sources: list[dict[str, Any]], tmp_path: Path) -> None:
    stage = mix_of(tmp_path / "out", *sources)
    with pytest.raises(DataError, match="no source of the mix has a document 'ab'; near it: 'b', 'a'"):
        inquiry.find(inquiry.planned(stage), "ab")


def test_a_data_set_that_moved_is_named(sources: list[dict[str, Any]], tmp_path: Path) -> None:
    run_mix(tmp_path / "out", *sources)
    moved = Path(sources[0]["dataset"]).rename(tmp_path / "moved")
    with pytest.raises(DataError, match="say --dataset web=DIR"):
        inquiry.made(str(tmp_path / "out"), {})
    found = explain(inquiry.made(str(tmp_path / "out"), {"web": str(moved)}), "b", str(tmp_path / "out"))
    assert found[0].dataset == str(moved)


def test_the_command_tells_it_in_lines_or_json(sources: list[dict[str, Any]], tmp_path: Path) -> None:
    run_mix(tmp_path / "out", *sources)
    shown = CliRunner().invoke(app, ["why", "b", "--in", str(tmp_path / "out")]).stdout
    assert "  dropped for long, good" in shown
    assert "  FAILS long: size.words BETWEEN 2 AND 9 [size.words = 1]" in shown
    told = CliRunner().invoke(app, ["why", "a", "--in", str(tmp_path / "out"), "--json"]).stdout.splitlines()
    assert [msgspec.json.decode(line, type=Story).fate for line in told] == ["kept", "dropped"]


def test_what_is_rejected_is_shown_by_reason(sources: list[dict[str, Any]], tmp_path: Path) -> None:
    path = tmp_path / "mix.yaml"
    path.write_text(json.dumps({"to": str(tmp_path / "out"), "sources": sources}))
    shown = CliRunner().invoke(app, ["mix", "-c", str(path), "--keep-rejected"]).stdout
    reasons = [line.split(",")[0] for line in shown.splitlines() if line.startswith("rejected for")]
    assert reasons == [f"rejected for {reason}" for reason in ("dedup_text", "empty_after_edit", "long")]
    assert "  books a: alpha beta" in shown
    assert [reason for reason, _ in samples(str(tmp_path / "out"), 1)] == ["dedup_text", "empty_after_edit", "long"]
    assert all(len(found) == 1 for _, found in samples(str(tmp_path / "out"), 1))


def test_samples_of_rejected_documents_cannot_steer_a_terminal(make_dataset: MakeDataset, tmp_path: Path) -> None:
    dataset = make_dataset({"s.jsonl": [{"id": "\x1b[2J", "text": "\x1b]0;x\x07 text\r\n"}]}, "web")
    source = {"name": "web", "dataset": dataset, "steps": [{"keep": {"none": "length(id) > 99"}}]}
    path = tmp_path / "mix.yaml"
    path.write_text(json.dumps({"to": str(tmp_path / "out"), "sources": [source]}))
    shown = CliRunner().invoke(app, ["mix", "-c", str(path), "--keep-rejected"]).stdout
    assert "web \\x1b[2J: \\x1b]0;x\\x07 text" in shown
    assert "\x1b" not in shown
