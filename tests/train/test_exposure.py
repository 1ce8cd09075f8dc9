"""Which checkpoints have seen a document."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dolma_pipe.exposure import exposures
from dolma_pipe.takedown.removal import take_down
from dolma_pipe.tokens import TokenSet
from dolma_pipe.train.checkpoints import checkpoint
from dolma_pipe.train.loop import train
from dolma_pipe.train.trace import training_order


@pytest.mark.parametrize("document", ["d0", "d7"])
def test_sequences_are_counted_up_to_each_checkpoint(make_config: Any, tokens: str, document: str) -> None:
    config = make_config(steps=7, checkpoint={"every_steps": 3, "keep_last": None}, schedule={})
    train(config)
    Path(tokens, "tokenizer.json").touch()
    order = training_order(config.to)
    found = exposures([config.to], [document], [tokens])
    assert [Path(one.checkpoint).name for one in found] == ["step-00000003", "step-00000006", "step-00000007"]
    for one in found:
        rows = checkpoint.read_record(one.checkpoint).tokens // 32
        shown = {traced.instance for traced in order.documents(0, rows, 32) if traced.id == document}
        assert one.sequences == len(shown)
    assert found[-1].sequences
    before = TokenSet.open(tokens).hash
    take_down([document], [tokens])
    assert TokenSet.open(tokens).hash == before
    assert exposures([config.to], [document], [tokens]) == found
