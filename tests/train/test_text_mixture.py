"""Data sets in shares, straight from documents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_tokenizers import EOS, write_tokenizer

from dolma_pipe.config import convert
from dolma_pipe.errors import DataError
from dolma_pipe.kept_text import KeptText
from dolma_pipe.train.checkpoints.verify import verify_run
from dolma_pipe.train.config import TrainConfig
from dolma_pipe.train.data.chunks import IGNORED
from dolma_pipe.train.data.text_mixture import OneDataset, TextMixture
from dolma_pipe.train.data.text_stream import TextStream
from dolma_pipe.train.loop import train
from dolma_pipe.train.metrics import Event, StepMetrics, read_metrics

MakeDataset = Callable[..., str]
LENGTH = 16


@pytest.fixture
def shares(make_dataset: MakeDataset) -> dict[str, float]:
    """`code` is small, and seen again and again."""
    web = {f"{name}.jsonl": [f"web {name} {number} " + "page " * 9 for number in range(60)] for name in "abc"}
    code = {"a.jsonl": [f"def f{number}(x): return x + {number}" for number in range(12)]}
    return {make_dataset(web, name="web"): 3, make_dataset(code, name="code"): 1}


@pytest.fixture
def tokenizer(tmp_path: Path) -> str:
    return write_tokenizer(tmp_path / "tok", named=False)


def mixture(shares: dict[str, float], tokenizer: str, **changes: Any) -> TextMixture:
    source = KeptText(list(shares), tokenizer, eos=EOS)
    return TextMixture(source, shares, LENGTH, 0, **changes)


def test_each_data_set_has_its_share_of_the_sequences(shares: dict[str, float], tokenizer: str) -> None:
    found = mixture(shares, tokenizer)
    shown = found.documents(0, 1024, LENGTH)
    rows = {(traced.instance, traced.dataset) for traced in shown}
    assert Counter(dataset for _, dataset in rows) == {"web": 768, "code": 256}
    assert {traced.epoch for traced in shown if traced.dataset == "code"} > {0, 1, 2}


def test_a_data_set_is_shown_as_it_would_be_alone(shares: dict[str, float], tokenizer: str) -> None:
    found = mixture(shares, tokenizer)
    whole = found.batch(0, 40)
    owners = {traced.instance: traced.dataset for traced in found.documents(0, 40, LENGTH)}
    for name in ("web", "code"):
        rows = [row for row in range(40) if owners[row] == name]
        alone = TextStream(OneDataset(found.source, name), LENGTH, 0)
        assert (alone.batch(0, len(rows)).labels == whole.labels[rows]).all()


@pytest.mark.parametrize("apart", [False, True])
def test_the_order_does_not_depend_on_ranks_batches_or_lengths(
    shares: dict[str, float], tokenizer: str, apart: bool
) -> None:
    whole = mixture(shares, tokenizer, within_documents=apart).batch(0, 24)
    again = mixture(shares, tokenizer, within_documents=apart)
    for rank in range(3):
        part = again.batch(12, 12, rank, 3)
        assert (part.inputs == whole.inputs[12 + rank :: 3]).all()
        assert (part.labels == whole.labels[12 + rank :: 3]).all()
    small = [row for first in range(0, 48, 6) for row in again.batch(first, 6, length=8).labels.flatten().tolist()]
    assert small == whole.labels.flatten().tolist()


def test_documents_can_be_excluded(shares: dict[str, float], tokenizer: str) -> None:
    found = mixture(shares, tokenizer)
    before = found.batch(3, 2)
    found.exclude(found.documents(3, 2, LENGTH))
    assert (found.batch(3, 2).labels == IGNORED).all()
    assert (before.labels != IGNORED).all()


def test_a_run_goes_on_exactly_and_is_verified(shares: dict[str, float], tokenizer: str, tmp_path: Path) -> None:
    def config(name: str, **changes: Any) -> TrainConfig:
        datasets = [{"dataset": dataset, "share": share} for dataset, share in (shares | changes).items()]
        settings: dict[str, Any] = {
            "to": str(tmp_path / name), "model": {"d_model": 16, "n_layers": 1, "n_heads": 2, "ffn_hidden": 24},
            "documents": {"datasets": datasets, "tokenizer": tokenizer, "eos": EOS},
            "sequence_length": LENGTH, "global_batch_size": 6, "steps": 12, "optimizer": {"learning_rate": 1e-2},
            "checkpoint": {"every_steps": 5}, "precision": "fp64", "device": "cpu",
        }  # fmt: skip
        return convert(settings, TrainConfig, "test")

    def run(given: TrainConfig, listen: Callable[[Event], None] = lambda event: None) -> None:
        train(given, listen, source=KeptText(list(shares), tokenizer, eos=EOS))

    def die(event: Event) -> None:
        if isinstance(event, StepMetrics) and event.step == 8:
            raise KeyError

    run(config("whole"))
    with pytest.raises(KeyError):
        run(config("cut"), die)
    run(config("cut"))
    lines = [[line.loss for line in read_metrics(config(name).to)] for name in ("whole", "cut")]
    assert lines[0] == lines[1]
    assert verify_run(config("cut").to).problems == []
    with pytest.raises(DataError, match="shares is"):
        run(config("cut", **{next(iter(shares)): 2}))
