"""The page of results of a pipeline: what was read, kept and dropped for which rule, tokens, loss, bits per byte.

Everything is read from the files that the stages left; whatever a pipeline does not have is left out.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from dolma_pipe import storage
from dolma_pipe.manifest import MANIFEST, read
from dolma_pipe.types import Counts, add_counts

AVERAGED = 10
"""Steps that the loss at the end is the mean of; one step's loss is that of a handful of documents."""


NAMES = frozenset(("source", "reason", "spans of", "split"))
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
        found += [_kept(lock), _reasons(lock), _edits(lock)]
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


# As a file ---------------------------------------------------------------------------------------------------------

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem } h2 { font-size: 1.1rem; margin: 2rem 0 .4rem } p { color: #555; margin: .3rem 0 }
table { border-collapse: collapse } code, pre { font-size: 13px }
th, td { text-align: right; padding: .15rem .9rem .15rem 0; border-bottom: 1px solid #e4e4e4 }
th { font-weight: 600 } th:first-child, td:first-child, .name { text-align: left }
pre { background: #f5f5f5; padding: .7rem 1rem; overflow-x: auto }
svg { display: block; margin-top: .6rem } text { font-size: 11px; fill: #555 } line { stroke: #bbb }
polyline { fill: none; stroke: #1a5fb4; stroke-width: 1.5 }
"""


def as_html(title: str, page: list[Section], where: dict[str, str], following: list[str]) -> str:
    """The page as one self-contained HTML file; `where` maps what to its path, `following` are commands to try."""
    body = [f"<h1>{html.escape(title)}</h1>"]
    for section in page:
        body += [f"<h2>{html.escape(section.title)}</h2>", _html_table(section)]
        body += [_html_curve(section.curve)] if section.curve else []
        body += [f"<p>{html.escape(section.note)}</p>"] if section.note else []
    places = [
        f"<tr><td>{html.escape(what)}</td><td class=name><code>{html.escape(path)}</code></td></tr>"
        for what, path in where.items()
    ]
    body += ["<h2>Where everything lies</h2>", f"<table>{''.join(places)}</table>"]
    body += ["<h2>What to run next</h2>", f"<pre>{html.escape(chr(10).join(following))}</pre>"]
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n' + "\n".join(body) + "\n</body></html>\n"


def _html_table(section: Section) -> str:
    names = {index for index, column in enumerate(section.columns) if column in NAMES}
    head = "".join(f"<th{_class(i in names)}>{html.escape(column)}</th>" for i, column in enumerate(section.columns))
    rows = (
        "".join(f"<td{_class(i in names)}>{html.escape(cell)}</td>" for i, cell in enumerate(row))
        for row in section.rows
    )
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"


def _class(is_name: bool) -> str:
    return " class=name" if is_name else ""


def _html_curve(curve: tuple[tuple[int, float], ...], width: int = 560, height: int = 160) -> str:
    """The loss over the steps as a line, with its first and last value."""
    low, high = min(loss for _, loss in curve), max(loss for _, loss in curve)
    last = max(curve[-1][0] - curve[0][0], 1)
    points = [
        (40 + (width - 50) * (step - curve[0][0]) / last, 10 + (height - 30) * (high - loss) / max(high - low, 1e-9))
        for step, loss in curve
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    marks = f'<text x="0" y="14">{high:.2f}</text><text x="0" y="{height - 20}">{low:.2f}</text>'
    axis = f'<line x1="40" y1="{height - 18}" x2="{width}" y2="{height - 18}"/>'
    ends = f'<text x="40" y="{height - 4}">step {curve[0][0]}</text>'
    ends += f'<text x="{width}" y="{height - 4}" text-anchor="end">step {curve[-1][0]}</text>'
    drawn = f'{axis}{marks}{ends}<polyline points="{line}"/>'
    return f'<svg width="{width}" height="{height}" role="img" aria-label="loss by step">{drawn}</svg>'
