"""One command, timed as a whole process with its peak memory; rows of a table."""

from __future__ import annotations

import contextlib
import json
import re
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple


class Measured(NamedTuple):
    """Seconds by the clock, peak resident MB of the process, what it printed last as JSON (if it did), and seconds of
    the processor."""

    seconds: float
    peak_mb: float
    said: dict[str, float]
    cpu: float = 0.0


def command(arguments: Sequence[str], cwd: Path | None = None) -> Measured:
    """Run a command to its end; a failure ends the benchmark with what it printed."""
    started, busy = time.perf_counter(), _of_children()
    process = subprocess.Popen(arguments, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    with _Peak(process.pid) as peak:
        output = process.stdout.read()
        status = process.wait()
    seconds, cpu = time.perf_counter() - started, _of_children() - busy
    if status != 0:
        sys.exit(f"{' '.join(arguments)} failed:\n{output[-3000:]}")
    return Measured(seconds, peak.mb, _last_json(output), cpu)


def _of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


class _Peak(threading.Thread):
    """Asks for a process's peak memory until it ends. What `wait4` says is no less than this process had when it
    started the other one, which may be more than that one ever had."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.mb = 0.0
        self._status = Path(f"/proc/{pid}/status")
        self._over = threading.Event()

    def __enter__(self) -> _Peak:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(OSError):
                found = re.search(r"VmHWM:\s+(\d+) kB", self._status.read_text())
                self.mb = int(found.group(1)) / 1024 if found else self.mb
            self._over.wait(0.02)


def _last_json(output: str) -> dict[str, float]:
    lines = [line for line in output.splitlines() if line.startswith("{")]
    try:
        return json.loads(lines[-1]) if lines else {}
    except json.JSONDecodeError:
        return {}


def ours(task: str, **settings: object) -> Measured:
    """One task of `benchmarks.inside` in a process of its own; both times are those of the work, kernels warm."""
    found = command([sys.executable, "-m", "benchmarks.inside", task, json.dumps(settings)])
    return Measured(found.said["seconds"], found.peak_mb, found.said, found.said.get("cpu", 0.0))


def best_of(rounds: int, runs: Mapping[str, Callable[[], Measured]]) -> dict[str, Measured]:
    """The fastest of several rounds of each, with the least memory; the runs take turns."""
    found: dict[str, Measured] = {}
    for _ in range(rounds):
        for name, run in runs.items():
            new = run()
            best = min(found.get(name, new), new, key=lambda one: one.seconds)
            found[name] = best._replace(peak_mb=min(found.get(name, new).peak_mb, new.peak_mb))
    return found


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table in Markdown."""
    shown = [[_cell(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[i]) for row in shown) for i in range(len(header))]
    print(f"\n## {title}\n")
    for number, row in enumerate(shown):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |")
        if number == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")
    sys.stdout.flush()


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.2f}" if abs(value) < 10 else f"{value:,.0f}"
    return str(value)
