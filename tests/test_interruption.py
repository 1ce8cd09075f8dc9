"""A run that was killed anywhere, or runs beside another one, leaves no file that nobody asked for."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest
from handmade import tree_of
from toy_stage import Upper

from dolma_pipe import storage
from dolma_pipe.config import fingerprint
from dolma_pipe.errors import ConfigError
from dolma_pipe.execution import Options, run_stage
from dolma_pipe.manifest import MANIFEST, Record, Ref
from dolma_pipe.runners.local import Local
from dolma_pipe.stage import Stage, Task, Work
from dolma_pipe.verify import verify


class Killed(BaseException):
    """In the place of a kill -9: nothing handles it."""


class Pieces(Stage):
    """Cuts a text into pieces of `size` letters, a file each, filled up with `fill`."""

    name: ClassVar[str] = "pieces"
    version: ClassVar[int] = 1
    phases: tuple[str, ...] = ("cut",)

    def __init__(self, source: Path, home: str, size: int, fill: str = "-") -> None:
        self.source, self.home, self.size, self.fill = str(source), home, size, fill

    def plan(self, phase: str, done: dict[str, list[Record]]) -> list[Task]:
        record = storage.join(self.home, MANIFEST, phase, "text.json")
        return [Task("text", record, fingerprint([self.size, self.fill]), (Ref("text", self.source),))]

    def run(self, phase: str, task: Task, work: Work) -> None:
        text = storage.read_bytes(self.source)
        for start in range(0, len(text), self.size):
            with work.create(storage.join(self.home, f"{start:02d}")) as out:
                out.write(text[start : start + self.size].ljust(self.size, self.fill.encode()))


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text"
    path.write_text("abcdefghijk")
    return path


def killed_at(monkeypatch: pytest.MonkeyPatch, step: int, stage: Stage) -> bool:
    """Run a stage until it would rename or remove its file number `step`; was it so many?"""
    count = itertools.count()

    def deadly(real: Any) -> Any:
        def act(*given: Any, **more: Any) -> Any:
            if next(count) >= step:
                raise Killed
            return real(*given, **more)

        return act

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", deadly(os.replace))
        patch.setattr(os, "unlink", deadly(os.unlink))
        try:
            run_stage(stage, Local(1))
        except Killed:
            return True
    return False


def test_a_run_killed_anywhere_and_then_changed_leaves_what_a_fresh_one_does(
    tmp_path: Path, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = Pieces(text, str(tmp_path / "fresh"), 5)
    run_stage(fresh, Local(1))
    step = 0
    for step in itertools.count():
        home = tmp_path / f"killed-{step}"
        if not killed_at(monkeypatch, step, Pieces(text, str(home), 2)):
            break
        run_stage(Pieces(text, str(home), 5), Local(1))
        assert tree_of(home) == tree_of(fresh.home)
        assert verify(str(home)).problems == []
    assert step > 6


def test_a_run_killed_under_other_settings_of_equal_size_is_done_again(
    tmp_path: Path, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = Pieces(text, str(tmp_path / "fresh"), 4, "-")
    run_stage(fresh, Local(1))
    for step in itertools.count():
        home = tmp_path / f"killed-{step}"
        run_stage(Pieces(text, str(home), 4, "-"), Local(1))
        finished = not killed_at(monkeypatch, step, Pieces(text, str(home), 4, "+"))
        run_stage(Pieces(text, str(home), 4, "-"), Local(1))
        assert tree_of(home) == tree_of(fresh.home)
        if finished:
            break


def test_verify_tells_of_an_interrupted_task(tmp_path: Path, text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    assert killed_at(monkeypatch, 2, Pieces(text, str(home), 5))
    (problem,) = verify(str(home)).problems
    assert "text.json: its task was interrupted; run the stage again" in problem


def test_an_input_that_changes_while_it_is_read_leaves_nothing(tmp_path: Path, text: Path) -> None:
    class Growing(Pieces):
        def run(self, phase: str, task: Task, work: Work) -> None:
            super().run(phase, task, work)
            with text.open("a") as more:
                more.write("l")

    home = tmp_path / "home"
    with pytest.raises(Exception, match=r"text: changed while it was read; run again"):
        run_stage(Growing(text, str(home), 5), Local(1))
    assert storage.listing(str(home)) == []
    run_stage(Pieces(text, str(home), 5), Local(1))
    assert (home / "10").read_text() == "kl---"


RUN = """
import sys
sys.path.insert(0, sys.argv[2])
from toy_stage import Upper
from dolma_pipe.execution import Message, run_stage
from dolma_pipe.runners.local import Local
if __name__ == "__main__":
    base = sys.argv[1]
    say = lambda event: print(event.text) if isinstance(event, Message) else None
    run_stage(Upper(base + "/in", base + "/out", base + "/log"), Local(int(sys.argv[3])), on_event=say)
