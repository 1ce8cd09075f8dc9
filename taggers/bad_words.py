"""Words and phrases of lists that the user names: C4 drops pages that hold one, `keep: {clean: "bad_words.count = 0"}`.

A list has one entry a line; blank lines and those that begin with `#`, `!` or `[` say nothing. An entry matches in any
case where no letter, digit or underscore stands next to it; one in a script without spaces between words (Chinese,
Japanese, Thai, Lao, Khmer, Burmese) matches anywhere. So do C4 (Raffel et al. 2020, section 2.2; its released code)
and datatrove, which tell by the page's language. No list comes with the package; C4's is LDNOOBW.

The Dolma toolkit (`c4_v2`) compares a word with whole pieces of `str.split()`, so that "word," is none, and finds
phrases inside words too: `dolma_has_any`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import regex
import xxhash

from dolma_pipe import blocklists, storage
from dolma_pipe.batch import Batch
from dolma_pipe.errors import ConfigError
from dolma_pipe.places import running, text_between
from dolma_pipe.tagger import Tagger, count, flag, span_array, spans

pc: Any = pyarrow.compute
_UNSPACED = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]")
_SPACE = r"[\s\pZ\x{0b}\x{1c}-\x{1f}\x{85}]"
"""What `str.split()` splits at, for RE2."""


class BadWords(Tagger):
    """Occurrences, left to right, the longest entry first; none for an empty document.

    lists: a path or several, `.gz` and `.zst` too; they must be named.
    """

    version = 1
    fields = {
        "count": count("occurrences of entries"),
        "found": spans("the occurrences; `entry` is the text in lower case", entry=pa.string()),
        "dolma_has_any": flag("Dolma's `has_naughty_word`"),
    }

    def __init__(self, *, lists: str | Sequence[str] = ()) -> None:
        self.paths = [lists] if isinstance(lists, str) else list(lists)

    @functools.cached_property
    def model_hash(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        if not self.paths:
            raise ConfigError("bad_words: which lists? Write {name: bad_words, lists: FILE}")
        missing = [path for path in self.paths if not storage.is_file(path)]
        if missing:
            raise ConfigError(f"bad_words: {missing[0]}: no such list")
        return xxhash.xxh3_128_hexdigest(" ".join(map(storage.content_hash, self.paths)).encode())

    @functools.cached_property
    def entries(self) -> list[str]:
        """In lower case, the longest first."""
        found: set[str] = set()
        for path in self.paths:
            lines = {line.lower() for _, line in blocklists.read_lines(path)}
            if not lines:
                raise ConfigError(f"bad_words: {path}: an empty list finds nothing; take it out of the config")
            found |= lines
        return sorted(found, key=lambda entry: (-len(entry), entry))

    @functools.cached_property
    def _patterns(self) -> tuple[str, re.Pattern[str], str]:
        """Ours for RE2, which sees a batch at once, and for Python, which says where; the toolkit's for RE2."""
        bare = [re.escape(entry) for entry in self.entries if _UNSPACED.search(entry)]
        apart = [re.escape(entry) for entry in self.entries if not _UNSPACED.search(entry)]
        words = [re.escape(entry) for entry in self.entries if " " not in entry]
        phrases = [re.escape(entry) for entry in self.entries if " " in entry]
        fast = _either(bare, r"(?:^|[^\pL\pN_])", apart, r"(?:$|[^\pL\pN_])")
        slow = re.compile(_either(bare, r"(?<!\w)", apart, r"(?!\w)"), re.IGNORECASE)
        return f"(?i){fast}", slow, _either(phrases, f"(?:^|{_SPACE})", words, f"(?:$|{_SPACE})")

    def tag(self, batch: Batch) -> dict[str, Any]:
        fast, slow, dolma = self._patterns
        text, line = batch.columns.column("text"), batch.filled_lines
        hit = np.asarray(pc.match_substring_regex(text, fast))
        lines = np.flatnonzero(np.repeat(hit, np.diff(line.offsets)))
        texts = text_between(batch.data, line.starts[lines], line.ends[lines])
        kept = np.asarray(pc.match_substring_regex(texts, fast))  # no entry reaches over a newline
        places = line.places[lines[kept]].tolist()
        edges, shown, counts = [], [], np.zeros(len(line.starts), np.int64)
        for number, place, content in zip(lines[kept].tolist(), places, texts.filter(kept).to_pylist(), strict=True):
            for found in slow.finditer(content):
                edges.append((place + found.start(), place + found.end()))
                shown.append(found[0].lower())
                counts[number] += 1
        offsets = running(counts)[line.offsets]
        bounds = np.array(edges, np.int64).reshape(-1, 2)
        return {
            "count": np.diff(offsets),
            "found": span_array(self.fields["found"], offsets, bounds[:, 0], bounds[:, 1], entry=shown),
            "dolma_has_any": pc.match_substring_regex(pc.utf8_lower(text), dolma),
        }


def _either(anywhere: list[str], before: str, apart: list[str], after: str) -> str:
    """A pattern of what matches anywhere, or apart from what stands around it."""
    return "|".join([*anywhere, *([f"{before}(?:{'|'.join(apart)}){after}"] if apart else [])])
