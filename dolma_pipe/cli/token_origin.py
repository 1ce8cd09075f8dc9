"""How `why --token` shows whose a token is."""

from __future__ import annotations

import typer

from dolma_pipe.cli.explanation import safe


def show(folder: str, place: str, json: bool) -> None:
    """The document of a token, every place that it was at, and its text."""
    from dolma_pipe.lineage import token_origin

    found = token_origin(folder, place)
    if json:
        import msgspec

        typer.echo(msgspec.json.encode(found).decode())
        return
    part = f", part {found.part + 1} of {found.parts}" if found.parts > 1 else ""
    name = "padding" if not found.parts else f"document {safe(found.id)!r} of {safe(found.source)}{part}"
    gone = ", taken down" if found.masked and found.parts else ""
    typer.echo(f"{found.token_shard}:{found.offset} is in tokens {found.start}:{found.end}, {name}{gone}")
    for step in found.steps:
        typer.echo(f"  {'row' if '/documents/' in step.file else 'line'} {step.row} of {step.file}")
    if found.text is not None:
        typer.echo(f"\n{safe(found.text)}")
    elif found.parts:
        typer.echo("  its text is not where it was read from; see _manifest/runs for the paths")
