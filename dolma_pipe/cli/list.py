"""dolma-pipe list"""

from __future__ import annotations

from typing import Annotated

import typer

from dolma_pipe.cli import options

KINDS = ("taggers", "mixers", "rules", "languages")


def command(
    kind: Annotated[str, typer.Argument(help="taggers, mixers, rules or languages.")] = "taggers",
    fields: Annotated[bool, typer.Option("--fields", help="With taggers: every field and what it means.")] = False,
    json: options.Json = False,
) -> None:
    """Taggers (with their fields), steps of a mix, published recipes: bundled ones, and those of installed packages."""
    from dolma_pipe.errors import ConfigError

    if kind not in KINDS:
        raise ConfigError(f"list {kind!r}: expected one of {', '.join(KINDS)}")
    if kind == "rules":
        rows = {name: {"": title} for name, title in _recipes().items()}
    elif kind == "languages":
        rows = {code: {"": about} for code, about in _languages().items()}
    elif kind == "taggers" and (fields or json):
        rows = _fields()
    else:
        rows = {name: {"": about} for name, about in _described(kind).items()}
    _show(rows, json)


def _languages() -> dict[str, str]:
    """Code -> title, other codes and stop words."""
    from dolma_pipe.languages.profiles import available, find_language

    known = {code: find_language(code) for code in available()}
    return {code: f"{of.title} ({', '.join(of.codes)}): {' '.join(of.stop_words)}" for code, of in known.items()}


def _fields() -> dict[str, dict[str, str]]:
    """Tagger -> field -> what it means."""
    from dolma_pipe.tagger import Tagger, available, find_class, load, plugins

    kinds = {name: load(name).fields for name in available()}
    kinds |= {name: getattr(find_class(name, "taggers", Tagger), "fields", {}) for name in plugins()}
    return {name: {field: found.doc for field, found in about.items()} for name, about in kinds.items()}


def _described(package: str) -> dict[str, str]:
    """Tagger or step -> one line about it; of a plug-in also whose it is."""
    from dolma_pipe.tagger import available, plugins

    rows = {name: _first_line(package, name) for name in available(package)}
    for name, point in plugins(package).items():
        owner = f"{point.dist.name} {point.dist.version}" if point.dist else "installed"
        rows[name] = f"{_plugin_line(name, package)} [{owner}: {point.value}]"
    return rows


def _plugin_line(name: str, package: str) -> str:
    """First line of a plug-in's docstring, or why it cannot be loaded."""
    import inspect

    from dolma_pipe.errors import ConfigError
    from dolma_pipe.mixer import Step
    from dolma_pipe.tagger import Tagger, find_class

    try:
        kind = find_class(name, package, Tagger if package == "taggers" else Step)
    except ConfigError as error:
        return str(error)
    return (inspect.getdoc(kind) or "").partition("\n")[0]


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
