"""dolma-pipe check"""

from __future__ import annotations

import contextlib
from typing import Annotated, Any

import typer

from dolma_pipe.cli import options

BUNDLED = ("pipelines", "ingest", "tag", "dedup", "mix", "tokenize", "train", "eval", "sft", "dpo", "ablate", "swarm")
"""Folders of `configs/` with configurations of a command."""
COMMANDS = {"tokenizer": "tokenizer train"}
"""What is typed for a stage, where that is not its name."""


def command(
    config: Annotated[str, typer.Argument(help="A YAML of any stage, or a pipeline.")],
    stage: Annotated[str | None, typer.Option("--as", help="The stage it is for, where its keys do not tell.")] = None,
    settings: options.Set = [],  # noqa: B006
) -> None:
    """Check a configuration without doing any work: keys, taggers, rules, attributes, folders."""
    from dolma_pipe.config import load, read_yaml
    from dolma_pipe.errors import ConfigError
    from dolma_pipe.pipeline import CONFIGS, config_type, load_pipeline

    config = _found(config, stage)
    options.refuse_foreign(config)
    data = read_yaml(config)
    if stage is None and isinstance(data, dict) and isinstance(data.get("steps"), list):
        steps = load_pipeline(config, settings)
        stages = ", ".join(step.stage for step in steps)
        typer.echo(f"{config}: a pipeline of {len(steps)} steps ({stages}); its settings hold")
        typer.echo(f"run it: dolma-pipe run -c {config}")
        return
    if stage is not None and stage not in CONFIGS:
        raise ConfigError(f"--as {stage!r}: expected one of {', '.join(CONFIGS)}")
    found = stage or _guess(data, config)
    settled: Any = load(config, config_type(found), settings)
    _plan(found, settled, config)
    command = f"dolma-pipe {COMMANDS.get(found, found)} -c {config}"
    typer.echo(f"{config}: a configuration of {found!r}; its settings hold")
    typer.echo(f"run it: {command}")


def _found(config: str, stage: str | None) -> str:
    """A file, or the bundled configuration of that name, if one stage alone has it (or `stage` does)."""
    from dolma_pipe.config import located
    from dolma_pipe.errors import ConfigError

    found: dict[str, None] = {}
    for folder in BUNDLED if stage is None else [stage]:
        with contextlib.suppress(ConfigError):
            found[located(config, folder) or config] = None
    if len(found) == 1:
        return next(iter(found))
    several = f" (there are {', '.join(found)})" if found else ""
    raise ConfigError(f"{config}: name a file, or a bundled configuration that is the only one of its name{several}")


def _guess(data: Any, path: str) -> str:
    """What has settings of all of these keys, and wants the fewest others."""
    from dolma_pipe.config import field_names, required_names
    from dolma_pipe.errors import ConfigError
    from dolma_pipe.pipeline import CONFIGS, config_type

    keys = set(data) if isinstance(data, dict) else set()
    kinds = {name: config_type(name) for name in CONFIGS}
    misfit = {name: (len(keys - field_names(kind)), len(required_names(kind) - keys)) for name, kind in kinds.items()}
    fitting = [name for name, count in misfit.items() if count == min(misfit.values())]
    if len(fitting) > 1:
        fitting = [name for name in fitting if _converts(data, kinds[name], path)] or fitting
    if len(fitting) > 1:
        raise ConfigError(f"{path}: could be of {', '.join(fitting)}; say which with --as STAGE")
    return fitting[0]


def _converts(data: Any, kind: Any, path: str) -> bool:
    from dolma_pipe.config import convert
    from dolma_pipe.errors import ConfigError

    try:
        convert(data, kind, path)
    except ConfigError:
        return False
    return True


def _plan(name: str, settled: Any, path: str) -> None:
    """Plan the first phase: what a stage refuses before work, it refuses here."""
    from dolma_pipe.cli.run import STAGES, make_stage

    if hasattr(settled, "check"):
        settled.check()
    if name in STAGES:
        stage = make_stage(name, settled, path)
        stage.plan(stage.phases[0], {})
