"""What datatrove and the code filters compute, said in plain Python; nothing here shares code with the kernels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import regex
from plain_definitions import ends_sentence, fold, policies, top_gram

TERMINAL = "".join(
    chr(code) for code in range(0x110000) if regex.match(r"\p{Sentence_Terminal}", chr(code))
)  # but for a few marks, which no text here has
PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~«»´–—’“”„…∶━►、〈〉《》「」【】％（），１：；～"
CONTROLS = "".join(map(chr, [*range(9), *range(11, 32), *range(127, 160)]))


def gopher(text: str) -> dict[str, Any]:
    words = [word for word in text.split() if set(word) - set(PUNCTUATION + CONTROLS + TERMINAL)]
    lines = text.splitlines()
    return {
        "datatrove_word_count": len(words),
        "datatrove_mean_word_length": sum(map(len, words)) / max(len(words), 1),
        "datatrove_line_count": len(lines),
        "datatrove_bullet_line_fraction": _share(line.lstrip().startswith(("•", "-")) for line in lines),
        "datatrove_ellipsis_line_fraction": _share(line.rstrip().endswith(("...", "…")) for line in lines),
    }


def _share(flags: Any) -> float:
    found = list(flags)
    return sum(found) / max(len(found), 1)


def _repeats(pieces: Sequence[str]) -> list[str]:
    seen: set[str] = set()
    return [piece for piece in pieces if piece in seen or seen.add(piece)]


def gopher_repetition(text: str) -> dict[str, Any]:
    size = max(len(text), 1)
    lines, paragraphs = re.split(r"\n+", text), re.split(r"\n{2,}", text.strip())
    found: dict[str, Any] = {
        "character_count": len(text),
        "datatrove_duplicate_line_fraction": len(_repeats(lines)) / len(lines),
        "datatrove_duplicate_line_character_fraction": sum(map(len, _repeats(lines))) / size,
        "datatrove_duplicate_paragraph_fraction": len(_repeats(paragraphs)) / len(paragraphs),
        "datatrove_duplicate_paragraph_character_fraction": sum(map(len, _repeats(paragraphs))) / size,
    }
    for n in (2, 3, 4):
        top = top_gram(text, n)
        length = top[f"top_{n}gram_characters"] + n - 1
        found[f"datatrove_top_{n}gram_character_fraction"] = top[f"top_{n}gram_occurrences"] * length / size
    return found


def datatrove_ngrams(text: str) -> dict[str, Any]:
    return {
        f"duplicate_{n}gram_character_fraction": _joined_repeats(text.split(), n) / max(len(text), 1)
        for n in range(5, 11)
    }


def _joined_repeats(words: Sequence[str], n: int) -> int:
    seen: set[str] = set()
    place, repeated = 0, 0
    while place + n <= len(words):
        gram = "".join(words[place : place + n])
        if gram in seen:
            repeated, place = repeated + len(gram), place + n
        else:
            seen.add(gram)
            place += 1
    return repeated


def fineweb(text: str) -> dict[str, Any]:
    lines = [line for line in text.split("\n") if line.strip()]
    newlines = text.count("\n")
    return {
        "filled_line_count": len(lines),
        "punctuated_line_fraction": _share(line[-1] in TERMINAL for line in lines),
        "short_line_fraction": _share(len(line) <= 30 for line in lines),
        "duplicate_line_character_fraction": sum(map(len, _repeats(lines))) / max(len(text) - newlines, 1),
        "newline_to_word_ratio": newlines / max(len(text.split()), 1),
    }


CITATION = re.compile(r"\[\d*]|\[edit]|\[citation needed]")


def datatrove_c4(text: str, terminal: bool = True) -> dict[str, Any]:
    """The fields but for spans, and `written`, the text that stays."""
    found: dict[str, Any] = {"lorem_ipsum": False, "curly_brace": False}
    kept: list[str] = []
    for line in (line.strip() for line in text.splitlines()):
        verdict = _verdict(line, terminal)
        if verdict in found:
            found[verdict] = True
            break
        if verdict == "keep":
            kept.append(CITATION.sub("", line))
    sentences = sum(_sentences(line.split()) for line in kept)
    written = "\n".join(kept).strip()
    return {**found, "kept_line_count": len(kept), "sentence_count": sentences, "written": written}


def _verdict(line: str, terminal: bool) -> str:
    words, cleaned = line.split(), CITATION.sub("", line)
    held = fold(cleaned)
    marked = cleaned.endswith((".", "?", "!", '"', "'")) and not cleaned.endswith("...")
    if any(len(word) > 1000 for word in words) or (terminal and not marked) or len(words) < 3:
        return "drop"
    if "lorem ipsum" in held:
        return "lorem_ipsum"
    if "javascript" in held:
        return "drop"
    if "{" in cleaned:
        return "curly_brace"
    return "drop" if policies(held) else "keep"


def _sentences(words: Sequence[str]) -> int:
    return 1 + sum(ends_sentence(word, following) for word, following in pairwise(words))


def code(text: str) -> dict[str, Any]:
    """The fields that no language decides."""
    lengths = list(map(len, text.splitlines()))
    tokens, letters = len(regex.findall(r"\w+|[^\w\s]+", text)), sum(map(str.isalpha, text))
    return {
        "line_count": len(lengths),
        "max_line_length": max(lengths, default=0),
        "mean_line_length": sum(lengths) / max(len(lengths), 1),
        "alphanumeric_fraction": sum(map(str.isalnum, text)) / max(len(text), 1),
        "token_count": tokens,
        "letter_to_token_ratio": letters / max(tokens, 1),
        "dolma_letter_to_token_ratio": letters / len(regex.split(r"\w+|[^\w\s]+", text)),
        "has_xml_declaration": "<?xml version=" in text[:100],
    }
