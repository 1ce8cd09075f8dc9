"""dolma-pipe export"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dolma_pipe.cli import options
from dolma_pipe.errors import ConfigError

MODEL_FORMATS = ("hf",)


TOKEN_FORMATS = ("olmo", "megatron", "datatrove", "mds", "npy")


def command(
    what: Annotated[str, typer.Argument(help="A run or a checkpoint (hf); a token folder (the others).")],
    to: Annotated[str, typer.Option(help="The folder to write.")],
    form: Annotated[
        str, typer.Option("--format", help="hf: Hugging Face's; olmo, megatron, datatrove, mds, npy: tokens.")
    ] = "hf",
    workers: options.Workers = 1,
    json: options.Json = False,
) -> None:
    """Write a model or tokens in another form. A model is loaded back and compared; tokens are the same tokens."""
    from dolma_pipe import storage

    if form in TOKEN_FORMATS:
        _export_tokens(what, to, form, options.Execution(workers, json=json))
        return
    if form not in MODEL_FORMATS:
        raise ConfigError(f"--format {form!r}: expected one of {', '.join((*MODEL_FORMATS, *TOKEN_FORMATS))}")
    if storage.exists(to) and storage.listing(to):
        raise ConfigError(f"--to {to}: the folder is not empty; name another one")
    facts = _export_model(what, to)
    if json:
        import msgspec

        typer.echo(msgspec.json.encode(facts).decode())
    else:
        typer.echo(
            f"export -> {facts['to']}: {facts['parameters']:,} parameters as {facts['architecture']}; loaded by "
            f"transformers, logits differ by at most {facts['difference']:.2g}"
        )


def _export_tokens(tokens: str, to: str, form: str, execution: options.Execution) -> None:
    from dolma_pipe.config import convert
    from dolma_pipe.stages.export_tokens import LEAVE_OUT, ExportConfig, ExportTokens

    config = convert({"tokens": tokens, "to": to, "format": form}, ExportConfig, "export")
    summary = options.execute(ExportTokens(config), execution)
    masked = summary.counts.get("masked", 0)
    if masked and form in LEAVE_OUT:
        typer.echo(f"note: {form} has no label masks; {masked:,} masked tokens are left out, or padding", err=True)


def _export_model(run: str, to: str) -> dict[str, Any]:
    from dolma_pipe.train import require_torch

    require_torch()
    from dolma_pipe.train.export import export_model

    return export_model(run, to)
