"""Each architecture computes what Hugging Face's class does, and goes there and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from tiny_models import KINDS, LLAMA, OLMO, build

from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.train.model import huggingface
from dolma_pipe.train.model.architecture import ExpertsConfig, RopeScaling
from dolma_pipe.train.model.transformer import Transformer


def written(model: Transformer, to: Path) -> str:
    huggingface.write_model(model, str(to), huggingface.hf_config(model.config, 64, 0, None))
    return str(to)


@pytest.mark.parametrize("name", KINDS)
def test_logits_are_those_of_transformers_and_weights_come_back(name: str, tmp_path: Path) -> None:
    model = build(KINDS[name])
    folder = written(model, tmp_path / "hf")
    assert huggingface.compare(model, folder) <= 1e-5
    back = huggingface.read_model(folder)
    ours, theirs = model.state_dict(), back.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize(
    "scaling",
    [
        RopeScaling(kind="linear", factor=2.0),
        RopeScaling(kind="ntk", factor=4.0),
        RopeScaling(kind="yarn", factor=4.0, original_length=16, beta_fast=8.0),
        RopeScaling(kind="llama3", factor=4.0, original_length=16),
    ],
    ids=lambda scaling: scaling.kind,
)
def test_scaled_positions_are_those_of_transformers(scaling: RopeScaling, tmp_path: Path) -> None:
    model = build(msgspec.structs.replace(LLAMA, rope_scaling=scaling))
    folder = written(model, tmp_path / "hf")
    assert huggingface.compare(model, folder) <= 1e-5
    back = huggingface.read_model(folder)
    ids = torch.arange(60)[None]
    with torch.no_grad():
        assert torch.allclose(back(ids), model(ids), atol=1e-6)


def test_the_balancing_loss_of_one_sequence_is_mixtrals(tmp_path: Path) -> None:
    import transformers

    config = msgspec.structs.replace(KINDS["mixtral"], experts=ExpertsConfig(count=4, chosen=2, balance_loss=1.0))
    model = build(config)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(written(model, tmp_path / "hf"))
    ids = torch.arange(40)[None] % 90
    with torch.no_grad():
        model(ids)
        expected = theirs(ids, output_router_logits=True).aux_loss
    assert model.routing_loss is not None
    assert model.routing_loss.item() == pytest.approx(expected.item(), abs=1e-6)


def test_an_openelm_is_refused_by_name() -> None:
    config = msgspec.structs.replace(LLAMA, n_heads=[4, 4, 8], n_kv_heads=[2, 2, 4], head_width=8)
    with pytest.raises(ConfigError, match="differs by layer"):
        huggingface.hf_config(config, 64, 0, None)


def test_a_model_that_no_class_computes_is_refused() -> None:
    with pytest.raises(ConfigError, match="no class of transformers"):
        huggingface.hf_config(msgspec.structs.replace(OLMO, norm_after=True), 64, 0, None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "gpt2"}, "model_type 'gpt2'"),
        ({"attention_bias": True}, "biases"),
        ({"rope_parameters": {"rope_type": "longrope", "factor": 4.0}}, "positions scaled like .*longrope"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 4.0}}, "yarn needs original_length"),
    ],
)
def test_what_we_cannot_compute_is_refused(change: dict[str, Any], message: str) -> None:
    config = {**huggingface.hf_config(LLAMA, 64, 0, None), **change}
    with pytest.raises(ConfigError, match=message):
        huggingface.model_config(config, "config.json")


def test_a_tensor_too_few_or_too_many_is_an_error(tmp_path: Path) -> None:
    import safetensors.torch

    folder = written(build(LLAMA), tmp_path / "hf")
    path = tmp_path / "hf" / "model.safetensors"
    tensors = safetensors.torch.load_file(path)
    safetensors.torch.save_file({**tensors, "more": torch.ones(1)}, path)
    with pytest.raises(DataError, match="no part of the model is: more"):
        huggingface.read_model(folder)
    safetensors.torch.save_file({k: v for k, v in tensors.items() if k != "model.norm.weight"}, path)
    with pytest.raises(DataError, match=r"no tensor 'model\.norm\.weight'"):
        huggingface.read_model(folder)


def test_logits_that_differ_are_an_error(tmp_path: Path) -> None:
    model = build(LLAMA)
    folder = written(model, tmp_path / "hf")
    with torch.no_grad():
        dict(model.named_parameters())["blocks.0.attention.query.weight"][0] += 1
    with pytest.raises(DataError, match="logits differ"):
        huggingface.compare(model, folder)
