"""How `mix` shows what became of the documents of a source."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from dolma_pipe.cli.figures import counted, share, size

Row = tuple[str, ...]


def show_all(home: str) -> None:
    """Every source of a mix, from its lock."""
    from dolma_pipe.stages.mix import read_lock

    for name, source in read_lock(home).sources.items():
        show(name, source)


def show(name: str, source: Any) -> None:
    """A source of a mix's lock: what was read, why documents were dropped, what stays."""
    funnel = source.funnel
    part = share(funnel.kept.documents, funnel.read.documents)
    typer.echo(f"{name}: {_amount(funnel.read)} read, {_amount(funnel.kept)} kept ({part} of the documents)")
    _table(list(_rows(funnel)))
    if source.target is not None:
        _show_target(source.target)
    if source.never_failed:
        typer.echo(f"  rules that dropped nothing: {', '.join(source.never_failed)}")
    if source.never_applied:
        typer.echo(f"  edits that found no span: {', '.join(source.never_applied)}")


def _rows(funnel: Any) -> Iterator[Row]:
    for reason, amount in funnel.dropped.items():
        if amount.documents:
            yield (f"- {reason}", *_cells(amount))
        if reason == "rules":
            yield from _rules(funnel)
    for split, taken in funnel.splits.items():
        yield (f"> {split}", *_cells(taken))
    for edit, count in funnel.edits.items():
        yield (f"~ {edit}", counted(count.documents, "document"), counted(count.spans, "span"))
    if funnel.quarantined.documents:
        yield ("! quarantined", *_cells(funnel.quarantined))


def _rules(funnel: Any) -> Iterator[Row]:
    """Every rule that some document fails, and how many of them fail no other rule."""
    for rule, count in funnel.rules.items():
        if count.failed.documents:
            yield (f"    {rule}", *_cells(count.failed), f"only this rule: {count.only.documents:,}")


def _show_target(goal: Any) -> None:
    unit = f"{goal.unit} (estimated from bytes)" if goal.is_estimate else goal.unit
    capped = f"; its share is {goal.asked:,}" if goal.asked != goal.target else ""
    typer.echo(f"  target {goal.target:,} {unit} of {goal.available:,}, written {goal.realised:,}{capped}")


def _table(rows: list[Row]) -> None:
    """Names to the left, numbers to the right."""
    widths = [max((len(row[i]) for row in rows if i < len(row)), default=0) for i in range(4)]
    for name, *cells in rows:
        shown = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=False)]
        typer.echo("  " + "  ".join([name.ljust(widths[0]), *shown]))


def _cells(amount: Any) -> Row:
    return counted(amount.documents, "document"), size(amount.bytes)


def _amount(amount: Any) -> str:
    return f"{counted(amount.documents, 'document')} ({size(amount.bytes)})"
