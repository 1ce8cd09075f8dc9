"""How a stage is run, what is told of it meanwhile, and what it did."""

from __future__ import annotations

from typing import NamedTuple

from dolma_pipe.stage import Progress
from dolma_pipe.types import Counts


class PhaseStarted(NamedTuple):
    phase: str
    tasks: int
    to_do: int


class TaskDone(NamedTuple):
    task: str
    counts: Counts


class Message(NamedTuple):
    text: str


Event = PhaseStarted | TaskDone | Message | Progress


class Options(NamedTuple):
    """How a stage is run; none of it changes what comes out.

    `force` does everything again, `rehash` compares inputs by content even where size and time agree, `dry_run` only
    plans, `part` = (i, n) does every n-th task from the i-th (0-based), for arrays of jobs on a cluster.
    """

    force: bool = False
    rehash: bool = False
    dry_run: bool = False
    part: tuple[int, int] | None = None


class Summary(NamedTuple):
    """What a run did: tasks done now and before, the counts of all of them, outputs removed with their inputs."""

    stage: str
    home: str
    done: int
    skipped: int
    removed: int
    counts: Counts
    seconds: float
    to_do: int = 0
