"""Stop words of a language, counted in texts of it.

A stop word is a word that makes up at least a given share of the words of every source of the texts: what is frequent
in one of them only (`everyone` in a declaration of rights) is what that source is about. FineWeb-2 (Penedo et al. 2025,
arXiv 2506.20920) takes the frequent words of Wikipedia in the same spirit. A word is one of a model's
(dolma_pipe/languages/word_models.py) that holds a letter and no digit, composed (NFC) and in lower case.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from dolma_pipe.batch import Batch, make_batch
from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.languages.profiles import MOST_STOP_WORDS, Language
from dolma_pipe.languages.word_models import WordModel, words
from dolma_pipe.report.query import query

FEWEST_WORDS = 300
"""Words that a source must have to be heard."""

_BATCH = 512


class Choice(NamedTuple):
    """Words of at least `min_share` of every source; `at_least` words in any case, `at_most` at most."""

    min_share: float = 0.004
    at_least: int = 8
    at_most: int = 24


USUAL = Choice()


def count_words(batch: Batch, model: WordModel) -> Counter[str]:
    """How often each word occurs in a batch."""
    index = words(batch, model)
    _, firsts, counts = np.unique(index.hashes, return_index=True, return_counts=True)
    found: Counter[str] = Counter()
    for start, end, count in zip(index.starts[firsts], index.ends[firsts], counts.tolist(), strict=True):
        word = unicodedata.normalize("NFC", batch.data[start:end].tobytes().decode()).lower()
        if any(map(str.isalpha, word)) and not any(map(str.isdigit, word)):
            found[word] += count
    return found


def shares(counts: Counter[str]) -> dict[str, float]:
    """Each word's share of all."""
    total = counts.total()
    return {word: count / total for word, count in counts.items()}


def frequent_words(sources: Sequence[Mapping[str, float]], choice: Choice = USUAL) -> list[str]:
    """The stop words, from the words' shares in each source: the most frequent first, by the smallest of its shares."""
    common = set.intersection(*(set(source) for source in sources))
    smallest = {word: min(source[word] for source in sources) for word in common}
    ranked = sorted(smallest, key=lambda word: (-smallest[word], word))
    enough = sum(share >= choice.min_share for share in smallest.values())
    return ranked[: min(max(enough, choice.at_least), choice.at_most)]


def stop_words(datasets: Sequence[str], where: str | None, model: WordModel, choice: Choice, title: str) -> Language:
    """The stop words of the documents of data sets that pass `where`, each document's `source` apart."""
    if not 0 < choice.min_share < 1 or not 1 <= choice.at_least <= choice.at_most <= MOST_STOP_WORDS:
        raise ConfigError(
            f"languages: min_share {choice.min_share} must lie between 0 and 1, and at_least {choice.at_least} and "
            f"at_most {choice.at_most} between 1 and {MOST_STOP_WORDS}, the first not above the second"
        )
    sources: dict[str, Counter[str]] = {}
    for name, texts in _texts(datasets, where):
        sources.setdefault(name, Counter()).update(count_words(make_batch(texts), model))
    if not sources:
        raise DataError(f"{', '.join(datasets)}: no documents" + (f" where {where}" if where else ""))
    heard = [counts for counts in sources.values() if counts.total() >= FEWEST_WORDS]
    if not heard:
        raise DataError(f"{', '.join(datasets)}: fewer than {FEWEST_WORDS} words in every source; give more texts")
    total = sum(counts.total() for counts in heard)
    passed = f" where {where}" if where else ""
    source = f"words of at least {choice.min_share:.2%} of each of {len(heard)} sources, {total:,} words, of "
    return Language(
        title=title, source=f"{source}{', '.join(datasets)}{passed} (words: {model})",
        stop_words=frequent_words(list(map(shares, heard)), choice),
    )  # fmt: skip


def _texts(datasets: Sequence[str], where: str | None) -> Iterable[tuple[str, list[str]]]:
    condition = f" WHERE {where}" if where else ""
    for batch in query(f"SELECT coalesce(source, '') AS source, text FROM documents{condition}", datasets):
        by_source: dict[str, list[str]] = {}
        for source, text in zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True):
            by_source.setdefault(source, []).append(text)
        for source, texts in by_source.items():
            for first in range(0, len(texts), _BATCH):
                yield source, texts[first : first + _BATCH]
