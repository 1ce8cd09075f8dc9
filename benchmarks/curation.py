"""Reading, dedup, mix, tokenize; dedup beside the Dolma toolkit on the same files, the mix is in mixing.py."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from benchmarks import data, mixing, peers
from benchmarks.measure import Measured, command, ours, table

PEER_BYTES = 12_000_000


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        work = Path(name)
        whole = data.lay_out(work / "whole")
        small = data.lay_out(work / "small", data.PROSE, PEER_BYTES)
        reading = ours("read", data=whole)
        size = reading.said["bytes"]
        rows = [_row("read and parse", reading, size, reading)]
        rows.append(_row("tag gopher", _tag(work, whole, ["gopher"]), size, reading))
        rows += [_row(f"dedup {by}", _dedup(work, whole, by), size, reading) for by in ("url", "text", "paragraph")]
        attributes = str(work / "attributes" / Path(whole).name)
        mixed = mixing.mix(work, whole, attributes=attributes)
        rows += [_row("mix", mixed, size, reading), _row("tokenize", _tokenize(work, whole), size, reading)]
        table("One process, the whole corpus", ["task", "MB/s of text", "x reading", "seconds", "peak MB"], rows)
        _beside_dolma(work, small)


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


def _beside_dolma(work: Path, folder: str) -> None:
    """The same work on the same files."""
    dolma = str(peers.environment("dolma") / "dolma")
    documents = f"{folder}/documents/*.gz"
    size = ours("read", data=folder).said["bytes"]
    paragraphs = _dolma_dedupe(dolma, documents, work)
    rows = [_versus("dedup paragraph", _dedup(work, folder, "paragraph"), paragraphs.seconds, size, paragraphs)]
    header = ["task", "MB/s", "Dolma MB/s", "times faster", "peak MB", "Dolma peak MB"]
    table("Beside the Dolma toolkit, one process, the same files", header, rows)


def _versus(name: str, mine: Measured, peer_seconds: float, size: float, peer: Measured) -> list[object]:
    return [
        name,
        size / 1e6 / mine.seconds,
        size / 1e6 / peer_seconds,
        peer_seconds / mine.seconds,
        mine.peak_mb,
        peer.peak_mb,
    ]


def _dolma_dedupe(dolma: str, documents: str, work: Path) -> Measured:
    config = work / "dedupe.json"
    settings = {
        "documents": [documents],
        "dedupe": {"name": "dd", "paragraphs": {"attribute_name": "duplicate"}, "skip_empty": True},
        "bloom_filter": {
            "file": str(work / "bloom.bin"), "read_only": False, "estimated_doc_count": 2_000_000,
            "desired_false_positive_rate": 1e-6,
        },
        "processes": 1,
    }  # fmt: skip
    config.write_text(json.dumps(settings))
    return command([dolma, "-c", str(config), "dedupe"])
