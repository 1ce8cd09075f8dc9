"""The command line: one module per command, imported only when it runs; the only place that prints."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import typer
from typer.core import TyperGroup

COMMANDS: dict[str, tuple[str, str]] = {
    "ingest": ("ingest", "Files, JSON lines or Parquet in; a data set of documents out."),
    "tag": ("tag", "Measure every document: quality, language, PII, length ..."),
    "dedup": ("dedup", "Find duplicate URLs, texts or paragraphs; write who copies whom."),
    "mix": ("mix", "Keep, edit and weigh documents of several sources by a YAML."),
    "tokenizer": ("tokenizer", "Train a BPE tokenizer."),
    "tokenize": ("tokenize", "Documents in; memory-mapped token shards out."),
    "train": ("train", "Train a language model on token shards."),
    "eval": ("eval", "Bits per byte of a trained model on held-out tokens."),
    "run": ("run", "A whole pipeline from one YAML."),
    "demo": ("demo", "The whole pipeline on text that every machine has."),
    "verify": ("verify", "Re-read and re-hash what a stage wrote."),
    "list": ("list", "Taggers, mix steps, recipes that come with the package."),
    "models": ("models", "Models that taggers use: bundled, cached, fetched."),
    "check": ("check", "Check a configuration without doing any work."),
    "doctor": ("doctor", "What this installation can do, and what it lacks."),
}


class _Commands(TyperGroup):
    """Lists commands from the table and imports a command's module only to run it or to show its help."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        if _only_listing():
            return _placeholder(cmd_name, COMMANDS[cmd_name][1])
        module = importlib.import_module(f"dolma_pipe.cli.{COMMANDS[cmd_name][0]}")
        group = getattr(module, "app", None)
        if group is None:
            group = typer.Typer(add_completion=False, rich_markup_mode=None)
            group.command(name=cmd_name, help=module.command.__doc__)(module.command)
        command = typer.main.get_command(group)
        command.name = cmd_name
        return command


def _only_listing() -> bool:
    return len(sys.argv) < 2 or sys.argv[1] in ("--help", "-h")


def _placeholder(name: str, help_text: str) -> Any:
    group = typer.Typer(add_completion=False, rich_markup_mode=None)
    group.command(name=name, help=help_text)(lambda: None)
    command = typer.main.get_command(group)
    command.name = name
    return command


app = typer.Typer(
    cls=_Commands, add_completion=False, no_args_is_help=True, rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip


@app.callback()
def top(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
    version: bool = typer.Option(False, "--version", help="Show the version and exit."),
) -> None:
    """From raw text to what a language model trains on: tag, dedup, mix, tokenize, train."""
    if version:
        from dolma_pipe import __version__

        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """The `dolma-pipe` command: one line of error and a non-zero exit code, a traceback only with `--debug`."""
    from dolma_pipe.errors import PipeError

    debug = "--debug" in sys.argv
    if debug:
        sys.argv.remove("--debug")
    try:
        app()
    except PipeError as error:
        if debug:
            raise
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(141)  # the reader of our output went away, as `| head` does
    except KeyboardInterrupt:
        typer.echo("interrupted; nothing half-written is visible, run again to go on", err=True)
        sys.exit(130)
