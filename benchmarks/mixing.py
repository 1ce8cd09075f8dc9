"""The mix beside the Dolma toolkit's: two rules and the removal of repeated paragraphs, one process, the same files.

Both are measured with the attributes that each wrote itself, over several copies of one sample, so that what starting
costs does not count for much: Dolma's time is that of its process, ours that of the work with kernels loaded.
"""

from __future__ import annotations

import gzip
import json
import shutil
import tempfile
from pathlib import Path

from benchmarks import data, peers
from benchmarks.measure import Measured, best_of, command, ours, table

SOURCE_BYTES = 6_000_000
COPIES = 2
ROUNDS = 3
KEY = "@.gopher_v2__gopher_v2"


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        work = Path(name)
        sample = _sample(work)
        _measure_theirs(work, sample)
        rows: list[list[object]] = []
        for plain in (False, True):
            part = _unpacked(sample, work / "unpacked") if plain else sample
            _measure_ours(part)
            whole = _multiplied(part, work / ("plain" if plain else "packed"))
            size = ours("read", data=str(whole)).said["bytes"]
            runs = {
                "ours": lambda whole=whole, plain=plain: mix(work, str(whole), plain),
                "dolma": lambda whole=whole, plain=plain: _dolma_mix(work, whole, plain),
            }
            found = best_of(ROUNDS, runs)
            rows.append(_row("both uncompressed" if plain else "default output", size, found["ours"], found["dolma"]))
        header = ["mix", "MB/s", "Dolma MB/s", "times faster", "peak MB", "Dolma peak MB"]
        table("The mix beside the Dolma toolkit's, one process, the same files", header, rows)


def _row(name: str, size: float, mine: Measured, peer: Measured) -> list[object]:
    rates = [size / 1e6 / found.seconds for found in (mine, peer)]
    return [name, *rates, peer.seconds / mine.seconds, mine.peak_mb, peer.peak_mb]


def _sample(work: Path) -> Path:
    """The beginning of every source of prose, a shard each: pages, mails and posts, and books."""
    to = work / "sample"
    (to / "documents").mkdir(parents=True)
    for source in data.PROSE:
        parts = Path(data.lay_out(work / "source", (source,), SOURCE_BYTES), "documents").iterdir()
        whole = b"".join(gzip.decompress(path.read_bytes()) for path in sorted(parts))
        (to / "documents" / f"{source}.jsonl.gz").write_bytes(gzip.compress(whole, 6))
    return to


def _measure_ours(sample: Path) -> None:
    ours("tag", data=str(sample), to=str(sample / "attributes"), taggers=["gopher"])
    ours("dedup", data=str(sample), to=str(sample / "attributes"), by="paragraph")


def _measure_theirs(work: Path, sample: Path) -> None:
    dolma, documents = _dolma(), f"{sample}/documents/*.gz"
    command([dolma, "tag", "--documents", documents, "--taggers", "gopher_v2", "--processes", "1"])
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
    command([dolma, "-c", str(config), "dedupe"])
    shutil.move(sample / "attributes", sample / "theirs")


def _unpacked(sample: Path, to: Path) -> Path:
    """The documents and their attributes without compression."""
    for path in sorted(path for name in ("documents", "theirs") for path in (sample / name).rglob("*.gz")):
        unpacked = to / path.relative_to(sample).with_suffix("")
        unpacked.parent.mkdir(parents=True, exist_ok=True)
        unpacked.write_bytes(gzip.decompress(path.read_bytes()))
    return to


def _multiplied(sample: Path, to: Path) -> Path:
    """Copies of the sample's files under other names: documents and both sides' attributes."""
    for path in sorted(path for path in sample.rglob("*") if path.is_file() and "_manifest" not in path.parts):
        folder = to / path.relative_to(sample).parent
        folder.mkdir(parents=True, exist_ok=True)
        for copy in range(COPIES):
            shutil.copyfile(path, folder / f"{copy}-{path.name}")
    return to


def mix(work: Path, folder: str, plain: bool = False, attributes: str | None = None) -> Measured:
    """Two filters and the removal of repeated paragraphs, as `_dolma_mix` has them."""
    config = work / "mix.yaml"
    steps = [
        {"keep": {"long": "gopher.word_count >= 50", "few_symbols": "gopher.symbol_to_word_ratio <= 0.1"}},
        {"edit": {"remove": "dedup_paragraph.duplicate"}},
    ]
    source = {
        "name": "all", "dataset": folder, "attributes_from": attributes or f"{folder}/attributes",
        "attributes": ["gopher", "dedup_paragraph"], "steps": steps,
    }  # fmt: skip
    more = {"compression": "none"} if plain else {}
    config.write_text(json.dumps({"to": str(work / "mixed"), "seed": 1, "sources": [source], **more}))
    shutil.rmtree(work / "mixed", ignore_errors=True)
    return ours("mix", config=str(config))


def _dolma() -> str:
    return str(peers.environment("dolma") / "dolma")


def _dolma_mix(work: Path, folder: Path, plain: bool) -> Measured:
    config, output = work / "dolma_mix.json", work / "dolma_mixed"
    shutil.rmtree(output, ignore_errors=True)  # it leaves out what is there
    (folder / "dolma").mkdir(exist_ok=True)
    for name, place in (("documents", "documents"), ("attributes", "theirs")):
        if not (folder / "dolma" / name).exists():
            (folder / "dolma" / name).symlink_to(folder / place)
    stream = {
        "name": "all", "documents": [f"{folder}/dolma/documents/*"], "attributes": ["gopher_v2", "dd"],
        "output": {"path": str(output), "max_size_in_bytes": 1 << 30},
        "filter": {"include": [], "exclude": [
            f"$.attributes[?({KEY}__word_count && {KEY}__word_count[0] && {KEY}__word_count[0][2] < 50)]",
            f"$.attributes[?({KEY}__symbol_to_word_ratio && {KEY}__symbol_to_word_ratio[0] && "
            f"{KEY}__symbol_to_word_ratio[0][2] > 0.1)]",
        ]},
        "span_replacement": [{"span": "$.attributes.duplicate", "min_score": 0.5, "replacement": ""}],
    }  # fmt: skip
    if plain:
        stream["compression"] = {"input": "", "output": ""}
    config.write_text(json.dumps({"streams": [stream], "processes": 1}))
    return command([_dolma(), "-c", str(config), "mix"])
