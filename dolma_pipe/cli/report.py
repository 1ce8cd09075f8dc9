"""dolma-pipe report"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dolma_pipe.cli import options


def command(
    folder: Annotated[
        str, typer.Argument(help="What a mix wrote, a data set that was tagged, or a pipeline's folder.", metavar="DIR")
    ],
    to: Annotated[str | None, typer.Option(help="Folder for report.html and DATA_CARD.md (default: DIR).")] = None,
    sample: Annotated[int, typer.Option(help="How many documents to draw of each source.")] = 2000,
    seed: Annotated[int, typer.Option(help="Another seed draws others.")] = 0,
    dataset: Annotated[
        list[str],
        typer.Option(metavar="SOURCE=DIR", help="Where the data set of a mix's source lies now (repeatable)."),
    ] = [],  # noqa: B006
    tokens: Annotated[
        list[str], typer.Option(help="Token shards that were made of the mix, for the last step (repeatable).")
    ] = [],  # noqa: B006
    json: options.Json = False,
) -> None:
    """Write a page about data that a person can read, and a data card: report.html, DATA_CARD.md."""
    import msgspec

    from dolma_pipe import storage
    from dolma_pipe.report import folders, summary

    given = dict(options.pair(value) for value in dataset)
    places = folders.locate(folder)
    places = msgspec.structs.replace(places, tokens={**places.tokens, **{path: path for path in tokens}})
    _check(places, given, tokens)
    title = storage.join(folder) if storage.is_remote(folder) else Path(folder).resolve().name
    found = summary.report(title, places, summary.Drawing(sample, seed), given)
    paths = summary.write(found, to or folder)
    for name in found.missing:
        typer.echo(
            f"{name}: its data set was not found, so the page has its funnel only; give --dataset {name}=DIR", err=True
        )
    if json:
        typer.echo(msgspec.json.encode({"page": paths[0], "card": paths[1], "missing": found.missing}).decode())
    else:
        typer.echo(f"page: {paths[0]}\ncard: {paths[1]}")


def _check(places: object, given: dict[str, str], tokens: list[str]) -> None:
    from dolma_pipe.errors import ConfigError
    from dolma_pipe.report.results import Places

    if isinstance(places, Places) and places.mix is None and (given or tokens):
        option = "--dataset" if given else "--tokens"
        raise ConfigError(f"report: {option} has no effect: the folder holds no mix")
