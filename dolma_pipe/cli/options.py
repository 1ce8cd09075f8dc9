"""Options that every stage has, and the one way a stage is run and shown."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple, get_type_hints

import typer

from dolma_pipe.errors import ConfigError

Config = Annotated[
    str | None, typer.Option("-c", "--config", help="YAML with all settings of this stage: a file, or a bundled NAME.")
]
Set = Annotated[list[str], typer.Option("--set", help="Override one setting: KEY.PATH=VALUE (repeatable).")]
Workers = Annotated[int, typer.Option("--workers", help="Worker processes on this machine.")]
RunnerName = Annotated[str, typer.Option("--runner", help="Where tasks run: local or ray.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
Limit = Annotated[int | None, typer.Option("--limit", help="Only the first N documents of every shard.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done; do nothing.")]
Force = Annotated[bool, typer.Option("--force", help="Do everything again.")]
Rehash = Annotated[bool, typer.Option("--rehash", help="Compare inputs by content, not by size and time.")]
Part = Annotated[str | None, typer.Option("--part", help="i/N: only the i-th of N shares of the tasks (Slurm arrays).")]


class Execution(NamedTuple):
    """The run options of a command line: how, not what."""

    workers: Workers = 1
    runner: RunnerName = "local"
    json: Json = False
    dry_run: DryRun = False
    force: Force = False
    rehash: Rehash = False
    part: Part = None


def of_a_run(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command all options of `Execution`; the command gets them as its last argument."""
    *own, last = inspect.signature(command, eval_str=True).parameters.values()

    @functools.wraps(command)
    def run(**given: Any) -> None:
        execution = Execution(**{name: given.pop(name) for name in Execution._fields})
        command(**given, **{last.name: execution})

    kinds, defaults = get_type_hints(Execution, include_extras=True), Execution._field_defaults
    parameters = [
        *own,
        *(inspect.Parameter(name, last.kind, default=defaults[name], annotation=kinds[name]) for name in kinds),
    ]
    run.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportAttributeAccessIssue]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def names(value: str | None) -> list[str] | None:
    """`a,b` as a list; None stays None."""
    return None if value is None else [name.strip() for name in value.split(",") if name.strip()]


def pair(value: str) -> tuple[str, str]:
    """`--dataset SOURCE=DIR` in two."""
    name, sign, folder = value.partition("=")
    if not sign or not name or not folder:
        raise ConfigError(f"--dataset {value!r}: expected SOURCE=DIR")
    return name, folder


def of_this_stage(config: str | None, stage: str) -> str | None:
    """The file that `--config` means; one of the Dolma toolkit's is refused with the command that converts it."""
    from pathlib import Path

    from dolma_pipe.config import located

    path = located(config, stage)
    if path is not None and Path(path).is_file():
        refuse_foreign(path)
    return path


def refuse_foreign(path: str) -> None:
    """A configuration of the Dolma toolkit is a `ConfigError` that says what to do with it."""
    from dolma_pipe.config import read_yaml
    from dolma_pipe.conversion.commands import kind_of

    kind = kind_of(read_yaml(path))
    if kind is not None:
        raise ConfigError(
            f"{path}: a configuration for {kind!r} of the Dolma toolkit; what to run instead: "
            f"dolma-pipe convert commands {path}"
        )


def make_runner(execution: Execution) -> Any:
    """The runner a command line names."""
    if execution.runner == "local":
        from dolma_pipe.runners.local import Local

        return Local(execution.workers)
    if execution.runner == "ray":
        from dolma_pipe.runners.ray import Ray

        return Ray(execution.workers)
    raise ConfigError(f"--runner {execution.runner!r}: expected local or ray")


def parse_part(value: str | None) -> tuple[int, int] | None:
    """`2/8` (1-based) as (1, 8)."""
    if value is None:
        return None
    first, slash, count = value.partition("/")
    if not (slash and first.isdigit() and count.isdigit() and 1 <= int(first) <= int(count)):
        raise ConfigError(f"--part {value!r}: expected i/N with 1 <= i <= N, for example 3/16")
    return int(first) - 1, int(count)


def execute(stage: Any, execution: Execution) -> Any:
    """Run a stage with progress on the terminal; prints one summary line (or JSON) and returns the summary."""
    from dolma_pipe.cli.progress import Display
    from dolma_pipe.execution import Options, run_stage

    options = Options(execution.force, execution.rehash, execution.dry_run, parse_part(execution.part))
    runner = make_runner(execution)
    with Display(stage.name) as display:
        summary = run_stage(stage, runner, options, display.on_event)
    print_summary(summary, execution)
    return summary


def print_summary(summary: Any, execution: Execution) -> None:
    """The result of a stage on standard output."""
    from dolma_pipe.cli.progress import describe

    if execution.json:
        import msgspec

        typer.echo(msgspec.json.encode(summary._asdict()).decode())
    else:
        typer.echo(describe(summary, execution.dry_run))
