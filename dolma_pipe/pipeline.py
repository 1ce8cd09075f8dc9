"""A pipeline file: stages in order, each with exactly the settings of its own YAML.

    vars: {corpus: null, to: small}             # null: has to be given, --set vars.corpus=DIR
    steps:
      - ingest: {inputs: ["${corpus}"], to: "${to}/data"}
      - tag: {datasets: ["${to}/data"], taggers: [gopher, langid]}
      - mix: ../mix/small.yaml                  # the stage's own file, relative to this one

Every step is checked before the first one runs. `--set steps.1.tag.taggers=[pii]` changes a step by its place,
`--set train.steps=50` the only step of that stage.
"""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from dolma_pipe import storage
from dolma_pipe.config import Config, apply_overrides, convert, read_yaml
from dolma_pipe.errors import ConfigError
from dolma_pipe.types import Plain

CONFIGS = {
    "ingest": "dolma_pipe.stages.ingest:IngestConfig",
    "tag": "dolma_pipe.stages.tag:TagConfig",
    "dedup": "dolma_pipe.stages.dedup:DedupConfig",
    "mix": "dolma_pipe.stages.mix:MixConfig",
    "tokenizer": "dolma_pipe.stages.tokenizer:TokenizerConfig",
    "tokenize": "dolma_pipe.stages.tokenize:TokenizeConfig",
    "train": "dolma_pipe.train.config:TrainConfig",
    "eval": "dolma_pipe.train.evaluation.config:EvalConfig",
    "sft": "dolma_pipe.train.adaptation.config:SftConfig",
    "dpo": "dolma_pipe.train.adaptation.config:DpoConfig",
    "ablate": "dolma_pipe.train.experiments.config:AblationConfig",
    "swarm": "dolma_pipe.train.experiments.config:SwarmConfig",
}
"""What each stage's YAML is read as; imported only for the stages that a pipeline has."""

VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class PipelineConfig(Config, frozen=True):
    """`vars` are put into strings as `${name}`; a string that is only `${name}` becomes the value itself."""

    steps: list[dict[str, Plain]]
    vars: dict[str, Plain] = {}


class Step(NamedTuple):
    """A stage with its settings; `file` is where they were written, for paths relative to it."""

    stage: str
    config: Config
    file: str

    def places(self) -> tuple[list[str], str]:
        """Folders that it reads, and where it writes, as far as its settings say so."""
        names = ("inputs", "datasets", "sources", "data", "model", "tokens")
        found = next((value for name in names if (value := getattr(self.config, name, None))), [])
        reads = [found] if isinstance(found, str) else list(found)
        reads = [str(getattr(one, "dataset", getattr(one, "tokens", one))) for one in reads]
        return reads, str(getattr(self.config, "to", None) or getattr(self.config, "attributes", None) or "")


@runtime_checkable
class Checked(Protocol):
    """Settings that know more about what cannot work than their types say."""

    def check(self) -> None: ...


def load_pipeline(path: str, overrides: Sequence[str] = ()) -> list[Step]:
    """The steps of a pipeline file; raises `ConfigError` for whatever is wrong with any of them."""
    data = read_yaml(path)
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected keys and values, found {type(data).__name__}")
    return parse_pipeline(data, path, overrides)


def parse_pipeline(data: dict[str, Plain], path: str, overrides: Sequence[str] = ()) -> list[Step]:
    """The steps of a pipeline that was read from `path`."""
    data, files = _with_files(data, path)
    stages = [next(iter(step), "") if isinstance(step, dict) else "" for step in data.get("steps") or []]
    merged = apply_overrides(data, [_placed(override, stages) for override in overrides])
    pipeline = convert(merged, PipelineConfig, path)
    _check_variables(pipeline, path)
    steps = [_step(step, number, pipeline.vars, path) for number, step in enumerate(pipeline.steps)]
    if not steps:
        raise ConfigError(f"{path}: steps is empty; a pipeline has at least one")
    _check_tokenizers(steps, path)
    return [step._replace(file=files.get(number, path)) for number, step in enumerate(steps)]


