"""dolma-pipe eval"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dolma_pipe.cli import options


def command(
    model: Annotated[str | None, typer.Option(help="A run's folder, or one checkpoint's.")] = None,
    tokens: Annotated[str | None, typer.Option(help="Folders of held-out token shards, separated by commas.")] = None,
    to: Annotated[str | None, typer.Option(help="Also write the result as JSON to this file.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first N documents of every folder.")] = None,
    config: options.Config = None,
    settings: options.Set = [],  # noqa: B006
    json: options.Json = False,
) -> None:
    """Bits per byte of a trained model on held-out tokens, by source."""
    from dolma_pipe.config import load, located
    from dolma_pipe.train import require_torch
    from dolma_pipe.train.config import EvalConfig

    flags = {"model": model, "tokens": options.names(tokens), "to": to, "limit": limit}
    evaluation = load(located(config, "eval"), EvalConfig, settings, **flags)
    evaluation.check()
    require_torch()
    print_result(run(evaluation), json)


def run(evaluation: Any) -> Any:
    """Evaluate with a bar on a terminal."""
    import sys

    from rich.console import Console
    from rich.progress import Progress

    from dolma_pipe.tokens import TokenSet
    from dolma_pipe.train.evaluate import evaluate

    total = sum(TokenSet.open(folder).total_tokens for folder in evaluation.tokens)
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task("eval", total=None if evaluation.limit else total)
        return evaluate(evaluation, lambda tokens: bar.advance(task, tokens))


def print_result(result: Any, json: bool = False) -> None:
    """A table of sources, or everything as JSON."""
    import msgspec

    if json:
        typer.echo(msgspec.json.encode(result).decode())
        return
    typer.echo(f"eval {result.model}: windows of {result.window} tokens, overlap {result.overlap}")
    typer.echo(f"{'source':<32} {'documents':>10} {'tokens':>12} {'bytes':>12} {'bits/byte':>10}")
    for name, score in [*result.sources.items(), ("all", result.overall)]:
        counts = f"{score.documents:>10,} {score.tokens:>12,} {score.bytes:>12,}"
        typer.echo(f"{name:<32} {counts} {score.bits_per_byte:>10.4f}")
