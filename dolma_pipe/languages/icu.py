"""The library ICU (International Components for Unicode), an extra: words and sentences of every language."""

from __future__ import annotations

import importlib
from types import ModuleType

from dolma_pipe.errors import DependencyError


def load_icu(purpose: str) -> ModuleType:
    """The package `icu4py`, its `breakers` loaded; `purpose` is what needs it."""
    try:
        found = importlib.import_module("icu4py")
        importlib.import_module("icu4py.breakers")
    except ModuleNotFoundError as error:
        raise DependencyError("icu4py", "languages", purpose) from error
    return found
