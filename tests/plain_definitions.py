"""What the kernels compute, said in plain Python, one function per idea; and texts to try them on.

Nothing here shares code with the kernels: these are the definitions that the field docs give.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Sequence
from itertools import groupby, pairwise
from statistics import median
from typing import Any

from hypothesis import strategies as st

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")

SPACES = [chr(code) for code in range(0x110000) if chr(code).isspace()]

_PIECES = [
    "the", "The", "and", "be", "to", "of", "have", "with", "that", "a", "b", "ab", "abc", "word", "words,",
    "end.", 'end."', "what?", "no!", "...", "…", "#", "#tag", "....", "..#..", "•", "-", "*", "•x", "javascript",
    "JavaScripted", "javascrip", "lorem", "ipsum", "Lorem", "Ipsum.", "{", "{}", "cookies", "Cookies", "use",
    "use.", "terms", "of", "privacy", "policy", "cookie", "uses", "12", "3.14", "½", "é", "é", "ñ", "ж", "слово",
    "漢字", "かな", "😀", "👩\u200d👩\u200d👧", "\0", "\0x", "\x7f", "İ", "K", "＿", "…", "’", "”", "’s", "Mr.",
    "J.", "Dr.", "antidisestablishmentarianism", "naïveté"
]  # fmt: skip

words = st.sampled_from(_PIECES) | st.text(max_size=12)
glue = st.sampled_from([" ", " ", " ", "\n", "\n", "\n\n", "  ", "\r\n", "\t", "", *SPACES])
mixed_texts = st.lists(st.tuples(words, glue), max_size=60).map(lambda pairs: "".join(w + g for w, g in pairs))
repetitive_texts = st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from(" \n")), max_size=60).map(
    lambda pairs: "".join(w + g for w, g in pairs)
)
texts = (st.text(max_size=80) | mixed_texts | repetitive_texts).filter(lambda text: _encodes(text))

HARD_TEXTS = [
    "", "a", "\n", "\n\n\n", " ", "\0", "é", "😀", "e\u0301", "\u3000", "a\u00a0b", "…", "...", "#", "•", "{",
    "a\n", "\na",
    "\r\n\r\n", "\x85", "\x1c\x1d", "a" * 300, "a b " * 40, "x\u2028y\u2029z", "漢字" * 50, "é" * 9 + " " + "ж" * 8,
    "1234567 12345678 123456789", "\u180e\u200b\ufeff", "line\n" * 5 + "\n" + "line\n" * 5,
]  # fmt: skip


def _encodes(text: str) -> bool:
    return not any(0xD800 <= ord(char) < 0xE000 for char in text)


# Words ------------------------------------------------------------------------------------------------------------


def word_signals(text: str) -> dict[str, Any]:
    split = text.split()
    total = max(len(split), 1)
    lower = [re.sub("[A-Z]", lambda match: match[0].lower(), word) for word in split]
    return {
        "word_count": len(split),
        "mean_word_length": sum(map(len, split)) / total,
        "median_word_length": median(map(len, split)) if split else 0,
        "hash_to_word_ratio": text.count("#") / total,
        "ellipsis_to_word_ratio": (text.count("...") + text.count("…")) / total,
        "symbol_to_word_ratio": sum("#" in word or "…" in word for word in split) / total,
        "alphabetic_word_fraction": sum(any(char.isalpha() for char in word) for word in split) / total,
        "stop_word_count": len(set(STOP_WORDS) & set(lower)),
        "stop_word_folded_occurrences": sum(word in STOP_WORDS for word in lower),
        "stop_word_exact_count": len(set(STOP_WORDS) & set(split)),
        "stop_word_occurrences": sum(word in STOP_WORDS for word in split),
    }


# Lines ------------------------------------------------------------------------------------------------------------


def filled_lines(text: str) -> list[str]:
    return [line for line in text.split("\n") if line.strip()]


def line_signals(text: str) -> dict[str, Any]:
    filled = filled_lines(text)
    total = max(len(filled), 1)
    return {
        "line_count": len(text.split("\n")),
        "filled_line_count": len(filled),
        "bullet_line_fraction": sum(line.lstrip().startswith(("-", "*", "•")) for line in filled) / total,
        "ellipsis_line_fraction": sum(line.rstrip().endswith(("...", "…")) for line in filled) / total,
        "dolma_bullet_line_count": sum(line.startswith(("*", "-")) for line in text.split("\n")),
        "dolma_ellipsis_line_count": sum(line.endswith("…") for line in text.split("\n")),
        "dolma_line_count": len(re.split(r"\n+", text)),
    }


def repeats(pieces: Sequence[str]) -> list[str]:
    """Every piece that occurred before."""
    return [piece for place, piece in enumerate(pieces) if piece in pieces[:place]]


def duplicate_signals(text: str) -> dict[str, Any]:
    lines = filled_lines(text)
    grouped = groupby(text.split("\n"), key=lambda line: bool(line.strip()))
    paragraphs = ["\n".join(group) for filled, group in grouped if filled]
    pieces = re.split(r"\n+", text)
    copies = [piece for piece in pieces if Counter(pieces)[piece] > 1]
    all_copies = [line for line in text.split("\n") if Counter(text.split("\n"))[line] > 1]
    letters = max(sum(map(len, text.split())), 1)
    return {
        "duplicate_line_fraction": len(repeats(lines)) / max(len(lines), 1),
        "duplicate_line_character_fraction": sum(map(len, repeats(lines))) / max(len(text), 1),
        "duplicate_paragraph_fraction": len(repeats(paragraphs)) / max(len(paragraphs), 1),
        "duplicate_paragraph_character_fraction": sum(map(len, repeats(paragraphs))) / max(len(text), 1),
        "dolma_duplicate_line_fraction": len(copies) / len(pieces),
        "dolma_v1_duplicate_line_fraction": len(all_copies) / len(text.split("\n")),
        "dolma_duplicate_line_character_fraction": sum(map(len, copies)) / letters,
    }


# n-grams ----------------------------------------------------------------------------------------------------------


def _grams(split: Sequence[Hashable], n: int) -> list[tuple[Hashable, ...]]:
    return [tuple(split[i : i + n]) for i in range(len(split) - n + 1)]


def _covered(split: Sequence[str], places: Sequence[int], n: int) -> int:
    return sum(len(split[i]) for i in {i for place in places for i in range(place, place + n)})


def top_gram(text: str, n: int) -> dict[str, Any]:
    split = text.split()
    grams = _grams(split, n)
    letters = max(sum(map(len, split)), 1)
    top, occurrences = Counter(grams).most_common(1)[0] if grams else ((), 0)
    characters = sum(map(len, top))
    covered = _covered(split, [i for i, gram in enumerate(grams) if gram == top], n)
    return {
        f"top_{n}gram_character_fraction": covered / letters,
        f"top_{n}gram_occurrences": occurrences,
        f"top_{n}gram_characters": characters,
        f"dolma_top_{n}gram_character_fraction": occurrences * characters / letters,
    }


def duplicate_grams(text: str, n: int) -> dict[str, Any]:
    split = text.split()
    grams = _grams(split, n)
    counts = Counter(grams)
    seen: set[tuple[Hashable, ...]] = set()
    again = [i for i, gram in enumerate(grams) if gram in seen or seen.add(gram)]
    dolma = sum(len(word) for gram in grams if counts[gram] > 1 for word in gram)
    everything = sum(len(word) for gram in grams for word in gram)
    return {
        f"duplicate_{n}gram_character_fraction": _covered(split, again, n) / max(sum(map(len, split)), 1),
        f"dolma_duplicate_{n}gram_character_fraction": dolma / max(everything, 1),
    }


def gopher(text: str) -> dict[str, Any]:
    return {**word_signals(text), **line_signals(text)}


def gopher_repetition(text: str) -> dict[str, Any]:
    found = duplicate_signals(text)
    for n in (2, 3, 4):
        found.update(top_gram(text, n))
    for n in range(5, 11):
        found.update(duplicate_grams(text, n))
    return found


# C4 ---------------------------------------------------------------------------------------------------------------

_POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")


def fold(text: str) -> str:
    """ASCII letters in lower case; `str.lower` would turn a Kelvin sign into a k."""
    return re.sub("[A-Z]", lambda match: match[0].lower(), text)


def policies(held: str) -> bool:
    """Whether a text in lower case holds a phrase of a policy notice."""
    return any(policy in held for policy in _POLICIES)


def _is_punctuated(line: str) -> bool:
    return line.rstrip().endswith((".", "?", "!", '"')) and not line.rstrip().endswith("...")


def _flawed(line: str) -> bool:
    held = fold(line)
    return (
        not _is_punctuated(line)
        or any(len(word) > 1000 for word in line.split())
        or "javascript" in held
        or any(policy in held for policy in _POLICIES)
    )


def ends_sentence(word: str, following: str) -> bool:
    bare = re.sub("[\"')\\]’”]+$", "", word)
    if "a" <= following[0] <= "z" or not bare.endswith((".", "?", "!")):
        return False
    if not bare.endswith(".") or bare != word:
        return True
    return fold(bare) not in ("mr.", "ms.", "mrs.", "dr.", "st.", "vs.") and len(bare.encode()) != 2


def _sentences(line: str) -> int:
    split = line.split()
    return 1 + sum(ends_sentence(word, following) for word, following in pairwise(split))


def _removed(text: str, kept: Sequence[bool]) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    place = 0
    for line, stays in zip(text.split("\n"), kept, strict=True):
        end = min(place + len(line) + 1, len(text))
        if not stays and end > place:
            if spans and spans[-1][1] == place:
                spans[-1] = (spans[-1][0], end)
            else:
                spans.append((place, end))
        place = end
    return spans


def c4(text: str, min_words: int = 3) -> dict[str, Any]:
    lines, filled = text.split("\n"), filled_lines(text)
    kept = [len(line.split()) >= min_words and not _flawed(line) for line in lines]
    staying = [line for line, stays in zip(lines, kept, strict=True) if stays]
    return {
        "line_count": len(lines),
        "filled_line_count": len(filled),
        "unpunctuated_line_count": sum(not _is_punctuated(line) for line in filled),
        "dotted_line_count": sum(line.rstrip().endswith("...") for line in filled),
        "under_3_word_line_count": sum(len(line.split()) < 3 for line in filled),
        "under_5_word_line_count": sum(len(line.split()) < 5 for line in filled),
        "long_word_line_count": sum(any(len(word) > 1000 for word in line.split()) for line in filled),
        "javascript_line_count": sum("javascript" in fold(line) for line in filled),
        "policy_line_count": sum(any(policy in fold(line) for policy in _POLICIES) for line in filled),
        "has_lorem_ipsum": "lorem ipsum" in fold(text),
        "has_curly_brace": "{" in text,
        "kept_line_count": len(staying),
        "kept_word_count": sum(len(line.split()) for line in staying),
        "sentence_count": sum(map(_sentences, staying)),
        "removed_lines": _removed(text, kept),
    }


def length(text: str) -> dict[str, Any]:
    return {
        "bytes": len(text.encode()), "characters": len(text), "words": len(text.split()), "lines": len(text.split("\n"))
    }  # fmt: skip
