"""Time and peak memory of one worker as the data grows: 1x, 3x, 10x of the same corpus."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks import data
from benchmarks.measure import ours, table

SIZES = (1, 3, 10)
TAGGERS = ["gopher", "gopher_repetition", "c4", "length"]


def main() -> None:
    rows: list[list[object]] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        for copies in SIZES:
            folder = data.lay_out(Path(name) / f"x{copies}", data.PROSE, 12_000_000, copies)
            to = str(Path(name) / f"attributes{copies}")
            runs = {"read": ours("read", data=folder), "tag": ours("tag", data=folder, to=to, taggers=TAGGERS)}
            for by in ("text", "paragraph"):
                runs[f"dedup {by}"] = ours("dedup", data=folder, to=to, by=by)
            for task, found in runs.items():
                rows.append([task, f"{copies}x", runs["read"].said["bytes"] / 1e6, found.seconds, found.peak_mb])
    rows.sort(key=lambda row: str(row[0]))
    table("Growth, one worker", ["task", "data", "MB of text", "seconds", "peak MB"], rows)
