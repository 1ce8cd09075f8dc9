"""How `why` tells the story of a document."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import typer

from dolma_pipe.cli.explanation import safe

LONGEST = 60


def show(stories: Sequence[Any], json: bool) -> None:
    """The stories of all rows with one id: `dolma_pipe.stages.mix.explanation.stories.Story`s."""
    for story in stories:
        if json:
            import msgspec

            typer.echo(msgspec.json.encode(story).decode())
        else:
            _show(story)


def show_absences(found: Iterable[Any], json: bool) -> None:
    """What is not in a mix: `dolma_pipe.stages.mix.explanation.absences.Absence`s, a line each."""
    if json:
        import msgspec

        for absence in found:
            typer.echo(msgspec.json.encode(absence).decode())
        return
    for absence in found:
        typer.echo("\t".join([absence.source, _line(absence.id), ", ".join(map(_line, absence.reasons))]))


def _line(text: str) -> str:
    """All of a text, in one line that cannot steer a terminal."""
    return safe(text).replace("\n", "\\n").replace("\t", "\\t")


def _show(story: Any) -> None:
    because = f" for {', '.join(story.reasons)}" if story.reasons else ""
    typer.echo(f"{_one(story.id)}: row {story.row} of {story.dataset}/documents/{story.shard} (source {story.source})")
    typer.echo(f"  {story.fate}{because}")
    for place in story.written:
        copy = f", copy {place.copy + 1}" if place.copy else ""
        edits = f", edited in {place.edits} place{'s' if place.edits > 1 else ''}" if place.edits else ""
        typer.echo(f"  row {place.row} of {place.file}{copy}{edits}")
        for part in place.tokens:
            typer.echo(f"    tokens {part.start}:{part.end} of {part.folder}/{part.shard}")
    for rule in sorted(story.rules, key=lambda rule: bool(rule.holds)):
        _show_rule(rule)
    for cluster in story.clusters:
        _show_cluster(cluster)
    for edit in story.edits:
        typer.echo(f"  {edit.edit} {edit.start}:{edit.end} replaces {_one(edit.text)!r}")


def _show_rule(rule: Any) -> None:
    verdict = "NULL " if rule.holds is None else "holds" if rule.holds else "FAILS"
    values = ", ".join(f"{name} = {_value(value)}" for name, value in rule.values.items())
    typer.echo(f"  {verdict} {rule.name}: {' '.join(rule.sql.split())} [{values}]")


def _show_cluster(cluster: Any) -> None:
    typer.echo(f"  {cluster.by}: one of {cluster.size} copies (cluster {cluster.cluster}); prefer {cluster.prefer}")
    for number, copy in enumerate(cluster.copies):
        mark = "this" if number == 0 else "copy"
        fate = "" if copy.stays is None else ", stays" if copy.stays else ", does not stay"
        rules = "passes the rules" if copy.passes else "fails a rule"
        typer.echo(f"    {mark}: {_one(copy.id)}, row {copy.row} of {copy.source}/{copy.shard}, {rules}{fate}")
    if cluster.size > len(cluster.copies):
        typer.echo(f"    and {cluster.size - len(cluster.copies)} more")


def _value(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else _one(str(value))


def _one(text: str) -> str:
    """One short line that cannot steer a terminal."""
    shown = safe(text).replace("\n", "\\n")
    return shown if len(shown) <= LONGEST else shown[: LONGEST - 1] + "…"
