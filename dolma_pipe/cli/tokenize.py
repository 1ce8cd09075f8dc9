"""dolma-pipe tokenize"""

from __future__ import annotations

from typing import Annotated

import typer

from dolma_pipe.cli import options
from dolma_pipe.errors import ConfigError


@options.of_a_run
def command(
    datasets: Annotated[
        list[str] | None, typer.Argument(help="Folders that hold documents/, as a mix writes them.")
    ] = None,
    tokenizer: Annotated[str | None, typer.Option(help="A tokenizer.json.")] = None,
    to: Annotated[str | None, typer.Option(help="Folder for the shards.")] = None,
    eos: Annotated[str | None, typer.Option(help="The token that ends a document, as in '<|endoftext|>'.")] = None,
    shard_tokens: Annotated[
        int | None, typer.Option(help="Tokens at which a shard closes (default 268435456).")
    ] = None,
    pack: Annotated[
        str | None, typer.Option(help="Fill whole sequences: concatenate, or best-fit (documents stay whole).")
    ] = None,
    sequence_length: Annotated[
        str | None, typer.Option(metavar="N[,N...]", help="Tokens of a packed sequence; several are buckets.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The order of the documents.")] = None,
    config: options.Config = None,
    settings: options.Set = [],  # noqa: B006
    limit: options.Limit = None,
    *,
    execution: options.Execution,
) -> None:
    """Documents in, memory-mapped token shards out, in a seeded order of all documents."""
    from dolma_pipe.config import load
    from dolma_pipe.stages.tokenize import Tokenize, TokenizeConfig

    stage = Tokenize(
        load(
            options.of_this_stage(config, "tokenize"), TokenizeConfig, settings,
            datasets=datasets or None, tokenizer=tokenizer, to=to, eos=eos,
            shard_tokens=shard_tokens, seed=seed, limit=limit, pack=pack, sequence_length=_lengths(sequence_length),
        )
    )  # fmt: skip
    options.execute(stage, execution)


def _lengths(value: str | None) -> int | list[int] | None:
    names = options.names(value)
    if names is None:
        return None
    if not names or not all(name.isdigit() for name in names):
        raise ConfigError(f"--sequence-length {value!r}: expected a number of tokens, or several as in 2048,8192")
    return int(names[0]) if len(names) == 1 else [int(name) for name in names]
