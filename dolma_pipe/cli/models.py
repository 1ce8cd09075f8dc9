"""dolma-pipe models"""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None, invoke_without_command=True)


@app.callback()
def models(context: typer.Context) -> None:
    """Models that taggers use: list the bundled, cached and published ones."""
    if context.invoked_subcommand is None:
        _print_models()


def _print_models() -> None:
    from dolma_pipe.models import PUBLISHED, available

    here = available()
    for model in here:
        typer.echo(f"{model.name:<16} {model.origin:<9} {model.bytes / 1e6:>7.1f} MB  {model.path}")
    for name, published in PUBLISHED.items():
        if name not in {model.name for model in here}:
            typer.echo(f"{name:<16} {'to fetch':<9} {published.about}")


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="A published model, or a file name for one of your own.")],
    source: Annotated[str | None, typer.Option("--from", help="Address to fetch from: a mirror, file:///...")] = None,
    sha256: Annotated[str | None, typer.Option(help="Of the content, for a model that is not published.")] = None,
) -> None:
    """Download a model into the cache; its sha256 is checked, and a wrong one leaves nothing behind."""
    import rich.console
    import rich.progress

    from dolma_pipe.models import fetch as fetch_model

    columns = (rich.progress.TextColumn(name), rich.progress.DownloadColumn(), rich.progress.TransferSpeedColumn())
    console = rich.console.Console(stderr=True)
    with rich.progress.Progress(*columns, transient=True, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(name, total=None)
        path = fetch_model(name, source, sha256, lambda count: progress.advance(task, count))
    typer.echo(path)
