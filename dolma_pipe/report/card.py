"""DATA_CARD.md: a Hugging Face data-set card (YAML front matter, then sections) from the facts of a report.

`size_categories` are the Hub's, `language` holds those of at least one document in a hundred. The licence is not
known to a pipeline: the card says `unknown`, for its owner to fill in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from dolma_pipe.report.facts import Facts

SIZES = (
    (10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"),
    (10**8, "10M<n<100M"), (10**9, "100M<n<1B"), (10**10, "1B<n<10B"), (10**11, "10B<n<100B"),
    (10**12, "100B<n<1T"),
)  # fmt: skip
HUB_LICENSES = frozenset(
    ("apache-2.0", "mit", "bsd", "bsd-2-clause", "bsd-3-clause", "cc", "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0",
     "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0",
     "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0",
     "cdla-permissive-2.0", "epl-1.0", "epl-2.0", "eupl-1.1", "eupl-1.2",
     "agpl-3.0", "gfdl", "gpl", "gpl-2.0", "gpl-3.0", "isc", "lgpl",
     "lgpl-2.1", "lgpl-3.0", "mpl-2.0", "odbl", "odc-by", "pddl", "unlicense", "wtfpl", "zlib")
)  # fmt: skip
"""Licences as the Hugging Face hub calls them."""
LISTED = 0.01
"""Share of the documents that a language needs to be listed."""


def card(facts: Facts, lock: Mapping[str, Any] | None) -> str:
    """The whole file."""
    parts = [_head(facts, lock), f"# {_name(facts)}", _summary(facts, lock), _sources(facts), _languages(facts)]
    parts.append(_licenses(facts))
    if lock is not None:
        parts += [_structure(lock), _curation(facts, lock), _personal(facts, lock), _reproduction(facts, lock)]
    else:
        parts.append(_personal(facts, None))
    return "\n\n".join(part for part in parts if part) + "\n"


def _name(facts: Facts) -> str:
    return str(facts["title"]).rstrip("/").rsplit("/", 1)[-1]


def _head(facts: Facts, lock: Mapping[str, Any] | None) -> str:
    documents = _written(facts, lock)
    head: dict[str, Any] = {
        "pretty_name": _name(facts),
        "language": [code for code, share in _language_shares(facts) if share >= LISTED],
        "license": _license(facts),
        "size_categories": [next((name for limit, name in SIZES if documents < limit), "n>1T")],
        "task_categories": ["text-generation"],
        "configs": [{"config_name": "default", "data_files": _files(lock)}],
    }
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True).rstrip()}\n---"


def _files(lock: Mapping[str, Any] | None) -> list[dict[str, str]]:
    """Paths relative to the data set's folder, which the card lies in."""
    if lock is None:
        return [{"split": "train", "path": "documents/**"}]
    splits = dict.fromkeys(name for source in lock["sources"].values() for name in source["funnel"]["splits"])
    held = [{"split": name, "path": f"splits/{name}/documents/**"} for name in splits]
    return [{"split": "train", "path": "documents/**"}, *held]


def _written(facts: Facts, lock: Mapping[str, Any] | None) -> int:
    if lock is None:
        return sum(source["read"]["documents"] for source in facts["sources"])
    funnels = [source["funnel"] for source in lock["sources"].values()]
    return sum(f["kept"]["copies"] + sum(split["copies"] for split in f["splits"].values()) for f in funnels)


def _license_documents(facts: Facts) -> list[tuple[str, float]]:
    """Licences by estimated documents written; "" where a document names none."""
    found: dict[str, float] = {}
    for name, rows in facts["licenses"].items():
        scale = facts["sample"][name]["population"] / max(facts["sample"][name]["count"], 1)
        for row in rows:
            if row["written"]:
                found[row["value"]] = found.get(row["value"], 0.0) + row["written"] * scale
    return sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))


