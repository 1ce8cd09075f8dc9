"""dolma-pipe import-tokens"""

from __future__ import annotations

from typing import Annotated

import typer

from dolma_pipe.cli import options


def command(
    folder: Annotated[str, typer.Argument(help="Folder with the token files.")],
    form: Annotated[str, typer.Option("--format", help="olmo, megatron or datatrove.")],
    tokenizer: Annotated[str, typer.Option(help="The tokenizer.json that made them.")],
    to: Annotated[str, typer.Option(help="Folder for the shards.")],
    eos: Annotated[str | None, typer.Option(help="The token that ends a document, as in '<|endoftext|>'.")] = None,
    source: Annotated[str | None, typer.Option(help="What the documents are of (default: the folder's name).")] = None,
    workers: options.Workers = 1,
    json: options.Json = False,
    dry_run: options.DryRun = False,
    force: options.Force = False,
    rehash: options.Rehash = False,
) -> None:
    """Token files of OLMo, Megatron or datatrove as a token folder: checked, with a table of their documents."""
    from dolma_pipe.config import convert
    from dolma_pipe.stages.import_tokens import ImportConfig, ImportTokens

    given = {"folder": folder, "to": to, "format": form, "tokenizer": tokenizer, "eos": eos, "source": source}
    stage = ImportTokens(convert(given, ImportConfig, "import-tokens"))
    options.execute(stage, options.Execution(workers, "local", json, dry_run, force, rehash))
