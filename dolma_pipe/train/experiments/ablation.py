"""Mixes compared by the models that they make: the same model on each, over seeds, and what differs for sure."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import fmean
from typing import NamedTuple

import msgspec
import numpy as np

from dolma_pipe import storage
from dolma_pipe.errors import ConfigError
from dolma_pipe.train.config import TrainConfig
from dolma_pipe.train.evaluation.config import EvalConfig
from dolma_pipe.train.evaluation.evaluate import EvalResult, evaluate, standing
from dolma_pipe.train.experiments.bootstrap import Difference, Paired, Reals, difference
from dolma_pipe.train.experiments.config import AblationConfig, one_process
from dolma_pipe.train.loop import train
from dolma_pipe.train.plan import make_plan

RESULT = "ablation.json"
GROUPS = ("tasks", "domains", "sources")
"""What mixes are judged by, the first that was measured: the mean over tasks, over domains, over sources."""


class MixResult(msgspec.Struct, frozen=True):
    """One mix: how often each of its folders was seen, and bits per byte by metric, a number for each seed.

    Metrics are `tasks/arc_easy`, `domains/web`, `sources/web`; `accuracy` is by task, in its own scoring.
    """

    passes: dict[str, float]
    bits_per_byte: dict[str, list[float]]
    accuracy: dict[str, list[float]]


class Compared(msgspec.Struct, frozen=True):
    """A metric's difference, a mix's minus the baseline's; `better` is a lower loss."""

    mix: str
    metric: str
    difference: Difference
    verdict: str


