"""The command line: one module per command, imported only when it runs; the only place that prints."""

from __future__ import annotations

import atexit
import contextlib
import importlib
import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

COMMANDS: dict[str, tuple[str, str]] = {
    "ingest": ("ingest", "Files, JSON lines or Parquet in; a data set of documents out."),
    "tag": ("tag", "Measure every document: quality, language, PII, length ..."),
    "dedup": ("dedup", "Find duplicate URLs, texts or paragraphs; write who copies whom."),
    "duplicates": ("duplicates", "Show duplicates beside what stays."),
    "mix": ("mix", "Keep, edit and weigh documents of several sources by a YAML."),
    "convert": ("convert", "The Dolma toolkit's mixes and attributes in our form."),
    "classifier": ("classifier", "Train a fastText classifier: quality, toxicity, topic."),
    "contamination": ("contamination", "Find test questions in training text."),
    "languages": ("languages", "Stop words and thresholds of a language, from texts of it."),
    "tokenizer": ("tokenizer", "Train a BPE tokenizer; compare tokenizers."),
    "tokenize": ("tokenize", "Documents in; memory-mapped token shards out."),
    "train": ("train", "Train a language model on token shards."),
    "sft": ("sft", "Tune a model on conversations; the loss is that of the answers."),
    "dpo": ("dpo", "Tune a model on preferred and rejected answers."),
    "eval": ("eval", "Bits per byte of a trained model, and multiple-choice tasks."),
    "ablate": ("ablate", "Compare mixes by the models that they make."),
    "swarm": ("swarm", "Search a mixture: proxy runs, a regression, an optimum."),
    "trace": ("trace", "The documents of a training step."),
    "generate": ("generate", "Let a trained model go on from a prompt."),
    "export": ("export", "A model in Hugging Face's form; tokens as OLMo, Megatron, datatrove, MDS have them."),
    "import-tokens": ("import_tokens", "Token files of OLMo, Megatron, datatrove as a token folder."),
    "run": ("run", "A whole pipeline from one YAML."),
    "demo": ("demo", "The whole pipeline on text that every machine has."),
    "query": ("query", "Ask documents and attributes in SQL."),
    "why": ("why", "Why a document is, or is not, in a mix."),
    "report": ("report", "A page about a mix or a data set, and its data card."),
    "take-down": ("take_down", "Take documents down: out of tokens, and of all that is made later."),
    "verify": ("verify", "Re-read and re-hash what a stage wrote."),
    "list": ("list", "Taggers, mix steps, recipes that come with the package."),
    "models": ("models", "Models that taggers use: bundled, cached, fetched."),
    "check": ("check", "Check a configuration without doing any work."),
    "doctor": ("doctor", "What this installation can do, and what it lacks."),
}


class _Commands(TyperGroup):
    """Lists commands from the table, and imports a command's module only to run it or to show its help."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, about) in COMMANDS.items()])

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"dolma_pipe.cli.{COMMANDS[cmd_name][0]}")
        group = getattr(module, "app", None)
        if group is None:
            group = typer.Typer(add_completion=False, rich_markup_mode=None)
            group.command(name=cmd_name, help=module.command.__doc__)(module.command)
        command = typer.main.get_command(group)
        command.name = cmd_name
        return command


app = typer.Typer(
    cls=_Commands, add_completion=False, rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip


def _print_version(wanted: bool) -> None:
    if wanted:
        from dolma_pipe import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def top(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
    version: bool = typer.Option(False, "--version", help="Show the version.", callback=_print_version, is_eager=True),
) -> None:
    """From raw text to what a language model trains on: tag, dedup, mix, tokenize, train."""


def run() -> None:
    """`main` as a process of its own, which ends when its work is done.

    Static destructors of C++ libraries are left out: they abort the process when it ends while Arrow is still
    starting the threads of a pool (seen in one of six short runs on a busy machine).
    """
    try:
        main()
    except SystemExit as end:
        atexit._run_exitfuncs()  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else 0 if end.code is None else 1)


def main() -> None:
    """The `dolma-pipe` command: one line of error and a non-zero exit code, a traceback only with `--debug`."""
    debug = "--debug" in sys.argv
    if debug:
        sys.argv.remove("--debug")
    if len(sys.argv) == 1:
        sys.argv.append("--help")
    try:
        sys.exit(typer.main.get_command(app).main(standalone_mode=False))
    except Exception as error:
        if debug:
            raise
        sys.exit(_report(error))


def _report(error: Exception) -> int:
    """Say what went wrong on standard error, in one line; the exit code."""
    from dolma_pipe.errors import PipeError

    if isinstance(error, PipeError):
        typer.echo(f"error: {error}", err=True)
        return error.exit_code
    if isinstance(error, typer.Abort):
        typer.echo("interrupted: nothing half-written is visible, run again to go on", err=True)
        return 130
    if isinstance(error, BrokenPipeError):
        return 141  # the reader of our output went away, as `| head` does
    if isinstance(error, OSError) and error.strerror:
        typer.echo(f"error: {error.filename or 'the system says'}: {error.strerror}", err=True)
        return 1
    usage = getattr(error, "format_message", None)  # an error of the command line itself
    if usage is not None:
        typer.echo(f"error: {usage()} (see --help)", err=True)
        return 2
    typer.echo(f"error: a defect of dolma-pipe: {type(error).__name__}: {error} (--debug shows where)", err=True)
    return 1
