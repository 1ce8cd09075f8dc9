"""Thresholds of a recipe by language, from a tagged data set of reference texts.

A plan (configs/thresholds/NAME.yaml) names the rules: those with a `keep` stay as they are, the others compare a field
with a number that each language has of its own. `by: tail` (the default) takes the tightest number that nine tenths of
the language's documents pass; where that is an `at_most` of 0, the texts do not show what the rule is about, and the
plan's own number stays. `by: median - sigma` is FineWeb-2's for the language's score (Penedo et al. 2025, arXiv
2506.20920), held `between` two bounds. What comes out is an ordinary recipe, for `keep: FILE` in a mix.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import pyarrow as pa

from dolma_pipe import storage
from dolma_pipe.config import Config, convert, read_yaml
from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.languages.profiles import Language
from dolma_pipe.recipes import Recipe, RecipeRule, Table
from dolma_pipe.report.query import query

SCALE = 1_000_000
"""Scores are added up in millionths, which is exact, and so no matter in what order."""

DECIMALS = 3


class PlanRule(Config, frozen=True):
    """`keep` alone, or a `field` with `at_most` or `at_least`: the number for languages with too few documents.

    `published`: what the number is called in a file of published ones; `a.2` is the 2's in a list of pairs `a`.
    """

    source: str
    keep: str | None = None
    field: str | None = None
    at_most: float | None = None
    at_least: float | None = None
    by: Literal["tail", "median - sigma"] = "tail"
    between: tuple[float, float] | None = None
    published: str | None = None


class Plan(Config, frozen=True):
    """configs/thresholds/NAME.yaml; `language` is the field that says which language a document has."""

    title: str
    source: str
    language: str
    rules: dict[str, PlanRule]


class Found(NamedTuple):
    """Thresholds per language and rule, and how many documents they are of (none, where somebody published them)."""

    documents: dict[str, int]
    thresholds: dict[str, dict[str, float]]


def read_plan(path: str) -> Plan:
    plan = convert(read_yaml(path), Plan, path)
    for name, rule in plan.rules.items():
        bounds = [bound for bound in (rule.at_most, rule.at_least) if bound is not None]
        is_measured = rule.field is not None and len(bounds) == 1 and rule.keep is None
        if not (is_measured or (rule.keep is not None and rule.field is None and not bounds)):
            raise ConfigError(f"{path}: rule {name!r}: write a keep, or a field with either at_most or at_least")
    return plan


def measure(
    plan: Plan, datasets: Sequence[str], tail: float, min_documents: int, attributes: str | None = None
) -> Found:
    """Each language's thresholds over all its documents in the data sets; the order of files does not matter."""
    if not 0 < tail < 0.5 or min_documents < 1:
        raise ConfigError(f"languages: tail {tail} must lie between 0 and 0.5, min_documents ({min_documents}) above 0")
    asked = {name: rule for name, rule in plan.rules.items() if rule.field is not None}
    columns = [
        f"{column} AS {_quoted(f'{name} {i}')}"
        for name, rule in asked.items()
        for i, column in enumerate(_columns(rule, tail))
    ]
    sql = f"SELECT {plan.language} AS language, count(*) AS documents, {', '.join(columns)} FROM documents GROUP BY 1"
    rows = [row for batch in query(sql, datasets, attributes) for row in pa.Table.from_batches([batch]).to_pylist()]
    rows = sorted((row for row in rows if row["language"] is not None), key=lambda row: row["language"])
    enough = [row for row in rows if row["documents"] >= min_documents and row["language"] != "und"]
    if not enough:
        raise DataError(
            f"{', '.join(datasets)}: no language has {min_documents} documents; give more, or --min-documents"
        )
    return Found(
        {row["language"]: row["documents"] for row in enough},
        {row["language"]: {name: _threshold(rule, name, row) for name, rule in asked.items()} for row in enough},
    )


def _columns(rule: PlanRule, tail: float) -> list[str]:
    if rule.by == "tail":
        sign = "" if rule.at_most is not None else "-"
        return [f"{sign}quantile_disc({sign}{rule.field}, {1 - tail})"]
    exact = f"CAST(round({rule.field} * {SCALE}) AS HUGEINT)"
    return [f"median({rule.field})", f"CAST(sum({exact}) AS VARCHAR)", f"CAST(sum({exact} * {exact}) AS VARCHAR)"]


