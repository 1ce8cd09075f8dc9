"""Exact deduplication: beside reading, beside the Dolma toolkit, as the data grows; what it finds of planted copies.

All ratios are of times of one run. A time is the least of `TRIES`, taken in turn with the times it is compared with,
since whatever else the machine does only adds.
"""

from __future__ import annotations

import gzip
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import data, peers, planted
from benchmarks.measure import Measured, command, ours, table

TRIES = 5
SIZES = (1, 3, 10)
GROWTH_BYTES = 60_000_000
GROWTH_PARTITION = 8 << 20
KINDS: dict[str, dict[str, Any]] = {
    "url": {"by": "url"},
    "text": {"by": "text"},
    "text, normalised": {"by": "text", "text": {"normalize": ["nfkc", "lowercase", "punctuation", "whitespace"]}},
    "paragraph": {"by": "paragraph"},
    "paragraph, by 13-gram": {"by": "paragraph", "paragraph": {"by_ngram": {}}},
}


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        work = Path(name)
        whole = lay_out(work / "whole", corpus_lines())
        _beside_reading(work, whole)
        _beside_dolma(work, whole)
        _growth(work)
        planted.main()


# Data


def corpus_lines() -> Iterator[bytes]:
    for path in sorted((data.corpus() / "corpus").glob("*/documents/*")):
        yield from data.read(path).splitlines(keepends=True)


def lay_out(to: Path, lines: Iterable[bytes], shard_bytes: int = data.SHARD_BYTES) -> str:
    """A data set of gzip shards of about so many bytes of lines each."""
    (to / "documents").mkdir(parents=True)
    source = iter(lines)
    number = 0
    while shard := b"".join(_taken(source, shard_bytes)):
        with gzip.open(to / "documents" / f"{number:04}.jsonl.gz", "wb", 3) as out:
            out.write(shard)
        number += 1
    return str(to)


def _taken(lines: Iterator[bytes], size: int) -> Iterator[bytes]:
    """The next lines, until there are `size` bytes of them."""
    taken = 0
    while taken < size and (line := next(lines, b"")):
        taken += len(line)
        yield line


def grown(copies: int) -> Iterator[bytes]:
    """The start of the corpus `copies` times; in every other document all paragraphs are new ones each time."""
    start = list(_taken(corpus_lines(), GROWTH_BYTES))
    for copy in range(copies):
        for number, line in enumerate(start):
            named = line.replace(b'{"id": "', b'{"id": "%d-' % copy)
            new = named.replace(b'"text": "', b'"text": "%d ' % copy).replace(b"\\n", b"\\n%d " % copy)
            yield new if number % 2 else named


# Runs


def least(run: Callable[[], Measured]) -> Measured:
    return in_turn({"": run})[""]


def in_turn(runs: dict[str, Callable[[], Measured]]) -> dict[str, Measured]:
    """The least of several tries of each, one after the other and all over again."""
    found = [{name: run() for name, run in runs.items()} for _ in range(TRIES)]
    return {name: min((tries[name] for tries in found), key=lambda one: one.seconds) for name in runs}


def ours_dedup(work: Path, folder: str, **settings: Any) -> Measured:
    to = work / "attributes"
    shutil.rmtree(to, ignore_errors=True)
    return ours("dedup", data=folder, to=str(to), **settings)


def _beside_reading(work: Path, folder: str) -> None:
    runs = {name: partial(ours_dedup, work, folder, **settings) for name, settings in KINDS.items()}
    found = in_turn({"read and parse": partial(ours, "read", data=folder), **runs})
    reading = found["read and parse"]
    size = reading.said["bytes"] / 1e6
    rows: list[list[object]] = []
    for name, its in found.items():
        spilled = its.said.get("spill_bytes", 0) / 1e6
        rows.append([name, size / its.seconds, its.seconds / reading.seconds, spilled, its.peak_mb])
    header = ["by", "MB/s of text", "x reading", "spill MB", "peak MB"]
    table("Exact dedup, one process, the whole corpus", header, rows)


def _growth(work: Path) -> None:
    rows: list[list[object]] = []
    for copies in SIZES:
        folder = lay_out(work / f"x{copies}", grown(copies), data.SHARD_BYTES // 8)  # so that 1x has several, too
        size = ours("read", data=folder).said["bytes"] / 1e6
        for name in ("text", "paragraph"):
            found = ours_dedup(work, folder, partition_bytes=GROWTH_PARTITION, **KINDS[name])
            spilled = found.said["spill_bytes"] / 1e6
            rows.append([name, f"{copies}x", size, found.seconds, size / found.seconds, spilled, found.peak_mb])
        shutil.rmtree(folder)
    rows.sort(key=lambda row: str(row[0]))
    header = ["by", "data", "MB of text", "seconds", "MB/s", "spill MB", "peak MB"]
    table(f"Growth, one worker, partitions of {GROWTH_PARTITION >> 20} MiB", header, rows)


# Dolma


def _beside_dolma(work: Path, folder: str) -> None:
    """The same keys of the same files; both without the time their process takes to start."""
    with_url = lay_out(work / "with_url", (line for line in corpus_lines() if _has_url(line)))  # Dolma needs one
    empty = lay_out(work / "empty", [b'{"id": "1", "text": "one document", "source": "x", "metadata": {"url": "u"}}\n'])
    rows: list[list[object]] = []
    for by, where in (("url", with_url), ("text", folder), ("paragraph", folder)):
        size = ours("read", data=where).said["bytes"] / 1e6
        found = in_turn({
            "ours": partial(ours_dedup, work, where, by=by), "peer": partial(dolma, work, where, by),
            "start": partial(dolma, work, empty, by),
        })  # fmt: skip
        mine, peer = found["ours"], found["peer"]
        seconds, cpu = peer.seconds - found["start"].seconds, peer.cpu - found["start"].cpu
        ratios = [seconds / mine.seconds, cpu / mine.cpu]
        rows.append([by, size / mine.seconds, size / seconds, *ratios, mine.peak_mb, peer.peak_mb])
    header = ["by", "MB/s", "Dolma MB/s", "times faster", "by CPU time", "peak MB", "Dolma peak MB"]
    table("Beside the Dolma toolkit, one process, the same files", header, rows)


def _has_url(line: bytes) -> bool:
    return bool((json.loads(line).get("metadata") or {}).get("url"))


def dolma(work: Path, folder: str, by: str) -> Measured:
    keys = {"url": "$.metadata.url", "text": "$.text"}
    mode = (
        {"paragraphs": {"attribute_name": "duplicate"}}
        if by == "paragraph"
        else {"documents": {"attribute_name": "duplicate", "key": keys[by]}}
    )
    settings = {
        "documents": [f"{folder}/documents/*.gz"],
        "dedupe": {"name": "dd", "skip_empty": True, **mode},
        "bloom_filter": {
            "file": str(work / "bloom.bin"), "read_only": False, "estimated_doc_count": 2_000_000,
            "desired_false_positive_rate": 1e-6,
        },
        "processes": 1,
    }  # fmt: skip
    (work / "bloom.bin").unlink(missing_ok=True)
    shutil.rmtree(Path(folder, "attributes"), ignore_errors=True)
    config = work / "dedupe.json"
    config.write_text(json.dumps(settings))
    return command([str(peers.environment("dolma") / "dolma"), "-c", str(config), "dedupe"])
