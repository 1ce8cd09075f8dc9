"""Texts on which tokenizers disagree when they disagree: the fixed part of a tokenizer's proof."""

from __future__ import annotations

from collections.abc import Sequence

_SPACES = "\u0020\u00a0\u1680\u2000\u2002\u2003\u2009\u200a\u2028\u2029\u202f\u205f\u3000\u0085\u180e\u200b\u2060\ufeff"
_CONTROLS = "".join(map(chr, range(32))) + "\x7f\x80\x9f"
_DIGITS = "0123456789 ٠١٢٣٤٥٦٧٨٩ ०१२३ ⅷ ½ ²³ ①② 12345678901234567890 3.14 1,000,000 0x1F 1e-5 v1.2.3"
_LETTERS = (
    "Straße ǅ ǆ İstanbul ıI ſ K Å ﬁ ﬀ Ω ΑΣ ς Ё йй Ѐ հայ ქართული עברית العربية हिन्दी "
    "ไทย ລາວ ខ្មែរ မြန်မာ 한국어 日本語 中文 ひらがなカタカナ"
)
_MARKS = (
    "e\u0301 \u00e9 o\u0323\u0302 \u1ed9 A\u030a \u212b "
    "\u1100\u1161\u11a8 \uac01 \u0915\u094d\u0937 \u0e01\u0e33 q\u0307\u0323 \u0344 \u2126 \ufb1d \u0958"
)
_EMOJI = "😀 👍🏽 👩‍👩‍👧‍👦 🇩🇪🇫🇷 ❤️ ☺︎ 1️⃣ 🏴󠁧󠁢󠁥󠁮󠁧󠁿 \U0001f9d1\u200d\U0001f4bb"
_EDGES = "\ufffd \ufffe \uffff \ue000 \U0010ffff \U000e0001 \u0378 \ud7ff \u202e abc \u202c \u00ad"
_CODE = (
    "def f(x):\n\treturn  x+1\n\n\n    # comment  \nif (a&&b)||!c {\r\n  y->z++;\r\n}\n<a href='x'>&amp;</a>\n"
    '{"k": [1, 2.5, null], "s": "\\u00e9\\n"}\n'
    '$x = @$_[0] ?? "";\n\\frac{1}{2} \\begin{align*} a &= b \\\\ \\end{align*}\n'
    "#include <stdio.h>\n/* * */ // ---- ==== **** ____ .... !!!! ???? ~~~~ ^^^^ ````\nhttps://a.b/c?d=e&f=%20#g"
)
_CONTRACTIONS = (
    "I'm you're he'S WE'LL they'd've 'tis rock'n'roll o'clock I’m ''s 'S 'ſ don't.Don'T 're-do 'LLama 'vex 'mm 'd'd"
)

HARD_TEXTS: tuple[str, ...] = (
    "", " ", "  ", "\n", "\n\n\n", " \n", "\n ", "\t", "\t\t ", "\r", "\r\n\r\n", " \r\n ", "a", " a", "a ",
    "\0", "\0\0a\0", "'", "'s", "Hello, world!", "hello   world  ", "   leading", "trailing   ",
    "a\n\n  b\n\n\n   c", "x\t y \t\tz", "CamelCase snake_case kebab-case",
    _SPACES, _SPACES.join("ab1."), "".join(2 * space for space in _SPACES), _CONTROLS, "a".join(_CONTROLS),
    _DIGITS, _LETTERS, _LETTERS.replace(" ", ""), _MARKS, _MARKS.replace(" ", ""), _EMOJI, _EMOJI.replace(" ", ""),
    _EDGES, _CODE, _CODE.replace("\n", "\r\n"), _CODE.upper(), _CONTRACTIONS, _CONTRACTIONS.upper(),
    *(" " * n for n in (3, 7, 8, 15, 16, 23, 24, 25, 31, 32, 33, 47, 48, 49, 64, 100, 1000)),
    *(" " * n + "x" for n in (2, 3, 24, 25, 26, 50)),
    *("\n" * n for n in (4, 5, 8, 16, 17, 100)), *("\t" * n + "y" for n in (2, 3, 4, 8, 16)),
    "a" * 300, "ab" * 1000, "xyz" * 3000, "é" * 500, "中" * 500, "😀" * 200, "\u0301" * 300,
    "=" * 300, "-" * 1000, "0" * 1000, "9" * 7, "." * 99,
    "<|", "|>", "<|endoftext", "|||", "||||", "<s", "</", "[CLS]", "<0x0A>", "<0xFF>",
    "\u2581", "\u2581a\u2581\u2581b", " \u2581 ", "Ġ", "Ċ", "ĠĠa", "##a", "</w>",
    "the quick brown fox jumps over the lazy dog. " * 20, "THE QUICK BROWN FOX " * 10,
    "Der schnelle Fuchs. Lo\u0308we, L\u00f6we; Zo\u00eb?! " * 10,
)  # fmt: skip


def in_contexts(tokens: Sequence[str]) -> list[str]:
    """Texts around added tokens: whole, cut, doubled, among letters, spaces, lines, and composed characters."""
    frames = ("{0}", "a{0}b", " {0} ", "{0}{0}", "x {0}\n\n{0}y", "e\u0301{0}\u0301", "{1}{0}", "1{0}2{1}|", "<{0}>")
    return [frame.format(token, token[:-1]) for token in tokens for frame in frames]