def _threshold(rule: PlanRule, name: str, row: Mapping[str, Any]) -> float:
    value = row[f"{name} 0"]
    if rule.by == "median - sigma":
        count, total, squares = row["documents"], int(row[f"{name} 1"]), int(row[f"{name} 2"])
        value -= math.sqrt(count * squares - total * total) / count / SCALE
    low, high = rule.between or (-math.inf, math.inf)
    value = min(max(value, low), high)
    if rule.by != "tail":
        return round(value, DECIMALS)
    if rule.at_most is not None and value == 0:
        return rule.at_most
    outwards = math.ceil if rule.at_most is not None else math.floor  # no tighter than measured
    return outwards(round(value * 10**DECIMALS, 6)) / 10**DECIMALS


def cut(
    field: str, by: str, shares: Mapping[str, float], datasets: Sequence[str], min_documents: int,
    attributes: str | None = None,
) -> Table:  # fmt: skip
    """The value of a field below which a share of a group's documents lies, for each share; groups with too few
    documents, and one without a name, get no row."""
    if min_documents < 1 or not all(0 < share < 1 for share in shares.values()):
        raise ConfigError(f"languages: shares {shares} lie between 0 and 1, min_documents ({min_documents}) above 0")
    columns = ", ".join(f"quantile_disc({field}, {share}) AS {_quoted(name)}" for name, share in shares.items())
    sql = f"SELECT {by} AS row, count(*) AS documents, {columns} FROM documents WHERE {field} IS NOT NULL GROUP BY 1"
    rows = [row for batch in query(sql, datasets, attributes) for row in pa.Table.from_batches([batch]).to_pylist()]
    enough = sorted((row for row in rows if row["row"] and row["documents"] >= min_documents), key=lambda r: r["row"])
    if not enough:
        raise DataError(f"{', '.join(datasets)}: no {by} has {min_documents} documents; give more, or --min-documents")
    listed = ", ".join(f"{name} below which {share:.0%} lie" for name, share in shares.items())
    origin = f"{sum(row['documents'] for row in enough):,} documents of {', '.join(datasets)}"
    return Table(
        title=f"{field} by {by}",
        source=f"{origin}: {listed}",
        rows={row["row"]: {name: round(float(row[name]), DECIMALS) for name in shares} for row in enough},
    )


def published(plan: Plan, folder: str, languages: Sequence[str]) -> tuple[Found, dict[str, Language]]:
    """Thresholds and stop words that others published, as FineWeb-2's `configs/CODE.yml`; of all languages, or some."""
    found: dict[str, dict[str, float]] = {}
    lists: dict[str, Language] = {}
    for name in storage.listing(folder):
        code, dot, ending = name.rpartition(".")
        if not dot or ending not in ("yml", "yaml") or (languages and code not in languages):
            continue
        path = storage.join(folder, name)
        known: Any = read_yaml(path)
        rules = {name: rule.published for name, rule in plan.rules.items() if rule.published is not None}
        found[code] = {name: _published(known, key, path) for name, key in rules.items()}
        words = list(dict.fromkeys(str(word).lower() for word in known.get("stopwords", [])))
        lists[code] = Language(title=code, source=f"{plan.title}: {name}", stop_words=words)
    missing = [code for code in languages if code not in found]
    if missing or not found:
        raise ConfigError(f"{folder}: no {', '.join(f'{code}.yml' for code in missing) or '.yml files'}")
    return Found({}, found), lists


def _published(known: Any, key: str, path: str) -> float:
    name, _, item = key.partition(".")
    value = known.get(name) if isinstance(known, dict) else None
    if item and isinstance(value, list):
        value = next((pair[1] for pair in value if pair[0] == int(item)), None)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigError(f"{path}: no number {key!r}; is this a file of that kind?")
    return float(value)


def recipe(plan: Plan, found: Found, origin: str) -> Recipe:
    """The plan's rules with every language's thresholds written out; `origin` says where they are from."""
    measured = f"thresholds of {len(found.thresholds)} languages from {origin}"
    rules = {
        name: RecipeRule(keep=rule.keep, source=rule.source)
        if rule.keep is not None
        else RecipeRule(keep=_sql(plan, name, rule, found), source=f"{rule.source}; {measured}")
        for name, rule in plan.rules.items()
    }
    return Recipe(title=f"{plan.title}, {measured}", source=plan.source, rules=rules)


def _sql(plan: Plan, name: str, rule: PlanRule, found: Found) -> str:
    cases = " ".join(f"WHEN {_text(code)} THEN {values[name]}" for code, values in found.thresholds.items())
    sign, otherwise = ("<=", rule.at_most) if rule.at_most is not None else (">=", rule.at_least)
    return f"{rule.field} {sign} CASE {plan.language} {cases} ELSE {otherwise} END"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