def _check_tokenizers(steps: Sequence[Step], path: str) -> None:
    """A tokenizer that is neither there nor made by an earlier step is missed now, not hours later."""
    made: list[str] = []
    for number, step in enumerate(steps):
        named = getattr(step.config, "tokenizer", None)
        if isinstance(named, str) and named not in made:
            place = named if named.endswith(".json") else storage.join(named, "tokenizer.json")
            if place not in made and not storage.is_file(place):
                raise ConfigError(
                    f"{path}: steps.{number}.{step.stage}.tokenizer: {place}: no such file, and no step makes it; "
                    "name a tokenizer.json or the folder that holds it (dolma-pipe tokenizer train makes one)"
                )
        if step.stage == "tokenizer":
            made.append(str(getattr(step.config, "to", "")))


def _with_files(data: dict[str, Plain], path: str) -> tuple[dict[str, Plain], dict[int, str]]:
    """The pipeline with the content of the files that its steps name (`--set` reaches into them), and those files."""
    steps, files = data.get("steps"), {}
    if not isinstance(steps, list):
        return data, files
    steps = list(steps)
    for number, step in enumerate(steps):
        if isinstance(step, dict) and len(step) == 1 and isinstance(value := next(iter(step.values())), str):
            files[number] = str(Path(path).parent / value)
            steps[number] = {next(iter(step)): read_yaml(files[number])}
    return {**data, "steps": steps}, files


def _placed(override: str, stages: list[str]) -> str:
    """`train.steps=50` as `steps.6.train.steps=50`."""
    stage = override.split(".", 1)[0]
    if stage not in CONFIGS:
        return override
    places = [index for index, name in enumerate(stages) if name == stage]
    if len(places) != 1:
        known = ", ".join(f"steps.{place}.{stage}" for place in places) or "none"
        raise ConfigError(f"--set {override}: {len(places)} steps are {stage!r}; name one by its place ({known})")
    return f"steps.{places[0]}.{override}"


def _check_variables(pipeline: PipelineConfig, path: str) -> None:
    used = set(VARIABLE.findall(str(pipeline.steps)))
    for name in sorted(used - set(pipeline.vars)):
        guesses = difflib.get_close_matches(name, pipeline.vars, n=1)
        guess = f" (did you mean {guesses[0]!r}?)" if guesses else ""
        raise ConfigError(f"{path}: ${{{name}}} is not among vars{guess}")
    for name, value in pipeline.vars.items():
        if name not in used:
            raise ConfigError(f"{path}: the variable {name!r} has no effect: no step has ${{{name}}}")
        if value is None:
            raise ConfigError(f"{path}: the variable {name!r} has no value; give --set vars.{name}=VALUE")


def _step(step: dict[str, Plain], number: int, variables: dict[str, Plain], path: str) -> Step:
    where = f"{path}: steps.{number}"
    if len(step) != 1:
        raise ConfigError(f"{where}: expected one stage with its settings, found {', '.join(step) or 'nothing'}")
    [(stage, settings)] = step.items()
    if stage not in CONFIGS:
        guesses = difflib.get_close_matches(stage, CONFIGS, n=1)
        guess = f"; did you mean {guesses[0]!r}?" if guesses else f" (there are: {', '.join(CONFIGS)})"
        raise ConfigError(f"{where}: no stage {stage!r}{guess}")
    config = convert(_filled(settings, variables), config_type(stage), f"{where}.{stage}")
    if isinstance(config, Checked):
        config.check()
    return Step(stage, config, path)


def config_type(stage: str) -> type[Config]:
    """The type of the settings of a stage."""
    module, _, name = CONFIGS[stage].partition(":")
    return getattr(importlib.import_module(module), name)


def _filled(value: Plain, variables: dict[str, Plain]) -> Plain:
    """`value` with its variables replaced, at any depth."""
    if isinstance(value, dict):
        return {key: _filled(item, variables) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, variables) for item in value]
    if not isinstance(value, str):
        return value
    whole = VARIABLE.fullmatch(value)
    if whole is not None:
        return variables[whole.group(1)]
    return VARIABLE.sub(lambda match: str(variables[match.group(1)]), value)
