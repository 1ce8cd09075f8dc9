"""dolma-pipe list"""

from __future__ import annotations

from typing import Annotated

import typer

from dolma_pipe.cli import options

STAGES = ("ingest", "tag", "dedup", "mix", "tokenize", "train", "eval", "sft", "dpo", "ablate", "swarm")
CONFIGS = {"run": "pipelines", **dict(zip(STAGES, STAGES, strict=True))}
"""Commands that take a bundled configuration by its name, and the folder of `configs/` that has them."""
KINDS = ("taggers", "mixers", "rules", "languages", "configs")


def command(
    kind: Annotated[str, typer.Argument(help="taggers, mixers, rules, languages or configs.")] = "taggers",
    fields: Annotated[bool, typer.Option("--fields", help="With taggers: every field and what it means.")] = False,
    json: options.Json = False,
) -> None:
    """Taggers (with their fields), steps of a mix, published recipes, languages, configurations that `-c NAME` finds.

    Taggers and steps of installed packages are listed with the bundled ones.
    """
    from dolma_pipe.errors import ConfigError

    if kind not in KINDS:
        raise ConfigError(f"list {kind!r}: expected one of {', '.join(KINDS)}")
    if kind == "rules":
        rows = {name: {"": title} for name, title in _recipes().items()}
    elif kind == "languages":
        rows = {code: {"": about} for code, about in _languages().items()}
    elif kind == "configs":
        rows = {name: {"": about} for name, about in _configs().items()}
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
    width = max(map(len, rows), default=0)
    for name, about in rows.items():
        if list(about) == [""]:
            typer.echo(f"{name:<{width}}  {about['']}")
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


def _configs() -> dict[str, str]:
    """`COMMAND -c NAME` -> a line about it."""
    from dolma_pipe.config import bundled

    root = bundled("rules/gopher.yaml").parent.parent
    found: dict[str, str] = {}
    for command, folder in CONFIGS.items():
        for path in sorted((root / folder).glob("*.yaml")):
            found[f"{command} -c {path.stem}"] = _about(path.read_text(encoding="utf-8"))
    return found


def _about(text: str) -> str:
    """The first line of a file's head that is not the command itself."""
    head = [line.lstrip("# ") for line in text.splitlines()[:5] if line.startswith("#")]
    return next((line for line in head if not line.startswith("dolma-pipe")), "")
