"""Peak memory of a worker whose shard holds one document of 100 MB: prose, and the texts that are worst for it.

Each tagger runs as a whole stage, each case in a process of its own, forked when kernels are warm.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import data
from benchmarks.measure import ours, table
from benchmarks.parts import SEVEN

SIZE = 100_000_000
TAGGERS: dict[str, list[Any]] = {
    "all seven": SEVEN,
    **{name: [name] for name in SEVEN},
    **{name: [name] for name in (
        "lines", "code", "sentences", "dclm", "dclm_text", "datatrove_c4", "datatrove_ngrams", "dolma_pii",
        "compression", "random", "langid", "toxicity",
    )},
    "langid, units: line": [{"name": "langid", "units": ["line"]}],
    "quality": [{"name": "quality", "model": "toxicity", "label": "toxic"}],
    "dclm, view: dclm": ["dclm_text", {"name": "dclm", "view": "dclm"}],
    "fineweb, view: c4": ["c4", {"name": "fineweb", "view": "c4"}],
    "fineweb, view: fineweb_c4": [
        {"name": "fineweb_c4", "use": "datatrove_c4", "terminal_punctuation": False},
        {"name": "fineweb", "view": "fineweb_c4"},
    ],
}  # fmt: skip
SQUARE = {("dolma_pii", "digits")}
"""What takes time that grows with the square of the size, as the toolkit's patterns do: minutes."""


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folders = {case: _write(Path(name) / case, text()) for case, text in CASES.items()}
        with ThreadPoolExecutor(2) as pool:
            found = dict(zip(TAGGERS, pool.map(lambda one: _measured(one, folders, name), TAGGERS), strict=True))
    rows = [
        [tagger, *(said.get(f"{case} mb", "-") for case in CASES), SIZE / 1e6 / said["prose s"]]
        for tagger, said in found.items()
    ]
    table("Peak MB with one document of 100 MB", ["tagger", *CASES, "MB/s of prose, CPU"], rows)


def _measured(tagger: str, folders: dict[str, str], work: str) -> dict[str, float]:
    cases = {case: folder for case, folder in folders.items() if (tagger, case) not in SQUARE}
    return ours("memory", folders=cases, work=work, taggers=TAGGERS[tagger]).said


def peaks(folders: dict[str, str], work: str, taggers: list[Any]) -> dict[str, float]:
    """For each folder the peak memory of a process that tags it, and its seconds of CPU time."""
    from dolma_pipe.execution import Options, run_stage
    from dolma_pipe.runners.local import Local
    from dolma_pipe.stages.tag import Tag, TagConfig

    found: dict[str, float] = {"seconds": 0.0}
    for case, folder in folders.items():
        to = tempfile.mkdtemp(dir=work, prefix="attributes-")
        stage = Tag(TagConfig(datasets=[folder], attributes=to, taggers=taggers))
        stage.warm()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                run_stage(stage, Local(1), Options(force=True))
                status = 0
            finally:
                os._exit(status)
        _, status, used = os.wait4(child, 0)
        if status:
            sys.exit(f"{taggers} failed on {folder}")
        found[f"{case} mb"] = float(round(used.ru_maxrss / 1024))
        found[f"{case} s"] = used.ru_utime + used.ru_stime
        found["seconds"] += found[f"{case} s"]
    return found


def _write(folder: Path, text: str) -> str:
    (folder / "documents").mkdir(parents=True)
    line = json.dumps({"id": "1", "text": text, "metadata": {"url": "http://a.org/"}}, ensure_ascii=False)
    (folder / "documents/0.jsonl").write_text(line + "\n")
    return str(folder)


def _prose() -> str:
    texts: list[str] = []
    for source in data.PROSE:
        for path in sorted((data.corpus() / "corpus" / source / "documents").iterdir()):
            texts += [json.loads(line)["text"] for line in data.read(path).splitlines()]
    whole = "\n".join(texts).encode()
    return (whole * (SIZE // len(whole) + 1))[:SIZE].decode(errors="ignore")


def _ideographs() -> str:
    codes = np.random.default_rng(0).integers(0x4E00, 0x9FFF, SIZE // 3).astype("<u4")
    codes[19::20], codes[9::50], codes[99::100] = ord("。"), ord("😀"), ord("\n")
    return codes.tobytes().decode("utf-32-le").encode()[:SIZE].decode(errors="ignore")


def _digits() -> str:
    return np.frombuffer(b"0123456789@.", np.uint8)[np.random.default_rng(0).integers(0, 12, SIZE)].tobytes().decode()


CASES: dict[str, Callable[[], str]] = {
    "prose": _prose,
    "one line": lambda: _prose().replace("\n", " "),
    "letters": lambda: "a " * (SIZE // 2),
    "newlines": lambda: "\n" * SIZE,
    "ideographs": _ideographs,
    "digits": _digits,
}
"""`letters`: words of one letter; `digits`: one word of digits, `@` and full stops."""
