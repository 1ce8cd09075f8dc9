"""Generation with a cache says what the model says without one."""

from __future__ import annotations

import msgspec
import pytest
import torch
from tiny_models import KINDS, build

from dolma_pipe.errors import ConfigError
from dolma_pipe.train.model.architecture import ModelConfig
from dolma_pipe.train.model.attention import make_cache
from dolma_pipe.train.model.generate import GenerateConfig, generate

PROMPT = [5, 17, 3, 40, 8, 1, 62]
ELM = msgspec.structs.replace(
    KINDS["llama"],
    n_heads=[2, 4, 4],
    n_kv_heads=[1, 2, 2],
    ffn_hidden=[16, 32, 48],
    head_width=8,
    query_key_norm="head",
)
ALL: dict[str, ModelConfig] = {**KINDS, "openelm": ELM}


@pytest.mark.parametrize("name", ALL)
def test_a_cache_changes_no_logits(name: str) -> None:
    model = build(ALL[name])
    ids = torch.tensor([PROMPT + list(range(20, 36))])
    with torch.no_grad():
        whole = model(ids)[0]
        cache = make_cache(model.config, 1, ids.shape[1], torch.empty(0))
        stepwise = [model(ids[:, : len(PROMPT)], cache=cache)[0]]
        stepwise += [model(ids[:, i : i + 1], cache=cache)[0] for i in range(len(PROMPT), ids.shape[1])]
    torch.testing.assert_close(torch.cat(stepwise), whole, rtol=0, atol=1e-5)


def test_a_window_bounds_the_cache() -> None:
    cache = make_cache(KINDS["mistral"], 1, 1000, torch.empty(0))
    assert cache.layers[0].keys.shape == (1, 2, 5, 8)


def test_the_likeliest_tokens_follow_and_end_of_text_ends() -> None:
    model = build(KINDS["llama"])
    config = GenerateConfig(max_tokens=12)
    found = list(generate(model, PROMPT, config, None))
    ids = list(PROMPT)
    with torch.no_grad():
        for token in found:
            assert token == int(model(torch.tensor([ids]))[0, -1].argmax())
            ids.append(token)
    assert list(generate(model, PROMPT, config, found[3])) == found[: found.index(found[3])]


def test_draws_depend_on_the_seed_and_stay_among_the_top() -> None:
    model = build(KINDS["llama"])
    drawn = [
        list(generate(model, PROMPT, GenerateConfig(max_tokens=20, temperature=2.0, top_k=3, seed=seed), None))
        for seed in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    with torch.no_grad():
        best = model(torch.tensor([PROMPT]))[0, -1].topk(3).indices.tolist()
    assert all(row[0] in best for row in drawn)


def test_a_row_that_fills_up_the_embedding_is_never_written() -> None:
    model = build(msgspec.structs.replace(KINDS["llama"], vocab_size=64, padded_vocab_size=512))
    assert max(generate(model, PROMPT, GenerateConfig(max_tokens=40, temperature=9.0), None)) < 64


def test_a_setting_without_effect_and_an_empty_prompt_are_refused() -> None:
    model = build(KINDS["llama"])
    with pytest.raises(ConfigError, match="top_k has no effect"):
        next(generate(model, PROMPT, GenerateConfig(top_k=3), None))
    with pytest.raises(ConfigError, match="no token"):
        next(generate(model, [], GenerateConfig(), None))
