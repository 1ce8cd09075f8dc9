from __future__ import annotations

import random
import string

import numpy as np
import pytest
import zstandard

from dolma_pipe.batch import make_batch
from dolma_pipe.errors import ConfigError
from dolma_pipe.tagger import load


def ratios(texts: list[str], level: int = 3) -> list[float]:
    return load({"name": "compression", "level": level}).tag(make_batch(texts))["zstd_ratio"].tolist()


def test_an_empty_document_scores_zero() -> None:
    assert ratios(["", "a b c", ""])[::2] == [0.0, 0.0]
    assert ratios([]) == []


def test_repetition_scores_lower_than_noise() -> None:
    noise = "".join(random.Random(1).choices(string.ascii_letters, k=5000))
    repeated, random_letters = ratios(["the same line again\n" * 250, noise])
    assert repeated < 0.02
    assert random_letters > 0.7


def test_sizes_are_those_of_frames_made_one_by_one_less_their_heads() -> None:
    texts = ["é漢😀 " * 30, "x", "words and words and more words " * 9]
    found = load({"name": "compression", "level": 7}).tag(make_batch(texts))
    single = zstandard.ZstdCompressor(level=7, write_checksum=False, write_content_size=False)
    sizes = [len(single.compress(text.encode())) - 6 for text in texts]
    assert found["zstd_bytes"].tolist() == sizes
    assert np.array_equal(
        found["zstd_ratio"], [size / len(text.encode()) for size, text in zip(sizes, texts, strict=True)]
    )


def test_the_library_version_belongs_to_the_definition() -> None:
    assert load("compression").model_hash == "zstd-" + ".".join(map(str, zstandard.ZSTD_VERSION))


@pytest.mark.parametrize("level", [0, 20])
def test_levels_that_zstd_does_not_have_are_refused(level: int) -> None:
    with pytest.raises(ConfigError, match=f"level is {level}"):
        load({"name": "compression", "level": level})
