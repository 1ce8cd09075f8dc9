"""Token folders made by the stage, and read back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dolma_pipe.batch import make_batch
from dolma_pipe.config import convert
from dolma_pipe.execution import Summary, run_stage
from dolma_pipe.runners.local import Local
from dolma_pipe.stages.tokenize import Tokenize, TokenizeConfig
from dolma_pipe.tokenizer import Tokenizer, identify, open_tokenizer
from dolma_pipe.tokens import TokenSet

Make = Callable[..., str]

WORDS = ["the", "quick", "brown", "fox", "jumps", "lazy", "dogs", "é", "日本", "1234", "def", "x+1", "\n\n", "again"]


def documents(count: int, name: str = "d", longest: int = 60) -> list[dict[str, str]]:
    draw = np.random.default_rng(len(name) + count)
    texts = [" ".join(draw.choice(WORDS, int(draw.integers(0, longest)))) for _ in range(count)]
    return [{"id": f"{name}{number}", "text": text, "source": f"s{number % 3}"} for number, text in enumerate(texts)]


def tokenize(data: str | list[str], to: Path, tokenizer: str, workers: int = 1, **options: Any) -> Summary:
    datasets = [data] if isinstance(data, str) else data
    given = {"datasets": datasets, "to": str(to), "tokenizer": tokenizer, "shard_tokens": 1000, **options}
    config = convert(given, TokenizeConfig, "test")
    return run_stage(Tokenize(config), Local(workers))


def opened(tokenizer: str) -> Tokenizer:
    return open_tokenizer(identify(tokenizer))


def rows(to: Path) -> Iterator[tuple[dict[str, Any], list[int]]]:
    """Every row of the tables, with its tokens."""
    for shard in TokenSet.open(str(to)).shards:
        start, mapped = 0, shard.map()
        for row in shard.documents().to_pylist():
            yield row, mapped[start : row["end"]].tolist()
            start = row["end"]


def bins(to: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(to.glob("*.bin"))}


def encoded(tokenizer: str, text: str) -> list[int]:
    return opened(tokenizer).documents(make_batch([text]))[0].tolist()
