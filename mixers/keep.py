"""`keep`: documents stay if every rule says so.

    - keep: gopher                                     a bundled recipe: configs/rules/gopher.yaml
    - keep: rules/mine.yaml                            a recipe of your own, relative to the mix
    - keep: {english: "langid.en >= 0.65"}             rules by name
    - keep:                                            a recipe with other numbers
        recipe: gopher
        override: {word_count: "gopher.word_count BETWEEN 20 AND 100000"}
        without: [stop_words]
    - keep: {recipe: ccnet_head, table: cuts.yaml}     a recipe with a table by language, and another table

Every rule is evaluated for every document, wherever it stands among the steps; the reasons a document is dropped for
are all rules that failed. A rule that is overridden keeps its name (`gopher.word_count`); one that is left out needs
no attributes. A mapping with the key `recipe` is the last form, so no rule of one's own is called that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from dolma_pipe.config import Config, bundled
from dolma_pipe.errors import ConfigError
from dolma_pipe.mixer import Step, settings
from dolma_pipe.recipes import read_recipe
from dolma_pipe.rules import Expression, named
from dolma_pipe.types import Plain


class ChangedRecipe(Config, frozen=True):
    """A recipe by name or file; `override` has other SQL for rules of it, `without` names those that go. `table` is
    a file to use in the place of the recipe's own table, relative to the mix."""

    recipe: str
    override: dict[str, Plain] = {}
    without: list[str] = []
    table: str | None = None


class Keep(Step):
    def parts(self) -> Sequence[Expression]:
        if isinstance(self.value, str):
            return read_recipe(self._path(self.value))
        if not isinstance(self.value, Mapping) or not self.value:
            raise ConfigError(f"{self.where}: expected a recipe or rules by name, found {self.value!r}")
        if "recipe" not in self.value:
            return [named(name, sql, self.file) for name, sql in self.value.items()]
        found = settings(self, ChangedRecipe)
        if not (found.override or found.without or found.table):
            raise ConfigError(f"{self.where}: nothing is overridden or left out; write  keep: {found.recipe}")
        table = self.beside(found.table) if found.table is not None else None
        return read_recipe(self._path(found.recipe), found.override, found.without, self.file, table)

    def _path(self, recipe: str) -> str | Path:
        is_file = "/" in recipe or recipe.endswith((".yaml", ".yml"))
        return self.beside(recipe) if is_file else bundled(f"rules/{recipe}.yaml")
