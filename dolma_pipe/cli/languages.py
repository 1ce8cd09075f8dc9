"""dolma-pipe languages"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from dolma_pipe.cli import options

if TYPE_CHECKING:
    from dolma_pipe.report.thresholds import Found, Plan

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)

Datasets = Annotated[list[str], typer.Argument(help="Data sets: folders that hold documents/.")]


@app.callback()
def languages() -> None:
    """Stop words and thresholds of a language, from texts of it."""


@app.command("stop-words")
def stop_words(
    datasets: Datasets,
    to: Annotated[str, typer.Option(help="The YAML to write; `languages: [FILE]` of the tagger gopher reads it.")],
    where: Annotated[str | None, typer.Option(help="SQL over attributes: only documents that pass are read.")] = None,
    title: Annotated[str | None, typer.Option(help="Name of the language (default: the file's).")] = None,
    words: Annotated[str, typer.Option(help="What a word is: whitespace, unicode or icu.")] = "unicode",
    min_share: Annotated[float, typer.Option(help="Share of the words of every source that one must have.")] = 0.004,
    at_least: Annotated[int, typer.Option(help="Words to take however rare they are.")] = 8,
    at_most: Annotated[int, typer.Option(help="Words to take at most.")] = 24,
    json: options.Json = False,
) -> None:
    """Count the frequent words of a language in reference texts."""
    from pathlib import PurePath

    from dolma_pipe.languages.word_models import checked
    from dolma_pipe.report.stop_words import Choice
    from dolma_pipe.report.stop_words import stop_words as counted

    choice = Choice(min_share, at_least, at_most)
    found = counted(datasets, where, checked(words, "languages"), choice, title or PurePath(to).stem)
    _write(to, found, None)
    if json:
        _print_json(found)
    else:
        typer.echo(f"{to}: {len(found.stop_words)} stop words: {' '.join(found.stop_words)}")
        typer.echo(f"tag with {{name: gopher, words: {words}, languages: [{_as_file(to)}]}}")


@app.command()
def thresholds(
    datasets: Datasets,
    to: Annotated[str, typer.Option(help="The recipe to write; `keep: FILE` of a mix reads it.")],
    plan: Annotated[
        str, typer.Option(help="Rules whose thresholds are wanted: language_score, fineweb_2, or a YAML.")
    ] = "language_score",
    tail: Annotated[float, typer.Option(help="Share of a language's documents that a rule may drop.")] = 0.1,
    min_documents: Annotated[int, typer.Option(help="Languages with fewer documents get no thresholds.")] = 100,
    attributes: Annotated[str | None, typer.Option(help="Where attributes are (default: DATASET/attributes).")] = None,
    json: options.Json = False,
) -> None:
    """Find each language's thresholds in a tagged data set of reference texts; a recipe comes out."""
    from dolma_pipe.config import located
    from dolma_pipe.report.thresholds import measure, read_plan, recipe

    chosen = read_plan(str(located(plan, "thresholds")))
    found = measure(chosen, datasets, tail, min_documents, attributes)
    _write(to, recipe(chosen, found, f"{', '.join(datasets)} (tails keep {1 - tail:.0%})"), False)
    if json:
        _print_json({"documents": found.documents, "thresholds": found.thresholds})
    else:
        _show(chosen, found)
        typer.echo(f"{to}: {len(found.documents)} languages; in a mix, write `keep: {_as_file(to)}`")


