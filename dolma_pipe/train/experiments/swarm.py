"""A mixture searched: proxy runs over sampled shares, what their losses say of shares, and the best ones."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean
from typing import Any

import msgspec
import numpy as np
import yaml

from dolma_pipe import storage
from dolma_pipe.config import read_yaml
from dolma_pipe.errors import ConfigError
from dolma_pipe.tokens import TokenSet
from dolma_pipe.train.evaluation.evaluate import EvalResult
from dolma_pipe.train.experiments import mixtures
from dolma_pipe.train.experiments.ablation import GROUPS, Stopped, measure
from dolma_pipe.train.experiments.config import SwarmConfig, one_process

RESULT, DATA, MIX = "swarm.json", "data.yaml", "mix.yaml"


class Proxy(msgspec.Struct, frozen=True):
    """One run: its shares by source, and bits per byte by metric."""

    shares: dict[str, float]
    bits_per_byte: dict[str, float]


class Fitted(msgspec.Struct, frozen=True):
    """A metric's law; `rank_correlation` is that of each run's loss with what the others predict of it."""

    slopes: dict[str, float]
    offset: float
    rank_correlation: float


class SwarmResult(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was found; `epochs` say how often the optimum's run sees each source."""

    judged_by: str
    regression: str
    natural: dict[str, float]
    caps: dict[str, float]
    runs: list[Proxy]
    laws: dict[str, Fitted]
    optimum: dict[str, float]
    epochs: dict[str, float]
    predicted: float
    predicted_natural: float
    rank_correlation: float


def swarm(
    config: SwarmConfig, say: Callable[[str], None] = lambda line: None, part: tuple[int, int] | None = None
) -> SwarmResult | Stopped | None:
    """Train and measure the proxies that are missing, fit, optimise; writes `swarm.json`, `data.yaml`, `mix.yaml`.

    With a `part` (i of n, from 0) only every n-th proxy, and no search: None.
    """
    config.check()
    one_process("swarm")
    tokens = np.array([TokenSet.open(folder).total_tokens for folder in config.data.values()], np.float64)
    natural = tokens / tokens.sum()
    mixtures.caps(tokens, config.budget, config.max_epochs)
    mix = None if config.mix is None else _open_mix(config.mix, set(config.data))
    drawing = mixtures.Drawing(config.strength, config.temperature, config.max_oversampling, config.seed)
    drawn = drawing.mixtures(natural, config.runs)
    proxies: list[Proxy] = []
    for number, shares in enumerate(drawn):
        if part is not None and number % part[1] != part[0]:
            continue
        say(f"run {number}: " + ", ".join(f"{name} {share:.1%}" for name, share in _named(config, shares).items()))
        measured = measure(config.proxy(number, shares.tolist()), config.measurement(number))
        if isinstance(measured, Stopped):
            return measured
        proxies.append(Proxy(_named(config, shares), _bits(measured)))
    if part is not None:
        return None
    found = search(config, tokens, proxies)
    _write(config, found, mix)
    return found


def search(config: SwarmConfig, tokens: mixtures.Reals, proxies: list[Proxy]) -> SwarmResult:
    """What the proxies say: a law for each metric of the group they are judged by, and the best shares."""
    natural, limits = tokens / tokens.sum(), mixtures.caps(tokens, config.budget, config.max_epochs)
    names = list(proxies[0].bits_per_byte)
    judged_by = next(group for group in GROUPS if any(name.startswith(f"{group}/") for name in names))
    judged = [name for name in names if name.startswith(f"{judged_by}/")]
    shares = np.array([[proxy.shares[name] for name in config.data] for proxy in proxies])
    losses = {name: np.array([proxy.bits_per_byte[name] for proxy in proxies]) for name in judged}
    laws = {name: mixtures.fit(shares, values, config.regression) for name, values in losses.items()}
    optimum = mixtures.best(list(laws.values()), natural, limits, config.kl)
    left_out = {name: mixtures.left_out(shares, losses[name], config.regression) for name in judged}
    return SwarmResult(
        judged_by=judged_by,
        regression=config.regression,
        natural=_named(config, natural),
        caps=_named(config, limits),
        runs=proxies,
        laws={
            name: Fitted(
                _named(config, law.slopes), law.offset, mixtures.rank_correlation(losses[name], left_out[name])
            )
            for name, law in laws.items()
        },
        optimum=_named(config, optimum),
        epochs=_named(config, optimum * config.budget / tokens),
        predicted=fmean(float(law.predict(optimum)) for law in laws.values()),
        predicted_natural=fmean(float(law.predict(natural)) for law in laws.values()),
        rank_correlation=mixtures.rank_correlation(_mean(losses), _mean(left_out)),
    )  # fmt: skip


def _mean(values: dict[str, mixtures.Reals]) -> mixtures.Reals:
    return np.mean(list(values.values()), axis=0)


def _named(config: SwarmConfig, values: mixtures.Reals) -> dict[str, float]:
    return {name: round(float(value), 6) for name, value in zip(config.data, values, strict=True)}


def _bits(result: EvalResult) -> dict[str, float]:
    tasks = {f"tasks/{name}": task.bits_per_byte for name, task in result.tasks.items()}
    domains = {f"domains/{name}": score.bits_per_byte for name, score in result.domains.items()}
    sources = {f"sources/{name}": score.bits_per_byte for name, score in result.sources.items()}
    return {**tasks, **domains, **sources}


def _write(config: SwarmConfig, found: SwarmResult, mix: dict[str, Any] | None) -> None:
    shares = {name: share for name, share in found.optimum.items() if share >= mixtures.GRAIN}
    data = [{"tokens": config.data[name], "share": share} for name, share in shares.items()]
    files = {RESULT: msgspec.json.format(msgspec.json.encode(found)) + b"\n", DATA: _yaml({"data": data})}
    if mix is not None:
        files[MIX] = _yaml(_mix_with(mix, shares, config.max_epochs))
    for name, content in files.items():
        storage.write_bytes(storage.join(config.to, name), content)


def _yaml(value: Any) -> bytes:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True).encode()


def _open_mix(path: str, names: set[str]) -> dict[str, Any]:
    mix = read_yaml(path)
    found = {source.get("name") for source in mix.get("sources") or []} if isinstance(mix, dict) else set()
    if not names <= found:
        raise ConfigError(f"{path}: no source {sorted(names - found)[0]!r}; its sources are those that data names")
    return mix


def _mix_with(mix: dict[str, Any], shares: dict[str, float], max_epochs: float) -> dict[str, Any]:
    """The mix with these shares as its sources' last steps; sources that have none are left out."""
    sources: list[dict[str, Any]] = []
    for source in mix["sources"]:
        if source["name"] in shares:
            steps = [step for step in source.get("steps") or [] if "sample" not in step]
            sample = {"share": shares[source["name"]], "max_epochs": max_epochs}
            sources.append({**source, "steps": [*steps, {"sample": sample}]})
    return {**mix, "sources": sources}
