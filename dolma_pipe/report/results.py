"""Tables of results of a pipeline: what was read, kept and dropped for which rule, tokens, loss, bits per byte.

Everything is read from the files that the stages left; whatever a pipeline does not have is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from dolma_pipe import storage
from dolma_pipe.manifest import MANIFEST, read
from dolma_pipe.types import Counts, add_counts

AVERAGED = 10
"""Steps that the loss at the end is the mean of; one step's loss is that of a handful of documents."""


NAMES = frozenset(("source", "reason", "spans of", "split", "unit", "group"))
"""Columns that hold names; the others but the first hold numbers."""


class Places(msgspec.Struct, frozen=True):
    """Where a pipeline's outputs lie; names are what the page calls them."""

    datasets: dict[str, str] = {}
    mix: str | None = None
    tokens: dict[str, str] = {}
    run: str | None = None
    evaluation: str | None = None


class Section(NamedTuple):
    """A table of the page; `curve` is drawn below it: (step, loss)."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    note: str = ""
    curve: tuple[tuple[int, float], ...] = ()


def sections(places: Places) -> list[Section]:
    """The page, from top to bottom."""
    found = [_ingested(places.datasets)]
    if places.mix is not None:
        lock = _json(storage.join(places.mix, "mix.lock.json"))
        found += [_kept(lock), _reasons(lock), _edits(lock), _targets(lock), _upsampled(lock)]
    found.append(_tokens(places.tokens))
    if places.run is not None:
        found.append(_training(places.run))
    if places.evaluation is not None:
        found.append(_evaluation(_json(places.evaluation)))
    return [section for section in found if section.rows]


def _json(path: str) -> Any:
    return msgspec.json.decode(storage.read_bytes(path))


def _ingested(datasets: dict[str, str]) -> Section:
    rows: list[tuple[str, ...]] = []
    for name, folder in datasets.items():
        total: Counts = {}
        for counts in _counts(storage.join(folder, MANIFEST, "read")):
            add_counts(total, counts)
        if total:
            amounts = (_count(total.get("documents", 0)), _size(total.get("bytes", 0)))
            rows.append((name, _count(total.get("files", 0)), *amounts, *(_count(total.get(k, 0)) for k in _LOST)))
    note = "Skipped files hold no text (empty, binary); quarantined rows should have been documents."
    return Section("Read", ("data set", "files", "documents", "text", "skipped files", "quarantined"), rows, note)


_LOST = ("skipped_files", "bad_rows")


def _counts(folder: str) -> Iterator[Counts]:
    for name in storage.listing(folder) if storage.exists(folder) else ():
        record = read(storage.join(folder, name))
        if record is not None:
            yield record.counts


def _kept(lock: Any) -> Section:
    rows: list[tuple[str, ...]] = []
    for name, source in lock["sources"].items():
        funnel = source["funnel"]
        held_out = _sum(funnel["splits"].values())
        dropped = _sum(funnel["dropped"].values())
        rows.append((name, *(_amount(part) for part in (funnel["read"], funnel["kept"], held_out, dropped))))
    return Section("Kept and dropped", ("source", "read", "kept", "held out", "dropped"), rows)


def _sum(amounts: Iterable[Any]) -> dict[str, int]:
    found = list(amounts)
    return {key: sum(amount[key] for amount in found) for key in ("documents", "bytes")}


def _reasons(lock: Any) -> Section:
    """First what removed documents, one reason each; below `rules`, every rule by itself."""
    rows: list[tuple[str, ...]] = []
    for name, source in lock["sources"].items():
        funnel = source["funnel"]
        for reason, amount in funnel["dropped"].items():
            if amount["documents"]:
                rows.append((name, reason, _amount(amount), ""))
            if reason == "rules":
                rows += _rules(name, funnel["rules"])
    note = "A document counts once, under the reason that removed it; a rule (·) counts all that fail it."
    return Section("Why documents were dropped", ("source", "reason", "documents", "no other rule"), rows, note)


def _rules(source: str, rules: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for rule, count in rules.items():
        if count["failed"]["documents"]:
            yield source, f"· {rule}", _amount(count["failed"]), _count(count["only"]["documents"])


def _edits(lock: Any) -> Section:
    edits = {name: source["funnel"]["edits"] for name, source in lock["sources"].items()}
    rows = [
        (name, edit, _count(count["spans"]), _count(count["documents"]))
        for name, found in edits.items()
        for edit, count in found.items()
    ]
    return Section("Edited", ("source", "spans of", "spans", "documents"), rows)


def _targets(lock: Any) -> Section:
    """What a budget asked of each source, and what came of it."""
    rows: list[tuple[str, ...]] = []
    for name, source in lock["sources"].items():
        target = source.get("target")
        if target is not None and "unit" in target:
            amounts = (_count(target[key]) for key in ("target", "available", "realised"))
            epochs = target["realised"] / max(target["available"], 1)
            rows.append((name, target["unit"], *amounts, f"{epochs:.2f}"))
    note = "Available is what is left after rules, duplicates, edits and splits."
    return Section("Budget", ("source", "unit", "target", "available", "written", "epochs"), rows, note)


def _upsampled(lock: Any) -> Section:
    """How often the documents of each bucket were to be taken, and were."""
    rows = [
        (name, group or "all", f"{bucket['least']:g}", f"{bucket['rate']:.3f}", f"{bucket['realised_rate']:.3f}",
         _count(bucket["documents"]), _count(bucket["copies"]))
        for name, source in lock["sources"].items()
        for group, buckets in source.get("upsampled", {}).items()
        for bucket in buckets
    ]  # fmt: skip
    note = "A bucket begins at its value and ends at the next one's; the rate is copies per document, by weight."
    columns = ("source", "group", "from", "rate", "realised", "documents", "copies")
    return Section("Upsampled", columns, rows, note)


def _tokens(folders: dict[str, str]) -> Section:
    rows: list[tuple[str, ...]] = []
    for name, folder in folders.items():
        found = _json(storage.join(folder, "manifest.json"))
        for source, totals in (*found["sources"].items(), ("all", found)):
            per_token = totals["bytes"] / max(totals["tokens"], 1)
            amounts = (_count(totals["documents"]), _count(totals["tokens"]), _size(totals["bytes"]))
            rows.append((name, source, *amounts, f"{per_token:.2f}"))
    return Section("Tokens", ("split", "source", "documents", "tokens", "text", "bytes per token"), rows)


def _training(run: str) -> Section:
    path = storage.join(run, "metrics.jsonl")
    lines = msgspec.json.Decoder().decode_lines(storage.read_bytes(path)) if storage.exists(path) else []
    steps = [line for line in lines if "loss" in line]
    if not steps:
        return Section("Training", (), [])
    first, last = steps[0], steps[-1]
    end = sum(line["loss"] for line in steps[-AVERAGED:]) / len(steps[-AVERAGED:])
    speed = sorted(line["tokens_per_second"] for line in steps)[len(steps) // 2]
    row = (_count(last["step"]), _count(last["tokens"]), f"{first['loss']:.3f}", f"{end:.3f}", f"{speed:,.0f}")
    columns = ("steps", "tokens", "loss at the start", f"loss at the end (mean of {AVERAGED})", "tokens per second")
    return Section("Training", columns, [row], curve=tuple((line["step"], line["loss"]) for line in steps))


def _evaluation(result: Any) -> Section:
    scores = [*result["sources"].items(), ("all", result["overall"])]
    rows = [(name, _count(s["documents"]), _size(s["bytes"]), f"{s['bits_per_byte']:.4f}") for name, s in scores]
    note = "Of text that the model has not seen: the lower, the better; comparable whatever the tokenizer."
    return Section("Bits per byte on the held-out split", ("source", "documents", "text", "bits per byte"), rows, note)


def _amount(amount: Any) -> str:
    return f"{_count(amount['documents'])} ({_size(amount['bytes'])})"


def _count(number: int) -> str:
    return f"{number:,}"


def _size(size: int) -> str:
    return f"{size / 1e6:,.2f} MB"
