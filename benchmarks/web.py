"""`python -m benchmarks web`: how fast web archives are read, and how much of what is kept is the article.

Speed is time of the processor for the records of DOLMA_PIPE_CORPUS/web/warc, against plain loops around the same
extractor (which count nothing, and read every page in the encoding that it seems to have), and around trafilatura as
datatrove calls it. The truth is web/gold.jsonl.gz: articles that people marked (`text`), and sentences that must, and
must not, be part of a page's text.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.data import corpus
from benchmarks.measure import table
from benchmarks.peers import HERE, environment
from dolma_pipe.inputs.files import RawFile
from dolma_pipe.inputs.reader import Found, InputReader
from dolma_pipe.inputs.records import Fields
from dolma_pipe.streams import json_objects

ROUNDS, MB = 3, 1e6
WORD = re.compile(r"\w+")


class Run(NamedTuple):
    """Seconds of the processor, pages, and bytes of HTML; the text of every page by its record's id."""

    seconds: float
    pages: int
    size: int
    texts: dict[str, str]


def archives() -> list[Path]:
    return sorted((corpus() / "web" / "warc").glob("*.warc.gz"))


def ours(*, main_content: bool) -> Run:
    best, texts = float("inf"), {}
    for _ in range(ROUNDS):
        started, texts = time.process_time(), {}
        for path in archives():
            file = RawFile(path.name, str(path), "warc")
            for one in InputReader(file, Fields(), 64_000_000, main_content=main_content):
                if isinstance(one, Found):
                    texts[one.document["id"]] = one.document["text"]
        best = min(best, time.process_time() - started)
    return Run(best, len(texts), 0, texts)


def peer(reader: str, extractor: str) -> Run:
    command = [str(environment("web") / "python"), str(HERE / "peer_web.py"), reader, extractor, *map(str, archives())]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    first, *lines = done.stdout.splitlines()
    said = json.loads(first)
    texts = {bare(name): text for name, text in map(json.loads, lines)}
    return Run(said["seconds"], said["pages"], said["bytes"], texts)


def bare(name: str) -> str:
    return name.strip("<>").removeprefix("urn:uuid:")


def speed(runs: dict[str, Run]) -> None:
    size, pages = runs["FastWARC, resiliparse"].size, runs["FastWARC, resiliparse"].pages
    first = next(iter(runs.values())).seconds
    rows = [
        (name, f"{run.seconds:.2f}", f"{size / MB / run.seconds:.1f}", f"{pages / run.seconds:,.0f}",
         f"{run.seconds / first:.2f}")
        for name, run in runs.items()
    ]  # fmt: skip
    header = ("reader", "CPU s", "MB/s", "pages/s", "time, ours = 1")
    table(f"Speed: {pages} pages, {size / MB:.0f} MB of HTML", header, rows)


def words(text: str) -> Counter[str]:
    return Counter(WORD.findall(text))


def agreement(text: str, truth: str) -> tuple[float, float, float]:
    """Precision, recall and F1 of the words of a text, repeated ones counted as often as both have them."""
    found, wanted = words(text), words(truth)
    both = (found & wanted).total()
    precision, recall = both / max(found.total(), 1), both / max(wanted.total(), 1)
    return precision, recall, 2 * precision * recall / (precision + recall) if both else 0.0


def share(text: str, parts: list[str]) -> tuple[int, int]:
    """How many of the parts are in a text, wherever its lines break."""
    joined = " ".join(text.split())
    return sum(" ".join(part.split()) in joined for part in parts), len(parts)


def quality(name: str, texts: dict[str, str], truth: list[dict[str, Any]]) -> tuple[str, ...]:
    scores: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    have, lack = [0, 0], [0, 0]
    for gold in truth:
        text = texts.get(bare(gold["record_id"]), "")
        if gold.get("text"):
            scores[gold["dataset"]].append(agreement(text, gold["text"]))
        for total, parts in ((have, gold.get("with_segments")), (lack, gold.get("without_segments"))):
            found, count = share(text, parts or [])
            total[0] += found
            total[1] += count
    means = [[sum(column) / len(scores[kind]) for column in zip(*scores[kind], strict=True)] for kind in sorted(scores)]
    cells = (f"{precision:.3f} / {recall:.3f} / {f1:.3f}" for precision, recall, f1 in means)
    empty = sum(not texts.get(bare(gold["record_id"]), "").strip() for gold in truth)
    return (name, *cells, f"{have[0] / have[1]:.1%}", f"{lack[0] / lack[1]:.1%}", str(empty))


def main() -> None:
    makers: dict[str, Callable[[], Run]] = {
        "dolma_pipe": lambda: ours(main_content=True),
        "dolma_pipe, whole page": lambda: ours(main_content=False),
        "FastWARC, resiliparse": lambda: peer("fastwarc", "resiliparse"),
        "warcio, resiliparse": lambda: peer("warcio", "resiliparse"),
        "warcio, trafilatura": lambda: peer("warcio", "trafilatura"),
    }
    runs = {name: make() for name, make in makers.items()}
    speed(runs)
    truth = list(json_objects(str(corpus() / "web" / "gold.jsonl.gz")))
    kinds = sorted({gold["dataset"] for gold in truth if gold.get("text")})
    rows = [quality(name, run.texts, truth) for name, run in runs.items() if name != "FastWARC, resiliparse"]
    title = f"Text of {len(truth)} pages: precision / recall / F1 of words, and marked sentences that are in it"
    table(title, ("text of", *kinds, "wanted", "unwanted", "empty"), rows)
