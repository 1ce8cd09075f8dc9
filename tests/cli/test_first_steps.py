"""What somebody meets who has never seen this: other people's files and names, and what is said of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from handmade import store

from dolma_pipe.cli import figures

Cli = Callable[..., Any]
TEXT = "The council meets in the town today and talks about the budget of the next year. "


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Two texts, their copy, a picture, and a file that is no UTF-8."""
    for name, text in {"a.txt": TEXT, "b.txt": TEXT * 2, "c.txt": TEXT, "d.txt": "Little."}.items():
        store(tmp_path / "files" / name, text.encode())
    store(tmp_path / "files/photo.jpg", b"\xff\xd8\0")
    store(tmp_path / "files/old.txt", "Straße".encode("latin-1"))
    return tmp_path / "files"


def yaml(path: Path, data: Any) -> Path:
    path.write_bytes(msgspec.yaml.encode(data))
    return path


def mixed(cli: Cli, files: Path, tmp_path: Path) -> Path:
    """A mix of the files, by a rule and a dedup."""
    data = tmp_path / "data"
    for words in (
        ("ingest", files, "--to", data, "--set", "max_bad_fraction=0.5"),
        ("tag", data, "--taggers", "length"), ("dedup", data, "--by", "text"),
    ):  # fmt: skip
        assert cli(*words).code == 0
    steps = [{"keep": {"long": "length.words >= 5"}}, {"dedup": {"by": "dedup_text"}}]
    source = {"name": "mine", "dataset": str(data), "attributes": ["length", "dedup_text"], "steps": steps}
    path = yaml(tmp_path / "mix.yaml", {"to": str(tmp_path / "mixed"), "sources": [source]})
    assert cli("mix", "-c", path).code == 0
    return tmp_path / "mixed"


def test_records_with_other_fields_are_refused_with_the_fields_and_the_option(cli: Cli, tmp_path: Path) -> None:
    store(tmp_path / "crawl.jsonl", b'{"content": "x", "link": "y"}\n' * 3)
    said = cli("ingest", tmp_path / "crawl.jsonl", "--to", tmp_path / "data")
    assert said.code == 1
    assert "3 times the field 'text' is missing: there are content, link; name another with --text-field" in said.err
    assert "first: crawl.jsonl line 1" in said.err
    said = cli("ingest", tmp_path / "crawl.jsonl", "--to", tmp_path / "data", "--text-field", "content")
    assert "the field 'id' is missing: there are content, link; name another with --id-field, or none" in said.err
    done = ("--text-field", "content", "--id-field", "")
    assert "3 documents" in cli("ingest", tmp_path / "crawl.jsonl", "--to", tmp_path / "data", *done).out


def test_everything_that_is_not_in_a_mix_is_listed_with_its_reasons(cli: Cli, files: Path, tmp_path: Path) -> None:
    home = mixed(cli, files, tmp_path)
    listed = [line.split("\t") for line in cli("why", "--in", home).out.splitlines()]
    assert listed == [
        ["mine", "photo.jpg", "skipped: binary: a NUL byte at byte 2"],
        ["mine", "old.txt#1", "not readable: invalid UTF-8 at byte 4"],
        ["mine", "c.txt", "dedup_text"],
        ["mine", "d.txt", "long"],
    ]
    assert cli("why", "--in", home, "--reason", "long").out == "mine\td.txt\tlong\n"
    rows = [json.loads(line) for line in cli("why", "--in", home, "--json").out.splitlines()]
    assert [(row["id"], row["row"]) for row in rows[2:]] == [("c.txt", 2), ("d.txt", 3)]


def test_a_file_that_never_became_a_document_says_why(cli: Cli, files: Path, tmp_path: Path) -> None:
    home = mixed(cli, files, tmp_path)
    assert "photo.jpg never became a document" in cli("why", "photo.jpg", "--in", home).err
    assert "old.txt#1 never became a document" in cli("why", "old.txt", "--in", home).err


def test_reason_with_a_document_has_no_effect_and_is_refused(cli: Cli, files: Path, tmp_path: Path) -> None:
    home = mixed(cli, files, tmp_path)
    assert "--reason has no effect" in cli("why", "a.txt", "--in", home, "--reason", "long").err


@pytest.mark.parametrize(
    ("config", "command", "kind"),
    [
        ({"documents": ["d/documents/*"], "taggers": ["gopher_v1"]}, "tag", "tag"),
        ({"documents": ["d/documents/*"], "dedupe": {"name": "x"}}, "dedup", "dedupe"),
        ({"streams": []}, "mix", "mix"),
        ({"documents": ["d/documents/*"], "destination": "t", "tokenizer": {}}, "tokenize", "tokens"),
    ],
)
def test_a_configuration_of_the_dolma_toolkit_is_known_as_one(
    cli: Cli, tmp_path: Path, config: Any, command: str, kind: str
) -> None:
    path = yaml(tmp_path / "old.yaml", config)
    for said in (cli(command, "-c", path), cli("check", path)):
        assert said.code == 2
        assert f"a configuration for {kind!r} of the Dolma toolkit" in said.err
        assert f"dolma-pipe convert commands {path}" in said.err


