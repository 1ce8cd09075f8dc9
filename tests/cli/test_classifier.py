"""`dolma-pipe classifier train`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

SMALL = ["--set", "dimension=8", "--set", "buckets=1000", "--set", "min_count=1", "--held-out", "0.2"]


def rows(path: Path) -> str:
    found = [
        {"text": f"{word} {i} {word}s", "label": label}
        for label, word in (("sea", "ship"), ("land", "cow"))
        for i in range(90)
    ]
    path.write_text("\n".join(map(json.dumps, found)))
    return str(path)


def lettered(path: Path) -> str:
    """Texts whose letters differ, so that they are spread over the sides."""
    letters = "abcdefghij"
    found = [
        {"text": f"{word} {letters[i // 10]}{letters[i % 10]}", "label": label}
        for label, word in (("sea", "ship"), ("land", "cow"))
        for i in range(90)
    ]
    path.write_text("\n".join(map(json.dumps, found)))
    return str(path)


def test_figures_are_a_table_or_json(cli: Callable[..., Any], tmp_path: Path) -> None:
    examples = lettered(tmp_path / "rows.jsonl")
    said = cli("classifier", "train", examples, "--to", tmp_path / "m.bin", *SMALL)
    assert (said.code, said.err) == (0, said.err)
    assert "threshold" in said.out
    assert f"model: {tmp_path / 'm.bin'}, labels: [land, sea]" in said.out
    said = cli("classifier", "train", examples, "--to", tmp_path / "n.bin", *SMALL, "--lowercase", "--json")
    found = json.loads(said.out)
    assert [figures["label"] for figures in found["figures"]] == ["land", "sea"]
    assert found["bytes"] == (tmp_path / "n.bin").stat().st_size


def test_copies_with_other_numbers_all_lie_on_one_side_and_are_too_few(cli: Callable[..., Any], tmp_path: Path) -> None:
    said = cli("classifier", "train", rows(tmp_path / "rows.jsonl"), "--to", tmp_path / "m.bin", *SMALL)
    assert said.code == 2
    assert "error: classifier: only 0 examples" in said.err
    assert not (tmp_path / "m.bin").exists()


def test_good_against_random_text_is_named_by_label(cli: Callable[..., Any], tmp_path: Path) -> None:
    said = cli("classifier", "train", "--documents", "good", "--to", tmp_path / "m.bin")
    assert (said.code, said.err) == (2, "error: --documents 'good': expected LABEL=DATASET\n")
