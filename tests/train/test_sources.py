"""What was trained on, told by source and document: losses, boundaries, traces."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from token_folders import EOS, random_tokens, stream_of
from typer.testing import CliRunner

from dolma_pipe.cli import app
from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.tokens import TokenSet
from dolma_pipe.train.checkpoints import checkpoint
from dolma_pipe.train.config import DataSource, TrainConfig
from dolma_pipe.train.data.chunks import IGNORED
from dolma_pipe.train.data.loader import Loader
from dolma_pipe.train.hardware import peak_of
from dolma_pipe.train.language_modelling import token_losses
from dolma_pipe.train.loop import train
from dolma_pipe.train.metrics import read_metrics
from dolma_pipe.train.model.architecture import flops_per_token
from dolma_pipe.train.model.initialisation import materialise
from dolma_pipe.train.model.transformer import on_meta
from dolma_pipe.train.objective import Whole
from dolma_pipe.train.parallel import World
from dolma_pipe.train.plan import make_plan
from dolma_pipe.train.trace import trace

MakeConfig = Callable[..., TrainConfig]


def source_of_each_token(folder: str) -> list[str]:
    found: list[str] = []
    for shard in TokenSet.open(folder).shards:
        table = shard.documents().to_pylist()
        start = 0
        for row in table:
            found += [row["source"]] * (row["end"] - start)
            start = row["end"]
    return found


def test_the_loss_of_each_source_is_that_of_its_labels(make_config: MakeConfig, tokens: str) -> None:
    config = make_config(
        schedule__warmup_steps=0,
        steps=1,
        source_loss_every=1,
        data=[{"tokens": tokens, "epochs": 1}],
        global_batch_size=60,
    )
    train(
        make_config(
            "fresh", schedule__warmup_steps=0, steps=1, optimizer__learning_rate=1e-30, optimizer__weight_decay=0.0
        )
    )
    model, _ = checkpoint.open_model(checkpoint.find(str(Path(config.to).parent / "fresh")), torch.device("cpu"))
    train(config)
    loader = Loader(config.data, config.sequence_length, config.seed)
    names, stream = source_of_each_token(tokens), stream_of(tokens)
    expected: dict[str, list[float]] = {"books": [], "web": []}
    for instance in range(60):
        batch = loader.batch(instance, 1)
        if not (batch.labels != IGNORED).any():
            continue
        with torch.no_grad():
            losses = token_losses(model(batch.inputs), batch.labels)[0].tolist()
        place = loader.order.places(np.array([instance]))[0]
        for at in range(int((batch.labels != IGNORED).sum())):
            position = place.chunk * config.sequence_length + 1 + at
            assert stream[position] == batch.labels[0, at]
            expected[names[position]].append(losses[at])
    told = read_metrics(config.to)[0].sources
    assert told is not None
    for name, losses in expected.items():
        assert told[name].again is None
        exposure = told[name].first
        assert exposure is not None
        assert exposure.tokens == len(losses)
        assert exposure.loss == pytest.approx(np.mean(losses), abs=1e-9)
        total = TokenSet.open(tokens).manifest.sources[name]
        assert exposure.bits_per_byte == pytest.approx(exposure.loss / math.log(2) * total.tokens / total.bytes)


def test_repeats_are_told_apart_from_first_exposure(make_config: MakeConfig, tokens: str) -> None:
    config = make_config(schedule__warmup_steps=0, steps=12, source_loss_every=1, data=[{"tokens": tokens}])
    train(config)
    lines = read_metrics(config.to)
    chunks = Loader(config.data, config.sequence_length, config.seed).folders[0].count
    first = [sum(s.first.tokens for s in (line.sources or {}).values() if s.first) for line in lines]
    again = [sum(s.again.tokens for s in (line.sources or {}).values() if s.again) for line in lines]
    assert sum(first) == len(stream_of(tokens)) - 1
    assert again[: chunks // 8] == [0] * (chunks // 8)
    assert first[-1] == 0 < again[-1]


def test_losses_by_source_come_as_often_as_asked(make_config: MakeConfig) -> None:
    config = make_config(schedule__warmup_steps=0, steps=7, source_loss_every=3)
    train(config)
    assert [line.step for line in read_metrics(config.to) if line.sources] == [3, 6]
    silent = make_config("silent", schedule__warmup_steps=0, steps=3, source_loss_every=0)
    train(silent)
    assert all(line.sources is None for line in read_metrics(silent.to))


def test_within_documents_no_position_sees_or_predicts_another_document(make_config: MakeConfig, tokens: str) -> None:
    loader = Loader([DataSource(tokens=tokens)], 32, 0, within_documents=True)
    train(make_config(schedule__warmup_steps=0, steps=1))
    model, _ = checkpoint.open_model(checkpoint.find(make_config().to), torch.device("cpu"))
    batch = loader.batch(0, 8)
    assert batch.documents is not None
    assert (batch.labels[batch.inputs == EOS] == IGNORED).all()
    row = next(i for i in range(8) if int((batch.inputs[i] == EOS).sum()) > 0)
    end = int((batch.inputs[row] == EOS).nonzero()[0])
    changed = batch.inputs.clone()
    changed[row, :end] = 1
    with torch.no_grad():
        before, after = (model(ids[row : row + 1], batch.documents[row : row + 1]) for ids in (batch.inputs, changed))
    assert torch.equal(before[0, end + 1 :], after[0, end + 1 :])
    assert not torch.equal(before[0, end - 1], after[0, end - 1])


def test_executed_operations_leave_out_what_documents_do_not_see(make_config: MakeConfig, tokens: str) -> None:
    config = make_config(within_documents=True, sequence_length=32)
    plan = make_plan(config)
    world = World(0, 1, torch.device("cpu"))
    objective = plan.objective(world)
    model = on_meta(plan.model, "fp64").to_empty(device="cpu")
    materialise(model, 0, world.device)
    batch = plan.examples.batch(0, 8)
    for start in (0, 3, 6):
        objective.loss(model, batch.rows(start, start + 3), Whole(8, 8))
    same = (batch.documents[:, :, None] == batch.documents[:, None, :]).tril()
    seen = objective.report(1).seen
    assert seen == pytest.approx(same.sum().item() / (8 * 32))
    executed = flops_per_token(plan.model, 32, seen).executed
    assert executed < flops_per_token(plan.model, 32).executed < flops_per_token(plan.model, 32).nominal


def test_a_run_within_documents_cannot_go_on_without(make_config: MakeConfig) -> None:
    train(make_config(schedule__warmup_steps=0, steps=2, within_documents=True))
    with pytest.raises(DataError, match="within_documents is False"):
        train(make_config(schedule__warmup_steps=0, steps=4))


@pytest.mark.parametrize("kind", ["selective", "full"])
def test_recomputed_activations_give_the_same_curve(kind: str, make_config: MakeConfig) -> None:
    plain, saving = (
        make_config("plain", schedule__warmup_steps=0, steps=4),
        make_config("saving", schedule__warmup_steps=0, steps=4, activation_checkpointing=kind),
    )
    train(plain)
    train(saving)
    for ours, theirs in zip(read_metrics(saving.to), read_metrics(plain.to), strict=True):
        assert ours.loss == theirs.loss
        assert ours.grad_norm == pytest.approx(theirs.grad_norm, rel=1e-12)


def test_a_step_leads_back_to_its_documents(make_config: MakeConfig, tokens: str, tmp_path: Path) -> None:
    other = random_tokens(tmp_path / "other", seed=1)
    config = make_config(
        schedule__warmup_steps=0, steps=3, data=[{"tokens": tokens, "share": 1}, {"tokens": other, "share": 2}]
    )
    train(config)
    found = trace(config.to, 2)
    loader = Loader(config.data, config.sequence_length, config.seed)
    batch = loader.batch(8, 8)
    shards = {(folder, shard.name): shard.map() for folder in (tokens, other) for shard in TokenSet.open(folder).shards}
    for row, instance in enumerate(range(8, 16)):
        mine = [one for one in found if one.instance == instance]
        seen = np.concatenate([shards[one.tokens, one.token_shard][one.start : one.end] for one in mine])
        assert seen.tolist() == batch.labels[row][batch.labels[row] != IGNORED].tolist()
        for one in mine:
            assert EOS not in shards[one.tokens, one.token_shard][one.start : one.end - 1]  # one document
    shown = CliRunner().invoke(app, ["trace", config.to, "--step", "2", "--json"], catch_exceptions=False).stdout
    assert [json.loads(line)["id"] for line in shown.splitlines()] == [one.id for one in found]
    with pytest.raises(ConfigError, match="step 9 is not among the 3 steps"):
        trace(config.to, 9)


def test_the_peak_is_that_of_the_devices_variant() -> None:
    assert peak_of("NVIDIA H100 80GB HBM3") == 989.5e12
    assert peak_of("NVIDIA H100 PCIe") == 756e12
    assert peak_of("NVIDIA A100-SXM4-80GB") == 312e12
    assert peak_of("AMD Instinct MI250X") == 191.5e12
    assert peak_of("NVIDIA H200") == 989.5e12
    assert peak_of("NVIDIA H200 NVL") == 835.5e12
    assert peak_of("NVIDIA B200") == 2250e12
    assert peak_of("NVIDIA GB200") == 2500e12
    assert peak_of("AMD Instinct MI300X OAM") == 1307.4e12
    assert peak_of("a toaster") is None
