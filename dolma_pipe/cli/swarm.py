"""dolma-pipe swarm"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dolma_pipe.cli import options
from dolma_pipe.cli.ablate import is_whole


def command(
    to: Annotated[str | None, typer.Option(help="Folder of the runs, swarm.json and the mixture found.")] = None,
    runs: Annotated[int | None, typer.Option(help="Proxy runs, the one with natural shares included.")] = None,
    config: options.Config = None,
    settings: options.Set = [],  # noqa: B006
    part: Annotated[str | None, typer.Option(help="i/N: only that share of the runs (Slurm arrays).")] = None,
    json: options.Json = False,
) -> None:
    """Search a mixture: proxy runs over sampled shares, a regression, and the best shares under repetition caps."""
    from dolma_pipe.config import load, located
    from dolma_pipe.train import require_torch
    from dolma_pipe.train.experiments.config import SwarmConfig

    search = load(located(config, "swarm"), SwarmConfig, settings, to=to, runs=runs)
    search.check()
    require_torch()
    run(search, part, json)


def run(search: Any, part: str | None = None, json: bool = False) -> None:
    """As the command."""
    from dolma_pipe.train.experiments.swarm import swarm

    result = swarm(search, lambda line: typer.echo(f"swarm: {line}", err=True), options.parse_part(part))
    if is_whole("swarm", result, part, "searched"):
        _print(search.to, result, json)


def _print(to: str, result: Any, json: bool) -> None:
    import msgspec

    if json:
        typer.echo(msgspec.json.encode(result).decode())
        return
    typer.echo(
        f"swarm -> {to}: {len(result.runs)} runs, {result.regression} laws of {len(result.laws)} {result.judged_by}"
    )
    typer.echo(f"{'source':<24} {'natural':>8} {'best':>8} {'cap':>8} {'epochs':>8}")
    for name, share in result.optimum.items():
        shares = f"{result.natural[name]:>8.4f} {share:>8.4f} {result.caps[name]:>8.4f}"
        typer.echo(f"{name:<24} {shares} {result.epochs[name]:>8.2f}")
    gain = result.predicted - result.predicted_natural
    typer.echo(
        f"predicted: {result.predicted:.4f} bits per byte, {gain:+.4f} against natural shares; rank correlation of "
        f"left-out runs {result.rank_correlation:.2f}; written to {to}/data.yaml"
    )
