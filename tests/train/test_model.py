"""The Transformer: sizes of the official models, formulas, initialisation."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dolma_pipe.config import bundled, convert, load, read_yaml
from dolma_pipe.errors import ConfigError
from dolma_pipe.train.config import TrainConfig
from dolma_pipe.train.model.architecture import ExpertsConfig, ModelConfig, flops_per_token
from dolma_pipe.train.model.initialisation import materialise
from dolma_pipe.train.model.transformer import Transformer, on_meta, parameter_count

CPU = torch.device("cpu")
SMALL = ModelConfig(d_model=16, n_layers=2, n_heads=2, ffn_hidden=24, vocab_size=60, padded_vocab_size=64)


def build(config: ModelConfig, precision: str = "fp64", seed: int = 0) -> Transformer:
    model = on_meta(config, precision)
    materialise(model, seed, CPU)
    return model


SIZES = {
    "olmo-1b": 1_176_764_416, "olmo-7b": 6_888_095_744, "olmo2-1b": 1_484_916_736, "olmo2-7b": 7_298_617_344,
    "llama2-7b": 6_738_415_616, "llama2-70b": 68_976_648_192, "mistral-7b": 7_241_732_096,
    "mixtral-8x7b": 46_702_792_704, "openelm-270m": 271_527_168, "openelm-450m": 457_179_136,
    "openelm-1b": 1_079_891_456, "openelm-3b": 3_036_647_424,
}  # fmt: skip


def named_model(name: str) -> ModelConfig:
    return convert(read_yaml(bundled(f"models/{name}.yaml")), ModelConfig, name)


@pytest.mark.parametrize(("name", "parameters"), SIZES.items())
def test_published_models_have_their_exact_size(name: str, parameters: int) -> None:
    config = named_model(name)
    config.check()
    assert parameter_count(on_meta(config)) == parameters


def test_of_the_experts_parameters_only_the_chosen_serve_a_token() -> None:
    dense = msgspec.structs.replace(named_model("mixtral-8x7b"), experts=None)
    hidden = [2 * 14336] * 32  # two experts are one of twice the width
    twice = parameter_count(on_meta(msgspec.structs.replace(dense, ffn_hidden=hidden)))
    assert twice + 32 * 8 * 4096 == 12_879_925_248


@pytest.mark.parametrize(
    ("name", "at_2048", "at_4096"), [("olmo-1b", 7.866e9, 8.671e9), ("olmo2-1b", 8.481e9, 9.286e9)]
)
def test_operations_per_token_are_those_of_the_field(name: str, at_2048: float, at_4096: float) -> None:
    config = named_model(name)
    assert flops_per_token(config, 2048).nominal == pytest.approx(at_2048, rel=1e-3)
    assert flops_per_token(config, 4096).nominal == pytest.approx(at_4096, rel=1e-3)


def test_a_window_and_causality_leave_fewer_operations() -> None:
    config = named_model("mistral-7b")
    whole = flops_per_token(msgspec.structs.replace(config, sliding_window=None), 8)
    windowed = flops_per_token(msgspec.structs.replace(config, sliding_window=2), 8)
    per_key = 12 * 32 * 4096  # layers and width; a position sees 4.5 keys on average, in a window of two 15/8
    assert whole.executed == pytest.approx(whole.nominal - per_key * (8 - 4.5))
    assert windowed.executed == pytest.approx(whole.nominal - per_key * (8 - 15 / 8))


@pytest.mark.parametrize("name", sorted(path.stem for path in bundled("train/small.yaml").parent.glob("*.yaml")))
def test_bundled_configurations_can_be_used(name: str) -> None:
    config = load(str(bundled(f"train/{name}.yaml")), TrainConfig)
    config.check()
    on_meta(config.architecture().with_vocabulary(8192), config.precision)


def test_rows_are_rounded_up_to_128_unless_given() -> None:
    config = ModelConfig(d_model=16, n_layers=1, n_heads=2, ffn_hidden=24)
    assert config.with_vocabulary(50_280).padded_vocab_size == 50_304
    assert config.with_vocabulary(128).padded_vocab_size == 128


def test_a_vocabulary_smaller_than_the_tokens_is_refused() -> None:
    with pytest.raises(ConfigError, match="vocab_size is 60"):
        SMALL.with_vocabulary(61)


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(ConfigError, match="no multiple of n_heads"):
        ModelConfig(d_model=16, n_layers=1, n_heads=3, ffn_hidden=24).check()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_heads": 4, "n_kv_heads": 3}, "n_heads 4 is no multiple of n_kv_heads 3"),
        ({"head_width": 5}, "odd"),
        ({"ffn_hidden": [24, 24]}, "lists 2 layers, but n_layers is 1"),
        ({"init_std": 0.02}, "init_std belongs to"),
        ({"initialisation": "normal"}, "init_std belongs to"),
        ({"experts": ExpertsConfig(count=2, chosen=3)}, "3 of 2 experts"),
    ],
)
def test_what_cannot_be_built_or_has_no_effect_is_refused(settings: dict[str, Any], message: str) -> None:
    config = ModelConfig(d_model=16, n_layers=1, n_heads=2, ffn_hidden=24)
    with pytest.raises(ConfigError, match=message):
        msgspec.structs.replace(config, **settings).check()


@pytest.mark.parametrize("tied", [False, True])
def test_logits_follow_the_formulas(tied: bool) -> None:
    config = msgspec.structs.replace(SMALL, tie_embeddings=tied)
    model = build(config)
    ids = np.array([3, 1, 4, 1, 5, 9, 2, 6])
    expected = reference_logits({name: p.detach().numpy() for name, p in model.named_parameters()}, config, ids)
    with torch.no_grad():
        found = model(torch.from_numpy(ids)[None])[0].numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def reference_logits(
    weights: dict[str, NDArray[np.float64]], config: ModelConfig, ids: NDArray[np.int64]
) -> NDArray[np.float64]:
    """One sequence, one head and one position at a time."""
    x = weights["embedding.weight"][ids]
    for layer in range(config.n_layers):
        w = {name.removeprefix(f"blocks.{layer}."): value for name, value in weights.items()}
        x = x + attention(normed(x), w, config.layer(0).n_heads)
        h = normed(x)
        gate = h @ w["ffn.gate.weight"].T
        x = x + (gate / (1 + np.exp(-gate)) * (h @ w["ffn.up.weight"].T)) @ w["ffn.down.weight"].T
    return normed(x) @ weights.get("unembedding.weight", weights["embedding.weight"]).T


def normed(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)


def attention(x: NDArray[np.float64], w: dict[str, NDArray[np.float64]], n_heads: int) -> NDArray[np.float64]:
    query, key, value = (x @ w[f"attention.{name}.weight"].T for name in ("query", "key", "value"))
    width = x.shape[1] // n_heads
    result = np.zeros_like(x)
    for head in range(n_heads):
        part = slice(head * width, (head + 1) * width)
        for i in range(len(x)):
            scores = np.array([turned(query[i, part], i) @ turned(key[j, part], j) for j in range(i + 1)])
            shares = np.exp(scores / math.sqrt(width))
            result[i, part] = (shares / shares.sum()) @ value[: i + 1, part]
    return result @ w["attention.output.weight"].T


def turned(x: NDArray[np.float64], position: int) -> NDArray[np.float64]:
    half = len(x) // 2
    angles = position * 10_000.0 ** (-2 * np.arange(half) / len(x))
    turn = (x[:half] + 1j * x[half:]) * np.exp(1j * angles)
    return np.concatenate([turn.real, turn.imag])


def test_a_later_token_changes_no_earlier_logits() -> None:
    model = build(SMALL)
    first, second = torch.tensor([[1, 2, 3, 4]]), torch.tensor([[1, 2, 3, 9]])
    with torch.no_grad():
        assert torch.equal(model(first)[:, :3], model(second)[:, :3])


def test_initial_weights_have_the_spread_that_mitchell_gives_them() -> None:
    config = ModelConfig(d_model=128, n_layers=3, n_heads=2, ffn_hidden=256, vocab_size=512, padded_vocab_size=512)
    weights = dict(build(config).named_parameters())
    third = {"attention.output": 1 / math.sqrt(2 * 128 * 3), "ffn.down": 1 / math.sqrt(2 * 256 * 3)}
    plain = dict.fromkeys(("attention.query", "attention.key", "attention.value", "ffn.gate", "ffn.up"), 128**-0.5)
    expected: dict[str, float] = {f"blocks.2.{name}": std for name, std in {**third, **plain}.items()}
    expected |= {"embedding": 128**-0.5, "unembedding": 128**-0.5}
    for name, std in expected.items():
        weight = weights[f"{name}.weight"]
        assert weight.std().item() == pytest.approx(0.9866 * std, rel=0.02)  # cut off at 3 deviations
        assert weight.abs().max() <= 3 * std


def test_initial_weights_depend_on_seed_and_name_alone() -> None:
    deep = msgspec.structs.replace(SMALL, n_layers=3)
    one, other = dict(build(SMALL, "fp32").named_parameters()), dict(build(deep, "fp64").named_parameters())
    for name, weight in one.items():
        assert torch.equal(weight.double(), other[name])
    assert not torch.equal(one["blocks.0.ffn.up.weight"], one["blocks.1.ffn.up.weight"])
    assert not torch.equal(one["embedding.weight"], dict(build(SMALL, seed=1).named_parameters())["embedding.weight"])


def test_bfloat16_computes_in_bfloat16_and_keeps_float32_weights() -> None:
    exact, rough = build(SMALL, "fp32"), build(SMALL, "bf16")
    ids = torch.arange(12)[None]
    logits = rough(ids)
    logits.float().sum().backward()
    assert logits.dtype == torch.bfloat16
    assert {p.dtype for p in rough.parameters()} == {p.grad.dtype for p in rough.parameters() if p.grad is not None}
    assert torch.allclose(logits.float(), exact(ids), atol=0.1)
