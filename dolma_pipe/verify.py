"""Re-reads what stages wrote and compares it with their records."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from dolma_pipe import manifest, storage, tokens
from dolma_pipe.errors import DataError
from dolma_pipe.manifest import MANIFEST


class Verified(NamedTuple):
    """Records and files that were looked at; a problem is one line that names the file."""

    records: int
    files: int
    problems: list[str]


def verify(folder: str) -> Verified:
    """Hash every recorded output below a local folder, and read token shards through; scratch outputs may be gone."""
    records = _records(storage.local_path(folder))
    if not records:
        raise DataError(f"{folder}: no records of any stage below it (no folder {MANIFEST}/)")
    files, problems = 0, []
    for path in records:
        record = manifest.read(path)
        if record is not None and not record.definition:
            problems.append(f"{path}: its task was interrupted; run the stage again")
            continue
        for output in record.outputs if record else ():
            where = storage.join(manifest.root_of(path), output.path)
            room = output.path.split("/", 1)[0]
            if room.startswith("_scratch") or (room == "_cache" and not storage.exists(where)):
                continue
            files += 1
            problem = _problem(where, output)
            if problem:
                problems.append(problem)
    for path in sorted(Path(folder).rglob(tokens.MANIFEST)):
        if MANIFEST not in path.parts:
            problems += _token_problems(str(path.parent))
    return Verified(len(records), files, problems)


def _token_problems(folder: str) -> list[str]:
    try:
        return tokens.verify(tokens.TokenSet.open(folder))
    except DataError as error:
        return [str(error)]


def _records(folder: str) -> list[str]:
    found: list[str] = []
    for root, folders, _ in os.walk(folder):
        if MANIFEST in folders:
            base = Path(root) / MANIFEST
            paths = (path for path in base.rglob("*.json") if path.relative_to(base).parts[0] not in ("stat", "runs"))
            found += [str(path) for path in paths]
    return sorted(found)


def _problem(path: str, output: manifest.Output) -> str | None:
    found = storage.stat(path)
    if found is None:
        return f"{path}: gone"
    if found.size != output.bytes:
        return f"{path}: {found.size} bytes, the record says {output.bytes}"
    digest = storage.content_hash(path)
    return None if digest == output.hash else f"{path}: hash {digest}, the record says {output.hash}"
