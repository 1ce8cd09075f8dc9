"""dolma-pipe dedup"""

from __future__ import annotations

from typing import Annotated

import typer

from dolma_pipe.cli import options


@options.of_a_run
def command(
    datasets: Annotated[list[str] | None, typer.Argument(help="Folders that hold documents/, in order.")] = None,
    by: Annotated[
        str | None, typer.Option(help="url, text, paragraph, substring, minhash, source, metadata.NAME ...")
    ] = None,
    against: Annotated[
        list[str], typer.Option(help="A data set kept before: compared with, not written (repeatable).")
    ] = [],  # noqa: B006
    scope: Annotated[
        str | None, typer.Option(help="Where copies are sought: all, dataset, source, metadata.NAME, path:REGEX.")
    ] = None,
    where: Annotated[str | None, typer.Option(help="SQL over attributes: only what passes competes.")] = None,
    expect_duplicates: Annotated[bool, typer.Option("--expect-duplicates", help="Finding none is an error.")] = False,
    name: Annotated[str | None, typer.Option(help="The attribute set to write (default: dedup_BY).")] = None,
    attributes: Annotated[str | None, typer.Option(help="Where results go (default: DATASET/attributes).")] = None,
    config: options.Config = None,
    settings: options.Set = [],  # noqa: B006
    limit: options.Limit = None,
    *,
    execution: options.Execution,
) -> None:
    """Find duplicate URLs, texts or paragraphs across data sets: documents/ -> attributes/dedup_BY/."""
    from dolma_pipe.config import load
    from dolma_pipe.stages.dedup import DedupConfig, dedup_stage

    flags = {
        "by": by, "against": against or None, "scope": scope, "where": where,
        "expect_duplicates": expect_duplicates or None, "name": name, "attributes": attributes, "limit": limit,
    }  # fmt: skip
    stage = dedup_stage(
        load(options.of_this_stage(config, "dedup"), DedupConfig, settings, datasets=datasets or None, **flags)
    )
    options.execute(stage, execution)
