"""dolma-pipe ablate"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dolma_pipe.cli import options
from dolma_pipe.errors import ConfigError


def command(
    mixes: Annotated[list[str] | None, typer.Argument(help="NAME=TOKENS or NAME=MIX.yaml, the baseline first.")] = None,
    to: Annotated[str | None, typer.Option(help="Folder of the runs, their measurements and ablation.json.")] = None,
    train: Annotated[str | None, typer.Option(help="Training settings: a YAML, or a bundled name.")] = None,
    evaluation: Annotated[str | None, typer.Option("--eval", help="Evaluation settings: a YAML or a name.")] = None,
    config: options.Config = None,
    settings: options.Set = [],  # noqa: B006
    part: Annotated[str | None, typer.Option(help="i/N: only that share of the runs (Slurm arrays).")] = None,
    json: options.Json = False,
) -> None:
    """Compare mixes by the models that they make: the same model, over seeds, and a verdict that may be none."""
    from dolma_pipe.config import load, located
    from dolma_pipe.train import require_torch
    from dolma_pipe.train.experiments.config import AblationConfig

    flags = {"mixes": _named(mixes), "to": to, "train": train, "eval": evaluation}
    ablation = load(located(config, "ablate"), AblationConfig, settings, **flags)
    ablation.check()
    require_torch()
    run(ablation, part, json)


def run(ablation: Any, part: str | None = None, json: bool = False) -> None:
    """As the command."""
    from dolma_pipe.train.experiments.ablation import ablate

    result = ablate(
        with_tokens(ablation), lambda line: typer.echo(f"ablate: {line}", err=True), options.parse_part(part)
    )
    if is_whole("ablate", result, part, "compared"):
        _print(ablation.to, result, json)


def is_whole(name: str, result: Any, part: str | None, then: str) -> bool:
    """Is there a result of all runs? Says so where some are left, and ends where one was stopped."""
    from dolma_pipe.train.experiments.ablation import Stopped

    if isinstance(result, Stopped):
        typer.echo(f"{name}: {result.run} was stopped by {result.signal} and saved; run again to go on", err=True)
        raise typer.Exit(1)
    if result is None:
        typer.echo(f"{name}: part {part} of the runs is done; without --part they are {then}", err=True)
    return result is not None


def _named(mixes: list[str] | None) -> dict[str, str] | None:
    if not mixes:
        return None
    found: dict[str, str] = {}
    for mix in mixes:
        name, sign, data = mix.partition("=")
        if not sign or name in found:
            raise ConfigError(f"ablate: {mix!r} is not NAME=TOKENS with a name of its own")
        found[name] = data
    return found


def with_tokens(ablation: Any) -> Any:
    """The configuration with token folders in place of mix YAMLs, which are mixed and tokenized here."""
    import msgspec

    made = {name: _tokens(ablation, name, data) for name, data in ablation.mixes.items()}
    return msgspec.structs.replace(ablation, mixes=made, tokenize=None)


def _tokens(ablation: Any, name: str, data: Any) -> Any:
    if not isinstance(data, str) or not data.endswith(".yaml"):
        return data
    from dolma_pipe.cli.run import make_stage
    from dolma_pipe.config import convert, load
    from dolma_pipe.pipeline import config_type

    mix: Any = load(data, config_type("mix"))
    to = f"{ablation.to}/tokens/{name}"
    tokenize: Any = convert({**ablation.tokenize, "datasets": [mix.to], "to": to}, config_type("tokenize"), "tokenize")
    for stage, settings in (("mix", mix), ("tokenize", tokenize)):
        _quietly(make_stage(stage, settings, data))
    return to


def _quietly(stage: Any) -> None:
    from dolma_pipe.cli.progress import describe
    from dolma_pipe.execution import Options, run_stage

    summary = run_stage(stage, options.make_runner(options.Execution()), Options(False, False, False, None))
    typer.echo(f"ablate: {describe(summary)}", err=True)


def _print(to: str, result: Any, json: bool) -> None:
    import msgspec

    if json:
        typer.echo(msgspec.json.encode(result).decode())
        return
    seeds = ", ".join(map(str, result.seeds))
    typer.echo(f"ablate -> {to}: {result.parameters:,} parameters, {result.tokens:,} tokens, seeds {seeds}")
    for name, mix in result.mixes.items():
        passes = ", ".join(f"{folder} seen {count:g} times" for folder, count in mix.passes.items())
        typer.echo(f"  {name}: {passes}")
    _print_table(result)
    typer.echo(verdict(result))


def _print_table(result: Any) -> None:
    typer.echo(f"{'bits/byte':<28} {result.baseline:>12}  difference, interval of {result.confidence:.0%}")
    for one in result.comparisons:
        base = result.mixes[result.baseline].bits_per_byte
        names = [name for name in base if name == one.metric or name.startswith(f"{one.metric}/")]
        mean = sum(sum(base[name]) / len(base[name]) for name in names) / len(names)
        label = one.metric if "/" in one.metric else f"mean of {len(names)} {one.metric}"
        found = one.difference
        interval = f"{found.mean:>+9.4f}  ({found.low:+.4f} to {found.high:+.4f})"
        typer.echo(f"{label:<28} {mean:>12.4f}  {one.mix} {interval}  {one.verdict}")


def verdict(result: Any) -> str:
    """The last line: which mix, by what; or that the runs do not tell."""
    by = f"by mean bits per byte over {result.judged_by}"
    if result.best is not None:
        return f"verdict: {result.best} is best, {by}"
    return f"verdict: no decision between {', '.join(result.undecided)}, {by}; more seeds, tokens or items may tell"
