from __future__ import annotations

from dolma_pipe.batch import make_batch
from dolma_pipe.tagger import load


def test_four_units() -> None:
    values = load("length").tag(make_batch(["", "two words\n", "é 漢字\n😀"]))
    assert {name: column.tolist() for name, column in values.items()} == {
        "bytes": [0, 10, 14],
        "characters": [0, 10, 6],
        "words": [0, 2, 3],
        "lines": [1, 2, 2],
    }
