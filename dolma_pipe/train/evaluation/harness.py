"""lm-evaluation-harness on a checkpoint as it is, without conversion.

    python -m dolma_pipe.train.evaluation.harness run --model dolma_pipe --model_args run=runs/small --tasks arc_easy

is `lm_eval` with a model `dolma_pipe` more; every other argument is lm_eval's own. Its `batch_size` counts rows of the
window. In Python: `register()`, then `lm_eval.simple_evaluate(model="dolma_pipe", model_args={"run": "runs/small"})`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
from msgspec import structs

from dolma_pipe.errors import DependencyError
from dolma_pipe.train.checkpoints import checkpoint
from dolma_pipe.train.evaluation.scoring import Window, continue_with, cut, score
from dolma_pipe.train.evaluation.text import TextEncoder, tokenizer_of
from dolma_pipe.train.model.generate import GenerateConfig, generate
from dolma_pipe.train.parallel import choose_device

BATCH_TOKENS = 16_384
MAX_TOKENS = 256
"""Tokens that are written where a task does not say how many."""


class NativeModel:
    """A checkpoint that answers lm_eval's three questions; `window` is that of its training unless it is given."""

    def __init__(
        self, run: str, batch_tokens: int = BATCH_TOKENS, window: int | None = None, device: str = "auto"
    ) -> None:
        folder = checkpoint.find(run)
        self.model, record = checkpoint.open_model(folder, choose_device(device))
        self.encoder = TextEncoder(tokenizer_of(folder, record))
        self.window = window or record.sequence_length
        self.batch_tokens = batch_tokens

    def log_likelihoods(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, bool]]:
        """Of each continuation after its context: log-probability, and whether it is the likeliest one throughout."""
        encoded = [self.encoder.pair(context, continuation) for context, continuation in pairs]
        windows = (
            window for number, pair in enumerate(encoded) for window in continue_with(number, *pair, self.window)
        )
        found = [(0.0, True)] * len(pairs)
        for window, loss in self._score(windows):
            log, greedy = found[window.item]
            found[window.item] = (log - loss.nats, greedy and loss.greedy)
        return found

    def rolling(self, texts: Sequence[str]) -> list[float]:
        """The log-probability of each whole text, window by window, the first token after end-of-text."""
        first = np.array([self.encoder.first])
        encoded = [np.concatenate([first, ids]) for ids in self.encoder.encode(texts)]
        windows = (window for number, ids in enumerate(encoded) for window in cut(number, ids, self.window, 0))
        found = [0.0] * len(texts)
        for window, loss in self._score(windows):
            found[window.item] -= loss.nats
        return found

    def write(self, context: str, until: Sequence[str], config: GenerateConfig) -> str:
        """What the model writes after a context, up to the first of `until` or end-of-text.

        Both have to fit into the window: the context loses its beginning, but keeps half of the window, and what is
        written ends where the window does.
        """
        ids = self.encoder.encode([context])[0].tolist()
        begin = [self.encoder.first] if self.encoder.bos is not None or not ids else []
        room = max(self.window - config.max_tokens, self.window // 2, 1)
        prompt, found, text = [*begin, *ids][-room:], [], ""
        config = structs.replace(config, max_tokens=min(config.max_tokens, max(self.window - len(prompt), 1)))
        for token in generate(self.model, prompt, config, self.encoder.eos):
            found.append(token)
            text = self.encoder.decode(found)
            ends = [text.find(stop) for stop in until if stop and stop in text]
            if ends:
                return text[: min(ends)]
        return text

    def _score(self, windows: Any) -> Iterator[tuple[Window, Any]]:
        return score(self.model, windows, self.batch_tokens)


def register() -> type[Any]:
    """Make the model `dolma_pipe` known to lm_eval; its class."""
    if find_spec("lm_eval") is None:
        raise DependencyError("lm_eval", "harness", "the evaluation harness")
    from lm_eval.api.model import LM  # pyright: ignore[reportMissingImports]
    from lm_eval.api.registry import register_model  # pyright: ignore[reportMissingImports]

    base: Any = LM

    class DolmaPipe(base):
        def __init__(
            self, run: str, batch_size: int | str = 1, max_batch_size: int | None = None, device: str | None = None,
            window: int | None = None, max_gen_toks: int = MAX_TOKENS,
        ) -> None:  # fmt: skip
            super().__init__()
            self.native = NativeModel(run, window=window, device=_device(device))
            if str(batch_size).isdigit():
                self.native.batch_tokens = int(batch_size) * self.native.window
            self.max_gen_toks = max_gen_toks

        def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
            return self.native.log_likelihoods([request.args for request in requests])

        def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
            return self.native.rolling([request.args[0] for request in requests])

        def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
            return [self._write(*request.args) for request in requests]

        def _write(self, context: str, settings: dict[str, Any]) -> str:
            stops = settings.get("until") or []
            wanted = settings.get("max_gen_toks", self.max_gen_toks)
            heat = float(settings.get("temperature") or 0.0) if settings.get("do_sample") else 0.0
            config = GenerateConfig(max_tokens=wanted, temperature=heat)
            return self.native.write(context, [stops] if isinstance(stops, str) else stops, config)

    return register_model("dolma_pipe")(DolmaPipe)


def _device(name: str | None) -> str:
    """Ours for lm_eval's, which says `cuda` where nobody said anything."""
    return "auto" if name is None or name.startswith("cuda") else name


def main() -> None:
    """lm_eval's own command line."""
    register()
    from lm_eval.__main__ import cli_evaluate  # pyright: ignore[reportMissingImports]

    sys.exit(cli_evaluate())


if __name__ == "__main__":
    main()