def test_a_tagger_of_the_dolma_toolkit_is_answered_with_ours(cli: Cli, tmp_path: Path) -> None:
    assert "measured here by gopher, length, gopher_repetition" in cli("tag", tmp_path, "--taggers", "gopher_v1").err
    said = cli("tag", tmp_path, "--taggers", "jigsaw_nsfw_document_v1").err
    assert "what comes near it here: toxicity" in said


def test_a_folder_that_is_no_data_set_says_what_to_do(cli: Cli, files: Path, tmp_path: Path) -> None:
    assert f"dolma-pipe ingest {files} --to DATASET" in cli("tag", files, "--taggers", "length").err
    assert "there is no such folder" in cli("tag", tmp_path / "none", "--taggers", "length").err
    store(tmp_path / "data/documents/a.jsonl", b'{"id": "1", "text": "x"}\n')
    said = cli("tag", tmp_path / "data/documents", "--taggers", "length").err
    assert said.endswith(f"the folder above it: {tmp_path}/data\n")


def test_a_set_that_nobody_has_written_comes_with_the_command_that_writes_it(cli: Cli, tmp_path: Path) -> None:
    data = tmp_path / "data"
    store(data / "documents/a.jsonl", b'{"id": "1", "text": "x"}\n')
    source = {
        "name": "s",
        "dataset": str(data),
        "attributes": ["length"],
        "steps": [{"keep": {"a": "length.words > 1"}}],
    }
    path = yaml(tmp_path / "mix.yaml", {"to": "x", "sources": [source]})
    assert f"dolma-pipe tag {data} --taggers length" in cli("check", path).err
    source |= {"attributes": ["dedup_url"], "steps": [{"dedup": {"by": "dedup_url"}}]}
    path = yaml(tmp_path / "mix.yaml", {"to": "x", "sources": [source]})
    assert f"dolma-pipe dedup {data} --by url" in cli("check", path).err
    cli("tag", data, "--taggers", "length")
    source |= {"attributes": ["length"], "steps": [{"keep": {"a": "gopher.word_count > 1"}}]}
    path = yaml(tmp_path / "mix.yaml", {"to": "x", "sources": [source]})
    assert "measure 'gopher' if nobody has, and add it to the list" in cli("check", path).err


def test_a_tokenizer_that_is_not_there_is_missed_before_the_first_step(cli: Cli, tmp_path: Path) -> None:
    given = ("--set", f"vars.data={tmp_path}", "--set", f"vars.tokenizer={tmp_path}/none")
    said = cli("run", "-c", "fineweb", *given, "--dry-run")
    assert (said.code, said.out) == (2, "")
    assert "steps.3.tokenize.tokenizer" in said.err
    store(tmp_path / "none/tokenizer.json", b"{}")
    lines = cli("run", "-c", "fineweb", *given, "--dry-run").out.splitlines()
    assert lines[2:] == [f"3. mix       {tmp_path} -> fineweb/mixed", "4. tokenize  fineweb/mixed -> fineweb/tokens"]


def test_check_finds_a_bundled_configuration_by_its_name(cli: Cli) -> None:
    assert "a configuration of 'train'" in cli("check", "50m").out
    assert "a configuration of 'train'" in cli("check", "small", "--as", "train").out
    assert "the only one of its name (there are " in cli("check", "small").err


def test_every_bundled_configuration_is_listed_with_its_command(cli: Cli) -> None:
    listed = cli("list", "configs").out.splitlines()
    assert any(line.startswith("run -c fineweb ") and "FineWeb's recipe" in line for line in listed)
    assert all(len(line.split("  ", 1)) == 2 and line.split("  ", 1)[1].strip() for line in listed)


def test_sizes_and_shares_are_told_in_units_that_fit() -> None:
    assert [figures.size(n) for n in (0, 999, 1000, 2_500_000, 7e9)] == ["0 B", "999 B", "1.0 kB", "2.5 MB", "7.0 GB"]
    assert [figures.counted(n, "task") for n in (0, 1, 2000)] == ["0 tasks", "1 task", "2,000 tasks"]
    assert [figures.share(*of) for of in ((0, 0), (1, 3), (1, 40), (1, 1000))] == ["0 %", "33 %", "2.5 %", "0.10 %"]
