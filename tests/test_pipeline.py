"""A pipeline file: every step is checked before the first runs, and --set reaches into it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from dolma_pipe.config import bundled
from dolma_pipe.errors import ConfigError
from dolma_pipe.pipeline import load_pipeline, parse_pipeline

PIPELINE: dict[str, Any] = {
    "vars": {"to": "out", "names": ["length", "pii"]},
    "steps": [
        {"ingest": {"inputs": ["raw"], "to": "${to}/data"}},
        {"tag": {"datasets": ["${to}/data"], "taggers": "${names}"}},
        {"tag": {"datasets": ["${to}/more"], "taggers": ["length"]}},
    ],
}


def settings(*overrides: str, **changes: Any) -> list[Any]:
    return [step.config for step in parse_pipeline({**PIPELINE, **changes}, "p.yaml", overrides)]


def test_variables_fill_strings_and_whole_values() -> None:
    ingest, tag, _ = settings()
    assert ingest.to == "out/data"
    assert tag.taggers == ["length", "pii"]


def test_set_changes_variables_places_and_the_only_step_of_a_stage() -> None:
    ingest, tag, other = settings("vars.to=there", "steps.2.tag.taggers=[pii]", "ingest.limit=5")
    assert (ingest.to, ingest.limit, tag.datasets, other.taggers) == ("there/data", 5, ["there/data"], ["pii"])
    with pytest.raises(ConfigError, match=r"2 steps are 'tag'.*steps\.1\.tag, steps\.2\.tag"):
        settings("tag.limit=5")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vars": {"to": "x"}}, r"\$\{names\} is not among vars"),
        ({"vars": {**PIPELINE["vars"], "idle": 1}}, "the variable 'idle' has no effect"),
        ({"vars": {**PIPELINE["vars"], "to": None}}, "the variable 'to' has no value; give --set vars.to=VALUE"),
        ({"vars": {}, "steps": []}, "steps is empty"),
        ({"vars": {}, "steps": [{"tagg": {}}]}, "no stage 'tagg'; did you mean 'tag'"),
        ({"vars": {}, "steps": [{"tag": {}, "mix": {}}]}, "expected one stage with its settings, found tag, mix"),
        (
            {"vars": {}, "steps": [{"ingest": {"inputs": ["a"], "too": "b"}}]},
            r"p.yaml: steps.0.ingest: unknown key 'too'",
        ),
        ({"vars": {}, "stepps": []}, "unknown key 'stepps'"),
        ({"vars": {}, "steps": [{"mix": "nowhere.yaml"}]}, "nowhere.yaml: no such configuration file"),
    ],
)
def test_whatever_is_wrong_with_any_step_is_said_before_work(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings(**changes)


def test_a_step_may_name_a_file_beside_the_pipeline(tmp_path: Path) -> None:
    (tmp_path / "mixes").mkdir()
    mix = {"to": "${to}/mixed", "sources": [{"name": "a", "dataset": "${to}/data"}]}
    (tmp_path / "mixes" / "m.yaml").write_text(yaml.safe_dump(mix))
    (tmp_path / "p.yaml").write_text(yaml.safe_dump({"vars": {"to": "out"}, "steps": [{"mix": "mixes/m.yaml"}]}))
    [step] = load_pipeline(str(tmp_path / "p.yaml"), ["mix.seed=3"])
    config: Any = step.config
    assert (config.to, config.seed, config.sources[0].dataset) == ("out/mixed", 3, "out/data")
    assert step.file == str(tmp_path / "mixes" / "m.yaml")


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("small", ["vars.corpus=somewhere"]),
        ("demo", ["vars.stdlib=a", "vars.packages=b", "vars.chosen=[c]"]),
    ],
)
def test_the_bundled_pipelines_are_valid(name: str, given: list[str]) -> None:
    steps = load_pipeline(str(bundled(f"pipelines/{name}.yaml")), given)
    stages = {"ingest", "tag", "dedup", "mix", "tokenizer", "tokenize", "train", "eval"}
    assert {step.stage for step in steps} == stages
