"""dolma-pipe verify"""

from __future__ import annotations

from typing import Annotated

import typer

from dolma_pipe.cli import options


def command(
    folder: Annotated[str, typer.Argument(help="What a stage wrote (documents, attributes, tokens), or a run.")],
    mixed: Annotated[
        list[str], typer.Option(help="Of a run: a folder that a mix wrote, from which its text came.")
    ] = [],  # noqa: B006
    json: options.Json = False,
) -> None:
    """Re-read and re-hash every output below a folder against its records; of a training run the whole chain, from
    checkpoints to tokens, tokenizer and mixes. Exit code 1 if anything differs."""
    from dolma_pipe.errors import ConfigError, DataError
    from dolma_pipe.verify import verify

    if _is_run(folder):
        _verify_run(folder, mixed, json)
        return
    if mixed:
        raise ConfigError(f"--mixed: {folder} is no training run; verify {mixed[0]} itself")
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


def _is_run(folder: str) -> bool:
    from dolma_pipe import storage

    return storage.exists(storage.join(folder, "checkpoints")) or storage.is_file(
        storage.join(folder, "checkpoint.json")
    )


def _verify_run(folder: str, mixed: list[str], json: bool) -> None:
    from dolma_pipe.errors import DataError
    from dolma_pipe.train import require_torch

    require_torch()
    from dolma_pipe.train.checkpoints.verify import verify_run

    result = verify_run(folder, mixed)
    if json:
        import msgspec

        typer.echo(msgspec.json.encode(result._asdict()).decode())
    else:
        for line in (*result.problems, *(f"note: {note}" for note in result.notes)):
            typer.echo(line)
        read = f"{result.files} files of {result.checkpoints} checkpoints and {result.folders} token folders re-read"
        typer.echo(f"{folder}: {read}, {len(result.problems)} problems")
    if result.problems:
        raise DataError(f"{folder}: {len(result.problems)} links of its chain are not what they were when it trained")
