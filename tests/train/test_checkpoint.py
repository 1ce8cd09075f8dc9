"""Checkpoints are whole or not there, and run no code of a stranger's."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.distributed.checkpoint.metadata import BytesStorageMetadata, Metadata

from dolma_pipe.errors import DataError
from dolma_pipe.train.checkpoints import checkpoint
from dolma_pipe.train.checkpoints.tensor_files import load_tensors
from dolma_pipe.train.config import TrainConfig
from dolma_pipe.train.loop import train

MakeConfig = Callable[..., TrainConfig]
CPU = torch.device("cpu")


def checkpoints(config: TrainConfig) -> list[str]:
    return sorted(path.name for path in Path(config.to, "checkpoints").iterdir())


def test_only_the_newest_stay(make_config: MakeConfig) -> None:
    config = make_config(steps=11, checkpoint={"every_steps": 3, "keep_last": 2})
    train(config)
    assert checkpoints(config) == ["step-00000009", "step-00000011"]


def test_an_unfinished_checkpoint_is_ignored_and_removed_later(make_config: MakeConfig) -> None:
    config = make_config()
    train(config)
    folder = Path(config.to, "checkpoints")
    (folder / "step-00000099").mkdir()
    (folder / "_partial-step-00000013").mkdir()
    assert checkpoint.newest(config.to) == str(folder / "step-00000012")
    train(make_config(steps=14))
    assert checkpoints(config) == [f"step-{step:08d}" for step in (5, 10, 12, 14)]


def test_the_record_names_data_model_and_settings(make_config: MakeConfig) -> None:
    config = make_config()
    train(config)
    record = checkpoint.read_record(checkpoint.find(config.to))
    assert (record.step, record.tokens) == (12, 96 * 32)
    assert record.data["tokenizer"] == "toy"
    assert len(record.data["mixtures"][0]["sources"][0]["manifest"]) == 32
    assert (record.model.vocab_size, record.model.padded_vocab_size) == (64, 128)
    assert record.config["optimizer"]["learning_rate"] == 1e-2


def test_a_file_that_lost_its_end_is_named(make_config: MakeConfig) -> None:
    config = make_config()
    train(config)
    damaged = next(Path(checkpoint.find(config.to)).glob("*.distcp"))
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"__0_0.distcp has \d+ bytes, not"):
        train(make_config(steps=14))


def test_a_file_with_a_flipped_bit_is_named_and_not_trained_on(make_config: MakeConfig) -> None:
    config = make_config()
    train(config)
    damaged = next(Path(checkpoint.find(config.to)).glob("*.distcp"))
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"step-00000012/__0_0.distcp is not what was saved.*remove the folder"):
        train(make_config(steps=14))


def test_a_description_that_would_run_code_is_refused(make_config: MakeConfig, tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "attacked",)

    with pytest.raises(DataError, match="it names"):
        _load_with_metadata(make_config(), pickle.dumps(Attack()))
    assert not (tmp_path / "attacked").exists()


def test_a_value_stored_as_a_pickle_is_refused(make_config: MakeConfig) -> None:
    metadata = Metadata({"model.embedding.weight": BytesStorageMetadata()})
    with pytest.raises(DataError, match="BytesStorageMetadata"):
        _load_with_metadata(make_config(), pickle.dumps(metadata))


def _load_with_metadata(config: TrainConfig, metadata: bytes) -> None:
    train(config)
    folder = checkpoint.find(config.to)
    model, _ = checkpoint.open_model(folder, CPU)
    Path(folder, ".metadata").write_bytes(metadata)
    load_tensors(folder, checkpoint.training_state(model), alone=True)


def test_a_checkpoint_may_be_moved(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config()
    train(config)
    moved = Path(checkpoint.find(config.to)).rename(tmp_path / "moved")
    model, record = checkpoint.open_model(str(moved), CPU)
    assert record.step == 12
    assert torch.isfinite(model(torch.tensor([[1, 2, 3]]))).all()


def test_a_folder_without_a_checkpoint_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither a checkpoint nor a run"):
        checkpoint.find(str(tmp_path))
