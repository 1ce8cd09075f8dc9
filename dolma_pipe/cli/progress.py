"""What a running stage shows: bars on a terminal, plain lines elsewhere; all of it on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from dolma_pipe.cli.figures import counted, size
from dolma_pipe.execution import Event, PhaseStarted, Summary, TaskDone
from dolma_pipe.stage import Progress
from dolma_pipe.types import Counts, add_counts

PLAIN_SECONDS = 10.0
SHOWN = ("kept", "dropped", "bad_rows")
WHERE = {"skipped_files": "_skipped", "bad_rows": "_quarantine"}
"""The folder, in a stage's home, that has what a count counts."""


class Display:
    """Follows the events of one stage. `documents` and `bytes` are totals of the current phase."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.documents = self.bytes = self.tasks = self.total = 0
        self.counts: Counts = {}
        self._started = self._spoke = time.monotonic()
        self._bar: Any = None
        self._bar_task: Any = None

    def __enter__(self) -> Display:
        if sys.stderr.isatty():
            self._bar = _bar()
            self._bar.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def on_event(self, event: Event) -> None:
        if isinstance(event, PhaseStarted):
            self._phase(event)
        elif isinstance(event, Progress):
            self.documents += event.documents
            self.bytes += event.bytes
        elif isinstance(event, TaskDone):
            self.tasks += 1
            add_counts(self.counts, event.counts)
        else:
            self._say(f"{self.stage}: {event.text}")
            return
        self._show()

    def _phase(self, event: PhaseStarted) -> None:
        self.documents = self.bytes = self.tasks = 0
        self.counts = {}
        self.total = event.to_do
        self._started = time.monotonic()
        if self._bar is not None and event.to_do:
            if self._bar_task is not None:
                self._bar.remove_task(self._bar_task)
            self._bar_task = self._bar.add_task(f"{self.stage} {event.phase}", total=event.to_do, rates="")

    def _show(self) -> None:
        if self._bar is not None:
            if self._bar_task is not None:
                self._bar.update(self._bar_task, completed=self.tasks, rates=self.rates())
        elif time.monotonic() - self._spoke >= PLAIN_SECONDS:
            self._spoke = time.monotonic()
            self._say(f"{self.stage}: {self.tasks} of {self.total} tasks, {self.rates()}")

    def rates(self) -> str:
        """Documents, speed, and what was kept, dropped or bad so far."""
        seconds = max(time.monotonic() - self._started, 1e-9)
        shown = [
            f"{self.documents:,} documents",
            f"{self.documents / seconds:,.0f}/s",
            f"{self.bytes / seconds / 1e6:.1f} MB/s",
        ]
        shown += [f"{name.replace('_rows', '')} {self.counts[name]:,}" for name in SHOWN if self.counts.get(name)]
        return ", ".join(shown)

    def _say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, highlight=False, markup=False)
        else:
            print(text, file=sys.stderr, flush=True)  # noqa: T201


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rates]}"),
        TimeRemainingColumn(),
    )  # fmt: skip
    return Bar(*columns, console=Console(stderr=True))


def describe(summary: Summary, dry_run: bool = False) -> str:
    """One line: what a stage did, or that nothing was left to do."""
    where = f"{summary.stage} -> {summary.home}"
    if dry_run:
        return f"{where}: {counted(summary.to_do, 'task')} to do, {summary.skipped} done"
    if not summary.done:
        return f"{where}: nothing to do, all is up to date ({counted(summary.skipped, 'task')})"
    before = f", {summary.skipped} were up to date" if summary.skipped else ""
    done = f"{counted(summary.done, 'task')} done{before} in {summary.seconds:.1f} s"
    return f"{where}: {done}: {', '.join(_told(summary))}"


def _told(summary: Summary) -> Iterator[str]:
    """What was counted, documents first; what did not happen is left out."""
    counts = {name: value for name, value in summary.counts.items() if value}
    read = counts.pop("bytes", 0)
    yield counted(counts.pop("documents", 0), "document") + (f" ({size(read)})" if read else "")
    for name, value in counts.items():
        where = WHERE.get(name)
        said = f"{size(value)} bad" if name == "bad_bytes" else f"{name.replace('_', ' ')} {value:,}"
        yield said + (f" (see {where}/)" if where else "")
