"""Every stage of a curation on the whole corpus, beside reading it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks import data, mixing
from benchmarks.measure import Measured, ours, table


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        work = Path(name)
        whole = data.lay_out(work / "whole")
        reading = ours("read", data=whole)
        size = reading.said["bytes"]
        rows = [_row("read and parse", reading, size, reading)]
        rows.append(_row("tag gopher", _tag(work, whole, ["gopher"]), size, reading))
        rows += [_row(f"dedup {by}", _dedup(work, whole, by), size, reading) for by in ("url", "text", "paragraph")]
        attributes = str(work / "attributes" / Path(whole).name)
        mixed = mixing.mix(work, whole, attributes=attributes)
        rows += [_row("mix", mixed, size, reading), _row("tokenize", _tokenize(work, whole), size, reading)]
        table("One process, the whole corpus", ["task", "MB/s of text", "x reading", "seconds", "peak MB"], rows)


def _row(name: str, found: Measured, size: float, reading: Measured) -> list[object]:
    return [name, size / 1e6 / found.seconds, found.seconds / reading.seconds, found.seconds, found.peak_mb]


def _tag(work: Path, folder: str, taggers: list[str]) -> Measured:
    return ours("tag", data=folder, to=str(work / "attributes" / Path(folder).name), taggers=taggers)


def _dedup(work: Path, folder: str, by: str) -> Measured:
    return ours("dedup", data=folder, to=str(work / "attributes" / Path(folder).name), by=by)


def _tokenize(work: Path, folder: str) -> Measured:
    tokenizer = str(data.corpus() / "tokenizers" / "allenai_gpt-neox-olmo-dolma-v1_5.json")
    to = str(work / "tokens" / Path(folder).name)
    return ours("tokenize", datasets=[folder], tokenizer=tokenizer, to=to, eos="<|endoftext|>")