class AblationResult(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was measured and said; `best` is None where the noise leaves several mixes."""

    baseline: str
    seeds: list[int]
    steps: int
    tokens: int
    parameters: int
    confidence: float
    mixes: dict[str, MixResult]
    comparisons: list[Compared]
    judged_by: str
    best: str | None
    undecided: list[str]


class Stopped(NamedTuple):
    """A signal ended a run; the same command goes on from there."""

    run: str
    signal: str


class _Metric(NamedTuple):
    """One run's metric: values and sizes of its items."""

    values: Reals
    sizes: Reals


def ablate(
    config: AblationConfig, say: Callable[[str], None] = lambda line: None, part: tuple[int, int] | None = None
) -> AblationResult | Stopped | None:
    """Train and measure what has not been yet, and compare; writes `ablation.json` into `config.to`.

    With a `part` (i of n, from 0) only every n-th run, and no comparison: None.
    """
    config.check()
    one_process("ablate")
    runs = config.runs()
    _check_alike(runs)
    measured: dict[tuple[str, int], EvalResult] = {}
    for number, ((mix, seed), run) in enumerate(runs.items()):
        if part is not None and number % part[1] != part[0]:
            continue
        say(f"{mix}, seed {seed}: {run.to}")
        found = measure(run, config.measurement(mix, seed))
        if isinstance(found, Stopped):
            return found
        measured[mix, seed] = found
    if part is not None:
        return None
    result = compare(config, measured)
    storage.write_bytes(storage.join(config.to, RESULT), msgspec.json.format(msgspec.json.encode(result)) + b"\n")
    return result


def measure(run: TrainConfig, wanted: EvalConfig) -> EvalResult | Stopped:
    """Train a run to its end and evaluate it, unless that is done."""
    result = train(run)
    if result is not None and result.signal is not None:
        return Stopped(run.to, result.signal)
    return standing(wanted) or evaluate(wanted)


def _check_alike(runs: dict[tuple[str, int], TrainConfig]) -> None:
    """Every mix has to give the same model, trained for as long."""
    found: dict[str, tuple[int, int, str]] = {}
    for (mix, _), run in runs.items():
        if mix not in found:
            plan = make_plan(run)
            found[mix] = (plan.parameters, plan.steps, plan.examples.identity()["tokenizer"])
    first, *others = found
    for other in others:
        for what, own, theirs in zip(("parameters", "steps", "tokenizer"), found[first], found[other], strict=True):
            if own != theirs:
                raise ConfigError(
                    f"ablate: {first} and {other} differ in {what} ({own} and {theirs}); mixes are compared by the "
                    "same model, trained for as many steps on tokens of one tokenizer"
                )


def compare(config: AblationConfig, measured: dict[tuple[str, int], EvalResult]) -> AblationResult:
    """What the measurements of all runs say."""
    metrics = {run: _metrics(result) for run, result in measured.items()}
    names = list(metrics[config.base, config.seeds[0]])
    plans = {mix: make_plan(run) for (mix, _), run in config.runs().items()}
    confidence = 1 - (1 - config.confidence) / (len(config.mixes) - 1)
    judged_by = next(group for group in GROUPS if any(name.startswith(group) for name in names))
    lowest = min(config.mixes, key=lambda mix: _mean(config, metrics, mix, judged_by))
    undecided = [
        mix
        for mix in config.mixes
        if mix != lowest and _differences(config, metrics, lowest, mix, confidence)[judged_by].verdict != "better"
    ]
    comparisons = [
        Compared(mix, metric, found, found.verdict)
        for mix in config.mixes
        if mix != config.base
        for metric, found in _differences(config, metrics, mix, config.base, confidence).items()
    ]
    base = plans[config.base]
    return AblationResult(
        baseline=config.base,
        seeds=list(config.seeds),
        steps=base.steps,
        tokens=base.phases[-1].begin.tokens + base.phases[-1].steps * base.phases[-1].tokens_per_step,
        parameters=base.parameters,
        confidence=config.confidence,
        mixes={mix: _mix_result(config, metrics, measured, mix, plans[mix].passes) for mix in config.mixes},
        comparisons=comparisons,
        judged_by=judged_by,
        best=None if undecided else lowest,
        undecided=[lowest, *undecided] if undecided else [],
    )


Metrics = dict[tuple[str, int], dict[str, _Metric]]


def _metrics(result: EvalResult) -> dict[str, _Metric]:
    found: dict[str, _Metric] = {}
    for name, task in result.tasks.items():
        values = np.array([item.bits_per_byte for item in task.items or []])
        found[f"tasks/{name}"] = _Metric(values, np.ones(len(values)))
    for group, scores in (("domains", result.domains), ("sources", result.sources)):
        for name, score in scores.items():
            nats, sizes = (np.array(column, np.float64) for column in zip(*(score.items or []), strict=True))
            found[f"{group}/{name}"] = _Metric(nats / math.log(2), sizes)
    return found


def _differences(
    config: AblationConfig, metrics: Metrics, mix: str, other: str, confidence: float
) -> dict[str, Difference]:
    """Of every metric, and of the mean of every group."""
    paired: dict[str, Paired] = {}
    for name, metric in metrics[mix, config.seeds[0]].items():
        values = [metrics[mix, seed][name].values - metrics[other, seed][name].values for seed in config.seeds]
        paired[name] = Paired(name, np.stack(values), metric.sizes)
    groups = {group: [one for name, one in paired.items() if name.startswith(f"{group}/")] for group in GROUPS}
    found = {group: difference(members, confidence) for group, members in groups.items() if members}
    return {**found, **{name: difference([one], confidence) for name, one in paired.items()}}


def _mean(config: AblationConfig, metrics: Metrics, mix: str, group: str) -> float:
    return fmean(
        metric.values.sum() / metric.sizes.sum()
        for seed in config.seeds
        for name, metric in metrics[mix, seed].items()
        if name.startswith(f"{group}/")
    )


def _mix_result(
    config: AblationConfig, metrics: Metrics, measured: dict[tuple[str, int], EvalResult], mix: str,
    passes: dict[str, float],
) -> MixResult:  # fmt: skip
    names = metrics[mix, config.seeds[0]]
    bits = {
        name: [
            float(metrics[mix, seed][name].values.sum() / metrics[mix, seed][name].sizes.sum()) for seed in config.seeds
        ]
        for name in names
    }
    tasks = measured[mix, config.seeds[0]].tasks
    accuracy = {
        name: [measured[mix, seed].tasks[name].accuracy[task.score] for seed in config.seeds]
        for name, task in tasks.items()
    }
    return MixResult({folder: round(count, 4) for folder, count in passes.items()}, bits, accuracy)
