"""Any `tokenizer.json`: text in, ids out, at the speed of reading where that is proven.

The reference is `tokenizers` with `encode_special_tokens`: a special token that a document spells out is text, so
no document can forge a boundary; added tokens that are not special (`|||EMAIL_ADDRESS|||`, runs of spaces) match.
`gigatoken` gives the same ids some sixty times faster. It always recognises special tokens, so it is given the
tokenizer without them; that is the same unless a special token and another added token can overlap. It is used only
where its ids equal the reference's on `hard_texts`, and every stage that encodes compares some of its own input.

What a `tokenizer.json` says about truncation, padding, dropout and templates is not followed.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from dolma_pipe import storage
from dolma_pipe.batch import Batch, Bytes, Int64s
from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.fast_encoder import FastEncoder, UInt32s, load_fast
from dolma_pipe.hard_texts import HARD_TEXTS, in_contexts
from dolma_pipe.tokens import dtype_for

Engine = Literal["auto", "gigatoken", "tokenizers"]

PROVEN_CHARS = 1000
"""Characters of each document of a run's own input that are encoded twice."""


class Names(NamedTuple):
    """The tokens that mean something to a trainer, as strings."""

    eos: str
    bos: str | None = None
    pad: str | None = None


class Tokenizer:
    """A loaded tokenizer; `hash` is the xxh3-128 of its file."""

    def __init__(self, raw: bytes, names: Names, engine: Engine, path: str) -> None:
        self.raw = raw
        self.hash = xxhash.xxh3_128_hexdigest(raw)
        self.path = path
        spec = _parse(raw, path)
        tokens = {token["content"]: token["id"] for token in spec["added_tokens"]}
        self._specials = {token["content"]: token["id"] for token in spec["added_tokens"] if token["special"]}
        self.eos_id = _id(names.eos, "eos", tokens, path)
        self.bos_id = None if names.bos is None else _id(names.bos, "bos", tokens, path)
        self.pad_id = None if names.pad is None else _id(names.pad, "pad", tokens, path)
        self._reference = _reference(spec, names, path)
        self.vocab_size = 1 + max(self._reference.get_vocab(with_added_tokens=True).values())
        self.dtype = dtype_for(self.vocab_size)
        if self.eos_id in self._encode_slow([names.eos])[0]:
            raise ConfigError(f"{path}: text that spells {names.eos!r} becomes end-of-text; choose another --eos")
        self._fast, self._reason = (None, "as asked") if engine == "tokenizers" else self._prove(spec)
        if self._fast is None and engine == "gigatoken":
            raise ConfigError(f"{path}: {self._reason}; use the engine auto or tokenizers")

    def describe(self) -> str:
        """Which implementation encodes, and why."""
        slow = f"tokenizers {version('tokenizers')}"
        if self._fast is None:
            return f"{slow}, some sixty times slower than gigatoken ({self._reason})"
        return f"gigatoken {version('gigatoken')}, its ids equal to those of {slow} on {self._reason}"

    def encode(self, data: Bytes, offsets: Int64s) -> tuple[UInt32s, Int64s]:
        """Ids of every text `data[offsets[i]:offsets[i + 1]]`, behind one another, and their int64[n + 1] offsets."""
        if self._fast is None:
            text = pa.LargeStringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(data))
            found = self._encode_slow(text.to_pylist())
            ends = np.cumsum([0, *map(len, found)])
            return np.concatenate([np.empty(0, np.uint32), *found]), ends
        return self._fast.encode(data, offsets)

    def documents(self, batch: Batch) -> tuple[NDArray[Any], Int64s]:
        """Ids of a batch's documents in the shard's dtype, each as [bos] ids eos (an empty text is [bos] eos), and
        where each ends."""
        from dolma_pipe.kernels.tokens import close_documents

        ids, offsets = self.encode(batch.data, batch.offsets)
        extra = 1 + (self.bos_id is not None)
        ends = offsets[1:] + extra * np.arange(1, len(batch) + 1)
        out = np.empty(len(ids) + extra * len(batch), self.dtype)
        forged = close_documents(ids, offsets, -1 if self.bos_id is None else self.bos_id, self.eos_id, out)
        if forged >= 0:
            raise self._forged(batch, forged)
        return out, ends

    def segments(
        self, batch: Batch, starts: Int64s, stops: Int64s, heads: NDArray[np.int64], documents: Int64s
    ) -> tuple[NDArray[Any], Int64s]:
        """As `documents`, of texts in segments: bytes [start, stop) behind up to two ids of `heads` (-1: none);
        `documents` says whose each is."""
        from dolma_pipe.kernels.ranges import gather_ranges
        from dolma_pipe.kernels.tokens import close_segments

        ids, offsets = self.encode(*gather_ranges(batch.data, starts, stops))
        extra = 1 + (self.bos_id is not None)
        out = np.empty(len(ids) + int((heads >= 0).sum()) + extra * len(batch), self.dtype)
        bos = -1 if self.bos_id is None else self.bos_id
        forged, ends = close_segments(ids, offsets, heads, documents, bos, self.eos_id, out)
        if forged >= 0:
            raise self._forged(batch, forged)
        return out, ends

    def special_id(self, token: str, role: str) -> int:
        """The id of a special token, which text cannot spell."""
        return _id(token, role, self._specials, self.path, "special")

    def _forged(self, batch: Batch, document: int) -> DataError:
        return DataError(
            f"{batch.shard}: document {batch.ids[document].as_py()!r} encodes to the end-of-text id {self.eos_id}; "
            "choose a special token with --eos"
        )

    def decode(self, ids: Sequence[int]) -> str:
        """The text that ids stand for; special tokens stand for none."""
        return self._reference.decode(list(ids))

    def count_tokens(self, batch: Batch) -> Int64s:
        """Tokens of each document of a batch, bos and eos included."""
        return np.diff(self.encode(batch.data, batch.offsets)[1]) + 1 + (self.bos_id is not None)

    def check_sample(self, batch: Batch, documents: int) -> None:
        """Compare both implementations on so many documents of a batch; a difference is a `DataError`."""
        if self._fast is None:
            return
        rows = np.unique(np.linspace(0, len(batch) - 1, min(documents, len(batch))).astype(np.int64))
        texts = [batch.text(int(row))[:PROVEN_CHARS] for row in rows]
        wrong = self._difference(self._fast, texts)
        if wrong is not None:
            name = batch.ids[int(rows[wrong])].as_py()
            raise DataError(
                f"{batch.shard}: gigatoken and tokenizers give other ids for document {name!r}, "
                f"{_shown(texts[wrong])}; run again with engine=tokenizers, and report it"
            )

    def token_bytes(self) -> Int64s:
        """int64[vocab_size]: UTF-8 bytes of text that each id stands for (0 for special tokens). They add up to the
        text's for byte-level tokenizers that do not normalise."""
        spec = _parse(self.raw, self.path)
        added = {token["id"]: len(token["content"].encode()) for token in spec["added_tokens"] if not token["special"]}
        special = {token["id"]: 0 for token in spec["added_tokens"] if token["special"]}
        byte_level = '"ByteLevel"' in msgspec.json.encode([spec["pre_tokenizer"], spec["decoder"]]).decode()
        sizes = np.zeros(self.vocab_size, np.int64)
        for token, number in self._reference.get_vocab(with_added_tokens=True).items():
            sizes[number] = len(token) if byte_level else _piece_bytes(token)
        for number, size in {**added, **special}.items():
            sizes[number] = size
        return sizes

    def _prove(self, spec: dict[str, Any]) -> tuple[FastEncoder | None, str]:
        """An encoder whose ids are the reference's, or None, and what was found."""
        try:
            fast = FastEncoder(load_fast(spec), self._encode_slow)
        except ValueError as error:
            return None, str(error)
        added = [token["content"] for token in spec["added_tokens"]]
        texts = [*HARD_TEXTS, *in_contexts(added)]
        wrong = self._difference(fast, texts)
        if wrong is not None:
            return None, f"gigatoken gives other ids for {_shown(texts[wrong])}"
        return fast, f"{len(texts)} hard texts"

    def _difference(self, fast: FastEncoder, texts: Sequence[str]) -> int | None:
        """The first text for which the two implementations differ."""
        encoded = [text.encode() for text in texts]
        offsets = np.cumsum([0, *map(len, encoded)])
        ids, ends = fast.encode(np.frombuffer(b"".join(encoded), np.uint8), offsets)
        for i, expected in enumerate(self._encode_slow(texts)):
            if not np.array_equal(ids[ends[i] : ends[i + 1]], expected):
                return i
        return None

    def _encode_slow(self, texts: Sequence[str]) -> list[UInt32s]:
        found = self._reference.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(encoding.ids, np.uint32) for encoding in found]