def _license(facts: Facts) -> str | list[str]:
    """The hub's names of the licences that documents name (`metadata.license`): "other" for what it does not know,
    "unknown" for documents that name none."""
    names = (name.strip().casefold() for name, _ in _license_documents(facts))
    listed = list(dict.fromkeys("unknown" if not name else name if name in HUB_LICENSES else "other" for name in names))
    return listed[0] if len(listed) == 1 else listed or "unknown"


def _licenses(facts: Facts) -> str:
    found = _license_documents(facts)
    if not any(name for name, _ in found):
        return ""
    rows = [[f"`{name}`" if name else "none named", f"{documents:,.0f}"] for name, documents in found[:20]]
    note = "What documents name in `metadata.license`; of the documents written, estimated from the sample."
    return f"## Licences\n\n{note}\n\n{_table(['licence', 'documents'], rows)}"


def _language_shares(facts: Facts) -> list[tuple[str, float]]:
    """ISO codes by estimated share of the documents written; "und" and the like are left out."""
    total, found = 0.0, dict[str, float]()
    for name, rows in facts["languages"].items():
        sample = facts["sample"][name]
        for row in rows:
            documents = row["written"] * sample["population"] / max(sample["count"], 1)
            total += documents
            code = row["value"].split("_", 1)[0]
            if code.isalpha() and code.isascii() and 2 <= len(code) <= 3 and code != "und":
                found[code] = found.get(code, 0.0) + documents
    return sorted(((code, n / max(total, 1)) for code, n in found.items()), key=lambda pair: (-pair[1], pair[0]))


def _summary(facts: Facts, lock: Mapping[str, Any] | None) -> str:
    first, last = facts["stages"][0]["amounts"], facts["stages"][-1]["amounts"]
    read = sum(amount["documents"] for amount in first.values())
    if lock is None:
        return f"{read:,} documents of {len(first)} sources, as they were measured: nothing was removed."
    tokens = sum(amount.get("tokens", 0) for amount in last.values())
    tokenised = f", {tokens:,} tokens in shards" if facts["stages"][-1]["key"] == "shards" else ""
    limit = lock["configuration"].get("limit")
    trial = f"A trial of the first {limit:,} documents of every shard (`limit`), not the whole mix.\n" if limit else ""
    return (
        f"{_written(facts, lock):,} documents for the training of language models, chosen from {read:,}{tokenised}.\n"
        f"{trial}"
        "Made by dolma_pipe; `report.html` beside this file shows the same in more detail."
    )


def _sources(facts: Facts) -> str:
    labels = [stage["label"] for stage in facts["stages"]]
    rows: list[list[str]] = []
    for source in facts["sources"]:
        amounts = [stage["amounts"].get(source["name"], {}) for stage in facts["stages"]]
        rows.append([source["name"], *(f"{int(its.get('documents', 0)):,}" for its in amounts)])
    size = [
        [source["name"], _megabytes(source["read"]["bytes"])]
        + ([_megabytes(source["kept"]["written_bytes"])] if "kept" in source else [])
        for source in facts["sources"]
    ]
    columns = ["source", "text read", "text written"][: len(size[0])] if size else []
    return f"## Sources\n\nDocuments:\n\n{_table(['source', *labels], rows)}\n\nText:\n\n{_table(columns, size)}"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.2f} MB"


def _languages(facts: Facts) -> str:
    shares = _language_shares(facts)
    if not shares:
        return ""
    rows = [[code, f"{share:.1%}"] for code, share in shares[:12] if share > 0]
    drawn = ", ".join(f"{its['count']:,} of {its['population']:,} of {name}" for name, its in facts["sample"].items())
    note = f"Of the documents written, estimated from a sample ({drawn})."
    return f"## Languages\n\n{note}\n\n{_table(['language', 'documents'], rows)}"


