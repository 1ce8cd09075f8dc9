"""fastText models read and applied, beside the fastText library on the same file."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fasttext as library
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma_pipe.batch import make_batch
from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.fasttext import FastText
from dolma_pipe.fasttext.file import PREFIX
from dolma_pipe.hard_texts import HARD_TEXTS
from dolma_pipe.models import BUNDLED
from dolma_pipe.shards import DocumentReader

SYLLABLES = {
    "one": ["ka", "to", "mi", "ra", "é"],
    "two": ["the", "of", "ing", "er", "x"],
    "three": ["漢", "字", "の", "は", "だ"],
    "four": ["ш", "ро", "ни", "же", "ко"],
}
MODELS: dict[str, tuple[dict[str, Any], dict[str, Any] | None]] = {
    "softmax": ({"minn": 2, "maxn": 4}, None),
    "words": ({"maxn": 0, "wordNgrams": 1}, None),
    "bigrams": ({"wordNgrams": 2, "dim": 10}, None),
    "hs": ({"loss": "hs", "minn": 1, "maxn": 3}, None),
    "ova": ({"loss": "ova", "wordNgrams": 3}, None),
    "ns": ({"loss": "ns", "minn": 3, "maxn": 3, "dim": 30}, None),
    "quantised": ({"minn": 2, "maxn": 4}, {}),
    "cutoff": ({"minn": 2, "maxn": 4, "wordNgrams": 2}, {"cutoff": 700, "qnorm": True}),
    "odd groups": ({"minn": 2, "maxn": 3, "dim": 10, "loss": "hs"}, {"cutoff": 600, "dsub": 4}),
    "words only kept": ({"maxn": 0}, {"cutoff": 300, "qnorm": True}),
    "many labels": ({"minn": 2, "maxn": 3, "labels": 300}, {"qout": True, "qnorm": True, "cutoff": 900}),
    "many labels, hs": ({"minn": 2, "maxn": 3, "labels": 300, "loss": "hs"}, {"qout": True}),
}


def sentences(labels: int) -> Iterator[str]:
    generator = random.Random(5)
    for _ in range(900):
        kind = generator.choice(list(SYLLABLES))
        words = ["".join(generator.choices(SYLLABLES[kind], k=generator.randrange(1, 5))) for _ in range(8)]
        name = kind if labels == len(SYLLABLES) else f"l{generator.randrange(labels)}"
        yield f"{PREFIX}{name} {' '.join(words)}"


@pytest.fixture(scope="session")
def make_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """`make_model("hs")` trains a model of MODELS once and gives its path."""
    folder = tmp_path_factory.mktemp("fasttext")

    def make(name: str) -> str:
        options, quantising = MODELS[name]
        path = folder / f"{name}.bin"
        if not path.exists():
            source = folder / f"{name}.txt"
            source.write_text("\n".join(sentences(options.get("labels", len(SYLLABLES)))) + "\n")
            chosen = {"dim": 20, "bucket": 2000, "epoch": 2, **options}
            chosen.pop("labels", None)
            # Ten threads and a dimension that ten divides: the library leaves the rest of its vectors uninitialised.
            model = library.train_supervised(str(source), thread=10, verbose=0, **chosen)
            if quantising is not None:
                model.quantize(input=str(source), **quantising)
            model.save_model(str(path))
        return str(path)

    return make


def assert_same(path: str, texts: list[str], k: int = 3) -> None:
    """Labels and order are the library's, and scores equal to 1e-5."""
    model, oracle = FastText.open(path), library.load_model(path)
    assert [PREFIX + label for label in model.labels] == oracle.labels
    found = model.predict(make_batch(texts), k, selected=model.labels[:2])
    for row, text in enumerate(texts):
        labels, scores = oracle.predict(text.replace("\n", " "), k=k)
        mine = [PREFIX + model.labels[label] for label in found.labels[row] if label >= 0]
        assert np.allclose(found.scores[row][: len(scores)], scores, rtol=0, atol=1e-5), text[:80]
        assert found.scores[row][len(scores) :].sum() == 0
        if list(labels) != mine:  # labels whose scores differ by a rounding may change places
            assert sorted(labels) == sorted(mine), text[:80]
            assert (
                np.ptp(scores[[i for i, pair in enumerate(zip(labels, mine, strict=True)) if len(set(pair)) > 1]])
                < 1e-6
            )
        every = dict(zip(*oracle.predict(text.replace("\n", " "), k=-1), strict=True))
        expected = [every.get(PREFIX + label, 0.0) for label in model.labels[:2]]
        assert np.allclose(found.selected[row], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_predictions_equal_the_library_s_for_every_kind_of_model(name: str, make_model: Callable[[str], str]) -> None:
    lines = [line.split(" ", 1)[1] for line in sentences(4)][:100]
    odd = [
        *HARD_TEXTS,
        "",
        "a </s> b",
        "__label__one ka",
        "__label__none ka",
        "x" * 5000,
        "漢" * 700,
        "ka\0to\vmi\u00a0ra",
    ]
    assert_same(make_model(name), [*lines, *odd])
    assert_same(make_model(name), lines[:20], k=1)
    assert_same(make_model(name), lines[:20], k=-1)


@pytest.mark.parametrize("name", ["cutoff", "hs", "ova"])
@settings(deadline=None, max_examples=60)
@given(texts=st.lists(st.text(max_size=60) | st.lists(st.sampled_from(sum(SYLLABLES.values(), [" "]))).map("".join)))
def test_predictions_equal_the_library_s_on_arbitrary_unicode(
    name: str, texts: list[str], make_model: Callable[[str], str]
) -> None:
    assert_same(make_model(name), [text.encode("utf-8", "replace").decode() for text in texts])


def test_the_bundled_model_gives_the_library_s_answers() -> None:
    assert_same(str(BUNDLED / "langid.ftz"), list(HARD_TEXTS), k=5)


def test_lines_are_predicted_one_by_one(make_model: Callable[[str], str]) -> None:
    model = FastText.open(make_model("softmax"))
    texts = ["ka to\nthe of ing", "", "漢字\n"]
    by_line = model.predict(make_batch(texts), 2, unit="line")
    alone = model.predict(make_batch(["ka to", "the of ing", "", "漢字", ""]), 2)
    assert all(np.array_equal(a, b) for a, b in zip(by_line, alone, strict=True))


def test_a_document_scores_the_same_alone_and_among_others(make_model: Callable[[str], str]) -> None:
    model = FastText.open(make_model("cutoff"))
    together = model.predict(make_batch(list(HARD_TEXTS)), 2).scores
    assert np.array_equal(together, [model.predict(make_batch([text]), 2).scores[0] for text in HARD_TEXTS])


def test_no_documents_give_empty_arrays(make_model: Callable[[str], str]) -> None:
    found = FastText.open(make_model("hs")).predict(make_batch([]), 2, ["one"])
    assert [part.shape for part in found] == [(0, 2), (0, 2), (0, 1)]


def test_a_label_that_the_model_does_not_have_is_refused(make_model: Callable[[str], str]) -> None:
    with pytest.raises(ConfigError, match="no label 'five'"):
        FastText.open(make_model("hs")).predict(make_batch(["a"]), 1, ["five"])
    with pytest.raises(ConfigError, match="must be 1 or more"):
        FastText.open(make_model("hs")).predict(make_batch(["a"]), 0)


def test_a_format_11_classifier_has_no_character_n_grams(make_model: Callable[[str], str], tmp_path: Path) -> None:
    older = tmp_path / "older.bin"
    raw = Path(make_model("softmax")).read_bytes()
    older.write_bytes(raw[:4] + (11).to_bytes(4, "little") + raw[8:])
    assert_same(str(older), ["ka to mi", "unknown words", "the of"])


@pytest.mark.parametrize("name", ["words", "cutoff", "many labels"])
def test_a_truncated_model_is_one_line(name: str, make_model: Callable[[str], str], tmp_path: Path) -> None:
    raw = Path(make_model(name)).read_bytes()
    for i, share in enumerate((0.0, 1e-5, 0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99999)):
        cut = tmp_path / f"{i}.bin"
        cut.write_bytes(raw[: int(len(raw) * share)])
        with pytest.raises(DataError, match=f"{i}.bin: not a fastText model"):
            FastText.open(str(cut))


def test_a_model_with_changed_bytes_is_refused_or_predicts(make_model: Callable[[str], str], tmp_path: Path) -> None:
    generator = random.Random(11)
    for name in ("cutoff", "many labels, hs"):
        raw = Path(make_model(name)).read_bytes()
        for i in range(50):
            broken = bytearray(raw)
            place = generator.randrange(100) if i < 25 else generator.randrange(len(raw))
            broken[place] = generator.randrange(256)
            path = tmp_path / f"{name}{i}.bin"
            path.write_bytes(broken)
            try:
                found = FastText.open(str(path)).predict(make_batch(["ka to mi", "漢字" * 50]), -1)
            except (DataError, ConfigError):
                continue
            assert found.labels.max() < 300


def test_text_and_word_vectors_are_no_classifiers(tmp_path: Path) -> None:
    text = tmp_path / "text.bin"
    text.write_text("hello\n" * 100)
    with pytest.raises(DataError, match="does not begin like one"):
        FastText.open(str(text))
    with pytest.raises(DataError, match="no such file"):
        FastText.open(str(tmp_path / "missing.bin"))
    vectors = tmp_path / "vectors.bin"
    library.train_unsupervised(str(text), dim=4, minCount=1, bucket=10, thread=1, verbose=0).save_model(str(vectors))
    with pytest.raises(ConfigError, match="not a classifier"):
        FastText.open(str(vectors))


@pytest.mark.corpus
@pytest.mark.parametrize("model", ["lid.176.ftz", "langid.ftz"])
def test_real_documents_have_the_library_s_labels_and_scores(corpus: Path, model: str) -> None:
    path = corpus / "models" / model if model == "lid.176.ftz" else BUNDLED / model
    texts: list[str] = []
    for source in sorted((corpus / "corpus").glob("*/documents")):
        for batch in DocumentReader(str(min(source.iterdir())), limit=30):
            texts += batch.texts()
    for batch in DocumentReader(str(corpus / "lid" / "ntrex128.jsonl.gz"), limit=500):
        texts += batch.texts()
    assert_same(str(path), texts)