class Identity(NamedTuple):
    """Which tokenizer, as plain data: what can be known of it without loading it."""

    path: str
    hash: str
    names: Names


def identify(path: str, eos: str | None = None, bos: str | None = None, pad: str | None = None) -> Identity:
    """The tokenizer at `path`, which is a `tokenizer.json` or a folder that has one.

    Tokens that are not named are taken from a `tokenizer_config.json` beside it; without an end-of-text it is a
    `ConfigError`.
    """
    path = path if path.endswith(".json") else storage.join(path, "tokenizer.json")
    if storage.stat(path) is None:
        raise ConfigError(f"{path}: no such tokenizer; give a tokenizer.json")
    raw = storage.read_bytes(path)
    return Identity(path, xxhash.xxh3_128_hexdigest(raw), _names(raw, path, eos, bos, pad))


@functools.lru_cache(maxsize=4)
def open_tokenizer(identity: Identity, engine: Engine = "auto") -> Tokenizer:
    """Load and prove a tokenizer, once per process."""
    raw = storage.read_bytes(identity.path)
    if xxhash.xxh3_128_hexdigest(raw) != identity.hash:
        raise DataError(f"{identity.path}: changed since the run began; run again")
    return Tokenizer(raw, identity.names, engine, identity.path)


def _names(raw: bytes, path: str, eos: str | None, bos: str | None, pad: str | None) -> Names:
    beside = storage.join(storage.parent(path), "tokenizer_config.json")
    config: dict[str, Any] = msgspec.json.decode(storage.read_bytes(beside)) if storage.stat(beside) else {}
    known = {name: _content(config.get(f"{name}_token")) for name in ("eos", "bos", "pad")}
    eos = eos or known["eos"]
    if eos is None:
        special = [token["content"] for token in _parse(raw, path)["added_tokens"] if token["special"]]
        raise ConfigError(
            f"{path}: which token ends a document? Name it with --eos (special tokens: {', '.join(special) or 'none'}) "
            "or put a tokenizer_config.json with eos_token beside it"
        )
    if bos == eos:
        raise ConfigError(f"{path}: bos {bos!r} ends documents, and so stands before the next one; leave it out")
    own = known["bos"] if config.get("add_bos_token") and known["bos"] != eos else None
    return Names(eos, bos or own, pad or known["pad"])


