"""The demo's pipeline: the steps of configs/pipelines/demo.yaml, on this machine's own text or on given data sets.

It is written to the demo's folder as `pipeline.yaml` and `mix.yaml`, to be read, changed and run again.
"""

from __future__ import annotations

import posixpath
import sysconfig
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import yaml

from dolma_pipe import storage
from dolma_pipe.config import bundled, fingerprint, read_yaml
from dolma_pipe.errors import ConfigError
from dolma_pipe.report.results import Places
from dolma_pipe.shards import DocumentReader, document_shards

DOCUMENTS, BYTES = 2100, 14_000_000
"""How many source files of packages are read at least; with the rest it makes 3,000 documents and 20 MB."""
MAX_PACKAGE_BYTES = 8_000_000
OURS = ("dolma_pipe", "taggers", "mixers")
MIX, HELD_OUT = "mix.yaml", "held_out"
PROSE = "${to}/data/docs"


class Files(NamedTuple):
    """The two files of a demo: the pipeline's data, and the text of its mix."""

    pipeline: dict[str, Any]
    mix: str


def on_this_machine(to: str) -> Files:
    """The demo on the standard library, and on the documentation and the source of the installed packages."""
    pipeline, mix = _templates()
    packages = sysconfig.get_path("purelib")
    chosen = [f"{name}/*.py" for name in choose_packages(packages)]
    places = {"stdlib": sysconfig.get_path("stdlib"), "packages": packages}
    filled = mix.read_text(encoding="utf-8").replace("${to}", msgspec.json.encode(to).decode()[1:-1])
    return Files({**pipeline, "vars": {"to": to, **places, "chosen": chosen}}, filled)


def choose_packages(folder: str) -> list[str]:
    """Packages with the smallest source files first, until there are enough documents and bytes."""
    sizes: dict[str, list[int]] = defaultdict(list)
    for name in storage.listing(folder, hidden="."):
        package, slash, _ = name.partition("/")
        if slash and name.endswith(".py") and package not in OURS:
            sizes[package].append(storage.size(storage.join(folder, name)))
    candidates = [name for name, found in sizes.items() if sum(found) <= MAX_PACKAGE_BYTES]
    candidates.sort(key=lambda name: (sum(sizes[name]) / len(sizes[name]), name))
    chosen: list[str] = []
    documents = total = 0
    for name in candidates:
        if documents >= DOCUMENTS and total >= BYTES:
            break
        chosen.append(name)
        documents += len(sizes[name])
        total += sum(sizes[name])
    return sorted(chosen)


def on_datasets(to: str, datasets: list[str]) -> Files:
    """The demo on given data sets, which are only read: all are measured and mixed as the demo's prose is."""
    names = [posixpath.basename(posixpath.normpath(dataset)) for dataset in datasets]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"demo: two data sets are called {twice!r}; rename the folder of one")
    pipeline, mix = _templates()
    retold = Retold(to, dict(zip(names, datasets, strict=True)), _place_key(datasets))
    steps = [step for old in pipeline["steps"] for step in retold.steps(old)]
    return Files({"vars": {"to": to}, "steps": steps}, _dump(retold.mix(read_yaml(mix))))


def _templates() -> tuple[dict[str, Any], Path]:
    data: Any = read_yaml(bundled("pipelines/demo.yaml"))
    for step in data["steps"]:
        if "mix" in step:
            step["mix"] = MIX
    return data, bundled("mix/demo.yaml")


def _place_key(datasets: list[str]) -> str | None:
    """What tells where documents come from, judged by the first of them: `url`, `metadata.path`, or nothing."""
    fields = {"url": "url", "path": "metadata.path"}
    for dataset in datasets:
        reader = DocumentReader(document_shards(dataset)[0], ("id", "text", "metadata"), limit=100)
        for batch in reader:
            for field, key in fields.items():
                if batch.metadata(field).null_count < len(batch):
                    return key
    return None


