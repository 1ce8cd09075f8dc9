"""What a checkpoint is made of."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import msgspec

import dolma_pipe
from dolma_pipe.config import fingerprint
from dolma_pipe.tokens import TokenSet
from dolma_pipe.types import Plain


def lineage(folders: Sequence[TokenSet]) -> dict[str, Plain]:
    """The tokens, their tokenizer, the mixes their text came from, and the code at work now."""
    return {"code": code(), "tokens": [_tokens(folder) for folder in folders]}


def _tokens(folder: TokenSet) -> dict[str, Plain]:
    return {
        "folder": folder.folder,
        "manifest": folder.hash,
        "tokenizer": folder.manifest.tokenizer_hash,
        "origins": [msgspec.structs.asdict(origin) for origin in folder.manifest.origins],
    }


@cache
def code() -> dict[str, Plain]:
    """The version of this package, and a fingerprint of the source of its training stage."""
    stage = Path(__file__).parents[1]
    sources = sorted((path.relative_to(stage).as_posix(), path) for path in stage.rglob("*.py"))
    return {
        "version": dolma_pipe.__version__,
        "train": fingerprint([[name, path.read_text(encoding="utf-8")] for name, path in sources]),
    }
