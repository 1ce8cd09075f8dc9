"""dolma-pipe trace"""

from __future__ import annotations

from typing import Annotated

import typer

from dolma_pipe.cli import options


def command(
    run: Annotated[str, typer.Argument(help="A run's folder.")],
    step: Annotated[int, typer.Option(help="The step, counted from 1 as in metrics.jsonl.")],
    json: options.Json = False,
) -> None:
    """Which documents a training step was made of: source, id, and the row that they came from."""
    from dolma_pipe.train import require_torch

    require_torch()
    from dolma_pipe.cli.train import open_documents
    from dolma_pipe.train.trace import trace

    found = trace(run, step, open_documents)
    if json:
        import msgspec

        for one in found:
            typer.echo(msgspec.json.encode(one).decode())
        return
    for one in found:
        again = f", pass {one.epoch + 1}" if one.epoch else ""
        typer.echo(
            f"instance {one.instance}{again}: {one.end - one.start:,} tokens of {one.id!r} ({one.source}, "
            f"{one.dataset} {one.shard} row {one.row}) at {one.tokens}/{one.token_shard}:{one.start}"
        )
