"""Kinds of lines that web pages have besides text, as spans, and MADLAD-400's questions about sentences.

The line-wise corrections of RefinedWeb (Penedo et al. 2023, G.2), as DCLM (Li et al. 2024) settled what the paper
leaves open: `uppercase`, `numeric`, `counter`, `one_word` lines go, `navigation` is cut out, and a document is dropped
that loses more than 5 % of its words: `edit: {remove: lines.uppercase}` ... and `lines.flagged_word_fraction <= 0.05`.
Lines are pieces of `text.split("\\n")` that hold a word; a span of a whole line takes its newline along.

Boilerplate is a kind of line too: notices about policies, by the phrases of C4 (`policy`), and what blogs and shops
have on every page (`boilerplate`). C4's own rules, which take lines with "javascript" or without a full stop out too,
are `c4.removed_lines`.

MADLAD-400 (Kudugunta et al. 2023, section 2.3) drops documents of fewer than 5 sentences and those of which 20 % are
questionable; OLMo 3 (datamap-rs) asks for list case and cursed strings only. A sentence ends with a word that ends in
`.`, `!` or `?`, as there; its language against the document's (rule 1) is a matter for `langid`.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from dolma_pipe import blocklists, storage
from dolma_pipe.batch import Batch
from dolma_pipe.errors import ConfigError
from dolma_pipe.kernels import line_kinds, sentences
from dolma_pipe.kernels.marks import outer_words
from dolma_pipe.kernels.ratios import ratio
from dolma_pipe.places import Places, in_parts, summed, text_between
from dolma_pipe.tagger import Tagger, count, real, spans

pc: Any = pyarrow.compute

SHORT = 10
"""Words of the longest line that counters, navigation and boilerplate are looked for in (RefinedWeb)."""

COUNTED = "likes|shares|comments|retweets|reposts|quotes|bookmarks|upvotes|downvotes|downloads|views|followers"
_OTHER = r"[^\p{L}\p{N}_]*"
COUNTER = rf"(?i)^{_OTHER}\p{{Nd}}[,.\p{{Nd}}]*[kmb]?[\s\p{{Z}}]+(?:{COUNTED}){_OTHER}$"
POLICY = "(?i)privacy policy|cookie policy|terms of use|uses? cookies|use of cookies"
BOILERPLATE = (
    "all rights reserved", "powered by wordpress", "skip to content", "skip to main content",
    "subscribe to our newsletter",
    "sign up for our newsletter", "leave a reply", "leave a comment", "click to share on", "share this:", "add to cart",
    "back to top", "your email address will not be published", "required fields are marked", "view all posts by",
)  # fmt: skip


class Lines(Tagger):
    """Lines by kind and sentences by question; 0 and none for an empty document.

    max_uppercase_fraction: above it, a line is upper case. cursed: a file of RE2 patterns, one a line, that no sentence
    may match (MADLAD-400's appendix has some); none comes with the package.
    """

    version = 2
    fields = {
        "uppercase": spans(
            "lines with more than half of their code points upper case (`str.isupper`); score is their share"
        ),
        "numeric": spans("lines of nothing but digits (`str.isdigit`)"),
        "counter": spans(
            f"lines of a number and what it counts, as `3 likes`, `1.2k views`: {COUNTED.replace('|', ', ')}"
        ),
        "one_word": spans("lines of one word"),
        "navigation": spans(
            f"in lines of at most {SHORT} words: `sign-in` at the beginning, `read more...` at the end, `items in "
            "cart` anywhere; the whole line if it holds nothing else"
        ),
        "policy": spans(
            "lines that hold privacy policy, cookie policy, terms of use, uses cookies, use cookies or use of cookies, "
            "in any case (the phrases of C4)"
        ),
        "boilerplate": spans(f"lines of at most {SHORT} words that hold, in any case: {', '.join(BOILERPLATE)}"),
        "line_count": count("lines that hold a word"),
        "flagged_word_count": count(
            "words of upper-case, numeric, counter and one-word lines and of lines with navigation"
        ),
        "flagged_word_fraction": real("those / words"),
        "boilerplate_word_fraction": real("words of policy and boilerplate lines / words"),
        "sentence_count": count("sentences"),
        "list_case_sentence_count": count(
            "of at least 12 words with a letter or digit, more than half of which begin with an upper-case one (rule 2)"
        ),
        "abnormal_length_sentence_count": count("of fewer than 20 or more than 500 code points (rule 3)"),
        "technical_sentence_count": count("with more than 20 % of code points among `0-9{}+/()>` (rule 4)"),
        "cursed_sentence_count": count("that match a pattern of `cursed` (rule 5)"),
        "questionable_sentence_fraction": real(
            "of which any of rules 2 to 5 holds / sentences: MADLAD-400 wants < 0.2"
        ),
        "list_case_or_cursed_sentence_fraction": real("of which rule 2 or 5 holds / sentences: OLMo 3 wants < 0.2"),
    }

    def __init__(self, *, max_uppercase_fraction: float = 0.5, cursed: str | None = None) -> None:
        if not 0 <= max_uppercase_fraction < 1:
            raise ConfigError(
                f"lines: max_uppercase_fraction is {max_uppercase_fraction}; it must be at least 0, below 1"
            )
        self.max_uppercase_fraction, self.cursed = max_uppercase_fraction, cursed
        if cursed is not None:
            if not storage.is_file(cursed):
                raise ConfigError(f"lines: {cursed}: no such list of patterns")
            self.model_hash = storage.content_hash(cursed)

    def tag(self, batch: Batch) -> dict[str, Any]:
        return {**self.line_fields(batch), **self.sentence_fields(batch)}

    def line_fields(self, batch: Batch) -> dict[str, Any]:
        index = batch.filled_lines
        cased, numeric, words = line_kinds.line_signals(
            batch.data, index.starts, index.ends, batch.marks,
            line_kinds.bitmap_of(str.isupper), line_kinds.bitmap_of(str.isdigit),
        )  # fmt: skip
        short = np.flatnonzero(words <= SHORT)
        starts, ends = outer_words(batch.marks, index.starts[short], index.ends[short])
        froms, tos = line_kinds.navigation(batch.data, starts, ends)
        places, cut = Places(batch), froms >= 0
        whole = (froms == starts) & (tos == ends)
        froms, tos = np.where(whole, index.starts[short], froms), np.where(whole, index.ends[short], tos)
        share = cased / index.chars
        upper = share > self.max_uppercase_fraction
        flagged = {
            "uppercase": upper,
            "numeric": numeric == index.chars,
            "counter": self.among(batch, short[numeric[short] > 0], COUNTER),
            "one_word": words == 1,
        }
        others = {
            "policy": self.among(batch, np.arange(len(words)), POLICY),
            "boilerplate": self.among(batch, short, "(?i)" + "|".join(BOILERPLATE)),
        }
        found = {name: places.lines(self.fields[name], chosen) for name, chosen in {**flagged, **others}.items()}
        found["uppercase"] = places.lines(self.fields["uppercase"], upper, share[upper])
        found["navigation"] = places.parts(self.fields["navigation"], short[cut], froms[cut], tos[cut])
        gone = np.logical_or.reduce(list(flagged.values()))
        gone[short[cut]] = True
        gone_words = summed(words * gone, index.offsets)
        return {
            **found,
            "line_count": np.diff(index.offsets),
            "flagged_word_count": gone_words,
            "flagged_word_fraction": ratio(gone_words, batch.word_counts),
            "boilerplate_word_fraction": ratio(
                summed(words * (others["policy"] | others["boilerplate"]), index.offsets), batch.word_counts
            ),
        }

    def among(self, batch: Batch, lines: Any, pattern: str) -> Any:
        """Which lines are among the numbered ones and match: bool[all lines that hold a word]."""
        index = batch.filled_lines
        chosen = np.zeros(len(index.starts), np.bool_)
        for some in in_parts(lines, int(batch.offsets[-1])):
            texts = text_between(batch.data, index.starts[some], index.ends[some])
            chosen[some[matches(texts, pattern)]] = True
        return chosen

    def sentence_fields(self, batch: Batch) -> dict[str, Any]:
        flags, begins, _, offsets = sentences.sentence_signals(
            batch.data, batch.offsets, batch.marks,
            line_kinds.bitmap_of(str.isupper), line_kinds.bitmap_of(str.isalnum),
        )  # fmt: skip
        cursed = self.cursed_sentences(batch, begins, offsets)
        listed, total = (flags & sentences.LIST_CASE) > 0, np.diff(offsets)
        return {
            "sentence_count": total,
            "list_case_sentence_count": summed(listed, offsets),
            "abnormal_length_sentence_count": summed((flags & sentences.LENGTH) > 0, offsets),
            "technical_sentence_count": summed((flags & sentences.TECHNICAL) > 0, offsets),
            "cursed_sentence_count": summed(cursed, offsets),
            "questionable_sentence_fraction": ratio(summed((flags > 0) | cursed, offsets), total),
            "list_case_or_cursed_sentence_fraction": ratio(summed(listed | cursed, offsets), total),
        }

    def cursed_sentences(self, batch: Batch, begins: Any, offsets: Any) -> Any:
        """Which sentences match; one goes on to where the next begins, less the white space behind it."""
        if self.cursed is None:
            return np.zeros(len(begins), np.bool_)
        some = np.diff(offsets) > 0
        ends = np.append(begins, 0)[1:]
        ends[offsets[1:][some] - 1] = batch.offsets[1:][some]  # the last of a document ends with it
        return matches(pc.utf8_rtrim_whitespace(text_between(batch.data, begins, ends)), self.pattern)

    @functools.cached_property
    def pattern(self) -> str:
        """All patterns of `cursed` as one."""
        found = [line for line in blocklists.read_text(str(self.cursed)).split("\n") if line.strip()]
        for number, line in enumerate(found, 1):
            try:
                matches(pa.array([""], pa.large_string()), line)
            except pa.ArrowInvalid as error:
                raise ConfigError(f"lines: {self.cursed}, pattern {number}: {line!r} is not RE2: {error}") from error
        if not found:
            raise ConfigError(f"lines: {self.cursed}: it holds no pattern; take it out of the config")
        return "|".join(f"(?:{line})" for line in found)


def matches(texts: pa.LargeStringArray, pattern: str) -> Any:
    return np.asarray(pc.match_substring_regex(texts, pattern))
