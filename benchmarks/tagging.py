"""Tagging beside reading, what a run consists of, and the peers on the same files; ratios of one run.

Every figure is the best of some rounds that take turns, so that what else the machine does weighs little.
"""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks import data, peers
from benchmarks.measure import Measured, best_of, command, ours, table
from benchmarks.parts import ROUNDS, SEVEN

OTHERS = [
    "lines", "code", "sentences", "dclm", "datatrove_c4", "datatrove_ngrams", "dolma_pii", "compression", "random",
    "langid", "toxicity",
]  # fmt: skip
"""The other bundled taggers that need no option."""
DOLMA = ["gopher_v2", "c4_v2", "pii_regex_with_counts_fast_v2", "char_length_v1", "whitespace_tokenizer_v1"]
"""What the Dolma toolkit has of the seven: no FineWeb, and no URL without a list."""
DATATROVE = ["gopher", "gopher_repetition", "datatrove_ngrams", "c4", "fineweb"]
"""What gives the values of datatrove's filters of Gopher quality and repetition, C4 and FineWeb."""
SAMPLE, SMALL_SAMPLE = 12_000_000, 1_500_000
"""Bytes of JSON lines for the Dolma toolkit, and for datatrove, which is slower."""


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        work = Path(name)
        whole = data.copied(work / "whole")
        reading = _table_of_taggers(work, whole)
        _table_of_shards(work, whole, data.joined(whole))
        _table_of_parts(whole, reading)
        sample = data.joined(data.lay_out(work / "sample", data.PROSE, SAMPLE))
        _table_of_langid(sample)
        _table_of_peers(work, sample, data.lay_out(work / "small", data.PROSE[2:3], SMALL_SAMPLE))


def tag(work: Path, folder: str, taggers: list[str]) -> Measured:
    """A whole stage that writes into an empty folder."""
    to = tempfile.mkdtemp(dir=work, prefix="attributes-")
    return ours("tag", data=folder, to=to, taggers=taggers)


def _table_of_taggers(work: Path, whole: str) -> Measured:
    pairs = [["gopher", other] for other in SEVEN[1:]]
    sets = [SEVEN, *([name] for name in SEVEN), *pairs]
    runs: dict[str, Callable[[], Measured]] = {"read": lambda: ours("read", data=whole)}
    runs |= {"+".join(names): lambda names=names: tag(work, whole, names) for names in sets}
    found = best_of(ROUNDS, runs)
    found |= {name: tag(work, whole, [name]) for name in OTHERS}
    reading, size = found["read"], found["read"].said["bytes"]
    labels = {"read": "read and parse", "+".join(SEVEN): "all seven of these:"} | {name: name for name in SEVEN}
    rows = [_row(label, found[name], reading, size) for name, label in labels.items()]
    rows += [_row(name, found[name], reading, size) for name in OTHERS]
    table("Tagging, one process, the whole corpus", ["task", "MB/s of text", "x reading", "s", "peak MB"], rows)
    alone, seconds = found["gopher"].seconds, {name: one.seconds for name, one in found.items()}
    rows = [[pair[1], seconds["+".join(pair)] - alone, seconds[pair[1]]] for pair in pairs]
    table("A second tagger: added to gopher, or in its own pass", ["tagger", "added, s", "own pass, s"], rows)
    return reading


def _row(label: str, found: Measured, reading: Measured, size: float) -> list[object]:
    return [label, size / 1e6 / found.seconds, found.seconds / reading.seconds, found.seconds, found.peak_mb]


def _table_of_shards(work: Path, small: str, large: str) -> None:
    """The seven on the corpus as it is, and on the same documents in shards of a size that people have."""
    rows: list[list[object]] = []
    for label, folder in (("as it is, 3 MB each", small), (f"{data.SHARD_BYTES >> 20} MB each", large)):
        runs = {"read": partial(ours, "read", data=folder), "seven": partial(tag, work, folder, SEVEN)}
        found = best_of(ROUNDS, runs)
        rows.append(_row(label, found["seven"], found["read"], found["read"].said["bytes"]))
    table("All seven, by the size of the shards", ["shards", "MB/s of text", "x reading", "s", "peak MB"], rows)


def _table_of_parts(whole: str, reading: Measured) -> None:
    found = ours("parts", data=whole).said
    total = found["whole stage"]
    rows = [[part, seconds, f"{seconds / total:.0%}"] for part, seconds in found.items() if part != "seconds"]
    table("What a run of the seven consists of", ["part", "s", "share"], rows)


def _table_of_langid(sample: str) -> None:
    found = ours("langid", data=sample).said
    rows = [
        ["this project's kernels", found["bytes"] / 1e6 / found["ours"]],
        ["the fastText library", found["bytes"] / 1e6 / found["library"]],
    ]
    title = f"Language ID, the bundled model: {found['same']:.2%} same labels, scores within {found['apart']:.0e}"
    table(title, ["", "MB/s of text"], rows)


def _table_of_peers(work: Path, sample: str, small: str) -> None:
    size = ours("read", data=sample).said["bytes"]
    runs = {
        "seven": lambda: tag(work, sample, SEVEN),
        "filters": lambda: tag(work, sample, DATATROVE),
        "dolma": lambda: _dolma(work, sample),
        "datatrove": lambda: _datatrove(small),
    }
    found = {**best_of(ROUNDS, {name: runs[name] for name in ("seven", "filters")}), "dolma": runs["dolma"](),
             "datatrove": runs["datatrove"]()}  # fmt: skip
    speeds = {name: size / 1e6 / one.seconds for name, one in found.items()}
    speeds["datatrove"] = found["datatrove"].said["bytes"] / 1e6 / found["datatrove"].seconds
    rows = [
        ["the seven, beside the Dolma toolkit's " + ", ".join(DOLMA), speeds["seven"], speeds["dolma"],
         speeds["seven"] / speeds["dolma"]],
        [", ".join(DATATROVE) + ", beside datatrove's Gopher quality and repetition, C4, FineWeb filters",
         speeds["filters"], speeds["datatrove"], speeds["filters"] / speeds["datatrove"]],
    ]  # fmt: skip
    table("Beside the peers, one process", ["task", "MB/s", "peer's MB/s", "times faster"], rows)


def _dolma(work: Path, folder: str) -> Measured:
    """The toolkit's command, less the time that it takes over one document."""
    dolma = str(peers.environment("dolma") / "dolma")
    empty = work / "empty" / "documents"
    empty.mkdir(parents=True)
    with gzip.open(empty / "x.jsonl.gz", "wb") as out:
        out.write(b'{"id": "1", "text": "one document", "source": "x"}\n')
    options = ["--taggers", *DOLMA, "--processes", "1"]
    start = command([dolma, "tag", "--documents", f"{empty}/*.gz", *options])
    found = command([dolma, "tag", "--documents", f"{folder}/documents/*.gz", *options])
    return found._replace(seconds=found.seconds - start.seconds)


def _datatrove(folder: str) -> Measured:
    """Its filters alone, every document through each of them; reading, and what they need to start, not counted."""
    python = str(peers.environment("datatrove") / "python")
    [source] = Path(folder, "documents").glob("*.gz")
    found = command([python, str(peers.HERE / "peer_filters.py"), str(source)])
    return found._replace(seconds=found.said["seconds"])
