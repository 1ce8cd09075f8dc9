"""Training straight from documents: measured, judged, encoded and shown in an order that is a function; nothing else
is written."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handmade import encode_lines, store
from tiny_tokenizers import write_tokenizer
from typer.testing import CliRunner

from dolma_pipe.cli import app
from dolma_pipe.config import convert
from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.kept_text import KeptText
from dolma_pipe.takedown import tombstones
from dolma_pipe.train.checkpoints import checkpoint
from dolma_pipe.train.checkpoints.verify import verify_run
from dolma_pipe.train.config import TrainConfig
from dolma_pipe.train.data.chunks import IGNORED
from dolma_pipe.train.data.text_stream import TextStream
from dolma_pipe.train.loop import train
from dolma_pipe.train.metrics import Event, StepMetrics, read_metrics

MakeDataset = Callable[..., str]
RULES: list[str | dict[str, str]] = [{"long": "length.characters >= 20"}]
WORDS = "the quick brown fox jumps over a lazy dog while seven wizards mix strange potions".split()  # noqa: SIM905


def texts(count: int, seed: int) -> list[str]:
    draw = np.random.default_rng(seed)
    return [" ".join(draw.choice(WORDS, int(draw.integers(1, 30)))) for _ in range(count)]


@pytest.fixture
def dataset(make_dataset: MakeDataset) -> str:
    shards = {"a.jsonl": texts(40, 0), "b.jsonl": texts(25, 1), "c.jsonl": ["short"] * 3, "d.jsonl": texts(30, 2)}
    return make_dataset(shards, name="web")


@pytest.fixture
def tokenizer(tmp_path: Path) -> str:
    return write_tokenizer(tmp_path / "tok")


def kept(dataset: str, tokenizer: str) -> KeptText:
    return KeptText([dataset], tokenizer, ["length"], RULES)


def stream(dataset: str, tokenizer: str, **changes: Any) -> TextStream:
    return TextStream(kept(dataset, tokenizer), 16, 0, **changes)


def expected(dataset: str, tokenizer: str) -> list[int]:
    """Tokens of the documents that pass, in the order of the files."""
    from dolma_pipe.batch import make_batch
    from dolma_pipe.tokenizer import identify, open_tokenizer

    documents = [
        json.loads(line)["text"]
        for path in sorted(Path(dataset, "documents").iterdir())
        for line in path.read_text().splitlines()
    ]
    passed = [text for text in documents if len(text) >= 20]
    return open_tokenizer(identify(tokenizer)).documents(make_batch(passed))[0].tolist()


def test_an_epoch_shows_every_token_of_every_kept_document_once(dataset: str, tokenizer: str) -> None:
    tokens = expected(dataset, tokenizer)
    found = stream(dataset, tokenizer)
    count = len(tokens) // 16
    batch = found.batch(0, count)
    shown = batch.inputs.flatten().tolist()
    rest = found.batch(count, 1).inputs[0, : len(tokens) - len(shown)].tolist()
    assert Counter(shown + rest) == Counter(tokens)
    assert shown[1:] == batch.labels.flatten().tolist()[:-1]
    assert shown != tokens[: len(shown)]
    again = found.batch(2 * count, 3)
    assert again.again.tolist() == [1, 1, 1]


def test_the_stream_does_not_depend_on_ranks_batches_or_lengths(dataset: str, tokenizer: str) -> None:
    whole = stream(dataset, tokenizer).batch(0, 24)
    for world_size in (2, 3):
        for rank in range(world_size):
            part = stream(dataset, tokenizer).batch(0, 24, rank, world_size)
            assert (part.inputs == whole.inputs[rank::world_size]).all()
            assert (part.labels == whole.labels[rank::world_size]).all()
    parts = stream(dataset, tokenizer)
    small = [row for first in range(0, 48, 6) for row in parts.batch(first, 6, length=8).labels.flatten().tolist()]
    assert small == whole.labels.flatten().tolist()


def test_each_epoch_has_an_order_of_its_own(dataset: str, tokenizer: str) -> None:
    found, size = stream(dataset, tokenizer), len(expected(dataset, tokenizer))
    one, two = (found.documents(epoch * size, size, 1) for epoch in (0, 1))  # rows of one token
    names = [[(traced.shard, traced.row) for traced in part] for part in (one, two)]
    assert names[0] != names[1]
    assert {traced.epoch for traced in one[:50]} == {0}
    assert [traced.epoch for traced in two][-50:] == [1] * 49 + [2]  # labels are one token ahead


def test_a_stream_that_goes_on_reads_no_shard_it_is_through_with(dataset: str, tokenizer: str) -> None:
    first = stream(dataset, tokenizer)
    first.batch(0, 200)
    source = kept(dataset, tokenizer)
    read: list[int] = []
    plain = source.read
    source.read = lambda number: (read.append(number), plain(number))[1]  # pyright: ignore[reportAttributeAccessIssue]
    second = TextStream(source, 16, 0)
    second.remember(json.loads(json.dumps(first.memory())))
    assert (second.batch(190, 2).inputs == first.batch(190, 2).inputs).all()
    assert len(set(read)) <= 2


def test_documents_that_changed_are_refused(dataset: str, tokenizer: str) -> None:
    first = stream(dataset, tokenizer)
    first.batch(0, 200)
    second = stream(dataset, tokenizer)
    second.remember(first.memory())
    path = Path(dataset, "documents", "a.jsonl")
    path.write_bytes(path.read_bytes().replace(b"wizards", b"lizards"))
    with pytest.raises(DataError, match=r"web/a\.jsonl: the documents are not those"):
        second.batch(0, 200)


def test_a_row_leads_back_to_its_documents_and_they_can_be_excluded(dataset: str, tokenizer: str) -> None:
    found = stream(dataset, tokenizer)
    before = found.batch(3, 2)
    traced = found.documents(3, 2, 16)
    assert sum(one.end - one.start for one in traced) == 2 * 16
    found.exclude(traced[:1])
    after = found.batch(3, 2)
    lost = (before.labels != after.labels).sum().item()
    assert lost == sum(
        one.end - one.start for one in traced if (one.shard, one.row) == (traced[0].shard, traced[0].row)
    )
    assert ((after.labels == IGNORED) == (before.labels != after.labels)).all()


def test_what_was_taken_down_is_padding_from_then_on(dataset: str, tokenizer: str) -> None:
    first = stream(dataset, tokenizer)
    before, [one, *_] = first.batch(3, 2), first.documents(3, 2, 16)
    tombstones.add(dataset, [one.id])
    second = stream(dataset, tokenizer)
    after = second.batch(3, 2)
    assert second.identity() == first.identity()
    assert one.id not in {traced.id for traced in second.documents(0, 40, 16)}
    assert (after.labels[0, : one.end - one.start] == IGNORED).all()
    kept = after.labels != IGNORED
    assert kept.any()
    assert (after.labels[kept] == before.labels[kept]).all()


def settings(run: Path, dataset: str, tokenizer: str, **changes: Any) -> dict[str, Any]:
    return {
        "to": str(run), "model": {"d_model": 16, "n_layers": 1, "n_heads": 2, "ffn_hidden": 24},
        "documents": {"datasets": [dataset], "tokenizer": tokenizer, "taggers": ["length"], "keep": RULES},
        "sequence_length": 16, "global_batch_size": 6, "steps": 12, "optimizer": {"learning_rate": 1e-2},
        "checkpoint": {"every_steps": 5, "keep_last": None}, "precision": "fp64", "device": "cpu", **changes,
    }  # fmt: skip


def test_a_run_on_documents_goes_on_exactly(dataset: str, tokenizer: str, tmp_path: Path) -> None:
    whole, cut = (
        convert(settings(tmp_path / name, dataset, tokenizer), TrainConfig, "test") for name in ("whole", "cut")
    )
    train(whole, source=kept(dataset, tokenizer))

    class Death(Exception):
        pass

    def die(event: Event) -> None:
        if isinstance(event, StepMetrics) and event.step == 8:
            raise Death

    with pytest.raises(Death):
        train(cut, die, source=kept(dataset, tokenizer))
    result = train(cut, source=kept(dataset, tokenizer))
    assert result is not None
    assert result.trained_steps == 7
    assert [line.loss for line in read_metrics(cut.to)] == [line.loss for line in read_metrics(whole.to)]
    record = checkpoint.read_record(checkpoint.find(cut.to))
    assert record.lineage["documents"]["tokenizer"] == record.data["tokenizer"]


def test_the_command_trains_on_documents_and_traces_them(dataset: str, tokenizer: str, tmp_path: Path) -> None:
    path = tmp_path / "live.json"
    path.write_text(json.dumps(settings(tmp_path / "run", dataset, tokenizer)))

    def call(*arguments: str) -> str:
        return CliRunner().invoke(app, arguments, catch_exceptions=False).stdout

    assert "step 12 of 12" in call("train", "-c", str(path))
    found = [json.loads(line) for line in call("trace", str(tmp_path / "run"), "--step", "2", "--json").splitlines()]
    assert sum(one["end"] - one["start"] for one in found) == 6 * 16
    rows = Path(dataset, "documents", found[0]["shard"]).read_text().splitlines()
    assert json.loads(rows[found[0]["row"]])["id"] == found[0]["id"]
    assert json.loads(call("generate", str(tmp_path / "run"), "the quick", "--max-tokens", "3", "--json"))["prompt"]
    with pytest.raises(DataError, match="rules is"):
        call("train", "-c", str(path), "--set", "documents.keep.0.long=length.characters >= 30", "--set", "steps=14")


def test_verify_reads_the_documents_again(dataset: str, tokenizer: str, tmp_path: Path) -> None:
    config = convert(settings(tmp_path / "run", dataset, tokenizer), TrainConfig, "test")
    train(config, source=kept(dataset, tokenizer))
    assert verify_run(config.to).problems == []
    read = sorted(checkpoint.read_record(checkpoint.find(config.to)).memory)[0]
    path = Path(dataset, "documents", read.removeprefix("web/"))
    path.write_bytes(path.read_bytes() + b"\n")
    problems = verify_run(config.to).problems
    assert len(problems) == 1
    assert problems[0].startswith(f"{path}: hash ")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": None}, "one stream without an end"),
        ({"data": [{"tokens": "x"}]}, "no data, but steps or tokens"),
        ({"chunk_length": 16}, "chunk_length has no effect on documents"),
        ({"source_loss_every": 5}, "source_loss_every has no effect on documents"),
        ({"documents": {"datasets": ["a", {"dataset": "b", "share": 1}], "tokenizer": "t"}}, "each needs a share"),
    ],
)
def test_what_documents_cannot_be_is_refused(
    dataset: str, tokenizer: str, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        convert(settings(tmp_path / "run", dataset, tokenizer, **changes), TrainConfig, "test").check()


def test_a_tagger_that_no_rule_looks_at_is_refused(dataset: str, tokenizer: str) -> None:
    with pytest.raises(ConfigError, match="no rule of keep looks at 'gopher'"):
        KeptText([dataset], tokenizer, ["length", "gopher"], RULES)


def test_rules_that_nothing_passes_are_an_error(dataset: str, tokenizer: str) -> None:
    source = KeptText([dataset], tokenizer, ["length"], [{"none": "length.characters < 0"}])
    with pytest.raises(DataError, match="no document of any shard passes"):
        TextStream(source, 16, 0).batch(0, 1)


def test_a_shard_of_bad_rows_is_an_error(tmp_path: Path, tokenizer: str) -> None:
    dataset = tmp_path / "bad"
    store(dataset / "documents" / "a.jsonl", encode_lines([{"id": "1", "text": "x" * 30}]) + b"{broken\n")
    with pytest.raises(DataError, match="1 bad rows"):
        kept(str(dataset), tokenizer).read(0)
