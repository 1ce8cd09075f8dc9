"""What a mix would keep over a threshold: `dolma-pipe mix --plan --sweep gopher.word_count=20:200:20`.

    [RULE:]ATTRIBUTE[>=|>|<=|<]=FROM:TO:STEP

The attribute is compared with a number in some rule; that number takes each value in turn, in every source that has
the rule. Where it is compared more than once, the rule and the sign tell which is meant; where they do not, it is the
one whose present number lies within the range; if that does not tell either, it is an error with the candidates.
"""

from __future__ import annotations

import difflib
import math
import re
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from dolma_pipe import rules
from dolma_pipe.errors import ConfigError
from dolma_pipe.rules import Expression
from dolma_pipe.rules.comparisons import Threshold, moved, thresholds
from dolma_pipe.stages.mix.config import MixConfig
from dolma_pipe.stages.mix.prediction.foresight import Seen, stands
from dolma_pipe.stages.mix.prediction.prediction import Quantity, common, quantity
from dolma_pipe.stages.mix.prediction.rehearsal import Rehearsal, Vote, rehearsal
from dolma_pipe.stages.mix.prediction.variants import Ballot

Array = npt.NDArray[Any]
MOST = 200
_FORM = re.compile(r"(?:(?P<rule>[^:=<>]+):)?(?P<attribute>[^:=<>]+)(?P<sign><=?|>=?)?=?(?P<range>[^=<>]*)")


class Wanted(NamedTuple):
    """What `--sweep` asks for; `rule` and `sign` may be left out."""

    rule: str | None
    attribute: str
    sign: str | None
    values: list[float]


class Candidate(NamedTuple):
    """A number of a rule."""

    rule: str
    sql: str
    threshold: Threshold

    def __str__(self) -> str:
        found = self.threshold
        return f"{self.rule}:{found.sql}{found.operator}FROM:TO:STEP (now {found.value:g})"


class Point(msgspec.Struct, frozen=True):
    """What stays after rules, dedup and edits, with the threshold at `value`; before splits and samples."""

    value: float
    kept: Quantity


class Sweep(msgspec.Struct, frozen=True):
    """Which comparison was moved, and what stays at each value. `now` is the number that the mix has."""

    rule: str
    compared: str
    operator: str
    now: float
    points: list[Point]


def parse(text: str) -> Wanted:
    """`--sweep` as it is typed; raises `ConfigError`."""
    found = _FORM.fullmatch(text.replace(" ", ""))
    numbers = found["range"].split(":") if found else []
    try:
        first, last, step = (float(number) for number in numbers)
    except ValueError:
        first = last = step = math.nan
    if found is None or not (first <= last and step > 0 and math.isfinite(last)):
        raise ConfigError(
            f"--sweep {text!r}: expected ATTRIBUTE=FROM:TO:STEP, as in gopher.word_count=20:200:20 "
            "(and RULE: before it, or >= and the like behind the attribute, where it is compared more than once)"
        )
    count = math.floor((last - first) / step + 1e-9) + 1
    if count > MOST:
        raise ConfigError(f"--sweep {text!r}: {count:,} values; take at most {MOST}, with a larger step")
    return Wanted(found["rule"], found["attribute"], found["sign"], [_tidy(first + i * step) for i in range(count)])


def _tidy(value: float) -> float:
    """Without the dust of adding up: 0.3, not 0.30000000000000004."""
    return float(f"{value:.12g}")


def choose(found: list[Candidate], wanted: Wanted) -> Candidate:
    """The one comparison that is meant."""
    fitting = [
        candidate
        for candidate in found
        if wanted.rule in (None, candidate.rule)
        and _plain(wanted.attribute) in _named(candidate)
        and wanted.sign in (None, candidate.threshold.operator)
    ]
    others = fitting or [each for each in found if _plain(wanted.attribute) in _named(each)]
    near = [each for each in fitting if wanted.values[0] <= each.threshold.value <= wanted.values[-1]]
    for candidates in (fitting, near):
        if len(candidates) == 1:
            return candidates[0]
    if others:
        raise ConfigError(
            f"--sweep {wanted.attribute}: compared {len(others)} times; write one of {'; '.join(map(str, others))}"
        )
    known = list(dict.fromkeys(name for candidate in found for name in sorted(candidate.threshold.attributes)))
    guesses = difflib.get_close_matches(wanted.attribute, known, n=2)
    hint = f"; did you mean {' or '.join(guesses)}?" if guesses else f" (there are: {', '.join(known) or 'none'})"
    raise ConfigError(f"--sweep {wanted.attribute}: no rule compares it so with a number{hint}")


def _named(candidate: Candidate) -> list[str]:
    """What a comparison may be called by."""
    return [_plain(name) for name in (candidate.threshold.sql, *candidate.threshold.attributes)]


def _plain(sql: str) -> str:
    """An expression as it is compared with another."""
    return sql.replace(" ", "").casefold()


def candidates(stage: Rehearsal) -> list[Candidate]:
    """All numbers of all rules, each once."""
    found = [
        Candidate(rule.name, rule.sql, threshold)
        for source in stage.sources
        for rule in source.rules
        for threshold in thresholds(rule)
    ]
    return list(dict.fromkeys(found))


def sweep(config: MixConfig, file: str, text: str) -> Sweep:
    """What would stay at each value."""
    wanted = parse(text)
    with rehearsal(config, file) as stage:
        chosen = choose(candidates(stage), wanted)
        stage.watch(len(wanted.values) + 1, _vote(stage, chosen, wanted.values))
        stage.judge_all()
        totals = stage.variants.totals().sum(axis=0)
        known = common(stage)
    points = [Point(value, quantity(sums, known)) for value, sums in zip(wanted.values, totals[1:], strict=True)]
    found = chosen.threshold
    return Sweep(chosen.rule, found.sql, found.operator, found.value, points)


def _vote(stage: Rehearsal, chosen: Candidate, values: list[float]) -> Vote:
    """Who passes with the rule at each value: the others as they are."""
    changed: dict[int, tuple[int, tuple[Expression, ...]]] = {}
    for number, source in enumerate(stage.sources):
        for index, rule in enumerate(source.rules):
            if (rule.name, rule.sql) == (chosen.rule, chosen.sql):
                changed[number] = index, tuple(moved(rule, chosen.threshold.place, value) for value in values)

    def vote(source: int, seen: Seen) -> Ballot:
        left = stands(seen.estimated)
        nobody = np.zeros(len(left), np.bool_)
        if source not in changed:
            rows = np.flatnonzero(left & ~seen.failed.any(axis=0))
            return Ballot(nobody, {1 + number: rows for number in range(len(values))})
        index, expressions = changed[source]
        others = left & ~np.delete(seen.failed, index, axis=0).any(axis=0)
        found = rules.evaluator(expressions, seen.table.schema).evaluate(seen.table, stage.sources[source].name)
        return Ballot(nobody, {1 + number: np.flatnonzero(others & holds) for number, holds in enumerate(found)})

    return vote
