"""Bad input gets one line that names what, where and the next step, and nothing is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from handmade import encode_lines, store

Cli = Callable[..., Any]
Make = Callable[..., str]


def error_of(said: Any) -> str:
    """The one line of an error."""
    lines = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert said.code != 0
    assert len(lines) == 1, said.err
    assert "Traceback" not in said.err
    return lines[0]


def rows(count: int) -> list[dict[str, str]]:
    return [{"id": str(i), "text": f"document number {i} with some words in it"} for i in range(count)]


def write_mix(tmp_path: Path, data: str, rule: str, attributes: str = "[length]", more: str = "") -> Path:
    path = tmp_path / "mix.yaml"
    source = f"- name: web\n  dataset: {data}\n  attributes: {attributes}\n  steps:\n  - keep: {{mine: '{rule}'}}\n"
    path.write_text(f"to: {tmp_path}/mixed\nsources:\n{source}{more}")
    return path


BAD_LINES = {
    "invalid JSON": b'{"id": "x", "text": "no end',
    "invalid UTF-8": b'{"id": "x", "text": "\xff\xfe"}',
    "missing required field text": b'{"id": "x"}',
    "is repeated": b'{"id": "x", "text": "a", "text": "b"}',
}


@pytest.mark.parametrize("reason", BAD_LINES)
def test_a_bad_line_goes_to_the_quarantine_and_the_rest_goes_on(cli: Cli, make_dataset: Make, reason: str) -> None:
    data = make_dataset({"a.jsonl": [*rows(300), BAD_LINES[reason], *rows(300)]})
    said = cli("tag", data, "--taggers", "length", "--json")
    assert said.code == 0
    counts = json.loads(said.out)["counts"]
    assert (counts["documents"], counts["bad_rows"]) == (600, 1)
    (row,) = (Path(data) / "attributes/_quarantine/a.jsonl").read_text().splitlines()
    assert reason in json.loads(row)["reason"]
    assert json.loads(row)["line"] == 301


@pytest.mark.parametrize("kind", ["gz", "zst"])
@pytest.mark.parametrize("share", [0.1, 0.6, 0.999])
def test_a_truncated_archive_is_an_error_unless_it_is_allowed(
    cli: Cli, make_dataset: Make, kind: str, share: float
) -> None:
    data = make_dataset({f"a.jsonl.{kind}": rows(2000)})
    path = Path(data) / "documents" / f"a.jsonl.{kind}"
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    allowed = cli("tag", data, "--taggers", "length", "--json", "--set", "max_bad_fraction=1.0")
    assert allowed.code == 0
    counts = json.loads(allowed.out)["counts"]
    assert counts["bad_rows"] == 1
    assert counts["documents"] < 2000
    assert "truncated" in (Path(data) / "attributes/_quarantine/a.jsonl").read_text()


def test_more_bad_rows_than_allowed_fail_the_run(cli: Cli, make_dataset: Make) -> None:
    data = make_dataset({"a.jsonl": [*rows(10), b"nonsense"]})
    assert "1 of 11 rows" in error_of(cli("tag", data, "--taggers", "length"))


@pytest.mark.parametrize(
    "document",
    [
        {"id": "x", "text": ""},
        {"id": "x", "text": " \n\t\n "},
        {"id": 7, "text": "integer id"},
        {"id": "x", "text": "\0"},
    ],
    ids=["empty text", "white space", "integer id", "NUL"],
)
def test_unusual_documents_are_measured_like_any_other(cli: Cli, make_dataset: Make, document: dict[str, Any]) -> None:
    data = make_dataset({"a.jsonl": [document]})
    taggers = "length,gopher,gopher_repetition,c4,pii,langid"
    assert cli("tag", data, "--taggers", taggers).code == 0
    table = pq.read_table(f"{data}/attributes/length/a.parquet").to_pylist()
    assert table[0]["id"] == str(document["id"])
    assert table[0]["length"]["characters"] == len(document["text"])


def test_an_empty_file_is_an_empty_shard(cli: Cli, make_dataset: Make) -> None:
    data = make_dataset({"a.jsonl": [], "b.jsonl": rows(1)})
    assert cli("tag", data, "--taggers", "gopher").code == 0
    assert pq.read_table(f"{data}/attributes/gopher/a.parquet").num_rows == 0


def test_a_line_of_100_mb_is_measured(cli: Cli, make_dataset: Make) -> None:
    data = make_dataset({"a.jsonl": [{"id": "long", "text": "ten bytes " * 10_000_000}, *rows(1)]})
    assert cli("tag", data, "--taggers", "length").code == 0
    table = pq.read_table(f"{data}/attributes/length/a.parquet").to_pylist()
    assert table[0]["length"]["bytes"] == 100_000_000


def test_a_duplicate_id_is_an_error_of_ingest_that_names_both_places(cli: Cli, tmp_path: Path) -> None:
    store(tmp_path / "in.jsonl", encode_lines([{"id": "a", "text": "one"}, {"id": "a", "text": "two"}]))
    message = error_of(cli("ingest", tmp_path / "in.jsonl", "--to", tmp_path / "data"))
    assert "'a'" in message
    assert message.count("in.jsonl") >= 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("datasets: [x]\ntagers: [gopher]", "unknown key 'tagers' at the top level (did you mean 'taggers'?)"),
        ("datasets: [x]\ntaggers: [gopher]\ntaggers: [pii]", "the key 'taggers' is repeated"),
        ("datasets: [x]\ntaggers: [gophr]", "did you mean 'gopher'?"),
        ("datasets: [x]\ntaggers: [{name: gopher, speed: 3}]", "has no option 'speed'"),
    ],
)
def test_a_bad_configuration_is_refused_with_a_guess(cli: Cli, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "tag.yaml").write_text(text)
    said = cli("tag", "-c", tmp_path / "tag.yaml")
    assert message in error_of(said)
    assert said.code == 2


def test_a_rule_that_names_an_unknown_attribute_is_refused_before_any_work(
    cli: Cli, make_dataset: Make, tmp_path: Path
) -> None:
    data = make_dataset({"a.jsonl": rows(3)})
    cli("tag", data, "--taggers", "length")
    message = error_of(cli("mix", "-c", write_mix(tmp_path, data, "length.charactrs > 3")))
    assert "length.charactrs" in message
    assert "length.characters" in message
    assert not (tmp_path / "mixed" / "documents").exists()


def test_attributes_that_nobody_wrote_are_refused_with_the_command_that_writes_them(
    cli: Cli, make_dataset: Make, tmp_path: Path
) -> None:
    data = make_dataset({"a.jsonl": rows(3)})
    message = error_of(cli("mix", "-c", write_mix(tmp_path, data, "length.characters > 3")))
    assert "length" in message


def test_an_attribute_file_of_another_shard_is_refused(cli: Cli, make_dataset: Make, tmp_path: Path) -> None:
    data = make_dataset({"a.jsonl": rows(3), "b.jsonl": rows(5)})
    cli("tag", data, "--taggers", "length")
    attributes = Path(data) / "attributes" / "length"
    (attributes / "a.parquet").write_bytes((attributes / "b.parquet").read_bytes())
    message = error_of(cli("mix", "-c", write_mix(tmp_path, data, "length.characters > 3")))
    assert "a.parquet" in message
    assert not (tmp_path / "mixed/documents/web/a.jsonl.zst").exists()


def test_a_shard_that_changed_after_it_was_measured_is_refused(cli: Cli, make_dataset: Make, tmp_path: Path) -> None:
    data = make_dataset({"a.jsonl": rows(3)})
    cli("tag", data, "--taggers", "length")
    store(Path(data) / "documents" / "a.jsonl", encode_lines([{**row, "text": "changed"} for row in rows(3)]))
    assert "changed since" in error_of(cli("mix", "-c", write_mix(tmp_path, data, "length.characters > 3")))


@pytest.mark.parametrize(
    "arguments",
    [
        ("tag", "{}/none", "--taggers", "length"),
        ("dedup", "{}/none", "--by", "text"),
        ("tag", "-c", "{}/none.yaml"),
        ("mix", "-c", "{}/none.yaml"),
        ("ingest", "{}/none", "--to", "{}/data"),
        ("tokenize", "{}/none", "--tokenizer", "{}/none.json", "--to", "{}/tokens"),
        ("verify", "{}/none"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else None,
)
def test_a_path_that_does_not_exist_is_named(cli: Cli, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert "none" in error_of(cli(*(argument.format(tmp_path) for argument in arguments)))


def test_a_path_that_may_not_be_written_is_named_with_a_way_out(cli: Cli, make_dataset: Make, tmp_path: Path) -> None:
    data = make_dataset({"a.jsonl": rows(3)})
    (tmp_path / "file").write_text("in the way")
    message = error_of(cli("tag", data, "--taggers", "length", "--attributes", tmp_path / "file" / "attributes"))
    assert "choose another output folder" in message


def test_flags_that_make_no_sense_are_refused(cli: Cli, make_dataset: Make) -> None:
    data = make_dataset({"a.jsonl": rows(3)})
    for arguments, message in [
        (("--workers", "0"), "workers: 0"),
        (("--runner", "slurm"), "expected local or ray"),
        (("--part", "3/2"), "expected i/N"),
        (("--set", "nonsense"), "--set"),
        (("--no-such-flag",), "No such option"),
    ]:
        assert message in error_of(cli("tag", data, "--taggers", "length", *arguments))
