"""dolma-pipe contamination"""

from __future__ import annotations

from typing import Annotated

import typer

from dolma_pipe.cli import options

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)


@app.callback()
def contamination() -> None:
    """Find test questions in training text: make an index of them, tag with it, report what was found."""


@app.command()
def index(
    tests: Annotated[list[str] | None, typer.Argument(help="Test sets: files of JSON lines, an item each.")] = None,
    to: Annotated[str | None, typer.Option(help="The index to write.")] = None,
    question: Annotated[str | None, typer.Option(help="Field of the question (default question).")] = None,
    choices: Annotated[str | None, typer.Option(help="Field of the choices (default choices).")] = None,
    answer: Annotated[
        str | None,
        typer.Option(help="Field of the answer: a text, or the number, label or letter of a choice (default label)."),
    ] = None,
    words: Annotated[
        int | None, typer.Option(help="Length of the runs of words that are compared (default 5).")
    ] = None,
    background: Annotated[
        list[str], typer.Option("--background", help="Data set whose phrases are weak evidence (repeatable).")
    ] = [],  # noqa: B006
    config: options.Config = None,
    settings: options.Set = [],  # noqa: B006
    limit: options.Limit = None,
    json: options.Json = False,
) -> None:
    """Make an index of test sets: hashes and weights, not a word of them."""
    from collections import Counter

    from dolma_pipe import storage
    from dolma_pipe.config import load
    from dolma_pipe.contamination import IndexConfig, build

    chosen = load(
        config, IndexConfig, settings, tests=tests or None, to=to, question=question, choices=choices, answer=answer,
        words=words, background=background or None, limit=limit,
    )  # fmt: skip
    built = build(chosen)
    built.made.save(chosen.to)
    kept, left_out = Counter(built.made.tasks), Counter(item.task for item in built.left_out)
    rows = [{"task": task, "items": kept[task], "left_out": left_out[task]} for task in sorted(kept | left_out)]
    size = storage.size(chosen.to)
    if json:
        import msgspec

        found = {"path": chosen.to, "bytes": size, "runs": len(built.made.keys), "tasks": rows}
        typer.echo(msgspec.json.encode(found).decode())
        return
    typer.echo(f"{'task':<24} {'items':>8} {'too few words':>14}")
    for row in rows:
        typer.echo(f"{row['task']:<24} {row['items']:>8,} {row['left_out']:>14,}")
    typer.echo(f"{chosen.to}: {size:,} bytes, {len(built.made.keys):,} runs of {chosen.words} words")
    typer.echo(f"tag with {{name: contamination, index: {chosen.to}}}")


@app.command()
def report(
    datasets: Annotated[list[str], typer.Argument(help="Data sets that were tagged.")],
    name: Annotated[str, typer.Option(help="The attribute set.")] = "contamination",
    attributes: Annotated[str | None, typer.Option(help="Where it lies (default: DATASET/attributes).")] = None,
    min_score: Annotated[float, typer.Option(help="Matches below this score are not counted.")] = 0.5,
    json: options.Json = False,
) -> None:
    """What was found of each test set, with its strongest matches."""
    from dolma_pipe.report.contamination import tasks

    found = tasks(datasets, name, attributes, min_score)
    if json:
        import msgspec

        typer.echo(msgspec.json.encode([task.summary() for task in found]).decode())
        return
    typer.echo(f"{'task':<24} {'items':>8} {'documents':>10} {'matches':>8} {'with answer':>12}")
    for task in found:
        counts = f"{len(task.items):>8,} {len(task.documents):>10,} {task.matches:>8,} {task.with_answer:>12,}"
        typer.echo(f"{task.task:<24} {counts}")
        for match in task.strongest:
            typer.echo(
                f"  score {match.score:.2f}, answer {match.answer:.2f}, {match.words} words in a row: item "
                f"{match.item} in {match.document!r}, {match.shard}, characters {match.start} to {match.end}"
            )
    if not found:
        typer.echo(f"nothing with a score of {min_score} or more")
