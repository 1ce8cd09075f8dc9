"""Workers that die are replaced, and an interrupted run leaves nothing half-visible."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from toy_stage import Upper

from dolma_pipe.errors import ConfigError, TaskError
from dolma_pipe.execution import run_stage
from dolma_pipe.runners.local import Local


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """What a shell starts in the background ignores Ctrl-C, and so would every process that the tests start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def make(tmp_path: Path, files: dict[str, str], mercy: str = "") -> Upper:
    (tmp_path / "in").mkdir()
    for name, text in files.items():
        (tmp_path / "in" / name).write_text(text)
    return Upper(str(tmp_path / "in"), str(tmp_path / "out"), str(tmp_path / "log"), mercy=mercy)


def test_a_killed_worker_is_replaced_and_its_task_runs_again(tmp_path: Path) -> None:
    stage = make(tmp_path, {"a": "one ", "b": "kill ", "c": "three "}, mercy=str(tmp_path / "mercy"))
    run_stage(stage, Local(2))
    assert (tmp_path / "out" / "all.txt").read_text() == "ONE KILL THREE "
    assert (tmp_path / "log").read_text().splitlines().count("upper b") == 2


def test_a_task_that_kills_three_workers_fails_and_the_others_are_done(tmp_path: Path) -> None:
    stage = make(tmp_path, {"a": "one ", "b": "kill ", "c": "three "})
    with pytest.raises(TaskError, match="upper b: killed 3 workers, the last by SIGKILL"):
        run_stage(stage, Local(2))
    assert sorted(path.name for path in (tmp_path / "out" / "_scratch").iterdir() if path.name[0] != "_") == ["a", "c"]
    (tmp_path / "in" / "b").write_text("two ")
    run_stage(stage, Local(2))
    assert (tmp_path / "out" / "all.txt").read_text() == "ONE TWO THREE "


def test_an_interrupt_stops_within_two_seconds_and_leaves_nothing_unfinished(tmp_path: Path) -> None:
    make(tmp_path, {"a": "one ", "b": "wait", "c": "wait"})
    program = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from toy_stage import Upper\n"
        "from dolma_pipe.execution import run_stage\n"
        "from dolma_pipe.runners.local import Local\n"
        "if __name__ == '__main__':\n"
        "    base = sys.argv[1]\n"
        "    run_stage(Upper(base + '/in', base + '/out', base + '/log'), Local(2))\n"
    )
    script = tmp_path / "program.py"
    script.write_text(program)
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path), str(Path(__file__).parent.parent)], stderr=subprocess.DEVNULL
    )
    log = tmp_path / "log"
    while not (log.exists() and len(log.read_text().splitlines()) >= 3):
        assert process.poll() is None
        time.sleep(0.01)
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.wait(timeout=10)
    assert time.monotonic() - started < 2
    assert process.returncode != 0
    left = [str(path.relative_to(tmp_path)) for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert all(path.startswith(("out/_scratch/a", "out/_manifest/")) for path in left)


def test_workers_see_no_interrupt_of_their_own(tmp_path: Path) -> None:
    stage = make(tmp_path, {"a": "one "})
    run_stage(stage, Local(1))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert os.path.exists(tmp_path / "out" / "all.txt")


def test_no_workers_is_an_error() -> None:
    with pytest.raises(ConfigError, match="workers: 0"):
        Local(0)
