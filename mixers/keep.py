"""`keep`: documents stay if every rule says so.

    - keep: gopher                                     a bundled recipe: configs/rules/gopher.yaml
    - keep: rules/mine.yaml                            a recipe of your own, relative to the mix
    - keep: {english: "langid.en >= 0.65"}             rules by name

Every rule is evaluated for every document, wherever it stands among the steps;
the reasons a document is dropped for are all rules that failed.
"""

from __future__ import annotations

from collections.abc import Sequence

from dolma_pipe.config import bundled
from dolma_pipe.errors import ConfigError
from dolma_pipe.mixer import Step
from dolma_pipe.rules import Expression, named, read_recipe


class Keep(Step):
    def parts(self) -> Sequence[Expression]:
        if isinstance(self.value, str):
            is_file = "/" in self.value or self.value.endswith((".yaml", ".yml"))
            return read_recipe(self.beside(self.value) if is_file else bundled(f"rules/{self.value}.yaml"))
        if not isinstance(self.value, dict) or not self.value:
            raise ConfigError(f"{self.where}: expected a recipe or rules by name, found {self.value!r}")
        return [named(name, sql, self.file) for name, sql in self.value.items()]
