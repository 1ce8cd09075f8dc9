"""Stages that kill their worker once in every phase, when its work is done and nothing of it is published yet; and a
command that dies when it would publish a certain file."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

from dolma_pipe.stage import Stage, Task, Work
from dolma_pipe.stages.dedup.bloom.stage import BloomDedup
from dolma_pipe.stages.dedup.substring.stage import SubstringDedup


def die_once(mercy: Path, phase: str) -> None:
    """Kill -9 the first worker that asks; a file named after the phase says that it happened.

    A phase of one task is done by the process of the test, which lives on.
    """
    if multiprocessing.parent_process() is None:
        return
    try:
        (mercy / phase).touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def mortal(stage: Stage, mercy: Path) -> Stage:
    """The same stage, which dies once in every phase; `mercy` is an empty folder."""
    found = next(kind for kind in (MortalBloom, MortalSubstring) if issubclass(kind, type(stage)))
    stage.__class__ = found
    stage.mercy = mercy  # type: ignore[attr-defined]
    return stage


class MortalBloom(BloomDedup):
    mercy: Path

    def run(self, phase: str, task: Task, work: Work) -> None:
        super().run(phase, task, work)
        die_once(self.mercy, phase)


class MortalSubstring(SubstringDedup):
    mercy: Path

    def run(self, phase: str, task: Task, work: Work) -> None:
        super().run(phase, task, work)
        die_once(self.mercy, phase)


KILLED = """
import os, signal, sys
from dolma_pipe.cli import app
publish = os.replace

def deadly(source, target):
    if sys.argv[1] in target:
        os.kill(os.getpid(), signal.SIGKILL)
    publish(source, target)

os.replace = deadly
app(sys.argv[2:])
"""
"""`python -c KILLED PLACE COMMAND...`: killed before a file whose path holds PLACE appears."""