@app.command()
def cuts(
    datasets: Datasets,
    to: Annotated[str, typer.Option(help="The YAML to write; `keep: {recipe: ccnet_head, table: FILE}` reads it.")],
    field: Annotated[str, typer.Option(help="What to cut.")] = "perplexity.perplexity",
    by: Annotated[str, typer.Option(help="Whose value names the language.")] = "perplexity.language",
    at: Annotated[str, typer.Option(help="Columns, and the share of documents below each.")] = "p30=0.3,p60=0.6",
    min_documents: Annotated[int, typer.Option(help="Languages with fewer documents get no cuts.")] = 100,
    attributes: Annotated[str | None, typer.Option(help="Where attributes are (default: DATASET/attributes).")] = None,
    json: options.Json = False,
) -> None:
    """Find where each language's documents are cut into buckets, as CCNet cuts them; a table comes out."""
    from dolma_pipe.report.thresholds import cut

    found = cut(field, by, _shares(at), datasets, min_documents, attributes)
    _write(to, found, None)
    if json:
        _print_json(found)
    else:
        for name, values in found.rows.items():
            typer.echo(f"{name:<12} " + ", ".join(f"{column} {value:g}" for column, value in values.items()))
        typer.echo(f"{to}: {len(found.rows)} languages; in a mix, write `keep: {{recipe: ccnet_head, table: {to}}}`")


def _shares(at: str) -> dict[str, float]:
    """`p30=0.3,p60=0.6` as numbers by name."""
    from dolma_pipe.errors import ConfigError

    try:
        pairs = [pair.split("=") for pair in at.split(",")]
        return {name.strip(): float(share) for name, share in pairs}
    except ValueError as error:
        raise ConfigError(f"--at {at!r}: expected NAME=SHARE,..., as in p30=0.3,p60=0.6") from error


@app.command("import")
def import_(
    folder: Annotated[str, typer.Argument(help="FineWeb-2's configs/, as its repository has them: CODE.yml.")],
    to: Annotated[str, typer.Option(help="The recipe to write; `keep: FILE` of a mix reads it.")],
    stop_words_to: Annotated[str, typer.Option(help="A folder for CODE.yaml, the stop words of each language.")],
    language: Annotated[
        list[str], typer.Option("--language", help="Only this language (repeatable; default: all).")
    ] = [],  # noqa: B006
    json: options.Json = False,
) -> None:
    """Take over the thresholds and stop words that FineWeb-2 publishes."""
    from dolma_pipe import storage
    from dolma_pipe.config import bundled
    from dolma_pipe.report.thresholds import published, read_plan, recipe

    plan = read_plan(str(bundled("thresholds/fineweb_2.yaml")))
    found, lists = published(plan, folder, language)
    _write(to, recipe(plan, found, folder), False)
    for code, words in lists.items():
        _write(storage.join(stop_words_to, f"{code}.yaml"), words, None)
    if json:
        _print_json({"thresholds": found.thresholds, "stop_words": {c: words.stop_words for c, words in lists.items()}})
    else:
        typer.echo(f"{to}: {len(lists)} languages; in a mix, write `keep: {_as_file(to)}`")
        typer.echo(f"{stop_words_to}: stop words; tag with {{name: gopher, words: icu, languages: [...]}}")


def _show(plan: Plan, found: Found) -> None:
    """A line per language: how many documents, and the threshold of each rule that has one."""
    for language, count in found.documents.items():
        values = found.thresholds[language]
        marks = {name: "<=" if rule.at_most is not None else ">=" for name, rule in plan.rules.items()}
        listed = ", ".join(f"{name} {marks[name]} {value:g}" for name, value in values.items())
        typer.echo(f"{language:<12} {count:>9,} documents   {listed}")


def _as_file(path: str) -> str:
    """A path that a config cannot take for a name."""
    return path if "/" in path or path.endswith(".yaml") else f"./{path}"


def _write(path: str, found: Any, flow: bool | None) -> None:
    """A struct as YAML; `flow` is PyYAML's, None for lists of plain values on one line."""
    import msgspec
    import yaml

    from dolma_pipe import storage

    text = yaml.safe_dump(
        msgspec.to_builtins(found), allow_unicode=True, sort_keys=False, width=116, default_flow_style=flow
    )
    with storage.create(path) as stream:
        stream.write(text.encode())


def _print_json(found: Any) -> None:
    import msgspec

    typer.echo(msgspec.json.encode(found).decode())