"""


def started(tmp_path: Path, workers: int, tasks: int) -> subprocess.Popen[str]:
    """A run of three tasks that hangs in two of them, when it has begun `tasks`."""
    (tmp_path / "in").mkdir()
    for name, content in {"a": "one ", "b": "wait", "c": "wait"}.items():
        (tmp_path / "in" / name).write_text(content)
    script, log = tmp_path / "program.py", tmp_path / "log"
    script.write_text(RUN)
    command = [sys.executable, str(script), str(tmp_path), str(Path(__file__).parent), str(workers)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    while not (log.exists() and len(log.read_text().splitlines()) >= tasks):
        assert process.poll() is None
        time.sleep(0.01)
    return process


@pytest.mark.parametrize(("workers", "tasks"), [(1, 2), (2, 3)])
def test_sigterm_stops_a_run_says_so_and_leaves_nothing_unfinished(tmp_path: Path, workers: int, tasks: int) -> None:
    process = started(tmp_path, workers, tasks)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=10)
    assert process.returncode == 143
    assert "stopped by SIGTERM: nothing half-written is visible, run again to go on" in said
    assert not list((tmp_path / "out").rglob(storage.ASIDE))


def test_two_runs_do_not_write_one_folder_at_a_time(tmp_path: Path) -> None:
    process = started(tmp_path, 1, 2)
    stage = Upper(str(tmp_path / "in"), str(tmp_path / "out"), str(tmp_path / "log2"))
    try:
        with pytest.raises(ConfigError, match=rf"out: process {process.pid} on .* writes there; run again when it has"):
            run_stage(stage, Local(1))
        with pytest.raises(ConfigError, match="writes there"):
            run_stage(stage, Local(1), Options(part=(0, 2)))
        assert run_stage(stage, Local(1), Options(dry_run=True)).to_do > 0
    finally:
        process.kill()
        process.communicate(timeout=10)
    for name in "bc":
        (tmp_path / "in" / name).write_text(name)
    run_stage(stage, Local(1))
    assert (tmp_path / "out" / "all.txt").read_text() == "ONE BC"


def test_the_workers_of_a_killed_run_end_with_it(tmp_path: Path) -> None:
    process = started(tmp_path, 2, 3)
    workers = descendants(process.pid)
    assert len(workers) >= 2
    process.kill()
    process.communicate(timeout=10)
    deadline = time.monotonic() + 10
    while any(map(alive, workers)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def descendants(pid: int) -> list[int]:
    """Processes below one, as Linux lists them."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    children = [int(child) for listed in tasks for child in listed.read_text().split()]
    return [*children, *itertools.chain.from_iterable(map(descendants, children))]


def alive(pid: int) -> bool:
    """Is a process there, and no zombie?"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_parts_that_run_at_the_same_time_exclude_only_a_whole_run(tmp_path: Path) -> None:
    lock = str(tmp_path / "lock")
    parts = [storage.Claims(shared=True) for _ in range(2)]
    for part in parts:
        part.add(lock, "here")
    whole = storage.Claims()
    with pytest.raises(ConfigError, match=f"here: process {os.getpid()} on .* writes there"):
        whole.add(lock, "here")
    for claims in (*parts, whole):
        claims.release()
    whole.add(lock, "here")
    whole.release()


def test_what_is_set_aside_is_published_with_the_outputs(tmp_path: Path, text: Path) -> None:
    class Strict(Pieces):
        def run(self, phase: str, task: Task, work: Work) -> None:
            with work.quarantine(storage.join(self.home, "_quarantine", "text.jsonl")) as bad:
                bad({"line": 1})  # type: ignore[arg-type]
            super().run(phase, task, work)
            assert not (home / "_quarantine" / "text.jsonl").exists()

    home = tmp_path / "home"
    run_stage(Strict(text, str(home), 5), Local(1))
    assert json.loads((home / "_quarantine" / "text.jsonl").read_text()) == {"line": 1}
    assert not list(home.rglob(storage.ASIDE))
