"""dolma-pipe tokenizer"""

from __future__ import annotations

from typing import Annotated

import typer

from dolma_pipe.cli import options

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)


@app.callback()
def tokenizer() -> None:
    """Train a BPE tokenizer; compare tokenizers on documents."""


@app.command()
def train(
    datasets: Annotated[list[str] | None, typer.Argument(help="Folders that hold documents/.")] = None,
    vocab_size: Annotated[int | None, typer.Option(help="Ids in all (default 16384).")] = None,
    to: Annotated[str | None, typer.Option(help="The tokenizer.json to write, or a folder for it.")] = None,
    eos: Annotated[str | None, typer.Option(help="The token that ends a document (default '<|endoftext|>').")] = None,
    max_bytes: Annotated[
        int | None, typer.Option(help="Most text to use, sampled by document (default 512 MiB).")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Which documents are sampled.")] = None,
    config: options.Config = None,
    settings: options.Set = [],  # noqa: B006
    limit: options.Limit = None,
    json: options.Json = False,
    dry_run: options.DryRun = False,
    force: options.Force = False,
    rehash: options.Rehash = False,
) -> None:
    """Learn a byte-level BPE tokenizer from documents: tokenizer.json, and tokenizer_config.json beside it."""
    from dolma_pipe.config import load, located
    from dolma_pipe.stages.tokenizer import TokenizerConfig, TrainTokenizer

    stage = TrainTokenizer(
        load(
            located(config, "tokenizer"), TokenizerConfig, settings,
            datasets=datasets or None, vocab_size=vocab_size, to=to, eos=eos,
            max_bytes=max_bytes, seed=seed, limit=limit,
        )
    )  # fmt: skip
    options.execute(stage, options.Execution(1, "local", json, dry_run, force, rehash))


@app.command()
def compare(
    datasets: Annotated[list[str], typer.Argument(help="Folders that hold documents/.")],
    tokenizers: Annotated[
        list[str], typer.Option("--tokenizer", help="A tokenizer.json, or a folder that has one (repeatable).")
    ],
    languages: Annotated[bool, typer.Option("--languages/--no-languages", help="By language, too.")] = True,
    limit: options.Limit = None,
    json: options.Json = False,
) -> None:
    """Bytes per token of tokenizers side by side, by source and by language: more is shorter."""
    from dolma_pipe.stages.tokenizer_comparison import compare as measured

    rows = measured(datasets, tokenizers, languages, limit)
    if json:
        import msgspec

        for row in rows:
            typer.echo(msgspec.json.encode(row).decode())
        return
    typer.echo("  ".join([f"{'bytes per token':24}", f"{'documents':>9}", f"{'MB':>8}", *_labels(tokenizers)]))
    for row in rows:
        label = row.name if row.kind == "all" else f"{row.kind} {row.name}"
        figures = [f"{value:{COLUMN}.2f}" for value in row.bytes_per_token]
        typer.echo("  ".join([f"{label:24}", f"{row.documents:9,}", f"{row.bytes / 1e6:8,.2f}", *figures]))


COLUMN = 16


def _labels(paths: list[str]) -> list[str]:
    """What tells the files apart, cut to the width of a column."""
    names = [
        path.removesuffix("/tokenizer.json").rstrip("/").rsplit("/", 1)[-1].removesuffix(".json") for path in paths
    ]
    return [f"{name[-COLUMN:]:>{COLUMN}}" for name in names]
