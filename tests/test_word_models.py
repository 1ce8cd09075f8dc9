"""Words of the three models: by Unicode's rules, by ICU, and what the models owe every text."""

from __future__ import annotations

import unicodedata

import plain_definitions as plain
import plain_words
import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma_pipe.batch import make_batch
from dolma_pipe.errors import ConfigError, DependencyError
from dolma_pipe.kernels.hashing import hash64
from dolma_pipe.kernels.wordbreaks import word_break_table
from dolma_pipe.languages import word_models
from dolma_pipe.languages.word_models import WordModel

EVERY = "".join(
    character for character in map(chr, range(0x110000)) if unicodedata.category(character) not in ("Cn", "Cs")
)
"""What Python's database has: `regex` and ICU may know different versions of Unicode, both of them later ones."""
KINDS = [regex.findall(rf"\p{{WB={name}}}", EVERY) for name in plain_words.CLASSES]
KINDS.append(regex.findall(r"\p{Extended_Pictographic}", EVERY))
UNSPACED = regex.findall(
    r"[\p{lb=Complex_Context}\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}\p{sc=Hangul}\p{WB=Katakana}]", EVERY
)
characters = st.one_of(*(st.sampled_from(kind) for kind in KINDS), st.sampled_from("aZ 7.,'\"_\n\u200b"))
joinings = st.text(characters, max_size=12)
unspaced = st.text(st.one_of(st.sampled_from(UNSPACED), characters), max_size=20)


def words(texts: list[str], model: WordModel) -> list[list[str]]:
    batch = make_batch(texts)
    found = word_models.words(batch, model)
    strings = [batch.data[a:b].tobytes().decode() for a, b in zip(found.starts, found.ends, strict=True)]
    assert found.chars.tolist() == [len(word) for word in strings]
    assert found.hashes.tolist() == [
        int(hash64(batch.data, a, b)) for a, b in zip(found.starts, found.ends, strict=True)
    ]
    return [strings[a:b] for a, b in zip(found.offsets, found.offsets[1:], strict=False)]


def icu(text: str) -> list[str]:
    from icu4py.breakers import WordBreaker

    return [word for chunk in plain_words.chunks(text) for word in WordBreaker(chunk, "root")]


def test_a_text_in_spaced_scripts_by_hand() -> None:
    text = "Don't  pay 3.50 (or 1,000)… foo_bar a.b@c.org e\u0301tude 🇩🇪🇫🇷 👨\u200d👩 #1"
    expected = [
        "Don't", "pay", "3.50", "(", "or", "1,000", ")", "…", "foo_bar", "a.b", "@", "c.org", "e\u0301tude", "🇩🇪", "🇫🇷",
        "👨\u200d👩", "#", "1",
    ]  # fmt: skip
    assert words([text], "unicode") == words([text], "icu") == [expected]
    assert words([text], "whitespace") == [text.split()]


def test_without_a_dictionary_ideographs_stand_alone_and_katakana_together() -> None:
    assert words(["東京タワーへ行く。"], "unicode") == [["東", "京", "タワー", "へ", "行", "く", "。"]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("我们今天去北京。", "我们 今天 去 北京 。"),
        ("学校で日本語を学ぶ。", "学校 で 日本語 を 学ぶ 。"),
        ("สวัสดีครับทุกคน", "สวัสดี ครับ ทุก คน"),
        ("ພາສາລາວ", "ພາສາ ລາວ"),
        ("ខ្ញុំទៅសាលារៀន", "ខ្ញុំ ទៅ សាលារៀន"),
        ("မြန်မာစကား", "မြန်မာ စကား"),
    ],
)  # fmt: skip
def test_icu_knows_words_of_scripts_without_spaces(text: str, expected: str) -> None:
    assert words([text], "icu") == [expected.split()]


def test_a_space_without_width_parts_words_and_is_in_none() -> None:
    for model in ("unicode", "icu"):
        assert words(["\u200bab\u200bคน\u200b\u200b", "\u200b"], model) == [["ab", *words(["คน"], model)[0]], []]


def test_texts_without_words_have_none_and_keep_their_place() -> None:
    for model in ("unicode", "icu"):
        assert words(["", "a", " \n\u3000", "語", ""], model) == [[], ["a"], [], ["語"], []]
        assert words([], model) == []


@settings(max_examples=400, deadline=None)
@given(texts=st.lists(st.one_of(joinings, plain.texts), max_size=4))
def test_unicode_words_equal_their_definition(texts: list[str]) -> None:
    assert words(texts, "unicode") == [plain_words.words(text) for text in texts]


@settings(max_examples=400, deadline=None)
@given(texts=st.lists(st.one_of(joinings, unspaced, plain.texts), max_size=4))
def test_icu_words_equal_those_of_icu_itself(texts: list[str]) -> None:
    assert words(texts, "icu") == [icu(text) for text in texts]


def test_a_batch_larger_than_one_call_of_icu_has_the_same_words() -> None:
    line = "我们今天去北京。abc 東京タワーへ行く สวัสดีครับ "
    texts = [line * 9_000, "x", line * 9_000, line]
    assert words(texts, "icu") == [icu(line) * 9_000, ["x"], icu(line) * 9_000, icu(line)]


def test_words_are_split_once_per_batch() -> None:
    batch = make_batch(["one two"])
    assert word_models.words(batch, "unicode") is word_models.words(batch, "unicode")


def test_every_code_point_has_one_class() -> None:
    table = word_break_table()
    assert sum(len(kind) for kind in KINDS[:-1]) == ((table[[ord(c) for c in EVERY]] & 15) > 0).sum()


def test_an_unknown_model_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="gopher: words is 'spacy'; it must be one of whitespace, unicode, icu"):
        word_models.checked("spacy", "gopher")


def test_a_model_whose_package_is_missing_names_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "icu4py", None)
    with pytest.raises(DependencyError, match=r"pip install 'dolma_pipe\[languages\]'"):
        word_models.checked("icu", "gopher")
