"""What is known of single languages: configs/languages/CODE.yaml, and files of one's own in the same form.

title: German
codes: [deu, deu_Latn]            # other names of it: those of GlotLID and OpenLID, for instance
source: where the words come from
stop_words: [der, die, und, ...]
"""

from __future__ import annotations

import difflib
from functools import cache
from pathlib import Path

from dolma_pipe.config import Config, bundled, convert, read_yaml
from dolma_pipe.errors import ConfigError

MOST_STOP_WORDS = 64


class Language(Config, frozen=True):
    """One language; `stop_words` in lower case, none twice, at most 64."""

    title: str
    source: str
    stop_words: list[str]
    codes: list[str] = []


def read_language(path: str | Path) -> Language:
    found = convert(read_yaml(path), Language, str(path))
    words = found.stop_words
    for word in words:
        if word.split() != [word] or word != word.lower() or words.count(word) > 1:
            raise ConfigError(f"{path}: stop_words: {word!r} must be one word in lower case, listed once")
    if not 0 < len(words) <= MOST_STOP_WORDS:
        raise ConfigError(f"{path}: {len(words)} stop_words; a language has 1 to {MOST_STOP_WORDS}")
    return found


def available() -> list[str]:
    """Codes of the languages that come with the package."""
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def is_file(name: str) -> bool:
    """Whether a name means a file of the user's own, not a bundled language."""
    return "/" in name or name.endswith(".yaml")


def find_language(name: str) -> Language:
    """A bundled language by its code or another name of it, or a file."""
    if is_file(name):
        return read_language(name)
    if name in available():
        return read_language(_folder() / f"{name}.yaml")
    if name in _names():
        return read_language(_folder() / f"{_names()[name]}.yaml")
    guess = difflib.get_close_matches(name, [*available(), *_names()], n=1)
    hint = f"; did you mean {guess[0]!r}?" if guess else f" ({', '.join(available())})"
    raise ConfigError(f"no language {name!r} among configs/languages{hint}; a file of your own is named with .yaml")


@cache
def _names() -> dict[str, str]:
    """The other names of languages -> their codes."""
    return {other: code for code in available() for other in read_language(_folder() / f"{code}.yaml").codes}


def _folder() -> Path:
    return bundled("languages/en.yaml").parent
