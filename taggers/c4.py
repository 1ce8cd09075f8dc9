"""C4's rules as measurements (Raffel et al. 2020, arXiv 1910.10683, section 2.2).

C4 drops lines, then pages. A line stays if it ends in `. ? ! "` (but not in `...`), has at least `min_words` words,
none of them longer than 1,000 characters, and neither "javascript" nor one of six phrases of policy notices; blank
lines go. A page goes if it holds `{` or "lorem ipsum" anywhere, also in a line that goes. What the lines that stay
amount to is measured here, so a mix can judge the page and edit it: `edit: {remove: c4.removed_lines}`.

Two variants of the numbers circulate. The journal text asks for 3 words in a line and 5 sentences in a page (the
default, and `keep: c4`); the first arXiv text and the released code ask for 5 words and 3 sentences: tag with
`{name: c4_arxiv, use: c4, min_words: 5}` and `keep: c4_arxiv`.

Dolma's `lines_with_no_ending_punctuation` are `line_count - filled_line_count + unpunctuated_line_count -
dotted_line_count`, its `lines_with_too_few_words` `line_count - filled_line_count + under_3_word_line_count`.

Where we differ from the released code: lines are pieces of `text.split("\\n")` (there: `str.splitlines`), sentences are
counted by a rule (there: NLTK's Punkt), citation marks are not stripped before a line is judged, and `{` or "lorem
ipsum" in a line that goes drops the page too, as the paper says. Bad words, language and the three-sentence
deduplication are the business of other taggers.
"""

from __future__ import annotations

from typing import Any

from dolma_pipe.batch import Batch
from dolma_pipe.errors import ConfigError
from dolma_pipe.kernels import c4 as kernels
from dolma_pipe.tagger import Tagger, count, flag, span_array, spans


class C4(Tagger):
    """Counts, flags and the lines that go; all 0, false or none for an empty document, but `line_count` is 1."""

    version = 1
    fields = {
        "line_count": count('pieces of `text.split("\\n")`, blank ones too'),
        "filled_line_count": count("lines that hold a word; the next seven fields count among these"),
        "unpunctuated_line_count": count('lines that do not end in `. ? ! "`, or end in `...`'),
        "dotted_line_count": count("lines that end in `...`"),
        "under_3_word_line_count": count("lines of one or two words"),
        "under_5_word_line_count": count("lines of one to four words"),
        "long_word_line_count": count("lines with a word of more than 1,000 code points"),
        "javascript_line_count": count('lines that hold "javascript" in any case, inside a word too'),
        "policy_line_count": count(
            "lines that hold, in any case: terms of use, privacy policy, cookie policy, uses cookies, use of cookies, "
            "use cookies"
        ),
        "has_lorem_ipsum": flag('the text holds "lorem ipsum" in any case'),
        "has_curly_brace": flag("the text holds `{`"),
        "kept_line_count": count("lines that stay"),
        "kept_word_count": count("words of the lines that stay"),
        "sentence_count": count(
            "sentences of the lines that stay: one per line, and one more for each word inside that ends in `.`, `?` "
            "or `!` (closing quotes and brackets aside), unless the next word begins with a-z or the word is a title "
            "(Mr. Ms. Mrs. Dr. St. vs.) or an initial (J.)"
        ),
        "removed_lines": spans("lines that go, each with its newline; neighbours make one span"),
    }

    def __init__(self, min_words: int = 3) -> None:
        if min_words < 1:
            raise ConfigError(f"c4: min_words is {min_words}; a line that stays has at least 1 word")
        self.min_words = min_words

    def tag(self, batch: Batch) -> dict[str, Any]:
        found, starts, ends, offsets = kernels.c4_signals(batch.data, batch.offsets, batch.marks, self.min_words)
        return {
            "line_count": batch.line_counts,
            "filled_line_count": found[kernels.FILLED],
            "unpunctuated_line_count": found[kernels.UNPUNCTUATED],
            "dotted_line_count": found[kernels.DOTTED],
            "under_3_word_line_count": found[kernels.UNDER_3_WORDS],
            "under_5_word_line_count": found[kernels.UNDER_5_WORDS],
            "long_word_line_count": found[kernels.LONG_WORD],
            "javascript_line_count": found[kernels.JAVASCRIPT],
            "policy_line_count": found[kernels.POLICY],
            "has_lorem_ipsum": found[kernels.LOREM_IPSUM] > 0,
            "has_curly_brace": found[kernels.BRACES] > 0,
            "kept_line_count": found[kernels.KEPT],
            "kept_word_count": found[kernels.KEPT_WORDS],
            "sentence_count": found[kernels.SENTENCES],
            "removed_lines": span_array(self.fields["removed_lines"], offsets, starts, ends),
        }
