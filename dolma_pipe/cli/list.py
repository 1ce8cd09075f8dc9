"""dolma-pipe list"""

from __future__ import annotations

from typing import Annotated

import typer

from dolma_pipe.cli import options

KINDS = ("taggers", "mixers", "rules")


def command(
    kind: Annotated[str, typer.Argument(help="taggers, mixers or rules.")] = "taggers",
    fields: Annotated[bool, typer.Option("--fields", help="With taggers: every field and what it means.")] = False,
    json: options.Json = False,
) -> None:
    """What comes with the package: taggers (with their fields), steps of a mix, published recipes."""
    from dolma_pipe.errors import ConfigError
    from dolma_pipe.tagger import available, load

    if kind not in KINDS:
        raise ConfigError(f"list {kind!r}: expected one of {', '.join(KINDS)}")
    if kind == "rules":
        rows = {name: {"": title} for name, title in _recipes().items()}
    elif kind == "taggers" and (fields or json):
        rows = {name: {field: found.doc for field, found in load(name).fields.items()} for name in available()}
    else:
        rows = {name: {"": _first_line(kind, name)} for name in available(kind)}
    _show(rows, json)


def _show(rows: dict[str, dict[str, str]], json: bool) -> None:
    if json:
        import msgspec

        typer.echo(msgspec.json.encode(rows).decode())
        return
    for name, about in rows.items():
        if list(about) == [""]:
            typer.echo(f"{name:<20} {about['']}")
        else:
            typer.echo(name)
            for field, doc in about.items():
                typer.echo(f"  {name}.{field}: {' '.join(doc.split())}")


def _first_line(package: str, name: str) -> str:
    """First line of a module's docstring, without importing it."""
    import ast
    from pathlib import Path

    import dolma_pipe

    path = Path(dolma_pipe.__file__).parent.parent / package / f"{name}.py"
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.splitlines()[0] if docstring else ""


def _recipes() -> dict[str, str]:
    from dolma_pipe.config import bundled, read_yaml

    paths = sorted(bundled("rules/gopher.yaml").parent.glob("*.yaml"))
    return {path.stem: read_yaml(path)["title"] for path in paths}
