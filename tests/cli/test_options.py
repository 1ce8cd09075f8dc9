"""Every stage has --limit, --dry-run, --force and --part, and they mean the same in each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from handmade import encode_lines, store, tree_of
from tiny_tokenizers import write_tokenizer

from dolma_pipe.cli import COMMANDS

Cli = Callable[..., Any]
STAGES = ("ingest", "tag", "dedup", "mix", "tokenize")
SHARDS = {"a": 6, "b": 6, "c": 2}


class Stage(NamedTuple):
    """A stage's command line, and the folder that it writes."""

    arguments: list[str]
    home: Path

    def run(self, cli: Cli, *options: str) -> dict[str, Any]:
        said = cli(*self.arguments, *options, "--json")
        assert said.code == 0, said.err
        return json.loads(said.out)

    def content(self) -> dict[str, bytes]:
        return tree_of(self.home) if self.home.exists() else {}


@pytest.fixture
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Stage:
    """A stage over three files of 6, 6 and 2 documents."""
    for name, count in SHARDS.items():
        texts = [f"the same words {row % 4} of many a document " * 15 + f"\nand line {name}" for row in range(count)]
        rows = [
            {"id": f"{name}{row}", "text": text, "metadata": {"url": f"https://example.org/{name}{row % 4}"}}
            for row, text in enumerate(texts)
        ]
        store(tmp_path / "data/documents" / f"{name}.jsonl", encode_lines(rows))
    out, data = str(tmp_path / "out"), str(tmp_path / "data")
    mix = tmp_path / "mix.yaml"
    keep = "{some: \"id <> 'a1'\"}"
    mix.write_text(f"to: {out}\nsources:\n- name: web\n  dataset: {data}\n  steps:\n  - keep: {keep}\n")
    tokenizer = ["--tokenizer", write_tokenizer(tmp_path / "tokenizer")] if request.param == "tokenize" else []
    arguments = {
        "ingest": [f"{data}/documents", "--to", out],
        "tag": [data, "--taggers", "length", "--attributes", out],
        "dedup": [data, "--by", "text", "--attributes", out],
        "mix": ["-c", str(mix)],
        "tokenize": [data, "--to", out, *tokenizer],
    }[request.param]
    return Stage([request.param, *arguments], Path(out))


every_stage = pytest.mark.parametrize("stage", STAGES, indirect=True)


def test_the_stages_are_the_commands_that_take_all_four() -> None:
    import inspect
    from importlib import import_module

    wanted = {"limit", "dry_run", "force", "part"}
    modules = {name: import_module(f"dolma_pipe.cli.{name}") for name in STAGES}
    assert set(STAGES) <= set(COMMANDS)
    for name, module in modules.items():
        assert wanted <= set(inspect.signature(module.command).parameters), name


@every_stage
def test_a_dry_run_says_what_is_to_do_and_does_nothing(stage: Stage, cli: Cli) -> None:
    assert stage.run(cli, "--dry-run")["to_do"] > 0
    assert stage.content() == {}
    stage.run(cli)
    before = stage.content()
    assert stage.run(cli, "--dry-run")["to_do"] == 0
    assert stage.run(cli, "--dry-run", "--force")["to_do"] > 0
    assert stage.content() == before


@every_stage
def test_force_does_everything_again(stage: Stage, cli: Cli) -> None:
    done = stage.run(cli)["done"]
    before = stage.content()
    assert stage.run(cli)["done"] == 0
    assert stage.run(cli, "--force")["done"] == done
    assert stage.content() == before


@every_stage
def test_parts_share_the_tasks_and_a_last_run_ends_with_what_one_run_gives(
    stage: Stage, cli: Cli, tmp_path: Path
) -> None:
    stage.run(cli)
    whole = stage.content()
    stage.home.rename(tmp_path / "whole")
    parts = [stage.run(cli, "--part", part)["done"] for part in ("1/2", "2/2")]
    if stage.arguments[0] != "ingest":  # one task reads all of these small files
        assert min(parts) > 0
    stage.run(cli)
    assert stage.content() == whole
    assert cli(*stage.arguments, "--part", "3/2").code == 2


@every_stage
def test_a_limited_run_reads_the_first_documents_and_a_whole_one_begins_anew(
    stage: Stage, cli: Cli, tmp_path: Path
) -> None:
    stage.run(cli)
    whole = stage.content()
    stage.home.rename(tmp_path / "whole")
    # ingest knows no shards yet: its first documents are those of all input
    assert stage.run(cli, "--limit", "3")["counts"]["documents"] == (3 if stage.arguments[0] == "ingest" else 8)
    assert stage.run(cli, "--limit", "3")["done"] == 0
    assert stage.content() != whole
    assert stage.run(cli)["done"] > 0
    assert stage.content() == whole


@pytest.mark.parametrize("by", ["url", "paragraph", "substring", "minhash"])
@pytest.mark.parametrize("stage", ["dedup"], indirect=True)
def test_every_kind_of_dedup_takes_a_limit(stage: Stage, cli: Cli, by: str) -> None:
    found = stage._replace(arguments=[by if word == "text" else word for word in stage.arguments])
    assert found.run(cli, "--limit", "3")["counts"]["documents"] == 8
    assert found.run(cli, "--limit", "3")["done"] == 0
    assert found.run(cli)["counts"]["documents"] == 14


@every_stage
@pytest.mark.parametrize("limit", ["0", "-3"])
def test_a_limit_of_nothing_is_refused(stage: Stage, cli: Cli, limit: str) -> None:
    said = cli(*stage.arguments, "--limit", limit)
    assert said.code == 2
    assert "limit" in said.err
    assert stage.content() == {}
