"""dolma-pipe take-down"""

from __future__ import annotations

from typing import Annotated

import typer

from dolma_pipe.cli import options


def command(
    ids: Annotated[list[str], typer.Argument(help="Ids of documents, or files with one per line.", metavar="IDS...")],
    folders: Annotated[
        list[str], typer.Option("--in", metavar="DIR", help="Token folder, mix or data set (repeatable).")
    ],
    runs: Annotated[
        list[str] | None, typer.Option("--runs", metavar="RUN", help="Training run: name checkpoints (repeatable).")
    ] = None,
    json: options.Json = False,
) -> None:
    """Overwrite documents in token shards with padding that training does not count, and leave tombstones, in DIR and
    in the data sets that it was made from, which ingest, mix and tokenize obey."""
    from dolma_pipe.exposure import exposures
    from dolma_pipe.takedown import tombstones
    from dolma_pipe.takedown.removal import read_ids, take_down

    names = read_ids(ids)
    found = take_down(names, folders)
    checkpoints = exposures(runs or [], names, folders)
    if json:
        import msgspec

        told = {**msgspec.to_builtins(found), "checkpoints": msgspec.to_builtins(checkpoints)}
        typer.echo(msgspec.json.encode(told).decode())
        return
    typer.echo(f"{found.documents:,} documents of {found.tokens:,} tokens masked in {len(found.shards)} shards")
    for folder, count in found.tombstones.items():
        typer.echo(f"{folder}/{tombstones.NAME}: {count} new")
    for one in checkpoints:
        seen = (
            "the order cannot be made again here"
            if one.sequences is None
            else f"{one.sequences:,} sequences showed them"
        )
        typer.echo(f"{one.checkpoint}: made from these tokens; {seen}")
