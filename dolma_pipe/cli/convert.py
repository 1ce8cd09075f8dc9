"""dolma-pipe convert"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dolma_pipe.cli import options

app = typer.Typer(
    add_completion=False, rich_markup_mode=None, no_args_is_help=True,
    help="The Dolma toolkit's configurations and attributes in our form.",
)  # fmt: skip


@app.command()
def mix(
    old: Annotated[str, typer.Argument(metavar="OLD.yaml", help="A mixing configuration of the Dolma toolkit.")],
    to: Annotated[str | None, typer.Option("--to", metavar="NEW.yaml", help="Where ours is written.")] = None,
    json: options.Json = False,
) -> None:
    """A mixing configuration as a mix of ours.

    Filters may be JSONPath or jq; span replacements become edits.

    Attributes are looked for in the data sets: those that nobody has written are named, with the nearest that is there.
    """
    from dolma_pipe.conversion.mixing import convert_mix
    from dolma_pipe.storage import write_bytes

    found = convert_mix(old)
    text = _yaml(found, old)
    if to is not None:
        write_bytes(to, text.encode())
    if json:
        import msgspec

        typer.echo(msgspec.json.encode(found).decode())
    elif to is None:
        typer.echo(text, nl=False)
    for line in _told(found):
        typer.echo(line, err=True)


@app.command()
def commands(
    old: Annotated[list[str], typer.Argument(metavar="OLD.yaml...", help="Configurations of the Dolma toolkit.")],
) -> None:
    """Any configuration as the command to type instead."""
    from dolma_pipe.conversion.commands import convert_commands

    for path in old:
        found = convert_commands(path)
        for line in found.lines:
            typer.echo(line)
        for line in [*(f"cannot be carried over: {lost}" for lost in found.lost), *found.notes]:
            typer.echo(f"# {line}")


@app.command()
def attributes(
    dataset: Annotated[str, typer.Argument(help="A data set whose attributes the Dolma toolkit has written.")],
    sets: Annotated[str, typer.Option("--sets", help="Attribute sets (its experiments), separated by commas.")],
) -> None:
    """Attribute files as attribute sets of ours.

    They are written beside Dolma's own, which are JSON lines.
    """
    from dolma_pipe.conversion.attributes import convert_set

    for name in options.names(sets) or []:
        typer.echo(f"{name}: {convert_set(dataset, name):,} documents")


def _yaml(found: Any, old: str) -> str:
    import yaml

    head = [f"# Converted from {old}.", *(f"# {line}" for line in _told(found))]
    return "\n".join(head) + "\n" + yaml.safe_dump(found.config, sort_keys=False, width=110, allow_unicode=True)


def _told(found: Any) -> list[str]:
    """What a reader of the result should know."""
    said = [f"cannot be carried over: {line}" for line in found.lost]
    for key, guess in found.unmatched.items():
        said.append(f"matches no attribute that exists: {key}" + (f"; did you mean {guess}?" if guess else ""))
    return [*said, *(f"note: {line}" for line in found.notes)]
