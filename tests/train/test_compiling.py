"""Blocks compile whole, whatever the architecture, and compute what they did; masks by blocks are the masks.

Graphs are captured and not translated to machine code, which takes a minute each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
import torch
import torch._dynamo
import torch.nn.functional as F
from torch import Tensor
from torch._dynamo.utils import counters
from torch.nn.attention import flex_attention

from dolma_pipe.config import bundled, convert, read_yaml
from dolma_pipe.errors import ConfigError
from dolma_pipe.train.model import attention, compiling, feedforward, transformer
from dolma_pipe.train.model.architecture import ExpertsConfig, ModelConfig
from dolma_pipe.train.model.attention import attention_mask, document_blocks, window_blocks
from dolma_pipe.train.model.initialisation import materialise
from dolma_pipe.train.model.recompute import Recompute
from dolma_pipe.train.model.transformer import Transformer, on_meta
from dolma_pipe.train.optimizer import build_optimizer, prepare_state

CPU, LENGTH = torch.device("cpu"), 160
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*The .grad attribute of a Tensor that is not a leaf"),
    pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile"),
]
NAMES = ("olmo-7b", "olmo2-1b", "llama2-70b", "mistral-7b", "mixtral-8x7b", "openelm-270m")


@pytest.fixture(autouse=True)
def _captured_only(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def capture(function: Callable[..., Any]) -> Callable[..., Any]:
        return torch.compile(function, fullgraph=True, dynamic=False, backend="eager")

    monkeypatch.setattr(compiling, "compiled", capture)
    monkeypatch.setattr(attention, "_compiled", lambda function: function)
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def tiny(name: str) -> ModelConfig:
    """A published model's settings at three narrow layers, which OpenELM's differ in."""
    config = convert(read_yaml(bundled(f"models/{name}.yaml")), ModelConfig, name)
    by_layer = isinstance(config.n_heads, list)
    return msgspec.structs.replace(
        config, d_model=32, n_layers=3, head_width=8, vocab_size=120, padded_vocab_size=128,
        n_heads=[4, 4, 8] if by_layer else 4, ffn_hidden=[32, 48, 64] if by_layer else 48,
        n_kv_heads=None if config.n_kv_heads is None else [1, 1, 2] if by_layer else 2,
        sliding_window=None if config.sliding_window is None else 20,
    )  # fmt: skip


def build(config: ModelConfig, recompute: Recompute = "none", precision: str = "bf16") -> Transformer:
    model = on_meta(config, precision, recompute)
    materialise(model, 0, CPU)
    return model


def documents(seed: int) -> Tensor:
    return torch.cumsum(torch.rand(2, LENGTH, generator=torch.Generator().manual_seed(seed)) < 0.05, 1)


def loss(model: Transformer, apart: Tensor | None) -> Tensor:
    ids = torch.randint(0, 120, (2, LENGTH), generator=torch.Generator().manual_seed(9))
    return F.cross_entropy(model(ids, apart).float().flatten(0, 1), ids.roll(-1, 1).flatten())


@pytest.mark.parametrize(
    ("name", "recompute"),
    [*((name, "none") for name in NAMES), ("olmo-7b", "full"), ("olmo-7b", "selective"), ("mixtral-8x7b", "selective")],
)
def test_blocks_of_every_architecture_compile_whole_once_for_each_kind(name: str, recompute: Recompute) -> None:
    config = tiny(name)
    compiled, plain = build(config, recompute), build(config)
    compiling.compile_blocks(compiled)
    for seed in range(2):
        mine = loss(compiled, documents(seed))
        assert mine.item() == pytest.approx(loss(plain, documents(seed)).item(), abs=1e-3)
        mine.backward()
    kinds = len({config.layer(number) for number in range(config.n_layers)})
    assert counters["stats"]["unique_graphs"] == kinds
    assert not counters["graph_break"]


@pytest.mark.parametrize("name", ["mistral-7b", "mixtral-8x7b"])
def test_blocks_compile_whole_with_the_masks_that_a_gpu_has(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def by_blocks(length: int, window: int | None, apart: Tensor, like: Tensor) -> Any:
        return document_blocks(apart, window)

    monkeypatch.setattr(transformer, "attention_mask", by_blocks)
    monkeypatch.setattr(flex_attention, "_validate_device", lambda *_: None)  # there is no backward pass on a CPU
    compiled = build(tiny(name), "selective")
    compiling.compile_blocks(compiled)
    found = [loss(compiled, documents(seed)).item() for seed in range(2)]
    assert counters["stats"]["unique_graphs"] == 1  # a new batch's documents compile nothing anew
    monkeypatch.setattr(transformer, "attention_mask", attention_mask)
    plain = build(tiny(name))
    assert found == pytest.approx([loss(plain, documents(seed)).item() for seed in range(2)], abs=0.02)


@pytest.mark.parametrize("window", [None, 33])
def test_a_mask_by_blocks_lets_the_same_keys_be_seen(window: int | None) -> None:
    draw = torch.Generator().manual_seed(3)
    query, key, value = (torch.randn(2, 2, LENGTH, 16, generator=draw) for _ in range(3))
    for apart in (documents(1), None):
        if apart is None and window is None:
            continue
        dense = attention_mask(LENGTH, window, apart, like=query)
        blocks = window_blocks(LENGTH, window or LENGTH, CPU) if apart is None else document_blocks(apart, window)
        expected = F.scaled_dot_product_attention(query, key, value, attn_mask=dense)  # pyright: ignore[reportArgumentType]
        found = flex_attention.flex_attention(query, key, value, block_mask=blocks)
        assert torch.allclose(found, expected, atol=1e-5)  # pyright: ignore[reportArgumentType]


def test_experts_in_bfloat16_compute_what_they_do_in_float32() -> None:
    config = ModelConfig(d_model=32, n_layers=1, n_heads=2, ffn_hidden=48, experts=ExpertsConfig(count=5, chosen=2),
                         vocab_size=60, padded_vocab_size=64)  # fmt: skip
    exact, rough = (build(config, precision=precision).blocks[0].ffn for precision in ("fp32", "bf16"))
    assert isinstance(exact, feedforward.Experts)
    assert isinstance(rough, feedforward.Experts)
    x = torch.randn(3, 17, 32, generator=torch.Generator().manual_seed(0)).bfloat16()
    mine, expected = rough(x)[0], exact(x.float())[0]
    (mine.float() * torch.arange(32)).sum().backward()
    (expected * torch.arange(32)).sum().backward()
    assert torch.allclose(mine.float(), expected, atol=0.03)
    for name in ("gate", "up", "down"):
        found, want = getattr(rough, name).weight.grad, getattr(exact, name).weight.grad
        assert (found - want).norm() < 0.03 * want.norm()


def test_experts_that_cannot_be_compiled_are_refused() -> None:
    with pytest.raises(ConfigError, match="set precision: bf16"):
        compiling.compile_blocks(build(tiny("mixtral-8x7b"), precision="fp32"))


def test_a_model_of_a_billion_weights_takes_nineteen_gigabytes_before_its_first_token() -> None:
    """Weights, gradients and both moments in float32: what docs/how-to/train.md begins its sum with."""
    config = convert(read_yaml(bundled("models/olmo-1b.yaml")), ModelConfig, "olmo-1b").with_vocabulary(50280)
    model = on_meta(config, "bf16")
    optimizer = build_optimizer(model, convert({"learning_rate": 1e-3}, _optimizer_config(), "test"))
    prepare_state(optimizer)
    state = [*model.parameters(), *model.parameters()]
    state += [tensor for one in optimizer.state.values() for tensor in one.values()]
    assert sum(tensor.nbytes for tensor in state) / 1e9 == pytest.approx(18.83, abs=0.01)


def _optimizer_config() -> Any:
    from dolma_pipe.train.config import OptimizerConfig

    return OptimizerConfig
