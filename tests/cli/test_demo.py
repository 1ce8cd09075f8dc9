"""demo: the whole pipeline on given data sets, and the choice of text on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from pydoc_data.topics import topics

import pytest
import yaml
from pipelines import shell

from dolma_pipe import demo
from dolma_pipe.errors import ConfigError
from dolma_pipe.pipeline import parse_pipeline

SHORT = "--set train.steps=3 --set train.schedule.warmup_steps=1 --set tokenizer.vocab_size=600"


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the demo ran on two data sets of Python's own manual, one of them with copies of the other."""
    folder = tmp_path_factory.mktemp("demo")
    pages = sorted(topics.items())
    for name, part in (("manual", pages[:50]), ("copies", pages[40:70])):
        documents = [{"id": f"{name}-{title}", "text": text} for title, text in part]
        (folder / name / "documents").mkdir(parents=True)
        lines = "".join(json.dumps(document) + "\n" for document in documents)
        (folder / name / "documents" / "all.jsonl").write_text(lines)
    (folder / "first.log").write_text(shell(f"dolma-pipe demo --on manual --on copies --to out {SHORT}", folder))
    return folder


def test_it_ends_with_a_page_of_results(done: Path) -> None:
    shown, page = (done / "first.log").read_text(), (done / "out" / "results.html").read_text()
    for title in (
        "Kept and dropped",
        "Why documents were dropped",
        "Tokens",
        "Training",
        "Bits per byte",
        "What to run next",
    ):
        assert title in shown
        assert title in page
    assert "dedup_text" in shown
    funnels = {n: s["funnel"] for n, s in json.loads((done / "out/mixed/mix.lock.json").read_text())["sources"].items()}
    assert set(funnels) == {"manual", "copies"}
    for funnel in funnels.values():
        parts = [funnel["kept"], *funnel["dropped"].values(), *funnel["splits"].values()]
        assert sum(part["documents"] for part in parts) == funnel["read"]["documents"]


def test_given_data_sets_are_only_read(done: Path) -> None:
    for name in ("manual", "copies"):
        assert [path.relative_to(done / name).as_posix() for path in (done / name).rglob("*")] == [
            "documents", "documents/all.jsonl",
        ]  # fmt: skip


def test_a_second_time_nothing_is_done_and_a_changed_mix_is_respected(done: Path) -> None:
    printed = shell(f"dolma-pipe demo --on manual --on copies --to out {SHORT}", done)
    assert "nothing was left to do" in printed
    mix = done / "out" / "mix.yaml"
    changed = mix.read_text().replace("langid.en >= 0.5", "langid.en >= 0.4")
    mix.write_text(changed)
    printed = shell(f"dolma-pipe demo --on manual --on copies --to out --set mix.seed=1 {SHORT} 2>&1", done)
    assert "was trained on other data; starting anew" in printed
    assert mix.read_text() == changed


def test_two_data_sets_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="two data sets are called 'x'"):
        demo.on_datasets("out", ["a/x", "b/x/"])


def test_packages_with_small_files_come_first_and_ours_never(tmp_path: Path) -> None:
    for name, count, size in (("wide", 30, 10), ("tall", 2, 5000), ("dolma_pipe", 9, 1)):
        (tmp_path / name).mkdir()
        for i in range(count):
            (tmp_path / name / f"{i}.py").write_text("x" * size)
    assert demo.choose_packages(str(tmp_path)) == ["tall", "wide"]


def test_this_machine_gives_a_valid_pipeline_and_mix() -> None:
    files = demo.on_this_machine("my demo")
    steps = parse_pipeline(
        {**files.pipeline, "steps": [s for s in files.pipeline["steps"] if "mix" not in s]}, "p.yaml"
    )
    assert [step.stage for step in steps][:3] == ["ingest"] * 3
    assert {source["dataset"] for source in yaml.safe_load(files.mix)["sources"]} == {
        "my demo/data/docs", "my demo/data/stdlib", "my demo/data/packages",
    }  # fmt: skip
