"""Text from a model, token by token, with the keys and values of what is known kept in a cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from dolma_pipe.config import Config
from dolma_pipe.errors import ConfigError
from dolma_pipe.train.data.permutation import key_of
from dolma_pipe.train.model.architecture import Positive, Real
from dolma_pipe.train.model.attention import make_cache
from dolma_pipe.train.model.transformer import Transformer


class GenerateConfig(Config, frozen=True):
    """How tokens are chosen: the likeliest with `temperature` 0, else drawn; then of the `top_k` likeliest only.

    The same prompt, seed and model give the same text on one kind of device.
    """

    max_tokens: Positive = 100
    temperature: Real = 0.0
    top_k: Positive | None = None
    seed: int = 0

    def check(self) -> None:
        if self.top_k is not None and not self.temperature:
            raise ConfigError("top_k has no effect with temperature 0, which takes the likeliest token")


@torch.inference_mode()
def generate(model: Transformer, prompt: Sequence[int], config: GenerateConfig, eos: int | None) -> Iterator[int]:
    """The tokens after a prompt (at least one token) of one text, up to and without end-of-text.

    Rows of the embedding that only fill it up (`padded_vocab_size`) are no tokens, and never chosen.
    """
    config.check()
    if not prompt:
        raise ConfigError("generate: the prompt has no token; begin with end-of-text, as a document does")
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(key_of(config.seed, "generate", "tokens"))
    like = torch.empty(0, dtype=model.compute_dtype, device=device)
    cache = make_cache(model.config, 1, len(prompt) + config.max_tokens, like)
    given = torch.tensor([list(prompt)], device=device)
    for _ in range(config.max_tokens):
        token = choose(model(given, cache=cache)[0, -1, : model.config.vocab_size], config, generator)
        if token == eos:
            return
        yield token
        given = torch.tensor([[token]], device=device)


def choose(logits: Tensor, config: GenerateConfig, generator: torch.Generator) -> int:
    """One token by its logits [vocabulary]."""
    if not config.temperature:
        return int(logits.argmax())
    exact = logits.to("cpu", torch.float64) / config.temperature
    if config.top_k is not None:
        least = exact.topk(min(config.top_k, len(exact))).values[-1]
        exact = exact.masked_fill(exact < least, -torch.inf)
    return int(torch.multinomial(exact.softmax(dim=-1), 1, generator=generator))
