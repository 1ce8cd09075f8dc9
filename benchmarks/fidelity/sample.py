"""The documents that both sides judge."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import data, peers
from dolma_pipe.shards import DocumentReader

HERE = Path(__file__).parent


def texts(documents: int, characters: int) -> list[str]:
    """Of every source of the corpus the first documents, in order of shards and rows, up to so many documents and
    characters (the one that exceeds the characters is the last)."""
    found: list[str] = []
    for source in sorted(path for path in (data.corpus() / "corpus").iterdir() if path.is_dir()):
        left = characters
        for number, text in enumerate(_texts_of(source)):
            if number == documents or left <= 0:
                break
            found.append(text)
            left -= len(text)
    return found


def _texts_of(source: Path) -> Iterator[str]:
    for shard in sorted((source / "documents").iterdir()):
        for batch in DocumentReader(str(shard)):
            yield from batch.texts()


def ask(peer: str, texts: list[str], folder: Path, *arguments: str) -> list[dict[str, Any]]:
    """What `peer_<peer>.py`, run in the peer's environment, says of every text."""
    source, target = folder / "texts.jsonl", folder / "answers.jsonl"
    with source.open("w", encoding="utf-8") as out:
        out.writelines(json.dumps({"text": text}) + "\n" for text in texts)
    python = str(peers.environment(peer) / "python")
    script = str(HERE / f"peer_{peer}.py")
    ended = subprocess.run(
        [python, script, str(source), str(target), *arguments], capture_output=True, text=True, check=False
    )
    if ended.returncode != 0:
        sys.exit(f"{peer} failed:\n{ended.stderr[-3000:]}")
    with target.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