def _content(token: Any) -> str | None:
    """A token of a tokenizer_config.json, which is a string or an object with its content."""
    return token.get("content") if isinstance(token, dict) else token


def _parse(raw: bytes, path: str) -> dict[str, Any]:
    try:
        spec = msgspec.json.decode(raw)
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path}: not a tokenizer.json: {error}") from error
    if not isinstance(spec, dict) or "model" not in spec:
        raise ConfigError(f"{path}: not a tokenizer.json: it has no model")
    defaults = {"added_tokens": [], "pre_tokenizer": None, "decoder": None}
    return {**defaults, **spec}  # pyright: ignore[reportUnknownArgumentType]


def _id(token: str, role: str, tokens: dict[str, int], path: str, kind: str = "added") -> int:
    if token not in tokens:
        known, article = ", ".join(sorted(tokens)[:12]) or "none", "an" if kind == "added" else "a"
        raise ConfigError(
            f"{path}: the {role} token {token!r} is not {article} {kind} token of it ({kind} tokens: {known})"
        )
    return tokens[token]


def _reference(spec: dict[str, Any], names: Names, path: str) -> Any:
    """`tokenizers` for a spec; the tokens with a meaning are special, whatever the file says of them."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # workers are processes
    import tokenizers

    for token in spec["added_tokens"]:
        token["special"] = token["special"] or token["content"] in names
    spec.update(truncation=None, padding=None, post_processor=None)
    if spec["model"].get("dropout") is not None:
        spec["model"]["dropout"] = None
    if spec["model"].get("type") == "Unigram":
        _hide_specials(spec)
    try:
        reference = tokenizers.Tokenizer.from_str(msgspec.json.encode(spec).decode())
    except Exception as error:  # the library raises bare exceptions
        raise ConfigError(f"{path}: tokenizers cannot read it: {error}") from error
    reference.encode_special_tokens = True
    return reference


def _hide_specials(spec: dict[str, Any]) -> None:
    """A Unigram model has special tokens among its pieces, and would find them in text: there they get a name that no
    text has."""
    special = {token["content"]: token for token in spec["added_tokens"] if token["special"]}
    for piece in spec["model"]["vocab"]:
        if piece[0] in special:
            special[piece[0]]["content"] = piece[0] = piece[0] + "\U0010ffff"


def _piece_bytes(token: str) -> int:
    """Bytes of text of a SentencePiece piece: its mark stands for a space, `<0x0A>` for one byte."""
    is_byte = len(token) == 6 and token.startswith("<0x") and token.endswith(">")
    return 1 if is_byte else len(token.replace("\u2581", " ").encode())


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
