"""dolma-pipe why"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dolma_pipe.cli import options, token_origin


def command(
    document: Annotated[
        str | None, typer.Argument(help="The id of a document of any source.", metavar="DOC_ID")
    ] = None,
    mixed: Annotated[
        str | None, typer.Option("--in", metavar="DIR", help="What a mix wrote; with --token a token folder.")
    ] = None,
    token: Annotated[
        str | None, typer.Option(metavar="SHARD:OFFSET", help="A token, as shard-00000:123: whose text it is.")
    ] = None,
    config: options.Config = None,
    settings: options.Set = [],  # noqa: B006
    tokens: Annotated[
        list[str],
        typer.Option(help="Token shards that were made of the mix: where the copies are in them (repeatable)."),
    ] = [],  # noqa: B006
    dataset: Annotated[
        list[str], typer.Option(metavar="SOURCE=DIR", help="Where the data set of a source lies now (repeatable).")
    ] = [],  # noqa: B006
    reason: Annotated[
        str | None, typer.Option(metavar="RULE", help="Without DOC_ID: only what was dropped for this rule.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Why a document is, or is not, in a mix: rules, values, thresholds, copies, edits, and where it was written.

    Without DOC_ID: everything that is not in the mix, a line each: source, id, reasons.
    """
    from dolma_pipe.errors import ConfigError

    if token is not None:
        if document is not None or mixed is None:
            raise ConfigError("why: name a token and its folder: dolma-pipe why --token shard-00000:9 --in tokens/web")
        token_origin.show(mixed, token, json)
        return
    if document is None and mixed is not None and config is None and not tokens:
        _list(mixed, reason, dataset, json)
        return
    if reason is not None:
        raise ConfigError("why: --reason has no effect with DOC_ID: a document's story has all of its reasons")
    if document is None or (mixed is None and config is None):
        raise ConfigError("why: name a document and a mix: dolma-pipe why DOC_ID --in mixed/web, or -c mix.yaml")
    if mixed is None and tokens:
        raise ConfigError("why: --tokens has no effect without --in: the copies of a mix that was made are in tokens")
    if config is not None and dataset:
        raise ConfigError("why: --dataset has no effect with -c, which says where data sets are")
    from dolma_pipe.cli import reasons

    pairs = dict(options.pair(value) for value in dataset)
    reasons.show(_stories(document, mixed, config, settings, tokens, pairs), json)


def _list(mixed: str, reason: str | None, dataset: list[str], json: bool) -> None:
    from dolma_pipe.cli import reasons
    from dolma_pipe.stages.mix.explanation import inquiry
    from dolma_pipe.stages.mix.explanation.absences import absences

    sources = inquiry.made(mixed, dict(options.pair(value) for value in dataset))
    found = absences(sources, mixed)
    reasons.show_absences((one for one in found if reason is None or _is_for(one.reasons, reason)), json)


def _is_for(reasons: list[str], wanted: str) -> bool:
    """`gopher` is every rule of the recipe, `gopher.stop_words` one of them, `skipped` the kind of what follows it."""
    return any(reason == wanted or reason.startswith((f"{wanted}.", f"{wanted}:")) for reason in reasons)


def _stories(
    document: str,
    mixed: str | None,
    config: str | None,
    settings: list[str],
    tokens: list[str],
    dataset: dict[str, str],
) -> Any:
    from dolma_pipe.config import load, located
    from dolma_pipe.stages.mix import MixConfig
    from dolma_pipe.stages.mix.explanation import inquiry
    from dolma_pipe.stages.mix.explanation.explanation import explain
    from dolma_pipe.stages.mix.prediction.rehearsal import rehearsal

    path = located(config, "mix")
    if path is None:
        return explain(inquiry.made(str(mixed), dataset), document, mixed, tokens)
    with rehearsal(load(path, MixConfig, settings), path) as stage:
        sources = inquiry.planned(stage)
        if mixed is not None:
            return explain(sources, document, mixed, tokens)
        inquiry.find(sources, document)  # an id that is not there is said at once
        stage.decide()
        return explain(sources, document, None, decided=stage)
