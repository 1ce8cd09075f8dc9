"""dolma-pipe train"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Annotated, Any

import typer

from dolma_pipe.cli import options
from dolma_pipe.errors import ConfigError

PLAIN_SECONDS = 10.0
SHOWN_DOCUMENTS = 3


def command(
    tokens: Annotated[str | None, typer.Option(help="Folder of token shards (instead of the file's data).")] = None,
    to: Annotated[
        str | None,
        typer.Option(help="Folder of the run: checkpoints and metrics (an anneal: RUN-anneal-STEP-SOURCE-SHARE)."),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Updates to make in all.")] = None,
    anneal_from: Annotated[
        str | None, typer.Option(help="Run or checkpoint to go on from, the learning rate falling to zero.")
    ] = None,
    source: Annotated[str | None, typer.Option(help="Folder of token shards that the anneal tries.")] = None,
    share: Annotated[float | None, typer.Option(help="The source's share of the anneal's tokens (0.5).")] = None,
    anneal_tokens: Annotated[
        int | None, typer.Option(help="Length of the anneal (a twentieth of what the checkpoint has seen).")
    ] = None,
    config: options.Config = None,
    settings: options.Set = [],  # noqa: B006
    json: options.Json = False,
    dry_run: options.DryRun = False,
    force: Annotated[
        bool, typer.Option("--force", help="Start anew: remove the run's checkpoints and metrics.")
    ] = False,
) -> None:
    """Train a language model on token shards; again: go on from the newest checkpoint. Several ranks: torchrun."""
    from dolma_pipe.config import load, located
    from dolma_pipe.train import require_torch
    from dolma_pipe.train.config import TrainConfig

    if anneal_from is not None:
        require_torch()
        refused = {"--tokens": tokens, "--steps": steps, "--config": config}
        run = _anneal(anneal_from, source, share, anneal_tokens, to, settings, refused)
    else:
        given = {"--source": source, "--share": share, "--anneal-tokens": anneal_tokens}
        _refuse(given, "has an effect only with --anneal-from")
        data = None if tokens is None else [{"tokens": tokens}]
        run = load(located(config, "train"), TrainConfig, settings, data=data, to=to, steps=steps)
    run.check()
    require_torch()
    if dry_run:
        _plan(run, json)
        return
    result = run_training(run, force)
    if result is not None:
        print_result(result, json)


def _refuse(given: dict[str, Any], reason: str) -> None:
    for flag, value in given.items():
        if value is not None:
            raise ConfigError(f"{flag} {reason}")


def _anneal(
    run: str,
    source: str | None,
    share: float | None,
    tokens: int | None,
    to: str | None,
    settings: list[str],
    refused: dict[str, Any],
) -> Any:
    """The configuration of an anneal; `settings` may change it, and a run that is annealed again goes on."""
    from dolma_pipe.config import apply_overrides, convert
    from dolma_pipe.train.anneal import anneal, folder_of
    from dolma_pipe.train.config import TrainConfig, plain

    _refuse(refused, "has no effect with --anneal-from, which takes it from the checkpoint (--anneal-tokens: length)")
    if source is None and share is not None:
        raise ConfigError("--share is that of a --source; without one, the checkpoint's own mix is annealed")
    share = 0.5 if share is None else share
    config = anneal(run, source, share, tokens, to or folder_of(run, source, share))
    return convert(apply_overrides(plain(config), settings), TrainConfig, "--set")


def print_result(result: Any, json: bool = False, name: str = "train") -> None:
    """How the run stands, on standard output; after a signal the exit code is that of the signal."""
    import msgspec

    if json:
        typer.echo(msgspec.json.encode(result).decode())
    else:
        typer.echo(describe(result, name))
    if result.signal is not None:
        number = getattr(signal, result.signal, signal.SIGTERM)
        raise typer.Exit(128 + number)


def describe(result: Any, name: str = "train") -> str:
    """One line: where the run stands, and what the loss did."""
    where = f"{name} -> {result.to}: step {result.step:,} of {result.steps:,}"
    if result.signal is not None:
        return f"{where}, stopped by {result.signal} and saved as {result.checkpoint}; run again to go on"
    if not result.trained_steps:
        return f"{where}: nothing to do (loss {result.last_loss:.3f}, {result.checkpoint})"
    losses = f"loss {result.first_loss:.3f} -> {result.last_loss:.3f}"
    return (
        f"{where}: {result.parameters:,} parameters, {result.tokens:,} tokens, {losses}, saved as {result.checkpoint}"
    )


def _plan(run: Any, json: bool) -> None:
    import msgspec

    from dolma_pipe.train.plan import make_plan

    facts = {"to": run.to, **make_plan(run, source=source_of(run)).facts()}
    if json:
        typer.echo(msgspec.json.encode(facts).decode())
        return
    passes = ", ".join(f"{folder} seen {count:g} times" for folder, count in facts["passes"].items())
    passes = passes or f"documents of {', '.join(run.documents.folders)}"
    size = f"{facts['parameters']:,} parameters, {facts['steps']:,} steps of {facts['tokens_per_step']:,} tokens"
    typer.echo(f"train -> {run.to}: {size}; {passes}")
    for name, steps in facts["phases"].items():
        typer.echo(f"{name}: {steps:,} steps")


def open_documents(documents: Any) -> Any:
    """The documents that a run is to read without token folders."""
    from dolma_pipe.kept_text import KeptText

    return KeptText(documents.folders, documents.tokenizer, documents.taggers, documents.keep, documents.eos)


def source_of(run: Any) -> Any:
    """What a run reads its documents from; None where it has token folders."""
    return None if run.documents is None else open_documents(run.documents)


def _keep_tokenizer(to: str, source: Any) -> None:
    """Token folders have their tokenizer with them; a run without any keeps it itself, for what comes after."""
    from dolma_pipe import storage

    storage.write_bytes(storage.join(to, "tokenizer.json"), source.tokenizer_raw)


def run_training(run: Any, force: bool = False) -> Any:
    """Train with progress; the result, None on later ranks (whose configuration errors the first one reports)."""
    from dolma_pipe.train.loop import train

    source = source_of(run)
    rank = int(os.environ.get("RANK", "0"))
    if source is not None and rank == 0:
        _keep_tokenizer(run.to, source)
    try:
        with Display() as display:
            return train(run, display.on_event, force, source)
    except ConfigError as error:
        if rank > 0:
            raise typer.Exit(error.exit_code) from error
        raise


class Display:
    """Follows a run: a bar on a terminal, a line now and then elsewhere; on standard error."""

    def __init__(self) -> None:
        self.steps = 0
        self._spoke = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Display:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def on_event(self, event: Any) -> None:
        """Hears `RunStarted`, `StepMetrics`, `StepSkipped`, `CheckpointSaved`."""
        from dolma_pipe.train.metrics import RunStarted, StepMetrics, StepSkipped

        if isinstance(event, RunStarted):
            self._start(event)
        elif isinstance(event, StepMetrics):
            self._step(event)
        elif isinstance(event, StepSkipped):
            self._skipped(event)
        elif self._bar is None:
            self._say(f"train: saved {event.path}")

    def _start(self, event: Any) -> None:
        self.steps = event.steps
        if sys.stderr.isatty():
            self._bar = _bar()
            self._task = self._bar.add_task("train", total=event.steps, completed=event.step, state="")
            self._bar.start()
        size = f"{event.parameters:,} parameters, {event.steps:,} steps of {event.tokens_per_step:,} tokens"
        self._say(f"train: {size} on {event.world_size} x {event.device}")
        for folder, passes in event.passes.items():
            self._say(f"train: {folder} will be seen {passes:g} times")
        for name, steps in event.phases.items():
            self._say(f"train: {name}, {steps:,} steps")
        if event.step:
            changed = f"; changed since: {', '.join(event.changed)}" if event.changed else ""
            self._say(f"train: going on after step {event.step:,}{changed}")

    def _step(self, event: Any) -> None:
        speed = f"{event.tokens_per_second:,.0f} tokens/s"
        if self._bar is not None:
            self._bar.update(self._task, completed=event.step, state=f"loss {event.loss:.3f}, {speed}")
        elif time.monotonic() - self._spoke >= PLAIN_SECONDS or event.step in (1, self.steps):
            self._spoke = time.monotonic()
            self._say(
                f"train: step {event.step:,} of {self.steps:,}, loss {event.loss:.3f}, lr {event.lr:.2e}, {speed}"
            )

    def _skipped(self, event: Any) -> None:
        names = [f"{one.id!r} ({one.source})" for one in event.documents]
        more = f" and {len(names) - SHOWN_DOCUMENTS} more" if len(names) > SHOWN_DOCUMENTS else ""
        shown = f"; documents {', '.join(names[:SHOWN_DOCUMENTS])}{more}" if names else ""
        self._say(f"train: step {event.step:,} skipped{', quarantined' * event.quarantined}: {event.reason}{shown}")

    def _say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, highlight=False, markup=False)
        else:
            typer.echo(text, err=True)


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    text, state = TextColumn("{task.description}"), TextColumn("{task.fields[state]}")
    return Progress(text, BarColumn(), MofNCompleteColumn(), state, TimeRemainingColumn(), console=Console(stderr=True))
