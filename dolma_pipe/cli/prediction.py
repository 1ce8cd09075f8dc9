"""How `mix --plan` and `mix --sweep` show what a mix would do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import typer

UNITS = ("documents", "MB", "M tokens")
Row = tuple[str, ...]


def show(found: Any) -> None:
    """A prediction, source by source: `found` is a `dolma_pipe.stages.mix.prediction.prediction.Prediction`."""
    for name, source in found.sources.items():
        typer.echo(f"{name}: {source.read.documents:,} documents")
        rules = list(_rules(source))
        _table(("", *UNITS, *(("only it", "without it") if rules else ())), [*rules, *_fates(source)])
        if source.share is not None:
            its = {key: value for key, value in source.share.items() if key not in ("unit", "is_estimate")}
            told = ", ".join(f"{key} {_number(value)}" for key, value in its.items())
            typer.echo(f"  budget in {source.share.get('unit', 'bytes')}: {told}")
        if source.never_failed:
            typer.echo(f"  rules that drop nothing: {', '.join(source.never_failed)}")
        for estimate in source.estimates:
            typer.echo(f"  estimated: {estimate}")
    if len(found.sources) > 1:
        typer.echo("all sources")
        parts = ("read", "kept", "written")
        _table(
            ("", *UNITS), [(f"= {part}", *_sum([getattr(s, part) for s in found.sources.values()])) for part in parts]
        )


def _rules(source: Any) -> Iterator[Row]:
    for name, rule in source.rules.items():
        if rule.alone.documents:
            more = (f"{rule.only.documents:,}", f"{rule.regained.documents:+,}")
            yield (f"  {name} alone", *_amounts(rule.alone), *more)


def _fates(source: Any) -> Iterator[Row]:
    for reason, amount in source.dropped.items():
        if amount.documents:
            yield (f"- {'all rules' if reason == 'rules' else reason}", *_amounts(amount))
    for split, amount in source.splits.items():
        yield (f"> {split}", *_amounts(amount))
    yield ("= kept", *_amounts(source.kept))
    if source.written != source.kept:
        yield ("= as written", *_amounts(source.written))


def show_sweep(found: Any) -> None:
    """What stays at each value: `found` is a `dolma_pipe.stages.mix.prediction.sweep.Sweep`."""
    typer.echo(f"rule {found.rule}: {found.compared} {found.operator} {_number(found.now)}, at other values:")
    _table((found.compared, *UNITS), [(_number(point.value), *_amounts(point.kept)) for point in found.points])


def _amounts(amount: Any) -> Row:
    return _sum([amount])


def _sum(amounts: Sequence[Any]) -> Row:
    """Documents, megabytes, millions of tokens of all amounts together; "?" where one of them is not known."""
    sums = ([getattr(amount, unit) for amount in amounts] for unit in ("bytes", "tokens"))
    in_millions = ("?" if None in numbers else f"{sum(numbers) / 1e6:,.2f}" for numbers in sums)
    return f"{sum(amount.documents for amount in amounts):,}", *in_millions


def _number(value: Any) -> str:
    return f"{value:,.10g}" if isinstance(value, (int, float)) else str(value)


def _table(header: Row, rows: Sequence[Row]) -> None:
    """Numbers to the right; rows may end early."""
    widths = [max(len(row[i]) for row in (header, *rows) if i < len(row)) for i in range(len(header))]
    for row in (header, *rows):
        first = row[0].ljust(widths[0])
        cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=False)]
        typer.echo("  " + "  ".join([first, *cells]).rstrip())
