"""dolma-pipe check"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dolma_pipe.cli import options


def command(
    config: Annotated[str, typer.Argument(help="A YAML of any stage, or a pipeline.")],
    stage: Annotated[str | None, typer.Option("--as", help="The stage it is for, where its keys do not tell.")] = None,
    settings: options.Set = [],  # noqa: B006
) -> None:
    """Check a configuration without doing any work: keys, taggers, rules, attributes, folders."""
    from dolma_pipe.config import load, read_yaml
    from dolma_pipe.errors import ConfigError
    from dolma_pipe.pipeline import CONFIGS, config_type, load_pipeline

    data = read_yaml(config)
    if stage is None and isinstance(data, dict) and isinstance(data.get("steps"), list):
        steps = load_pipeline(config, settings)
        typer.echo(
            f"{config}: a pipeline of {len(steps)} steps ({', '.join(step.stage for step in steps)}); its settings hold"
        )
        return
    if stage is not None and stage not in CONFIGS:
        raise ConfigError(f"--as {stage!r}: expected one of {', '.join(CONFIGS)}")
    found = stage or _guess(data, config)
    settled: Any = load(config, config_type(found), settings)
    tasks = _plan(found, settled, config)
    planned = f"; {tasks} tasks in its first phase" if tasks is not None else ""
    typer.echo(f"{config}: a configuration of {found!r}; its settings hold{planned}")


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


def _plan(name: str, settled: Any, path: str) -> int | None:
    """Plan the first phase: what a stage refuses before work, it refuses here. None where a stage has no tasks."""
    from dolma_pipe.cli.run import STAGES, make_stage

    if hasattr(settled, "check"):
        settled.check()
    if name not in STAGES:
        return None
    stage = make_stage(name, settled, path)
    return len(stage.plan(stage.phases[0], {}))
