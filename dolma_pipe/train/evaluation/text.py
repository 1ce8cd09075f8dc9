"""Text for a trained model: its tokenizer, as the tokens were made that it was trained on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import msgspec
import numpy as np

from dolma_pipe import storage
from dolma_pipe.errors import DataError
from dolma_pipe.tokenizer import Names, Tokenizer
from dolma_pipe.tokens import TOKENIZER, TokenSet
from dolma_pipe.train.checkpoints.checkpoint import CheckpointRecord
from dolma_pipe.train.evaluation.scoring import Ids


class StoredTokenizer(NamedTuple):
    """A `tokenizer.json`, and which of its ids end a document, begin one, and fill a row."""

    path: str
    raw: bytes
    eos: int
    bos: int | None
    pad: int | None

    @property
    def first(self) -> int:
        """What a text is predicted from: begin-of-text, else end-of-text."""
        return self.eos if self.bos is None else self.bos


def tokenizer_of(folder: str, record: CheckpointRecord) -> StoredTokenizer:
    """The tokenizer of a checkpoint: its run's own, which tuned runs have, else that of its first token folder."""
    own = storage.join(storage.parent(storage.parent(folder)), TOKENIZER)
    if "mixtures" not in record.data:
        return StoredTokenizer(own, storage.read_bytes(own), *(record.data[name] for name in ("eos", "bos", "pad")))
    path = record.data["mixtures"][0]["sources"][0]["tokens"]
    if not storage.exists(path):
        raise DataError(f"{path}: the tokens that {folder} was trained on are gone, and their tokenizer with them")
    return stored_with(TokenSet.open(path))


def stored_with(tokens: TokenSet) -> StoredTokenizer:
    """The tokenizer beside tokens."""
    path, manifest = storage.join(tokens.folder, TOKENIZER), tokens.manifest
    return StoredTokenizer(path, storage.read_bytes(path), manifest.eos_id, manifest.bos_id, manifest.pad_id)


class TextEncoder:
    """Encodes as `dolma-pipe tokenize` does: special tokens that a text spells out are text."""

    def __init__(self, stored: StoredTokenizer) -> None:
        self.eos, self.bos, self.first = stored.eos, stored.bos, stored.first
        added = _added_tokens(stored.raw, stored.path)
        content = {token.id: token.content for token in added}
        if stored.eos not in content or (stored.bos is not None and stored.bos not in content):
            raise DataError(f"{stored.path}: no added token has the id {stored.eos} or {stored.bos}; tokenize again")
        names = Names(content[stored.eos], None if stored.bos is None else content[stored.bos])
        self.tokenizer = Tokenizer(stored.raw, names, "tokenizers", stored.path)
        self._special = {token.content: token.id for token in added if token.special or token.content in names}

    def encode(self, texts: Sequence[str]) -> list[Ids]:
        """The ids of each text, without bos or eos."""
        encoded = [text.encode() for text in texts]
        offsets = np.cumsum([0, *map(len, encoded)])
        ids, ends = self.tokenizer.encode(np.frombuffer(b"".join(encoded), np.uint8), offsets)
        return [ids[start:end].astype(np.int64) for start, end in pairwise(ends)]

    def encode_template(self, text: str) -> Ids:
        """The ids of a text of our own, in which special tokens are what they are."""
        pattern = "|".join(re.escape(name) for name in sorted(self._special, key=len, reverse=True))
        pieces = re.split(f"({pattern})", text) if pattern else [text]
        return np.concatenate(
            [np.empty(0, np.int64)]
            + [
                np.array([self._special[piece]]) if piece in self._special else self.encode([piece])[0]
                for piece in pieces
            ]
        )

    def decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(ids)

    def pair(self, context: str, continuation: str) -> tuple[Ids, Ids]:
        """Ids of a context and of what is to be scored after it, split where the context alone ends.

        As lm-evaluation-harness has it: blanks that end the context go to the continuation; both are encoded as one
        text. The context begins with bos where there is one, and is end-of-text where it is empty.
        """
        bare = context.rstrip()
        whole, before = self.encode([context + continuation, bare])
        begin = [self.first] if self.bos is not None or not len(before) else []
        return np.array([*begin, *before], np.int64), whole[len(before) :]


class _AddedToken(msgspec.Struct):
    id: int
    content: str
    special: bool = False


class _File(msgspec.Struct):
    added_tokens: list[_AddedToken]


def _added_tokens(raw: bytes, path: str) -> list[_AddedToken]:
    try:
        return msgspec.json.decode(raw, type=_File).added_tokens
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise DataError(f"{path}: not a tokenizer.json: {error}") from error
