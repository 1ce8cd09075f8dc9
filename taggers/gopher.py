"""Gopher's quality signals (Rae et al. 2021, arXiv 2112.11446, appendix A1.1, "Quality Filtering").

Where the paper leaves room we read it so: a word is a piece of `str.split()`, punctuation included; a line is a piece
of `text.split("\\n")` that holds a word, so blank lines dilute nothing; bullets are `-`, `*` and `•`, after
indentation; an ellipsis is `...` or `…`; a stop word counts once however often it occurs, in any case ("The" is "the").
The fields after these are what the Dolma toolkit (`gopher_v1`, `gopher_v2`), DCLM and datatrove (its Gopher quality
filter, with words split at white space) compute instead; docs/why/peers.md says what the difference does.

Other languages: `words` is one of the models of languages/word_models.py, for scripts that are written without spaces,
and `languages` says whose stop words count (`dolma-pipe list languages`, or files); of several, those of the language
whose stop words occur most often in the document. `#`, ellipses and what begins or ends a line are looked for between
white space whatever the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

import pyarrow as pa

from dolma_pipe.batch import Batch
from dolma_pipe.config import fingerprint
from dolma_pipe.errors import ConfigError
from dolma_pipe.kernels import alphabetic, linebreaks, lines, punctuation, stop_words, symbols, words
from dolma_pipe.kernels.marks import Marks
from dolma_pipe.kernels.ratios import ratio
from dolma_pipe.languages import word_models
from dolma_pipe.languages.profiles import find_language, is_file
from dolma_pipe.tagger import Field, Tagger, count, real, string

ENGLISH = ("en",)


class Gopher(Tagger):
    """Quality signals; every ratio and fraction of a document without words or lines is 0."""

    version = 2
    model_hash = f"unicode-{alphabetic.UNICODE_VERSION}"
    fields = {
        "word_count": count("words"),
        "mean_word_length": real("code points in words / words"),
        "hash_to_word_ratio": real("`#` characters / words"),
        "ellipsis_to_word_ratio": real("`...` (not overlapping) and `…` / words"),
        "line_count": count('pieces of `text.split("\\n")`, blank ones too; 1 for an empty document'),
        "filled_line_count": count("lines that hold a word"),
        "bullet_line_fraction": real("lines whose first word begins with `-`, `*` or `•` / lines that hold a word"),
        "ellipsis_line_fraction": real("lines whose last word ends with `...` or `…` / lines that hold a word"),
        "alphabetic_word_fraction": real("words with a letter (`str.isalpha`, any script) / words"),
        "stop_word_count": count(
            "how many of the, be, to, of, and, that, have, with occur as a word, in any case (0-8)"
        ),
        "median_word_length": real("median of code points per word, as Dolma's `median_word_length`"),
        "symbol_to_word_ratio": real("words that hold `#` or `…` / words, as Dolma's `symbol_to_word_ratio`"),
        "stop_word_occurrences": count("words that are a stop word in lower case, as Dolma's `required_word_count`"),
        "stop_word_folded_occurrences": count("words that are a stop word in any case, as DCLM and datamap-rs count"),
        "stop_word_exact_count": count("how many stop words occur in lower case (0-8), as datatrove counts"),
        "dolma_bullet_line_count": count(
            "lines that begin with `*` or `-`, indented ones not; / line_count is gopher_v1"
        ),
        "dolma_ellipsis_line_count": count(
            "lines that end with `…`, not followed by white space; / line_count is gopher_v1"
        ),
        "dolma_line_count": count(
            'pieces of `re.split(r"\\n+", text)`: what gopher_v2 divides by; 1 for an empty document'
        ),
        "datatrove_word_count": count("words with a code point that is no punctuation (kernels/punctuation.py)"),
        "datatrove_mean_word_length": real("code points in those / those"),
        "datatrove_line_count": count("pieces of `str.splitlines()`, blank ones too; 0 for an empty document"),
        "datatrove_bullet_line_fraction": real("lines whose first word begins with `-` or `•` / datatrove_line_count"),
        "datatrove_ellipsis_line_fraction": real("lines whose last word ends with `...` or `…` / datatrove_line_count"),
    }

    def __init__(self, *, words: str = "whitespace", languages: Sequence[str] = ENGLISH) -> None:
        if isinstance(languages, str) or not languages or len(set(languages)) < len(languages):
            raise ConfigError(f"gopher: languages {languages!r} must be a list of different languages, one at least")
        self.words: word_models.WordModel = word_models.checked(words, "gopher")
        self.languages = tuple(PurePath(name).stem if is_file(name) else name for name in languages)
        if len(set(self.languages)) < len(languages):
            raise ConfigError(f"gopher: languages {languages!r}: two of them have one name; rename a file")
        lists = [find_language(name).stop_words for name in languages if tuple(languages) != ENGLISH]
        known = f"stop-words-{fingerprint(lists)}" if lists else ""
        self.model_hash = " ".join(filter(None, (self.model_hash, word_models.identity(self.words), known)))
        self._is_english = not lists
        self.fields = self.fields if self._is_english else {**self.fields, **language_fields(self.languages)}
        self._stop_words = stop_words.stop_words(lists)

    def tag(self, batch: Batch) -> dict[str, Any]:
        marks = word_models.marks(batch, self.words)
        values = {**_word_fields(batch, marks), **_line_fields(batch), **_datatrove_line_fields(batch)}
        return values if self._is_english else {**values, **self.stop_word_fields(batch)}

    def stop_word_fields(self, batch: Batch) -> dict[str, Any]:
        index = word_models.words(batch, self.words)
        found = stop_words.stop_word_signals(
            batch.data, index.starts, index.ends, index.chars, index.offsets,
            stop_words.folds(), self._stop_words, len(self.languages),
        )  # fmt: skip
        values = {
            "stop_word_count": found[stop_words.DISTINCT],
            "stop_word_occurrences": found[stop_words.EXACT_OCCURRENCES],
            "stop_word_folded_occurrences": found[stop_words.OCCURRENCES],
            "stop_word_exact_count": found[stop_words.EXACT_DISTINCT],
        }
        if len(self.languages) == 1:
            return values
        names = pa.array([*self.languages, ""], pa.string())
        return {**values, "stop_word_language": names.take(pa.array(found[stop_words.LANGUAGE] % len(names)))}


def language_fields(languages: Sequence[str]) -> dict[str, Field]:
    """The fields of stop words that are not Gopher's own eight."""
    of = f"{languages[0]!r}" if len(languages) == 1 else "the language that fits best"
    which = "how many stop words of " + of + " occur as a word"
    found = {
        "stop_word_count": count(f"{which}, in any case"),
        "stop_word_occurrences": count("words that are such a stop word, in lower case"),
        "stop_word_folded_occurrences": count("words that are such a stop word, in any case"),
        "stop_word_exact_count": count(f"{which}, in lower case"),
    }
    if len(languages) > 1:
        named = ", ".join(languages)
        found["stop_word_language"] = string(
            f'the one of {named} whose stop words occur most often, of equals the first; "" where none occurs'
        )
    return found


