"""The order of training data is a function of manifests, mixture, length, seed and position."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from token_folders import EOS, Row, random_tokens, stream_of, write_shards

from dolma_pipe.errors import DataError
from dolma_pipe.tokens import TokenSet
from dolma_pipe.train.config import DataSource, TrainConfig
from dolma_pipe.train.data.chunks import IGNORED
from dolma_pipe.train.data.feed import Feed
from dolma_pipe.train.data.loader import Batch, Loader
from dolma_pipe.train.data.order import BLOCK, Order
from dolma_pipe.train.parallel import World
from dolma_pipe.train.phases import START
from dolma_pipe.train.plan import make_plan

LENGTH = 32


def load(*sources: DataSource, seed: int = 0) -> Loader:
    return Loader(sources, LENGTH, seed)


def pairs(batch: Batch) -> Counter[tuple[int, int]]:
    """Each counted prediction as (input, label)."""
    counted = batch.labels != IGNORED
    return Counter(zip(batch.inputs[counted].tolist(), batch.labels[counted].tolist(), strict=True))


def test_an_epoch_predicts_every_token_but_the_first_exactly_once(tokens: str) -> None:
    loader, stream = load(DataSource(tokens=tokens, epochs=1)), stream_of(tokens)
    assert loader.order.total is not None
    epoch = pairs(loader.batch(0, loader.order.total))
    assert epoch == Counter(zip(stream[:-1].tolist(), stream[1:].tolist(), strict=True))


def test_the_last_partial_chunk_is_padded_with_labels_that_do_not_count(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "t", [[Row([*range(1, 40), EOS])]])
    loader = load(DataSource(tokens=folder, epochs=1))
    labels = loader.batch(0, 2).labels
    assert sorted((labels != IGNORED).sum(dim=1).tolist()) == [39 - LENGTH, LENGTH]


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_the_global_batch_is_the_same_for_any_number_of_ranks(tokens: str, world_size: int) -> None:
    loader = load(DataSource(tokens=tokens))
    whole = loader.batch(24, 8)
    for rank in range(world_size):
        part = loader.batch(24, 8, rank, world_size)
        assert (part.inputs == whole.inputs[rank::world_size]).all()
        assert (part.labels == whole.labels[rank::world_size]).all()


def test_another_batch_size_keeps_the_order(tokens: str) -> None:
    loader = load(DataSource(tokens=tokens))
    small = [row for start in range(0, 24, 4) for row in loader.batch(start, 4).inputs.tolist()]
    assert small == [row for start in range(0, 24, 12) for row in loader.batch(start, 12).inputs.tolist()]


def test_each_epoch_has_its_own_permutation_of_the_same_chunks(tokens: str) -> None:
    loader = load(DataSource(tokens=tokens))
    count = loader.folders[0].count
    first, second = ([p.chunk for p in loader.order.places(np.arange(e * count, (e + 1) * count))] for e in (0, 1))
    assert sorted(first) == sorted(second) == list(range(count))
    assert first != second


class Folder(NamedTuple):
    """What `Order` needs of a chunked folder."""

    count: int
    hash: str


def test_the_order_is_pinned() -> None:
    # A change here means that the new code can neither resume nor repeat a run of the old.
    folders: Any = [Folder(1000, "0123456789abcdef"), Folder(500, "fedcba9876543210")]
    alone = Order(folders[:1], [DataSource(tokens="a")], seed=17)
    assert [place.chunk for place in alone.places(np.arange(6))] == [554, 688, 327, 903, 495, 410]
    mixed = Order(folders, [DataSource(tokens="a", share=2), DataSource(tokens="b", share=1)], seed=17)
    assert [tuple(place) for place in mixed.places(np.arange(2000, 2006))] == [
        (0, 1, 667),
        (1, 1, 284),
        (0, 1, 463),
        (0, 1, 404),
        (1, 1, 136),
        (1, 0, 257),
    ]


def test_seed_and_content_change_the_order(tmp_path: Path, tokens: str) -> None:
    other = random_tokens(tmp_path / "other", seed=1)
    orders = [
        tuple(place.chunk for place in load(DataSource(tokens=folder), seed=seed).order.places(np.arange(20)))
        for folder, seed in ((tokens, 0), (tokens, 1), (other, 0))
    ]
    assert len(set(orders)) == 3


def test_the_same_tokens_elsewhere_have_the_same_order(tmp_path: Path, tokens: str) -> None:
    moved = random_tokens(tmp_path / "moved")
    before, after = (load(DataSource(tokens=folder)).batch(0, 16) for folder in (tokens, moved))
    assert (before.inputs == after.inputs).all()


def test_shares_are_kept_at_every_multiple_of_a_block(tmp_path: Path, tokens: str) -> None:
    other = random_tokens(tmp_path / "other", seed=1)
    loader = load(DataSource(tokens=tokens, share=0.7), DataSource(tokens=other, share=0.3))
    for blocks in (1, 3):
        places = loader.order.places(np.arange(blocks * BLOCK))
        assert abs(sum(place.folder == 0 for place in places) - 0.7 * blocks * BLOCK) <= 2
    assert len({place.folder for place in places[:30]}) == 2  # interleaved, not one after the other


@pytest.mark.parametrize("kind", ["share", "epochs"])
def test_what_was_shown_is_counted_as_it_was_shown(tmp_path: Path, tokens: str, kind: str) -> None:
    other = random_tokens(tmp_path / "other", documents=100, seed=1)
    order = load(DataSource(tokens=tokens, **{kind: 40.0}), DataSource(tokens=other, **{kind: 17.0})).order
    end = order.total or 3 * BLOCK
    places = order.places(np.arange(end))
    for instances in (0, 1, 7, BLOCK - 1, BLOCK, BLOCK + 300, 2 * BLOCK, end - 1, end):
        counts = Counter(place.folder for place in places[:instances])
        assert order.shown(instances) == [counts[0], counts[1]]


def test_reading_ahead_changes_nothing(make_config: Callable[..., TrainConfig]) -> None:
    plan = make_plan(make_config())
    feed = Feed(plan, World(1, 2, torch.device("cpu")))
    at = START
    for step in range(4):
        if step == 2:
            feed.forget()
        rows, waited = feed.take(at)
        assert (rows.inputs == plan.examples.batch(step * 8, 8, 1, 2).inputs).all()
        assert waited >= 0
        at = plan.after(at)
    feed.close()


def test_a_place_in_a_mixture_can_be_asked_for_alone(tmp_path: Path, tokens: str) -> None:
    other = random_tokens(tmp_path / "other", seed=1)
    order = load(DataSource(tokens=tokens, share=0.1), DataSource(tokens=other, share=2)).order
    together = order.places(np.arange(BLOCK - 5, BLOCK + 5))
    assert [order.places(np.array([i]))[0] for i in range(BLOCK - 5, BLOCK + 5)] == together


def test_epochs_show_each_folder_as_often_as_asked(tmp_path: Path, tokens: str) -> None:
    other = random_tokens(tmp_path / "other", documents=100, seed=1)
    loader = load(DataSource(tokens=tokens, epochs=2), DataSource(tokens=other, epochs=0.5))
    assert loader.order.total is not None
    places = loader.order.places(np.arange(loader.order.total))
    seen = Counter((place.folder, place.chunk) for place in places)
    first, second = (chunks.count for chunks in loader.folders)
    assert [seen[0, chunk] for chunk in range(first)] == [2] * first
    assert sum(seen[1, chunk] for chunk in range(second)) == -(-second // 2)
    assert max(seen[1, chunk] for chunk in range(second)) == 1


def test_past_the_end_of_the_epochs_no_label_counts(tokens: str) -> None:
    loader = load(DataSource(tokens=tokens, epochs=1))
    assert loader.order.total is not None
    batch = loader.batch(loader.order.total - 2, 8)
    assert ((batch.labels != IGNORED).any(dim=1)).tolist() == [True, True] + [False] * 6


def test_an_instance_can_be_located_in_its_shards(tokens: str) -> None:
    loader = load(DataSource(tokens=tokens))
    shards = {shard.name: shard.map() for shard in TokenSet.open(tokens).shards}
    for instance in range(loader.folders[0].count):
        labels = loader.batch(instance, 1).labels[0]
        found = np.concatenate([shards[piece.shard][piece.start : piece.end] for piece in loader.locate(instance)])
        assert found.tolist() == labels[labels != IGNORED].tolist()


def test_folders_of_two_tokenizers_are_refused(tmp_path: Path, tokens: str) -> None:
    other = random_tokens(tmp_path / "other", tokenizer="another")
    with pytest.raises(DataError, match="another tokenizer"):
        load(DataSource(tokens=tokens, share=1), DataSource(tokens=other, share=1))


def test_a_folder_too_small_to_predict_anything_is_refused(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "t", [[Row([EOS])]])
    with pytest.raises(DataError, match="too few"):
        load(DataSource(tokens=folder))
