"""A tiny model of each architecture, with random weights."""

from __future__ import annotations

import msgspec
import torch

from dolma_pipe.train.model.architecture import ExpertsConfig, ModelConfig
from dolma_pipe.train.model.initialisation import materialise
from dolma_pipe.train.model.transformer import Transformer, on_meta

OLMO = ModelConfig(d_model=32, n_layers=3, n_heads=4, ffn_hidden=48, vocab_size=90, padded_vocab_size=96)
LLAMA = msgspec.structs.replace(OLMO, norm="rms", norm_eps=1e-6, n_kv_heads=2)
KINDS: dict[str, ModelConfig] = {
    "olmo": OLMO,
    "olmo tied and clipped": msgspec.structs.replace(OLMO, tie_embeddings=True, clip_qkv=0.05),
    "olmo2": msgspec.structs.replace(LLAMA, norm_after=True, query_key_norm="width", rope_theta=5e5),
    "llama": LLAMA,
    "llama with heads of their own width": msgspec.structs.replace(LLAMA, head_width=6),
    "mistral": msgspec.structs.replace(LLAMA, sliding_window=5),
    "mixtral": msgspec.structs.replace(LLAMA, experts=ExpertsConfig(count=4, chosen=2), rope_theta=1e6),
}


def build(config: ModelConfig) -> Transformer:
    model = on_meta(config)
    materialise(model, 3, torch.device("cpu"))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 1:  # scales that are not all one
                weight.copy_(1 + 0.1 * torch.sin(torch.arange(len(weight)) + len(name)))
    return model.eval()
