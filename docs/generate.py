"""Writes docs/reference from the code: commands, taggers, recipes, configuration. `--check` only compares.

python docs/generate.py [--check]
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
from pathlib import Path
from typing import Any

import msgspec
import typer

import dolma_pipe.stages
from dolma_pipe.cli import COMMANDS
from dolma_pipe.config import Config, read_yaml
from dolma_pipe.tagger import available, load

HERE = Path(__file__).parent
ROOT = HERE.parent
TRAINING = [f"dolma_pipe.train.{room}.config" for room in ("evaluation", "experiments", "adaptation", "data")]
NOTE = "<!-- Written by docs/generate.py; change the code, not this page. -->\n\n"


def commands() -> str:
    """Every command with its help."""
    pages = [f"# Commands\n\n{NOTE}Every command is `dolma-pipe COMMAND`; `--debug` before it shows tracebacks.\n"]
    for name, (module_name, line) in COMMANDS.items():
        module = importlib.import_module(f"dolma_pipe.cli.{module_name}")
        pages.append(f"## {name}\n\n{line}\n\n" + _help(module, name))
    return "\n".join(pages)


def _help(module: Any, name: str) -> str:
    group = getattr(module, "app", None)
    if group is not None:
        found = [(f"{name} {sub.name}", sub.callback) for sub in group.registered_commands]
    else:
        found = [(name, module.command)]
    return "\n".join(_command(title, function) for title, function in found)


def _command(title: str, function: Any) -> str:
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(name=title)(function)
    command: Any = typer.main.get_command(app)
    rows = ["| option | default | meaning |", "|---|---|---|"]
    for parameter in command.params:
        if parameter.name == "help":
            continue
        names = ", ".join(f"`{option}`" for option in (*parameter.opts, *parameter.secondary_opts))
        default = "" if parameter.default in (None, [], ()) or callable(parameter.default) else f"`{parameter.default}`"
        rows.append(f"| {names} | {default} | {_cell(getattr(parameter, 'help', None) or '')} |")
    return f"### dolma-pipe {title}\n\n{inspect.getdoc(function)}\n\n" + "\n".join(rows) + "\n"


def taggers() -> str:
    """Every bundled tagger with its options and fields."""
    pages = [
        f"# Taggers\n\n{NOTE}An attribute is `SET.FIELD`; a tagger's set has its name unless a config renames it.\n"
    ]
    for name in available():
        tagger = load(name)
        module = inspect.getmodule(type(tagger))
        pages.append(f"## {name}\n\n{inspect.getdoc(module)}\n\nVersion {tagger.version}.{_options(type(tagger))}\n")
        rows = ["| field | type | meaning |", "|---|---|---|"]
        rows += [
            f"| `{name}.{field}` | {_cell(str(kind.type))} | {_cell(kind.doc)} |"
            for field, kind in tagger.fields.items()
        ]
        pages.append("\n".join(rows) + "\n")
    return "\n".join(pages)


def _options(kind: type[Any]) -> str:
    parameters = [p for p in inspect.signature(kind).parameters.values() if p.name not in ("args", "kwargs")]
    if not parameters:
        return " No options."
    return " Options: " + ", ".join(f"`{p.name}` (default `{p.default!r}`)" for p in parameters) + "."


def recipes() -> str:
    """Every bundled recipe with its rules."""
    pages = [f"# Recipes\n\n{NOTE}A mix names a recipe with `keep: NAME`; a rule says what stays.\n"]
    for path in sorted((ROOT / "configs" / "rules").glob("*.yaml")):
        recipe = read_yaml(path)
        pages.append(f"## {path.stem}\n\n{recipe['title']}. Source: {recipe['source']}\n")
        if "table" in recipe:
            table = f"configs/thresholds/{recipe['table']}.yaml"
            pages.append(f"What stands in braces is a column of `{table}`, in the row `{recipe['by']}`.\n")
        rows = ["| rule | keeps | source |", "|---|---|---|"]
        rows += [
            f"| `{name}` | `{_cell(rule['keep'])}` | {_cell(rule['source'])} |"
            for name, rule in recipe["rules"].items()
        ]
        pages.append("\n".join(rows) + "\n")
    return "\n".join(pages)


def configuration() -> str:
    """Every configuration that a YAML may hold, with its keys."""
    pages = [f"# Configuration\n\n{NOTE}What each stage reads from YAML; unknown keys are refused.\n"]
    for kind in _configs():
        rows = ["| key | type | default |", "|---|---|---|"]
        for field in msgspec.structs.fields(kind):
            default = "required" if field.required else f"`{_default(field)!r}`"
            rows.append(f"| `{field.encode_name}` | {_cell(_type(kind, field.name))} | {_cell(default)} |")
        pages.append(f"## {kind.__name__}\n\n`{kind.__module__}`. {inspect.getdoc(kind)}\n\n" + "\n".join(rows) + "\n")
    return "\n".join(pages)


def _configs() -> list[type[Config]]:
    names = [f"dolma_pipe.stages.{found.name}" for found in pkgutil.iter_modules(dolma_pipe.stages.__path__)]
    found: dict[str, type[Config]] = {}
    for name in [*names, "dolma_pipe.train.config", *TRAINING, "dolma_pipe.pipeline"]:
        for _, kind in inspect.getmembers(importlib.import_module(name), inspect.isclass):
            if issubclass(kind, Config) and kind is not Config:
                found[f"{kind.__module__}.{kind.__qualname__}"] = kind
    return [found[name] for name in sorted(found)]


def _default(field: Any) -> Any:
    return field.default if field.default is not msgspec.NODEFAULT else field.default_factory()


def _type(kind: type[Config], name: str) -> str:
    for parent in kind.__mro__:
        if name in inspect.get_annotations(parent):
            return str(parent.__annotations__[name])
    return ""


def _cell(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")


PAGES = {"commands.md": commands, "taggers.md": taggers, "recipes.md": recipes, "configuration.md": configuration}


def main() -> int:
    stale = []
    for name, make in PAGES.items():
        path, text = HERE / "reference" / name, make()
        if "--check" not in sys.argv:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
    if stale:
        sys.stderr.write(f"docs/reference is stale ({', '.join(stale)}): run python docs/generate.py\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
