"""dolma-pipe sft"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from dolma_pipe.cli import options

Start = Annotated[str | None, typer.Option(help="The model to tune: a run, a checkpoint, or Hugging Face's folder.")]
Data = Annotated[str | None, typer.Option(help="Files of JSON lines or folders of them, separated by commas.")]
To = Annotated[str | None, typer.Option(help="Folder of the run: checkpoints, metrics, tokenizer.")]
Epochs = Annotated[float | None, typer.Option(help="Passes over the data.")]
Eos = Annotated[str | None, typer.Option(help="End-of-text, where a start of Hugging Face's does not say it.")]
Force = Annotated[bool, typer.Option("--force", help="Start anew: remove the run's checkpoints and metrics.")]


def command(
    start: Start = None,
    data: Data = None,
    to: To = None,
    epochs: Epochs = None,
    eos: Eos = None,
    config: options.Config = None,
    settings: options.Set = [],  # noqa: B006
    json: options.Json = False,
    dry_run: options.DryRun = False,
    force: Force = False,
) -> None:
    """Tune a model on conversations; the loss is that of the answers. Again: go on from the newest checkpoint."""
    from dolma_pipe.config import load, located
    from dolma_pipe.train import require_torch
    from dolma_pipe.train.adaptation.config import SftConfig

    flags = {"start": start, "data": options.names(data), "to": to, "epochs": epochs, "eos": eos}
    tuning = load(located(config, "sft"), SftConfig, settings, **flags)
    tuning.check()
    require_torch()
    run(tuning, force, json, dry_run)


def run(tuning: Any, force: bool = False, json: bool = False, dry_run: bool = False) -> bool:
    """As the command; whether there was anything to do."""
    from dolma_pipe.train.adaptation.sft import conversations, make_sft_plan, sft

    return tune("sft", "conversations", tuning, conversations, make_sft_plan, sft, json, dry_run, force)


def tune(
    name: str, what: str, tuning: Any, count: Callable[[Any], Any], plan: Callable[[Any], Any],
    train: Callable[..., Any], json: bool, dry_run: bool, force: bool,
) -> bool:  # fmt: skip
    """Say what there is to train on, and train; False if nothing was left to do."""
    from dolma_pipe.cli.train import Display, print_result

    found = count(tuning)[1]
    left_out = (
        f"; {found.too_long:,} longer than {tuning.sequence_length} tokens are left out" if found.too_long else ""
    )
    typer.echo(f"{name}: {found.kept:,} {what} in {found.rows:,} rows{left_out}", err=True)
    if dry_run:
        facts = plan(tuning).facts()
        typer.echo(f"{name} -> {tuning.to}: {facts['parameters']:,} parameters, {facts['steps']:,} steps")
        return False
    with Display() as display:
        result = train(tuning, display.on_event, force)
    if result is not None:
        print_result(result, json, name)
    return result is not None and bool(result.trained_steps)
