"""dolma-pipe tag"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dolma_pipe.cli import options
from dolma_pipe.errors import ConfigError


@options.of_a_run
def command(
    datasets: Annotated[list[str] | None, typer.Argument(help="Folders that hold documents/.")] = None,
    taggers: Annotated[str | None, typer.Option(help="Names, separated by commas; module:Class for your own.")] = None,
    attributes: Annotated[str | None, typer.Option(help="Where results go (default: DATASET/attributes).")] = None,
    explain: Annotated[
        str | None,
        typer.Option(
            metavar="DOC_ID",
            help="Show every value of one document, and the spans in its text; write nothing. Without --taggers and "
            "-c: what the attributes say.",
        ),
    ] = None,
    config: options.Config = None,
    settings: options.Set = [],  # noqa: B006
    limit: options.Limit = None,
    *,
    execution: options.Execution,
) -> None:
    """Measure every document with every tagger, in one pass: documents/ -> attributes/TAGGER/."""
    from dolma_pipe.config import load
    from dolma_pipe.stages.tag import Tag, TagConfig

    names = options.names(taggers)
    if explain is not None and config is None and names is None:
        names = []
    _refuse_foreign(names or [])
    flags = {"datasets": datasets or None, "taggers": names, "attributes": attributes, "limit": limit}
    settled = load(options.of_this_stage(config, "tag"), TagConfig, settings, **flags)
    if explain is None:
        options.execute(Tag(settled), execution)
    else:
        _explain(settled, explain, execution)


def _refuse_foreign(names: list[str]) -> None:
    """Taggers of the Dolma toolkit are errors that name ours."""
    from dolma_pipe.conversion.names import similar_taggers, taggers_for

    for name in names:
        exact, alike = taggers_for(name), similar_taggers(name)
        if exact or alike:
            what = "measured here by" if exact else "what comes near it here:"
            raise ConfigError(f"{name}: a tagger of the Dolma toolkit; {what} {', '.join(exact or alike)}")


def _explain(config: Any, wanted: str, execution: options.Execution) -> None:
    from dolma_pipe import explain, storage
    from dolma_pipe.cli.explanation import show
    from dolma_pipe.shards import document_shards

    if execution._replace(json=False) != options.Execution():
        raise ConfigError("--explain measures one document and writes nothing: of the options of a run, only --json")
    if not config.datasets:
        raise ConfigError("tag: name a data set to look for the document in")
    shards = [shard for name in config.datasets for shard in document_shards(name, config.include, config.exclude)]
    if config.taggers:
        found = explain.measured(config.taggers, shards, wanted, config.limit)
    else:
        roots = {name: config.attributes or storage.join(name, "attributes") for name in config.datasets}
        found = explain.stored(roots, shards, wanted, config.limit)
    if execution.json:
        import msgspec

        typer.echo(msgspec.json.encode([document._asdict() for document in found]).decode())
    else:
        for document in found:
            show(document)
