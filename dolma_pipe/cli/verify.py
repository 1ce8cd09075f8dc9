"""dolma-pipe verify"""

from __future__ import annotations

from typing import Annotated

import typer

from dolma_pipe.cli import options


def command(
    folder: Annotated[str, typer.Argument(help="A folder that a stage wrote: a data set, attributes, tokens.")],
    json: options.Json = False,
) -> None:
    """Re-read and re-hash every output below a folder against its records; exit code 1 if anything differs."""
    from dolma_pipe.errors import DataError
    from dolma_pipe.verify import verify

    result = verify(folder)
    if json:
        import msgspec

        typer.echo(msgspec.json.encode(result._asdict()).decode())
    else:
        for problem in result.problems:
            typer.echo(problem)
        typer.echo(
            f"{folder}: {result.files} files of {result.records} records re-read, {len(result.problems)} problems"
        )
    if result.problems:
        raise DataError(
            f"{folder}: {len(result.problems)} outputs are not what their records say; run their stage again"
        )
