"""Compares what two runs wrote, and runs commands as a user does."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import zstandard

SCRIPTS = Path(sys.executable).parent


def shell(script: str, cwd: Path) -> str:
    """Standard output of a shell script that finds `dolma-pipe`."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-c", script], cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def content(root: Path) -> dict[str, Any]:
    """Relative path -> decompressed content of every file that two equal runs have in common."""
    files = [path for path in sorted(root.rglob("*")) if path.is_file() and not _is_of_the_run(path.relative_to(root))]
    return {path.relative_to(root).as_posix(): _content(path) for path in files}


def _is_of_the_run(path: Path) -> bool:
    """Times, places and speeds: what no comparison covers."""
    return "_manifest" in path.parts or path.name in ("manifest.json", "_running") or "checkpoints" in path.parts


def _content(path: Path) -> Any:
    if path.suffix == ".zst":
        return zstandard.ZstdDecompressor().stream_reader(path.read_bytes()).read()
    if path.suffix == ".gz":
        return gzip.decompress(path.read_bytes())
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    if path.name == "metrics.jsonl":
        return [(line["step"], line["loss"]) for line in map(json.loads, path.read_text().splitlines())]
    return path.read_bytes()
