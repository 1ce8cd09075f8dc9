"""Runs of tokens with a short period; tests/fidelity compares them with the Dolma toolkit's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_tokenizers import EOS, write_tokenizer

from dolma_pipe.batch import make_batch
from dolma_pipe.errors import ConfigError
from dolma_pipe.kernels.periods import periodic_runs
from dolma_pipe.tagger import load

PIECE = 100_000


def plain_runs(ids: list[int], most: int) -> list[tuple[int, int, int]]:
    """(first, end, whole periods) of every longest stretch in which each equals the one a period before."""
    found = []
    for period in range(1, min(most, len(ids) // 3) + 1):
        equal = [at >= period and ids[at] == ids[at - period] for at in range(len(ids))] + [False]
        begin = None
        for at, same in enumerate(equal):
            if same and begin is None:
                begin = at - period
            elif not same and begin is not None:
                if at - begin >= 3 * period:
                    found.append((begin, at, (at - begin) // period))
                begin = None
    return found


@given(st.lists(st.lists(st.integers(0, 2), max_size=30), max_size=4), st.integers(1, 5))
def test_runs_equal_their_definition(texts: list[list[int]], most: int) -> None:
    offsets = np.cumsum([0, *map(len, texts)])
    ids = np.array([number for text in texts for number in text], np.uint32)
    expected = [[place, *run] for place, text in enumerate(texts) for run in plain_runs(text, most)]
    assert periodic_runs(ids, offsets, most).tolist() == expected


def measured(tmp_path: Path, texts: list[str], **options: Any) -> list[dict[str, Any]]:
    tagger = load({"name": "token_repetition", "tokenizer": write_tokenizer(tmp_path), **options})
    values = tagger.tag(make_batch(texts))
    columns = {name: pa.array(values[name], field.type).to_pylist() for name, field in tagger.fields.items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


@pytest.mark.parametrize("engine", ["auto", "tokenizers"])
def test_what_repeats_is_a_span_with_its_count(tmp_path: Path, engine: str) -> None:
    empty, prose, chant = measured(tmp_path, ["", "The quick brown fox.", "Say: " + "é1" * 8 + " end"], engine=engine)
    assert empty == prose == {"repetition": [], "max_times": 0, "max_characters": 0, "fraction": 0.0}
    assert chant["repetition"] == [{"start": 5, "end": 21, "score": 8.0}]
    assert (chant["max_times"], chant["max_characters"], chant["fraction"]) == (8, 16, 16 / 25)


def test_no_run_reaches_over_the_edge_of_a_piece_of_text(tmp_path: Path) -> None:
    [row] = measured(tmp_path, ["漢" * (PIECE - 5) + "!" * 12])
    assert [(span["start"], span["end"]) for span in row["repetition"]][-2:] == [
        (PIECE - 5, PIECE), (PIECE, PIECE + 7),
    ]  # fmt: skip


def test_pieces_that_are_encoded_in_groups_give_the_same_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["ab " * 50_000 + "the end " * 30, "", "x" * (2 * PIECE), "a b c " * 9]
    whole = measured(tmp_path, texts)
    monkeypatch.setattr("taggers.token_repetition.AT_ONCE", PIECE)
    assert measured(tmp_path, texts) == whole


def test_text_that_spells_a_special_token_is_text(tmp_path: Path) -> None:
    [row] = measured(tmp_path, [EOS * 4])
    assert row["max_times"] == 4


def test_a_tokenizer_must_be_named_before_any_work() -> None:
    with pytest.raises(ConfigError, match="token_repetition: which tokenizer"):
        _ = load("token_repetition").model_hash
