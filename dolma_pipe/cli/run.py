"""dolma-pipe run"""

from __future__ import annotations

import importlib
from typing import Annotated, Any

import typer

from dolma_pipe.cli import options

STAGES = {
    "ingest": "dolma_pipe.stages.ingest:Ingest",
    "tag": "dolma_pipe.stages.tag:Tag",
    "dedup": "dolma_pipe.stages.dedup:dedup_stage",
    "mix": "dolma_pipe.stages.mix:Mix",
    "tokenizer": "dolma_pipe.stages.tokenizer:TrainTokenizer",
    "tokenize": "dolma_pipe.stages.tokenize:Tokenize",
}

RESULTS = {"ablate": "ablation.json", "swarm": "swarm.json"}


def command(
    config: Annotated[
        str | None, typer.Option("-c", "--config", help="The pipeline: a YAML file, or a bundled NAME.")
    ] = None,
    settings: options.Set = [],  # noqa: B006
    workers: options.Workers = 1,
    runner: options.RunnerName = "local",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check every step and list them; do nothing.")] = False,
    force: options.Force = False,
    rehash: options.Rehash = False,
) -> None:
    """The stages of a pipeline file, one after the other; what is done already is not done again."""
    from dolma_pipe.config import located
    from dolma_pipe.errors import ConfigError
    from dolma_pipe.pipeline import load_pipeline

    if config is None:
        raise ConfigError("run: give a pipeline: dolma-pipe run -c configs/pipelines/small.yaml")
    path = located(config, "pipelines") or config
    steps = load_pipeline(path, settings)
    if dry_run:
        for number, step in enumerate(steps, 1):
            reads, writes = step.places()
            typer.echo(f"{number}. {step.stage:<9} {', '.join(reads)}{f' -> {writes}' if writes else ''}")
        return
    run_steps(steps, options.Execution(workers, runner, force=force, rehash=rehash))


def run_steps(steps: list[Any], execution: options.Execution, retrain: bool = False) -> bool:
    """Run the steps of a pipeline; False if none of them had anything to do.

    A model that was trained on other data is an error, or, with `retrain`, trained anew.
    """
    worked = [run_step(step, execution, retrain) for step in steps]
    if not any(worked):
        typer.echo(f"nothing was left to do: all {len(steps)} steps were done before")
    return any(worked)


def run_step(step: Any, execution: options.Execution, retrain: bool) -> bool:
    """Run one step; False if it had nothing to do."""
    if step.stage == "train":
        return _train(step.config, execution, retrain)
    if step.stage == "eval":
        return _evaluate(step.config, execution)
    if step.stage in ("sft", "dpo"):
        return _tune(step.stage, step.config, execution)
    if step.stage in ("ablate", "swarm"):
        return _experiment(step.stage, step.config)
    summary = options.execute(make_stage(step.stage, step.config, step.file), execution)
    if step.stage == "mix" and summary.done:
        from dolma_pipe.cli import funnels

        funnels.show_all(summary.home)
    return bool(summary.done or summary.removed)


def make_stage(name: str, config: Any, file: str) -> Any:
    """The stage of a name with its settings; `file` is where they were written."""
    module, _, kind_name = STAGES[name].partition(":")
    kind = getattr(importlib.import_module(module), kind_name)
    return kind(config, file) if name == "mix" else kind(config)


def _train(config: Any, execution: options.Execution, retrain: bool) -> bool:
    from dolma_pipe.cli.train import print_result, run_training
    from dolma_pipe.train import require_torch

    require_torch()
    result = run_training(config, execution.force or (retrain and _has_other_data(config)))
    if result is None:
        return False
    print_result(result)
    return bool(result.trained_steps)


def _tune(name: str, config: Any, execution: options.Execution) -> bool:
    from dolma_pipe.train import require_torch

    require_torch()
    return importlib.import_module(f"dolma_pipe.cli.{name}").run(config, execution.force)


def _experiment(name: str, config: Any) -> bool:
    """Runs that were made and measured are not made again; there was something to do if the result is another one."""
    from dolma_pipe import storage
    from dolma_pipe.train import require_torch

    require_torch()
    path = storage.join(config.to, RESULTS[name])
    before = storage.read_bytes(path) if storage.exists(path) else None
    importlib.import_module(f"dolma_pipe.cli.{name}").run(config)
    return storage.read_bytes(path) != before


def _has_other_data(config: Any) -> bool:
    """Was the newest checkpoint trained on other tokens than there are now?"""
    from dolma_pipe.cli.train import source_of
    from dolma_pipe.errors import DataError
    from dolma_pipe.train.checkpoints import checkpoint
    from dolma_pipe.train.data.loader import check_same_data
    from dolma_pipe.train.plan import make_plan

    folder = checkpoint.newest(config.to)
    if folder is None:
        return False
    try:
        check_same_data(
            checkpoint.read_record(folder).data, make_plan(config, source=source_of(config)).examples.identity(), folder
        )
    except DataError:
        typer.echo(f"train: {config.to} was trained on other data; starting anew", err=True)
        return True
    return False


def _evaluate(config: Any, execution: options.Execution) -> bool:
    from dolma_pipe.cli.eval import print_result, run, summary
    from dolma_pipe.train import require_torch

    require_torch()
    from dolma_pipe.train.evaluation.evaluate import standing

    found = None if execution.force else standing(config)
    if found is not None:
        typer.echo(f"eval -> {config.to}: nothing to do{summary(found)}")
        return False
    print_result(run(config))
    return True