def _word_fields(batch: Batch, marks: Marks) -> dict[str, Any]:
    letters, wordlike = alphabetic.alphabetic_bitmap(), punctuation.wordlike_bitmap()
    found, medians = words.word_signals(batch.data, batch.offsets, marks, letters, wordlike)
    signs = symbols.symbol_signals(batch.data, batch.offsets, marks)
    total = found[words.WORDS]
    return {
        "word_count": total,
        "mean_word_length": ratio(found[words.CHARACTERS], total),
        "hash_to_word_ratio": ratio(signs[symbols.HASHES], total),
        "ellipsis_to_word_ratio": ratio(signs[symbols.ELLIPSES], total),
        "alphabetic_word_fraction": ratio(found[words.LETTERED], total),
        "stop_word_count": found[words.STOPS],
        "median_word_length": medians,
        "symbol_to_word_ratio": ratio(signs[symbols.SYMBOLS], total),
        "stop_word_occurrences": found[words.STOP_OCCURRENCES],
        "stop_word_folded_occurrences": found[words.FOLDED_STOP_OCCURRENCES],
        "stop_word_exact_count": found[words.EXACT_STOPS],
        "datatrove_word_count": found[words.WORDLIKE],
        "datatrove_mean_word_length": ratio(found[words.WORDLIKE_CHARACTERS], found[words.WORDLIKE]),
    }


def _line_fields(batch: Batch) -> dict[str, Any]:
    found = lines.line_signals(batch.data, batch.offsets, batch.marks)
    filled = found[lines.FILLED]
    return {
        "line_count": batch.line_counts,
        "filled_line_count": filled,
        "bullet_line_fraction": ratio(found[lines.BULLETS], filled),
        "ellipsis_line_fraction": ratio(found[lines.ELLIPSES], filled),
        "dolma_bullet_line_count": found[lines.DOLMA_BULLETS],
        "dolma_ellipsis_line_count": found[lines.DOLMA_ELLIPSES],
        "dolma_line_count": found[lines.DOLMA_LINES],
    }


def _datatrove_line_fields(batch: Batch) -> dict[str, Any]:
    found = linebreaks.splitlines_signals(batch.data, batch.offsets, batch.marks)
    total = found[linebreaks.LINES]
    return {
        "datatrove_line_count": total,
        "datatrove_bullet_line_fraction": ratio(found[linebreaks.BULLETS], total),
        "datatrove_ellipsis_line_fraction": ratio(found[linebreaks.ELLIPSES], total),
    }
