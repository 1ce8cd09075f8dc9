"""What a folder is that somebody wants a report on, and where the data sets behind a mix lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from dolma_pipe import storage, tokens
from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.manifest import MANIFEST
from dolma_pipe.report.results import Places
from dolma_pipe.report.sampling import Tagged
from dolma_pipe.shards import Shard, document_shards

LOCK = "mix.lock.json"


def locate(folder: str) -> Places:
    """A mix, a data set, or all that a pipeline wrote below a folder."""
    if storage.is_file(storage.join(folder, LOCK)):
        return Places(mix=folder)
    if storage.exists(storage.join(folder, "documents")):
        return Places(datasets={storage.join(folder).rsplit("/", 1)[-1]: folder})
    names = storage.listing(folder)
    mixes = _parents(names, f"/{LOCK}")
    if len(mixes) > 1:
        raise ConfigError(f"{folder}: holds {len(mixes)} mixes ({', '.join(mixes)}); report on one of them")
    runs, scores = _parents(names, "/metrics.jsonl"), [name for name in names if _is_score(folder, name)]
    found = Places(
        datasets={name: storage.join(folder, name) for name in _datasets(names, mixes)},
        mix=storage.join(folder, mixes[0]) if mixes else None,
        tokens={name: storage.join(folder, name) for name in _parents(names, f"/{tokens.MANIFEST}")},
        run=storage.join(folder, runs[0]) if runs else None,
        evaluation=storage.join(folder, scores[0]) if scores else None,
    )
    if not found.datasets and found.mix is None:
        raise DataError(f"{folder}: no mix, no data set and no pipeline's folder (no {LOCK}, no documents/ in it)")
    return found


def _parents(names: Sequence[str], ending: str) -> list[str]:
    return [name.removesuffix(ending) for name in names if name.endswith(ending)]


def _datasets(names: Sequence[str], mixes: Sequence[str]) -> list[str]:
    heads = dict.fromkeys(name.partition("/documents/")[0] for name in names if "/documents/" in name)
    return [head for head in heads if not any(head == mix or head.startswith(f"{mix}/") for mix in mixes)]


def _is_score(folder: str, name: str) -> bool:
    """Is it what `eval` wrote?"""
    if not name.endswith(".json") or "/documents/" in name:
        return False
    path = storage.join(folder, name)
    if storage.size(path) > 1 << 20:
        return False
    try:
        content: Any = msgspec.json.decode(storage.read_bytes(path))
    except msgspec.DecodeError:
        return False
    return isinstance(content, dict) and isinstance(content.get("overall"), dict) and "sources" in content


def read_lock(mix: str) -> Any:
    """A mix's lock as plain data."""
    return msgspec.json.decode(storage.read_bytes(storage.join(mix, LOCK)))


def sources_of(mix: str, lock: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, Tagged | None]:
    """The data sets of a mix's sources: those given, else where its last run found them; None for what is gone."""
    unknown = next((name for name in given if name not in lock["sources"]), None)
    if unknown is not None:
        raise ConfigError(f"--dataset {unknown}=...: the mix has no such source (it has {', '.join(lock['sources'])})")
    places = _places(mix)
    found: dict[str, Tagged | None] = {}
    for name, source in lock["sources"].items():
        its = places.get(name, {}) if name not in given else {"dataset": given[name]}
        dataset = its.get("dataset", "")
        there = dataset and storage.exists(storage.join(dataset, "documents"))
        root = its.get("attributes") or storage.join(dataset, "attributes")
        limit = lock["configuration"].get("limit")
        found[name] = _tagged(name, dataset, root, source["inputs"])._replace(limit=limit) if there else None
    return found


def _tagged(name: str, dataset: str, attributes: str, inputs: Sequence[Any]) -> Tagged:
    """The shards that the mix read, in its order, with their hashes."""
    head = f"{name}/documents/"
    hashes = {entry["name"][len(head) :]: entry["hash"] for entry in inputs if entry["name"].startswith(head)}
    shards = [Shard(dataset, shard) for shard in sorted(hashes, key=str.encode)]
    missing = next((shard.path for shard in shards if storage.stat(shard.path) is None), None)
    if missing:
        raise DataError(f"{missing}: gone, but the mix was made of it; give --dataset {name}=DIR")
    return Tagged(name, shards, attributes, hashes)


def _places(mix: str) -> dict[str, dict[str, str]]:
    """Where the last run of a mix found its data sets: its log says so."""
    folder = storage.join(mix, MANIFEST, "runs")
    logs = [name for name in storage.listing(folder) if "-mix-" in name] if storage.exists(folder) else []
    found: dict[str, dict[str, str]] = {}
    for name in sorted(logs):
        content: Any = msgspec.json.decode(storage.read_bytes(storage.join(folder, name)))
        found |= content.get("places", {})
    return found


def tagged(name: str, dataset: str, attributes: str | None = None) -> Tagged:
    """A data set by itself."""
    return Tagged(name, document_shards(dataset), attributes or storage.join(dataset, "attributes"), {})


def manifests_of(mix: str, lock: Mapping[str, Any], folders: Mapping[str, str]) -> list[tokens.Manifest]:
    """The token folders that were made of a mix's training documents, and not of its splits."""
    splits = {name for source in lock["sources"].values() for name in source["funnel"]["splits"]}
    digest = storage.content_hash(storage.join(mix, LOCK))
    found: list[tokens.Manifest] = []
    for folder in folders.values():
        manifest = tokens.TokenSet.open(folder).manifest
        own = [o for o in manifest.origins if o.mix == digest and o.dataset not in splits]
        found += [manifest] if own else []
    return found