class Retold(NamedTuple):
    """The demo's prose, told of other data sets: name -> folder. `place` is what `dedup_path` compares, if anything."""

    to: str
    datasets: dict[str, str]
    place: str | None

    def attributes(self, name: str) -> str:
        return storage.join(self.to, "attributes", name)

    def steps(self, step: dict[str, Any]) -> list[dict[str, Any]]:
        """What becomes of one step of the demo's pipeline."""
        [(stage, settings)] = step.items()
        if stage == "tag" and PROSE in settings["datasets"]:
            return [
                {"tag": {**settings, "datasets": [folder], "attributes": self.attributes(name)}}
                for name, folder in self.datasets.items()
            ]
        if stage == "dedup" and (self.place is not None or settings["by"] != "metadata.path"):
            return [{"dedup": self.dedup(settings)}]
        return [step] if stage not in ("ingest", "tag", "dedup") else []

    def dedup(self, settings: dict[str, Any]) -> dict[str, Any]:
        folders = list(self.datasets.values())
        root = storage.join(self.to, "attributes") if len(folders) > 1 else self.attributes(next(iter(self.datasets)))
        found = {**settings, "datasets": folders, "attributes": root}
        if settings["by"] == "metadata.path":
            found["by"] = self.place
        if self.place is None and "where" in found:
            found["where"] = [rule for rule in found["where"] if "dedup_path" not in rule]
        return found

    def mix(self, mix: Any) -> dict[str, Any]:
        """The demo's mix with one source per data set, all like the first."""
        prose = mix["sources"][0]
        if self.place is None:
            prose["attributes"].remove("dedup_path")
            prose["steps"].remove({"dedup": {"by": "dedup_path"}})
        sources = [
            {**prose, "name": name, "dataset": folder, "attributes_from": self.attributes(name)}
            for name, folder in self.datasets.items()
        ]
        return {**mix, "to": storage.join(self.to, "mixed"), "sources": sources}


def write(files: Files, to: str) -> str:
    """Write a demo's files; a mix that somebody has changed stays as it is. Returns the path of the pipeline."""
    mix, pipeline = storage.join(to, MIX), storage.join(to, "pipeline.yaml")
    if not _is_changed(mix):
        storage.write_bytes(mix, (_signature(files.mix) + files.mix).encode())
    storage.write_bytes(pipeline, ("# Written by `dolma-pipe demo`.\n" + _dump(files.pipeline)).encode())
    return pipeline


def _signature(text: str) -> str:
    return f"# Written by `dolma-pipe demo` ({fingerprint(text)}), which leaves it alone once it is changed.\n"


def _is_changed(path: str) -> bool:
    if not storage.is_file(path):
        return False
    head, _, body = storage.read_bytes(path).decode().partition("\n")
    return head + "\n" != _signature(body)


def _dump(data: dict[str, Any]) -> str:
    return yaml.dump(data, Dumper=_Plain, sort_keys=False, width=120, allow_unicode=True)


class _Plain(yaml.SafeDumper):
    """Repeats what is there twice: our loader refuses aliases."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def places(to: str, datasets: list[str]) -> Places:
    """Where the page of results finds what the demo wrote."""
    names = [] if datasets else ["docs", "stdlib", "packages"]
    return Places(
        datasets={name: storage.join(to, "data", name) for name in names},
        mix=storage.join(to, "mixed"),
        tokens={"train": storage.join(to, "tokens", "train"), HELD_OUT: storage.join(to, "tokens", HELD_OUT)},
        run=storage.join(to, "run"),
        evaluation=storage.join(to, "bits_per_byte.json"),
    )


def where(to: str) -> dict[str, str]:
    """What lies where, for a reader of the page."""
    parts = {
        "documents, attributes": "data/", "attributes": "attributes/", "mixed documents": "mixed/documents/",
        "held-out documents": f"mixed/splits/{HELD_OUT}/",
        "what became of each": "mixed/mix.lock.json", "tokenizer": "tokenizer/tokenizer.json", "tokens": "tokens/",
        "model, loss by step": "run/", "bits per byte": "bits_per_byte.json", "the pipeline": "pipeline.yaml",
        "its thresholds": "mix.yaml",
    }  # fmt: skip
    return {what: f"{to}/{path}" for what, path in parts.items() if storage.exists(f"{to}/{path}")}


def following(to: str) -> list[str]:
    """Commands to try next."""
    run = f"dolma-pipe run -c {to}/pipeline.yaml"
    return [
        f"{run}    # does nothing, since all is done",
        f"{run} --set train.steps=400    # trains on from the checkpoint",
        f"edit {to}/mix.yaml; {run} --set train.to={to}/run2 --set eval.model={to}/run2    # other thresholds",
        f"dolma-pipe mix -c {to}/mix.yaml --plan    # what each rule drops, alone and together",
        f"dolma-pipe why DOC_ID --in {to}/mixed    # why a document is in the mix, or is not",
        f"dolma-pipe report {to}/mixed    # a page with movable thresholds, and a data card",
        f"dolma-pipe trace {to}/run --step 100    # the documents of a training step",
        f"dolma-pipe tag {to}/mixed --taggers length,c4    # measures what was kept",
        f"dolma-pipe verify {to}/mixed    # reads and hashes it all again",
        "dolma-pipe demo --on DATASET --to mine    # the same on documents of your own",
    ]
