"""dolma-pipe dpo"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dolma_pipe.cli import options
from dolma_pipe.cli.sft import Data, Eos, Epochs, Force, Start, To, tune


def command(
    start: Start = None,
    data: Data = None,
    to: To = None,
    epochs: Epochs = None,
    eos: Eos = None,
    beta: Annotated[float | None, typer.Option(help="How much it costs to leave the model it starts from.")] = None,
    config: options.Config = None,
    settings: options.Set = [],  # noqa: B006
    json: options.Json = False,
    dry_run: options.DryRun = False,
    force: Force = False,
) -> None:
    """Tune a model on preferred and rejected answers, by direct preference optimisation."""
    from dolma_pipe.config import load, located
    from dolma_pipe.train import require_torch
    from dolma_pipe.train.adaptation.config import DpoConfig

    flags = {"start": start, "data": options.names(data), "to": to, "epochs": epochs, "eos": eos, "beta": beta}
    tuning = load(located(config, "dpo"), DpoConfig, settings, **flags)
    tuning.check()
    require_torch()
    run(tuning, force, json, dry_run)


def run(tuning: Any, force: bool = False, json: bool = False, dry_run: bool = False) -> bool:
    """As the command; whether there was anything to do."""
    from dolma_pipe.train.adaptation.dpo import dpo, make_dpo_plan, pairs

    return tune("dpo", "pairs", tuning, pairs, make_dpo_plan, dpo, json, dry_run, force)
