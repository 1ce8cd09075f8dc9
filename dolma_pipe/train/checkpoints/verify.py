"""Is what lies there now what a run was made of?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from dolma_pipe import storage, tokens
from dolma_pipe.config import convert
from dolma_pipe.errors import PipeError
from dolma_pipe.tokens import TokenSet
from dolma_pipe.train.checkpoints import checkpoint
from dolma_pipe.train.checkpoints.lineage import code
from dolma_pipe.train.data.config import DocumentsConfig
from dolma_pipe.types import Plain

MIX_LOCK = "mix.lock.json"


class VerifiedRun(NamedTuple):
    """Checkpoints and token folders that were re-read; a problem is one line that says what differs from what.

    `notes` are differences that are no damage: trained by other code than this.
    """

    checkpoints: int
    folders: int
    files: int
    problems: list[str]
    notes: list[str]


def verify_run(run: str, mixed: Sequence[str] = ()) -> VerifiedRun:
    """Re-read the files of a run's checkpoints (or of one), and follow each link back: tokens, tokenizer, mixes.

    `mixed` are the folders that the mixes wrote, of which tokens know the name and the lock's hash.
    """
    folders = checkpoint.complete(run) or [run]
    problems: list[str] = []
    notes: list[str] = []
    seen: dict[str, dict[str, Plain]] = {}
    records: list[checkpoint.CheckpointRecord] = []
    files = 0
    for folder in folders:
        try:
            record = checkpoint.read_record(folder)
        except PipeError as error:
            problems.append(str(error))
            continue
        records.append(record)
        files += len(record.files)
        problems += _changed_files(folder, record)
        problems += _contradictions(folder, record)
        for one in record.lineage.get("tokens", ()):
            if seen.setdefault(one["folder"], one) != one:
                problems.append(f"{folder}: names other tokens in {one['folder']} than the checkpoints before it")
        if record.lineage.get("code") not in (code(), None):
            made = record.lineage["code"]
            notes.append(f"{folder}: trained by version {made['version']}, source {made['train'][:8]}, not by this")
    for one in seen.values():
        problems += _changed_tokens(one)
    problems += _changed_documents(records[-1]) if records else []
    found = {name: origin["mix"] for one in seen.values() for name, origin in _mixes(one)}
    problems += _changed_mixes(found, mixed)
    left = sorted(set(found) - {Path(folder).name for folder in mixed})
    notes += [f"the mix {name} was not looked at; name the folder that it wrote" for name in left]
    return VerifiedRun(len(folders), len(seen), files, problems, notes)


def _changed_files(folder: str, record: checkpoint.CheckpointRecord) -> list[str]:
    found = {name: storage.content_hash(storage.join(folder, name)) for name in record.files}
    return [
        f"{folder}/{name}: hash {found[name]}, the checkpoint's record says {file.hash}"
        for name, file in record.files.items()
        if found[name] != file.hash
    ]


def _contradictions(folder: str, record: checkpoint.CheckpointRecord) -> list[str]:
    """Does the record say one thing of its data and another of their lineage?"""
    known = {one["manifest"] for one in record.lineage.get("tokens", ())}
    named = {source["manifest"] for mix in record.data.get("mixtures", ()) for source in mix["sources"]}
    return [f"{folder}: was trained on the manifest {one}, of which it has no lineage" for one in sorted(named - known)]


def _changed_tokens(made: dict[str, Plain]) -> list[str]:
    folder = made["folder"]
    try:
        found = TokenSet.open(folder)
    except PipeError as error:
        return [str(error)]
    problems: list[str] = []
    if found.hash != made["manifest"]:
        problems.append(f"{folder}: manifest {found.hash}, the run was trained on {made['manifest']}")
    if found.manifest.tokenizer_hash != made["tokenizer"]:
        problems.append(f"{folder}: tokenizer {found.manifest.tokenizer_hash}, the run had {made['tokenizer']}")
    return problems + tokens.verify(found)


def _changed_documents(record: checkpoint.CheckpointRecord) -> list[str]:
    """Of a run that was trained straight from documents: the files that it has read, and its tokenizer."""
    if record.config.get("documents") is None:
        return []
    documents = convert(record.config["documents"], DocumentsConfig, "documents")
    folders = {Path(dataset).name: dataset for dataset in documents.folders}
    known = {documents.tokenizer: record.data["tokenizer"]}
    if not documents.tokenizer.endswith(".json"):
        known = {storage.join(documents.tokenizer, tokens.TOKENIZER): record.data["tokenizer"]}
    for name, (_, digest) in record.memory.items():
        dataset, _, shard = name.partition("/")
        known[storage.join(folders[dataset], "documents", shard)] = digest
    found = {path: storage.content_hash(path) if storage.is_file(path) else "none" for path in known}
    return [
        f"{path}: hash {found[path]}, the run was trained on {digest}"
        for path, digest in known.items()
        if found[path] != digest
    ]


def _mixes(made: dict[str, Plain]) -> list[tuple[str, dict[str, Plain]]]:
    return [(origin["dataset"], origin) for origin in made["origins"] if origin["mix"] is not None]


def _changed_mixes(known: dict[str, Plain], mixed: Sequence[str]) -> list[str]:
    problems: list[str] = []
    for folder in mixed:
        name, path = Path(folder).name, storage.join(folder, MIX_LOCK)
        found = storage.content_hash(path) if storage.is_file(path) else "none"
        if name not in known:
            problems.append(f"{folder}: no text of this run came from a mix of that name")
        elif found != known[name]:
            problems.append(f"{path}: hash {found}, the run's text came from {known[name]}: the data were mixed anew")
    return problems
