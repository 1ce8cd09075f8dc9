"""A tagger and a step that a package outside the house brings: found by name, listed, checked, run, reported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dolma_pipe.errors import ConfigError
from dolma_pipe.report.results import Places, sections
from dolma_pipe.tagger import load, plugins

Make = Callable[..., str]

MODULE = '''
from importlib.resources import files
from json import loads

from dolma_pipe.mixer import Step
from dolma_pipe.rules import named
from dolma_pipe.tagger import Tagger, real

MODEL = loads(files("acme_jargon").joinpath("model.json").read_text())


class Jargon(Tagger):
    """How much a text talks shop.

    By weights of words."""

    version = 1
    model_hash = str(sorted(MODEL.items()))
    fields = {"score": real("mean weight of the words; 0 without words")}

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale

    def tag(self, batch):
        words = [text.split() for text in batch.texts()]
        return {"score": [self.scale * sum(MODEL.get(w, 0) for w in found) / max(len(found), 1) for found in words]}


class Plain(Step):
    """`plain`: no jargon."""

    def parts(self):
        return [named("plain", f"jargon.score < {float(self.value)}", self.file)]
'''
ENTRY_POINTS = """[dolma_pipe.taggers]
jargon = acme_jargon:Jargon
broken = acme_nowhere:Tagger

[dolma_pipe.mixers]
plain = acme_jargon:Plain
"""


def install(folder: Path, entry_points: str = ENTRY_POINTS, name: str = "acme_jargon") -> Path:
    """What an installer leaves in a folder of packages."""
    about = folder / f"{name}-1.2.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.2\n")
    (about / "entry_points.txt").write_text(entry_points)
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(MODULE)
    (folder / name / "model.json").write_text('{"synergy": 1.0}')
    return folder


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = install(tmp_path / "packages")
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    sys.modules.pop("acme_jargon", None)


def run(installed: Path, *arguments: str | Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-m", "dolma_pipe", *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_package_s_tagger_is_found_by_the_name_that_it_gives(installed: Path) -> None:
    assert plugins()["jargon"].value == "acme_jargon:Jargon"
    assert load("jargon").fields["score"].doc.startswith("mean weight")
    assert load({"name": "shop", "use": "jargon", "scale": 2.0}).model_hash == "[('synergy', 1.0)]"
    with pytest.raises(ConfigError, match="no tagger 'jargonn'; did you mean 'jargon'"):
        load("jargonn")


def test_it_is_listed_checked_and_run_and_shows_in_funnel_and_report(
    installed: Path, make_dataset: Make, tmp_path: Path
) -> None:
    taggers, mixers = (
        dict(line.split(maxsplit=1) for line in run(installed, "list", kind).splitlines())
        for kind in ("taggers", "mixers")
    )
    assert taggers["jargon"] == "How much a text talks shop. [acme-jargon 1.2: acme_jargon:Jargon]"
    assert taggers["broken"].startswith("broken: no module")
    assert mixers["plain"] == "`plain`: no jargon. [acme-jargon 1.2: acme_jargon:Plain]"
    data = make_dataset({"a.jsonl": ["synergy synergy now", "the river rose", "synergy"]})
    run(installed, "tag", data, "--taggers", "jargon,length", "--workers", "2")
    source = {"name": "web", "dataset": data, "attributes": ["jargon"], "steps": [{"plain": 0.5}]}
    mix = tmp_path / "mix.yaml"
    mix.write_text(json.dumps({"to": str(tmp_path / "mixed"), "sources": [source]}))
    assert "its settings hold" in run(installed, "check", mix)
    assert "plain" in run(installed, "mix", "-c", mix)
    rows: list[Any] = [row for part in sections(Places(mix=str(tmp_path / "mixed"))) for row in part.rows]
    assert any(row[:2] == ("web", "· plain") and "2" in row[2] for row in rows), rows


def test_a_plug_in_cannot_take_a_bundled_name_or_another_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = install(tmp_path / "1", "[dolma_pipe.taggers]\ngopher = acme_one:Jargon\n", "acme_one")
    monkeypatch.syspath_prepend(str(first))
    with pytest.raises(ConfigError, match=r"gopher: a bundled name; acme-one \(acme_one:Jargon\) must give its own"):
        load("gopher")
    second = install(tmp_path / "2", "[dolma_pipe.taggers]\ngopher = acme_two:Jargon\n", "acme_two")
    monkeypatch.syspath_prepend(str(second))
    with pytest.raises(ConfigError, match=r"'gopher' is brought by acme-one .* and by acme-two .*uninstall one"):
        load("gopher")
