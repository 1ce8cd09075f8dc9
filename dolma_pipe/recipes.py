"""Published recipes: files of named rules, each with where its number comes from (configs/rules/NAME.yaml).

Where numbers differ by language, a recipe names a table of them (configs/thresholds/NAME.yaml) and the attribute that
says which row is a document's: `{p30}` in a rule is then the number in the column `p30`, null where there is no row.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import msgspec

from dolma_pipe import storage
from dolma_pipe.config import Config, bundled, convert, read_yaml
from dolma_pipe.errors import ConfigError
from dolma_pipe.rules import Expression, named
from dolma_pipe.types import Plain


class RecipeRule(Config, frozen=True):
    """One rule of a recipe file: the SQL of what stays, and where the number comes from."""

    keep: str
    source: str


class Recipe(Config, frozen=True, omit_defaults=True):
    """A published recipe as data: configs/rules/NAME.yaml."""

    title: str
    source: str
    rules: dict[str, RecipeRule]
    by: str | None = None
    table: str | None = None


class Table(Config, frozen=True):
    """Numbers by language, or by another name of a group: configs/thresholds/NAME.yaml. All rows have all columns."""

    title: str
    source: str
    rows: dict[str, dict[str, float]]


COLUMN = re.compile(r"\{(\w+)\}")


def read_recipe(
    path: str | Path,
    override: Mapping[str, Plain] | None = None,
    without: Collection[str] = (),
    where: str = "",
    table: str | Path | None = None,
) -> list[Expression]:
    """The rules of a recipe file, named `RECIPE.RULE` after the file and the key.

    `override` has other SQL for some of its keys, `without` names those that are left out, `table` is another file of
    numbers than the recipe's; `where` is the file that says so. Names and order stay.
    """
    recipe = convert(read_yaml(path), Recipe, str(path))
    stem, file = Path(path).stem, Path(path).name
    changed = override or {}
    for name in (*changed, *without):
        _check_rule(name, list(recipe.rules), f"{where}: the recipe {stem}")
        if name in changed and name in without:
            raise ConfigError(f"{where}: {name!r} is in 'override' and in 'without'; take it out of one")
    if table is not None and recipe.table is None:
        raise ConfigError(f"{where}: the recipe {stem} has no table; leave 'table' out")
    columns = _columns(recipe, path, table)
    found: list[Expression] = []
    for name, rule in recipe.rules.items():
        said = where if name in changed else file
        if name not in without:
            rule_name = f"{stem}.{name}"
            found.append(_filled(named(rule_name, changed.get(name, rule.keep), said), columns))
    return found


def _columns(recipe: Recipe, path: str | Path, table: str | Path | None) -> dict[str, str]:
    """The SQL of each column of a recipe's table: the number of the document's row."""
    if recipe.table is None or recipe.by is None:
        if recipe.table != recipe.by:
            raise ConfigError(f"{path}: 'table' and 'by' belong together: give both, or neither")
        return {}
    is_file = "/" in recipe.table or recipe.table.endswith((".yaml", ".yml"))
    own = (
        storage.join(storage.parent(str(path)), recipe.table) if is_file else bundled(f"thresholds/{recipe.table}.yaml")
    )
    rows = read_table(table or own).rows
    names = next(iter(rows.values()))
    return {name: _case(recipe.by, {row: numbers[name] for row, numbers in rows.items()}) for name in names}


def read_table(path: str | Path) -> Table:
    """A file of numbers by row and column."""
    found = convert(read_yaml(path), Table, str(path))
    columns = next((list(numbers) for numbers in found.rows.values()), [])
    odd = next((name for name, numbers in found.rows.items() if sorted(numbers) != sorted(columns)), None)
    if not columns or odd is not None:
        raise ConfigError(f"{path}: rows: {odd or 'none'}: expected the columns {', '.join(columns) or 'of a table'}")
    return found


def _case(by: str, numbers: Mapping[str, float]) -> str:
    quoted = {name.replace("'", "''"): number for name, number in numbers.items()}
    return f"CASE {by} " + " ".join(f"WHEN '{name}' THEN {number:g}" for name, number in quoted.items()) + " END"


def _filled(rule: Expression, columns: Mapping[str, str]) -> Expression:
    """The rule with each `{column}` written out."""
    for name in COLUMN.findall(rule.sql) if columns else ():
        if name not in columns:
            raise ConfigError(f"{rule}: the table has no column {name!r}; it has {', '.join(columns)}")
    sql = COLUMN.sub(lambda found: columns.get(found[1], found[0]), rule.sql)
    return msgspec.structs.replace(rule, sql=sql)


def _check_rule(name: str, known: list[str], recipe: str) -> None:
    if name not in known:
        guess = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {guess[0]!r}?" if guess else f"it has {', '.join(known)}"
        raise ConfigError(f"{recipe} has no rule {name!r}; {hint}")


def conjunction(where: str | Sequence[str] | None) -> str | None:
    """One expression of several that shall all hold; a bare name stands for the rules of a bundled recipe."""
    if where is None:
        return None
    parts = [where] if isinstance(where, str) else where
    found = [sql for part in parts for sql in (_recipe_sql(part) if part.isidentifier() else [part])]
    return found[0] if len(found) == 1 else " AND ".join(f"({sql})" for sql in found)


def _recipe_sql(name: str) -> list[str]:
    return [rule.sql for rule in read_recipe(bundled(f"rules/{name}.yaml"))]
