"""Ray tasks give what local processes give."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from handmade import tree_of
from toy_stage import Upper

from dolma_pipe.execution import run_stage
from dolma_pipe.runners.local import Local
from dolma_pipe.runners.ray import Ray


@pytest.fixture
def started_ray() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ray
    yield
    ray.shutdown()


@pytest.mark.usefixtures("started_ray")
@pytest.mark.filterwarnings("ignore")
def test_ray_and_local_runs_leave_the_same_files_and_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
    (tmp_path / "in").mkdir()
    for i in range(6):
        (tmp_path / "in" / f"f{i}").write_text(f"text {i} ")
    (tmp_path / "in" / "g").write_text("kill ")
    trees = []
    for runner in (Local(2), Ray(2)):
        home = tmp_path / type(runner).__name__
        stage = Upper(str(tmp_path / "in"), str(home), str(tmp_path / "log"), mercy=str(home) + ".mercy")
        summary = run_stage(stage, runner)
        assert summary.done == 8
        trees.append(tree_of(home))
    assert trees[0] == trees[1]
