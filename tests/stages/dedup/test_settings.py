"""What the command and the YAML accept, and what they refuse."""

from __future__ import annotations

import json
from typing import Any

import pytest
from conftest import MakeDataset
from plain_dedup import ALL_LINES, dedup, rows
from typer.testing import CliRunner

from dolma_pipe.cli import app
from dolma_pipe.config import bundled, load
from dolma_pipe.errors import ConfigError
from dolma_pipe.execution import run_stage
from dolma_pipe.runners.local import Local
from dolma_pipe.stages.dedup import DedupConfig, dedup_stage
from dolma_pipe.stages.dedup.documents import TextRules
from dolma_pipe.stages.dedup.paragraphs import NgramRules, ParagraphRules
from dolma_pipe.url import UrlRules


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "txet"}, "not one of url, text"),
        ({"by": "metadata."}, "not one of url, text"),
        ({"by": "text", "url": UrlRules()}, "url: has no effect with by: text"),
        ({"by": "url", "paragraph": ALL_LINES}, "paragraph: has no effect with by: url"),
        ({"by": "paragraph", "paragraph": ParagraphRules(separator="")}, "empty string separates nothing"),
        ({"by": "url", "text": TextRules()}, "text: has no effect with by: url"),
        ({"by": "line"}, "lines are paragraphs whose separator is a newline"),
        ({"by": "paragraph", "paragraph": ParagraphRules(by_ngram=NgramRules(length=0))}, "length: 0 is not a number"),
        ({"by": "paragraph", "paragraph": ParagraphRules(by_ngram=NgramRules(stride=0))}, "stride: 0 is not a number"),
        ({"by": "paragraph", "paragraph": ParagraphRules(by_ngram=NgramRules(min_overlap=0))}, "not above 0"),
        ({"by": "text", "scope": "sources"}, "'sources' is not one of all, dataset, source"),
        ({"by": "text", "scope": "path:("}, "not a regular expression"),
        ({"by": "text", "scope": "metadata."}, "'metadata.' is not one of all, dataset"),
        ({"by": "paragraph", "paragraph": ParagraphRules(min_characters=-1)}, "min_characters: -1 is not a number"),
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


def test_the_command_prints_what_was_found(two_sets: list[str]) -> None:
    result = CliRunner().invoke(app, ["dedup", *two_sets, "--by", "text", "--name", "copies", "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["counts"]["duplicates"] == 4
    assert rows(two_sets[1], "copies")[4]["rank"] == 2


@pytest.mark.parametrize("name", ["url", "text", "text_normalized", "paragraph", "ngram"])
def test_the_bundled_configurations_run(make_dataset: MakeDataset, name: str) -> None:
    page = {"id": "1", "text": "A paragraph that is long enough.", "metadata": {"url": "https://a.org"}}
    data = make_dataset({"a.jsonl": [page, {**page, "id": "2"}]})
    dedup(data, by="text")
    config = load(bundled(f"dedup/{name}.yaml"), DedupConfig, datasets=[data])
    assert run_stage(dedup_stage(config), Local(1)).counts["documents"] == 2
