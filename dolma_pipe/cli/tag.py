"""dolma-pipe tag"""

from __future__ import annotations

from typing import Annotated

import typer

from dolma_pipe.cli import options


def command(
    datasets: Annotated[list[str] | None, typer.Argument(help="Folders that hold documents/.")] = None,
    taggers: Annotated[str | None, typer.Option(help="Names, separated by commas; module:Class for your own.")] = None,
    attributes: Annotated[str | None, typer.Option(help="Where results go (default: DATASET/attributes).")] = None,
    config: options.Config = None,
    settings: options.Set = [],  # noqa: B006
    limit: options.Limit = None,
    workers: options.Workers = 1,
    runner: options.RunnerName = "local",
    json: options.Json = False,
    dry_run: options.DryRun = False,
    force: options.Force = False,
    rehash: options.Rehash = False,
    part: options.Part = None,
) -> None:
    """Measure every document with every tagger, in one pass: documents/ -> attributes/TAGGER/."""
    from dolma_pipe.config import load, located
    from dolma_pipe.stages.tag import Tag, TagConfig

    flags = {"datasets": datasets or None, "taggers": options.names(taggers), "attributes": attributes, "limit": limit}
    stage = Tag(load(located(config, "tag"), TagConfig, settings, **flags))
    options.execute(stage, options.Execution(workers, runner, json, dry_run, force, rehash, part))
