"""dolma-pipe mix"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dolma_pipe.cli import options


def command(
    config: options.Config = None,
    to: Annotated[
        str | None, typer.Option("--to", help="Folder for the mix (default: 'to' of the configuration).")
    ] = None,
    settings: options.Set = [],  # noqa: B006
    workers: options.Workers = 1,
    runner: options.RunnerName = "local",
    json: options.Json = False,
    dry_run: options.DryRun = False,
    force: options.Force = False,
    rehash: options.Rehash = False,
    part: options.Part = None,
) -> None:
    """Keep, deduplicate, edit, split and sample documents of several sources, as a YAML says."""
    from dolma_pipe.config import load, located
    from dolma_pipe.errors import ConfigError
    from dolma_pipe.stages.mix import Mix, MixConfig

    config = located(config, "mix")
    if config is None:
        raise ConfigError("mix: give a configuration: dolma-pipe mix -c configs/mix/NAME.yaml")
    stage = Mix(load(config, MixConfig, settings, to=to), config)
    execution = options.Execution(workers, runner, json, dry_run, force, rehash, part)
    summary = options.execute(stage, execution)
    if not json and not dry_run and part is None:
        _print_funnel(summary.home)


def _print_funnel(home: str) -> None:
    from dolma_pipe.stages.mix import read_lock

    for name, source in read_lock(home).sources.items():
        funnel = source.funnel
        typer.echo(f"{name}: {_amount(funnel.read)} read, {_amount(funnel.kept)} kept")
        for reason, amount in funnel.dropped.items():
            if amount.documents:
                typer.echo(f"  {'- ' + reason:<34} {_amount(amount)}")
            if reason == "rules":
                _print_rules(funnel)
        for split, taken in funnel.splits.items():
            typer.echo(f"  {'> ' + split:<34} {_amount(taken)}")
        for edit, count in funnel.edits.items():
            typer.echo(f"  {'~ ' + edit:<34} {count.spans:,} spans in {count.documents:,} documents")
        if funnel.quarantined.documents:
            typer.echo(f"  {'! quarantined':<34} {_amount(funnel.quarantined)}")
        if source.target is not None:
            goal = source.target
            typer.echo(
                f"  target {goal.target_bytes:,} bytes of {goal.available_bytes:,}, written {goal.realised_bytes:,}"
            )
        if source.never_failed:
            typer.echo(f"  rules that dropped nothing: {', '.join(source.never_failed)}")


def _print_rules(funnel: Any) -> None:
    for rule, count in funnel.rules.items():
        if count.failed.documents:
            typer.echo(f"      {rule:<30} {_amount(count.failed)}; only this rule: {count.only.documents:,}")


def _amount(amount: Any) -> str:
    return f"{amount.documents:,} documents ({amount.bytes / 1e6:,.1f} MB)"
