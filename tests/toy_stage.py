"""A small stage of two phases, with levers that make its tasks fail, kill their worker or wait."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import ClassVar

from dolma_pipe import storage
from dolma_pipe.config import fingerprint
from dolma_pipe.errors import DataError
from dolma_pipe.manifest import MANIFEST, Record, Ref
from dolma_pipe.stage import Stage, Task, Work


class Upper(Stage):
    """Phase 1: each file of `source` in upper case, as scratch. Phase 2: all of them behind one another.

    A file that says "fail" fails, one that says "kill" kills its worker (once, if `mercy` is a path that it may
    make), one that says "wait" sleeps for a minute. `log` gets a line per task that ran.
    """

    name: ClassVar[str] = "upper"
    version: ClassVar[int] = 1
    phases: tuple[str, ...] = ("upper", "join")

    def __init__(self, source: str, home: str, log: str, suffix: str = "", mercy: str = "") -> None:
        self.source, self.home, self.log, self.suffix, self.mercy = source, home, log, suffix, mercy

    def plan(self, phase: str, done: dict[str, list[Record]]) -> list[Task]:
        if phase == "upper":
            return [self._task(phase, name, (Ref(name, storage.join(self.source, name)),)) for name in self._names()]
        return [self._task(phase, "all", (), [record.digest() for record in done["upper"]])]

    def _names(self) -> list[str]:
        return storage.listing(self.source)

    def _task(self, phase: str, name: str, inputs: tuple[Ref, ...], upstream: list[str] | None = None) -> Task:
        definition = fingerprint((self.name, self.version, phase, self.suffix, upstream))
        record = storage.join(self.home, MANIFEST, phase, name + ".json")
        return Task(name, record, definition, inputs, scratch=phase == "upper")

    def run(self, phase: str, task: Task, work: Work) -> None:
        with open(self.log, "a") as log:
            log.write(f"{phase} {task.name}\n")
        if phase == "join":
            parts = [storage.read_bytes(storage.join(self.home, "_scratch", name)) for name in self._names()]
            with work.create(storage.join(self.home, "all.txt")) as out:
                out.write(b"".join(parts))
            return
        text = Path(task.inputs[0].path).read_text()
        self._obey(text)
        with work.create(storage.join(self.home, "_scratch", task.name)) as out:
            out.write((text.upper() + self.suffix).encode())
        work.count(documents=1, bytes=len(text), bad_rows=text.count("bad"))
        work.progress(1, len(text))

    def _obey(self, text: str) -> None:
        if "fail" in text:
            raise DataError("told to fail")
        if "kill" in text and not os.path.exists(self.mercy):
            if self.mercy:
                Path(self.mercy).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if "wait" in text:
            for _ in range(6000):  # a signal that comes just before a sleep is seen behind it
                time.sleep(0.01)

    def scratch_folders(self) -> list[str]:
        return [storage.join(self.home, "_scratch")]