def _structure(lock: Mapping[str, Any]) -> str:
    splits = dict.fromkeys(name for source in lock["sources"].values() for name in source["funnel"]["splits"])
    held = f" Held-out splits lie below `splits/`: {', '.join(f'`{name}`' for name in splits)}." if splits else ""
    return (
        "## Structure\n\nJSON lines (zstandard) below `documents/SOURCE/`, a document per line: `id`, `text`, "
        f"`source`, `added`, `created`, `metadata`.{held} `_provenance/` says of every row which shard and row it was."
    )


def _curation(facts: Facts, lock: Mapping[str, Any]) -> str:
    parts = ["## Curation"]
    rows = [
        [
            f"`{rule['name']}`",
            _code(rule["sql"]),
            source,
            *(f"{counts[key]['documents']:,}" for key in ("failed", "only")),
        ]
        for rule in facts["rules"]
        for source, counts in rule["counts"].items()
    ]
    if rows:
        parts.append(
            "A document stays if every rule of its source holds. *Alone* is what a rule would drop by itself, "
        )
        parts[-1] += "*only* what no other rule drops."
        parts.append(_table(["rule", "stays if", "source", "alone", "only"], rows))
    lost = [[r["source"], r["reason"], f"{r['documents']:,}", _megabytes(r["bytes"])] for r in facts["reasons"]]
    if lost:
        parts.append("Removed, each document under the first step that removes it:")
        parts.append(_table(["source", "step", "documents", "text"], lost))
    steps = [line for name, its in lock["configuration"]["sources"].items() for line in _steps(name, its)]
    return "\n\n".join([*parts, *(["Steps after the rules:\n\n" + "\n".join(steps)] if steps else [])])


def _steps(name: str, its: Mapping[str, Any]) -> Iterable[str]:
    for dedup in its["dedups"]:
        yield f"- {name}: one copy of each cluster of `{dedup['by']}` stays (preferred: {_code(dedup['prefer'])})."
    for edit in its["edits"]:
        what = f"replaced by `{edit['text']}`" if edit["text"] else "removed"
        yield f"- {name}: spans of `{edit['set_name']}.{edit['field']}` are {what}."
    if its["sample"]:
        told = ", ".join(f"{key} {value}" for key, value in its["sample"].items() if value is not None)
        yield f"- {name}: sampled ({told})."


def _personal(facts: Facts, lock: Mapping[str, Any] | None) -> str:
    """Counts only; no value of any document is in the card."""
    rows: list[list[str]] = []
    for name, found in facts["personal"].items():
        sample = facts["sample"][name]
        scale = sample["population"] / max(sample["count"], 1)
        rows += [[name, f"`{r['field']}`", f"{r['sampled'] * scale:,.0f}", f"{r['spans'] * scale:,.0f}"] for r in found]
    parts = ["## Personal and sensitive information"]
    if rows:
        parts.append("Found in the documents read, estimated from the sample:")
        parts.append(_table(["source", "kind", "documents", "places"], rows))
    else:
        parts.append("No tagger has looked for personal data.")
    edits = [
        [name, f"`{edit}`", f"{count['documents']:,}", f"{count['spans']:,}"]
        for name, found in facts["edits"].items()
        for edit, count in found.items()
    ]
    if edits:
        parts += ["Edited in what is written:", _table(["source", "spans of", "documents", "places"], edits)]
    return "\n\n".join(parts)


def _reproduction(facts: Facts, lock: Mapping[str, Any]) -> str:
    inputs = sum(len(source["inputs"]) for source in lock["sources"].values())
    return (
        f"## Reproduction\n\n`mix.lock.json` names all {inputs:,} input files by their hashes. Definition "
        f"`{lock['definition']}`, seed {lock['seed']}: the same inputs and definition give the same bytes. The sample "
        f"behind the estimates: up to {facts['drawing']['documents']:,} documents of each source, seed "
        f"{facts['drawing']['seed']}."
    )


def _code(text: str) -> str:
    return f"`{' '.join(text.split())}`"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    lines = [columns, ["---"] * len(columns), *escaped]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
