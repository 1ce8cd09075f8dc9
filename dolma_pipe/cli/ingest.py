"""dolma-pipe ingest"""

from __future__ import annotations

from typing import Annotated

import typer

from dolma_pipe.cli import options

Field = Annotated[str | None, typer.Option(help="The field of JSON or Parquet records that holds it.")]


@options.of_a_run
def command(
    inputs: Annotated[list[str] | None, typer.Argument(help="Files and folders to read.")] = None,
    to: Annotated[str | None, typer.Option(help="The data set to write.")] = None,
    source: Annotated[str | None, typer.Option(help="Source of all documents (default: theirs, or TO's name).")] = None,
    added: Annotated[str | None, typer.Option(help="Date (ISO 8601) for all documents' `added`.")] = None,
    include: Annotated[list[str] | None, typer.Option(help="Only files whose name matches (glob; repeatable).")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="No files whose name matches (glob; repeatable).")] = None,
    file_format: Annotated[
        str | None,
        typer.Option("--format", help="text, html, warc, records, table or parquet (default: by name)."),
    ] = None,
    id_field: Annotated[str | None, typer.Option(help="Field with the id; '' names records FILE#LINE.")] = None,
    text_field: Field = None,
    url_field: Field = None,
    main_content: Annotated[
        bool | None,
        typer.Option("--main-content/--whole-page", help="Of web pages: without menus and footers (default), or all."),
    ] = None,
    config: options.Config = None,
    settings: options.Set = [],  # noqa: B006
    limit: Annotated[int | None, typer.Option("--limit", help="Only the first N documents.")] = None,
    *,
    execution: options.Execution,
) -> None:
    """Text, Markdown, code, HTML, web archives, JSON lines, CSV or Parquet in; a data set of documents out."""
    from dolma_pipe.config import load, located
    from dolma_pipe.stages.ingest import Ingest, IngestConfig

    fields = {"fields.id": id_field, "fields.text": text_field, "fields.url": url_field}
    overrides = [*settings, *(f"{name}='{value}'" for name, value in fields.items() if value is not None)]
    flags = {
        "inputs": inputs or None, "to": to, "source": source, "added": added, "include": include or None,
        "exclude": exclude or None, "format": file_format, "limit": limit, "main_content": main_content,
    }  # fmt: skip
    stage = Ingest(load(located(config, "ingest"), IngestConfig, overrides, **flags))
    options.execute(stage, execution)
