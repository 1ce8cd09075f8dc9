"""What an experiment over data is, as typed configuration: mixes compared, or one searched; imports no torch."""

from __future__ import annotations

import os
import re
from typing import Annotated, Any, Literal

from msgspec import Meta

from dolma_pipe.config import Config, convert, located, read_yaml
from dolma_pipe.errors import ConfigError
from dolma_pipe.train.config import DataSource, TrainConfig
from dolma_pipe.train.evaluation.config import EvalConfig
from dolma_pipe.train.model.architecture import Positive, PositiveReal, Real
from dolma_pipe.types import Plain

Share = Annotated[float, Meta(gt=0, lt=1)]
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def run_config(settings: dict[str, Plain] | str, to: str, data: list[DataSource], seed: int) -> TrainConfig:
    """One run of an experiment: settings of a training run, with its folder, data and seed put in their place."""
    own = {"to": to, "data": data, "seed": seed}
    return convert({**_settings(settings, "train"), **own}, TrainConfig, _place(settings, "train"))


def eval_config(settings: dict[str, Plain] | str, model: str, to: str) -> EvalConfig:
    """The measurement of one run, with every document and question in its result."""
    own = {"model": model, "to": to, "items": True}
    return convert({**_settings(settings, "eval"), **own}, EvalConfig, _place(settings, "eval"))


def _settings(settings: dict[str, Plain] | str, stage: str) -> dict[str, Plain]:
    found: Any = settings if isinstance(settings, dict) else read_yaml(located(settings, stage) or settings)
    if not isinstance(found, dict):
        raise ConfigError(f"{settings}: expected keys and values, found {type(found).__name__}")
    return found


def _place(settings: dict[str, Plain] | str, stage: str) -> str:
    return settings if isinstance(settings, str) else stage


class AblationConfig(Config, frozen=True):
    """Mixes compared: one model, trained on each of them once for each seed, measured on the same text and tasks.

    `mixes` are token folders by name, or lists as a training run's `data`; or mix YAMLs, which are mixed and
    tokenized first, as `tokenize` says (the keys of `dolma-pipe tokenize`). `train` are the settings of a run and
    `eval` those of an evaluation, or names or files of them; `to`, `data`, `seed` and `model` there are replaced.
    Differences are to the `baseline` (default: the first mix), and each interval holds with `confidence`, divided
    among the mixes that are compared (Bonferroni).
    """

    to: str
    mixes: dict[str, str | list[DataSource]]
    train: dict[str, Plain] | str
    eval: dict[str, Plain] | str
    seeds: tuple[int, ...] = (0, 1, 2)
    baseline: str | None = None
    confidence: Share = 0.95
    tokenize: dict[str, Plain] | None = None

    @property
    def base(self) -> str:
        return self.baseline or next(iter(self.mixes))

    def runs(self) -> dict[tuple[str, int], TrainConfig]:
        """Every run by its mix and seed; mix YAMLs have to be token folders by now."""
        return {
            (name, seed): run_config(self.train, f"{self.to}/runs/{name}-seed{seed}", sources(data), seed)
            for name, data in self.mixes.items()
            for seed in self.seeds
        }

    def measurement(self, mix: str, seed: int) -> EvalConfig:
        return eval_config(self.eval, f"{self.to}/runs/{mix}-seed{seed}", f"{self.to}/evals/{mix}-seed{seed}.json")

    def check(self) -> None:
        """Refuse what could be known to fail before any work."""
        if len(self.mixes) < 2:
            raise ConfigError(f"ablate: mixes has {len(self.mixes)} entries; a comparison needs two or more")
        if len(set(self.seeds)) < len(self.seeds) or len(self.seeds) < 3:
            raise ConfigError(f"ablate: seeds are {list(self.seeds)}; three or more different ones show what is noise")
        if self.base not in self.mixes:
            raise ConfigError(f"ablate: the baseline {self.base!r} is not among the mixes ({', '.join(self.mixes)})")
        check_names(self.mixes)
        has_yaml = any(isinstance(data, str) and data.endswith(".yaml") for data in self.mixes.values())
        if has_yaml != (self.tokenize is not None):
            raise ConfigError("ablate: tokenize says how mix YAMLs become tokens; give both or neither")
        for run in self.runs().values():
            run.check()
        self.measurement(self.base, self.seeds[0]).check()


class SwarmConfig(Config, frozen=True):
    """A mixture searched: proxy runs over sampled shares of `data` (token folders by name), a regression, an optimum.

    Run 0 has the natural shares (of the folders' tokens), the others shares drawn as RegMix draws them: from Dirichlet
    distributions around p, which is proportional to the natural shares to the power `temperature` (1: the natural
    shares; 0.5 shows more of small sources), with strengths between the two of `strength` (small: extreme mixtures),
    and no source at more than `max_oversampling` times its natural share. `train` are the settings of a proxy and
    `eval` those of its measurement, or names or files of them. The `regression` predicts each metric from the shares;
    the optimum minimises the mean prediction plus `kl` x KL(shares | natural), for a run of `budget` tokens that sees
    no token more than `max_epochs` times. `mix` names a mix YAML with sources of the same names: it is written again
    with these shares.
    """

    to: str
    data: dict[str, str]
    train: dict[str, Plain] | str
    eval: dict[str, Plain] | str
    runs: Positive
    budget: Positive
    max_epochs: PositiveReal = 4.0
    strength: tuple[PositiveReal, PositiveReal] = (0.1, 5.0)
    temperature: Real = 0.5
    max_oversampling: Annotated[float, Meta(gt=1)] = 15.0
    regression: Literal["log_linear", "linear"] = "log_linear"
    kl: Real = 0.1
    mix: str | None = None
    seed: int = 0

    def proxy(self, number: int, shares: list[float]) -> TrainConfig:
        """Run `number`; folders of which it has nothing are left out."""
        data = [
            DataSource(tokens=folder, share=share)
            for folder, share in zip(self.data.values(), shares, strict=True)
            if share
        ]
        return run_config(self.train, f"{self.to}/runs/{number:04d}", data, self.seed)

    def measurement(self, number: int) -> EvalConfig:
        return eval_config(self.eval, f"{self.to}/runs/{number:04d}", f"{self.to}/evals/{number:04d}.json")

    def check(self) -> None:
        """Refuse what could be known to fail before any work."""
        count = len(self.data)
        if count < 2:
            raise ConfigError(f"swarm: data has {count} folders; a mixture has two or more")
        if self.runs < count + 2:
            raise ConfigError(f"swarm: {self.runs} runs cannot tell {count} folders apart; give {count + 2} or more")
        if self.strength[0] > self.strength[1]:
            raise ConfigError(f"swarm: strength is {list(self.strength)}; write the smaller one first")
        check_names(self.data)
        self.proxy(0, [1 / count] * count).check()
        self.measurement(0).check()


def one_process(name: str) -> None:
    """Experiments train their runs one after the other, in the process that measures them."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(f"{name} runs in one process; start it without torchrun")


def check_names(names: Any) -> None:
    for name in names:
        if not NAME.fullmatch(name):
            raise ConfigError(f"the name {name!r} becomes a folder's; write it with letters, digits, - and _")


def sources(data: str | list[DataSource]) -> list[DataSource]:
    """A mix as a training run's `data`."""
    return [DataSource(tokens=data)] if isinstance(data, str) else data
