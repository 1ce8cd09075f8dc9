"""dolma-pipe eval"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dolma_pipe.cli import options


def command(
    model: Annotated[str | None, typer.Option(help="A run's folder, or one checkpoint's.")] = None,
    tokens: Annotated[str | None, typer.Option(help="Folders of held-out token shards, separated by commas.")] = None,
    texts: Annotated[str | None, typer.Option(help="Folders of text, a JSON-lines file for each domain.")] = None,
    tasks: Annotated[str | None, typer.Option(help="Multiple-choice tasks: arc_easy,piqa ... or YAML files.")] = None,
    data: Annotated[str | None, typer.Option(help="The folder of the tasks' files.")] = None,
    to: Annotated[str | None, typer.Option(help="Also write the result as JSON to this file.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first N documents or questions of each.")] = None,
    sample: Annotated[int | None, typer.Option(help="N drawn texts of each domain, questions of each task.")] = None,
    config: options.Config = None,
    settings: options.Set = [],  # noqa: B006
    json: options.Json = False,
) -> None:
    """Bits per byte of a trained model by source and domain, and its answers to multiple-choice tasks."""
    from dolma_pipe.config import load, located
    from dolma_pipe.train import require_torch
    from dolma_pipe.train.evaluation.config import EvalConfig

    flags = {
        "model": model, "tokens": options.names(tokens), "texts": options.names(texts), "tasks": options.names(tasks),
        "data": data, "to": to, "limit": limit, "sample": sample,
    }  # fmt: skip
    evaluation = load(located(config, "eval"), EvalConfig, settings, **flags)
    evaluation.check()
    require_torch()
    print_result(run(evaluation), json)


def run(evaluation: Any) -> Any:
    """Evaluate with a counter on a terminal."""
    import sys

    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from dolma_pipe.train.evaluation.evaluate import evaluate

    columns = SpinnerColumn(), TextColumn("eval: {task.completed:,.0f} tokens scored"), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task("eval", total=None)
        return evaluate(evaluation, lambda tokens: bar.advance(task, tokens))


def print_result(result: Any, json: bool = False) -> None:
    """Tables of sources, domains and tasks, or everything as JSON."""
    import msgspec

    if json:
        typer.echo(msgspec.json.encode(result).decode())
        return
    typer.echo(f"eval {result.model}: windows of {result.window} tokens, overlap {result.overlap}")
    if result.sources:
        _print_scores("source", {**result.sources, "all": result.overall})
    if result.domains:
        _print_scores("domain", result.domains)
        mean = f"mean of {len(result.domains)} domains"
        typer.echo(f"{mean:<32} {'':>10} {'':>12} {'':>12} {result.macro_bits_per_byte:>10.4f}")
    if result.tasks:
        _print_tasks(result.tasks)


def summary(result: Any) -> str:
    """What is known already, in brackets."""
    figures = [] if result.overall is None else [f"{result.overall.bits_per_byte:.4f} bits per byte"]
    if result.macro_bits_per_byte is not None:
        figures.append(f"{result.macro_bits_per_byte:.4f} over {len(result.domains)} domains")
    if result.tasks:
        figures.append(f"{len(result.tasks)} tasks")
    return f" ({', '.join(figures)})"


def _print_scores(title: str, scores: dict[str, Any]) -> None:
    typer.echo(f"{title:<32} {'documents':>10} {'tokens':>12} {'bytes':>12} {'bits/byte':>10}")
    for name, score in scores.items():
        counts = f"{score.documents:>10,} {score.tokens:>12,} {score.bytes:>12,}"
        typer.echo(f"{name:<32} {counts} {score.bits_per_byte:>10.4f}")


VARIANTS = ("raw", "per_character", "per_byte", "per_token", "unconditional")


def _print_tasks(tasks: dict[str, Any]) -> None:
    heads = " ".join(f"{name:>14}" for name in VARIANTS)
    typer.echo(f"{'task':<16} {'questions':>9} {'chance':>7} {heads} {'bits/byte':>10}")
    for name, task in tasks.items():
        cells = " ".join(_accuracy(task, variant) for variant in VARIANTS)
        typer.echo(f"{name:<16} {task.questions:>9,} {task.chance:>7.3f} {cells} {task.bits_per_byte:>10.4f}")
    typer.echo("accuracy by the scoring of a choice; with a standard error: the scoring that the task is known by")


def _accuracy(task: Any, variant: str) -> str:
    if variant not in task.accuracy:
        return f"{'':>14}"
    known = variant == task.score and task.standard_error is not None
    error = f"\u00b1{task.standard_error:.3f}" if known else ""
    return f"{f'{task.accuracy[variant]:.3f}{error}':>14}"
