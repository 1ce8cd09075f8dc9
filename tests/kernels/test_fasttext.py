"""fastText's pieces beside plain definitions: its hash, its n-grams, its white space, its heap's order."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma_pipe.kernels.fasttext import Vocabulary, index_words, word_hash
from dolma_pipe.kernels.fasttext_hidden import LONG, hidden_vectors
from dolma_pipe.kernels.fasttext_labels import Output, label_scores

BUCKETS = 997
WORDS = [b"</s>", b"the", b"\xe6\xbc\xa2", b"longword" * 40, b"__label__a"]


def vocabulary(min_chars: int, max_chars: int, max_words: int = 1, kept: tuple[int, ...] = ()) -> Vocabulary:
    bounds = np.cumsum([0, *map(len, WORDS)])
    text, slots = np.frombuffer(b"".join(WORDS), np.uint8), np.full(16, -1, np.int32)
    index_words(text, bounds, slots)
    rows = np.full(BUCKETS if kept else 0, -1, np.int32)
    rows[list(kept)] = np.arange(len(kept))
    hashed = word_hash(b"</s>")
    return Vocabulary(text, bounds, slots, 4, 0, hashed, rows, BUCKETS, min_chars, max_chars, max_words)


def fnv(text: str) -> int:
    state = 2166136261
    for byte in text.encode():
        state = ((state ^ (byte if byte < 128 else byte | 0xFFFFFF00)) * 16777619) & 0xFFFFFFFF
    return state


def rows_of(text: str, model: Vocabulary) -> list[int]:
    """Rows of a line, by the definition."""
    for blank in "\t\n\v\f\r\0":
        text = text.replace(blank, " ")
    words = [word for word in text.split(" ") if word]
    words = [*(words[: words.index("</s>")] if "</s>" in words else words), "</s>"]
    buckets: list[int] = []
    rows: list[int] = []
    hashes: list[int] = []
    kept = {int(bucket): int(row) for bucket, row in enumerate(model.kept) if row >= 0}

    def bucket_rows(buckets: list[int]) -> list[int]:
        found = [kept.get(bucket) for bucket in buckets] if len(model.kept) else buckets
        return [4 + row for row in found if row is not None]

    for word in words:
        if word.startswith("__label__"):
            continue
        number = WORDS.index(word.encode()) if word.encode() in WORDS else -1
        rows += [number] * (number >= 0)
        marked = f"<{word}>" if word != "</s>" else ""
        buckets = [
            fnv(marked[i : i + size]) % BUCKETS
            for i in range(len(marked))
            for size in range(max(1, model.min_chars), model.max_chars + 1)
            if i + size <= len(marked) and not (size == 1 and i in (0, len(marked) - 1))
        ]
        rows += bucket_rows(buckets)
        signed = fnv(word)
        hashes.append(signed - (1 << 32) if signed >= 1 << 31 else signed)
    buckets = []
    for i, first in enumerate(hashes):
        state = first
        for following in hashes[i + 1 : i + model.max_words]:
            state = (state * 116049371 + following) & 0xFFFFFFFFFFFFFFFF
            buckets.append(state % BUCKETS)
    return rows + bucket_rows(buckets)


TEXTS = st.lists(
    st.sampled_from(
        ["the", "漢", "</s>", "__label__a", "__label__zz", " ", " ", "\0", "\n", "\u00a0", "\x1f", "é", "<", "x"]
    )
    | st.text(max_size=12)
    | st.sampled_from(["longword" * 40, "漢" * LONG, "z" * (LONG - 1), "z" * LONG]),
    max_size=12,
).map("".join)
MODELS = st.tuples(
    st.integers(0, 3), st.sampled_from([0, 1, 3, 6]), st.sampled_from([1, 2, 3]), st.sampled_from([(), (5, 700, 13)])
)


@settings(deadline=None, max_examples=150)
@given(st.lists(TEXTS, max_size=4), MODELS)
def test_the_hidden_vector_is_the_mean_of_the_rows_of_the_definition(texts: list[str], sizes: tuple) -> None:
    model = vocabulary(*sizes)
    vectors = np.random.default_rng(1).normal(size=(4 + BUCKETS, 5)).astype(np.float32)
    data = np.frombuffer("".join(texts).encode("utf-8"), np.uint8)
    ends = np.cumsum([len(text.encode()) for text in texts], dtype=np.int64)
    starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)[: len(texts)]
    found, counts = hidden_vectors(model, vectors, data, starts, ends)
    for i, text in enumerate(texts):
        rows = rows_of(text, model)
        total = np.zeros(5, np.float32)
        for row in rows:
            total += vectors[row]
        assert counts[i] == len(rows)
        assert np.array_equal(found[i], total * np.float32(1.0 / len(rows)))


def test_the_hash_of_a_word_is_signed_and_takes_bytes_from_128_on_as_negative() -> None:
    for word in ("a", "é", "漢字", "the"):
        signed = fnv(word) - (1 << 32) if fnv(word) >= 1 << 31 else fnv(word)
        assert word_hash(word.encode()) == signed


def test_more_words_than_the_cache_holds_do_not_change_a_vector() -> None:
    model = vocabulary(2, 4)
    vectors = np.random.default_rng(2).normal(size=(4 + BUCKETS, 16)).astype(np.float32)
    text = " ".join(map(str, range(70_000))) + " 7 the end"
    data = np.frombuffer(text.encode() + b"7 the end", np.uint8)
    starts, ends = np.array([0, len(text) - 9, len(text)]), np.array([len(text), len(text), len(text) + 9])
    found, counts = hidden_vectors(model, vectors, data, starts, ends)
    assert counts[0] > counts[1] == counts[2]
    assert np.array_equal(found[1], found[2])


@given(st.lists(st.floats(-4, 4, width=32), min_size=1, max_size=40), st.integers(1, 45))
@settings(deadline=None)
def test_the_best_labels_are_in_descending_order_and_have_soft_max_scores(products: list[float], k: int) -> None:
    columns = np.array([products], np.float32)
    output = Output(columns, np.ones(len(products), np.float32), *(np.empty(0, kind) for kind in "fii"), is_tree=False)
    k = min(k, len(products))
    labels, scores, chosen = label_scores(
        output, np.ones((1, 1), np.float32), np.ones(1, np.int64), k, np.arange(len(products))
    )
    exponents = np.exp(columns[0].astype(np.float64) - columns.max())
    expected = exponents / exponents.sum() + 1e-5
    assert np.allclose(chosen[0], expected, rtol=1e-5)
    assert sorted(set(labels[0].tolist())) == sorted(labels[0].tolist())
    assert np.array_equal(scores[0], chosen[0][labels[0]])
    assert np.allclose(scores[0], np.sort(expected)[::-1][:k], rtol=1e-5)
