"""Token shards: what a model trains on, as files that say what they hold.

A folder of shards is

    shard-00000.bin            headerless little-endian uint16 or uint32, documents behind one another
    shard-00000.docs.parquet   one row per document (`DOCUMENTS`)
    shard-00000.csv.gz         the same boundaries in OLMo's form: start,end,id,src,loc; no header
    tokenizer.json             the tokenizer whose ids these are
    manifest.json              `Manifest`

Every document is [bos] tokens eos, and `end` lies after eos. Only a document longer than a whole shard (or than the
sequences that documents are packed into) lies in parts; they follow one another, and only the last one ends with eos.
Rows tile a shard: padding is a row, too.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dolma_pipe import storage
from dolma_pipe.config import fingerprint
from dolma_pipe.errors import ConfigError, DataError

MANIFEST = "manifest.json"
TOKENIZER = "tokenizer.json"
FORMAT = 2

_NAMES = pa.dictionary(pa.int32(), pa.string())
DOCUMENTS = pa.schema(
    [
        ("end", pa.int64()),  # tokens of the shard up to and including this document (its eos included)
        ("id", pa.string()),
        ("source", _NAMES),  # the mix source's name
        ("bytes", pa.int64()),  # UTF-8 bytes of the text (of this part of it)
        ("dataset", _NAMES),  # where the text came from: data set, shard below documents/, row
        ("shard", _NAMES),
        ("row", pa.int64()),
        ("part", pa.int32()),  # 0-based; a document that lies in this shard alone is part 0 of 1
        ("parts", pa.int32()),
        ("masked", pa.bool_()),  # padding between packed documents (0 parts), or taken down: no label lies in it
    ]
)


class Totals(msgspec.Struct, frozen=True):
    """What a source amounts to; `tokens` include bos and eos, a document in several shards counts once."""

    documents: int
    tokens: int
    bytes: int


class ShardEntry(msgspec.Struct, frozen=True):
    """One shard: its files are `name` with `.bin`, `.docs.parquet`, `.csv.gz`; `hash` is the xxh3-128 of the .bin.

    `documents` counts rows of the table. `sequence_length` is that of the sequences that fill it, if it is packed.
    """

    name: str
    tokens: int
    documents: int
    hash: str
    sequence_length: int | None = None


class Origin(msgspec.Struct, frozen=True):
    """A data set the text came from; `mix` is the hash of its `mix.lock.json` if a mix wrote it."""

    dataset: str
    mix: str | None = None


class Packing(msgspec.Struct, frozen=True):
    """How documents fill sequences; shards are whole sequences, the next one right behind the last.

    `concatenate` cuts documents wherever a sequence ends, `best-fit` only those that are longer than one.
    """

    method: str
    sequence_lengths: list[int]
    sequences: int
    padding: int


class FillInTheMiddle(msgspec.Struct, frozen=True):
    """Documents rearranged to prefix, suffix, middle: how many, at which rates, of which sources ([]: all)."""

    rate: float
    spm_rate: float
    sources: list[str]
    tokens: list[str]
    documents: int


class Manifest(msgspec.Struct, frozen=True):
    """What a folder of token shards holds. `shards` are in order: together they are one stream of `tokens` tokens.

    `masked` of them are in masked rows, which `documents`, `bytes` and `sources` leave out. `order_hash` is what the
    hash was before documents were taken down.
    """

    dtype: str
    vocab_size: int
    eos_id: int
    bos_id: int | None
    pad_id: int | None
    tokenizer_hash: str
    seed: int
    shard_tokens: int
    documents: int
    tokens: int
    bytes: int
    sources: dict[str, Totals]
    shards: list[ShardEntry]
    origins: list[Origin] = []
    masked: int = 0
    packing: Packing | None = None
    fim: FillInTheMiddle | None = None
    order_hash: str | None = None
    format: int = FORMAT

    @property
    def hash(self) -> str:
        """32 hex digits over everything but `origins` and `order_hash`: equal for equal tokens, wherever their text
        lay."""
        values = msgspec.structs.asdict(self)
        return fingerprint({name: values[name] for name in values if name not in ("origins", "order_hash")})


class TokenShard:
    """One shard of a folder."""

    def __init__(self, folder: str, entry: ShardEntry, dtype: np.dtype[Any]) -> None:
        self.folder = folder
        self.entry = entry
        self.dtype = dtype

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def path(self) -> str:
        return storage.join(self.folder, self.name + ".bin")

    def __len__(self) -> int:
        return self.entry.tokens

    def map(self) -> np.memmap[Any, np.dtype[Any]]:
        """The tokens, mapped into memory and read-only; the file's size is checked against the manifest."""
        size, expected = storage.size(self.path), self.entry.tokens * self.dtype.itemsize
        if size != expected:
            raise DataError(f"{self.path}: {size} bytes, the manifest says {expected}; copy or tokenize it again")
        return np.memmap(storage.local_path(self.path), self.dtype, mode="r")

    def documents(self) -> pa.Table:
        """The shard's documents in order; columns as in `DOCUMENTS`."""
        path = storage.join(self.folder, self.name + ".docs.parquet")
        with storage.open_read(path) as stream:
            try:
                # one thread: a process that ends while Arrow still starts its own is aborted by the C++ runtime
                table = pq.ParquetFile(stream).read(use_threads=False).cast(DOCUMENTS)
            except (pa.ArrowInvalid, ValueError, OSError) as error:
                raise DataError(f"{path}: not a table of documents: {error}") from error
        last = table["end"][-1].as_py() if len(table) else 0
        if (len(table), last) != (self.entry.documents, self.entry.tokens):
            raise DataError(
                f"{path}: {len(table)} documents that end at token {last}, but the manifest says "
                f"{self.entry.documents} and {self.entry.tokens}; copy or tokenize it again"
            )
        return table

    def masked(self) -> NDArray[np.int64]:
        """int64[n, 2]: start and end of every masked row."""
        table = self.documents()
        ends = table["end"].to_numpy()
        ranges = np.stack([np.concatenate([[0], ends[:-1]]), ends], axis=1)
        return ranges[table["masked"].to_numpy()]


class TokenSet:
    """A folder of token shards."""

    def __init__(self, folder: str, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        dtype = np.dtype(manifest.dtype).newbyteorder("<")
        self.shards = [TokenShard(folder, entry, dtype) for entry in manifest.shards]

    @classmethod
    def open(cls, folder: str) -> TokenSet:
        """Read a folder's manifest and check that its shards are there, with the sizes it says."""
        path = storage.join(folder, MANIFEST)
        if storage.stat(path) is None:
            raise DataError(f"{path}: no such file; a token folder is what `dolma-pipe tokenize` has finished")
        try:
            manifest = msgspec.json.decode(storage.read_bytes(path), type=Manifest)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise DataError(f"{path}: not a manifest of token shards: {error}") from error
        if manifest.format != FORMAT or manifest.dtype not in ("uint16", "uint32"):
            raise DataError(
                f"{path}: format {manifest.format} of {manifest.dtype} is not known here (known: {FORMAT}); "
                "tokenize it again"
            )
        tokens = cls(folder, manifest)
        for shard in tokens.shards:
            shard.map()
        return tokens

    def bucket(self, sequence_length: int) -> TokenSet:
        """The same folder with those shards only whose sequences have that length."""
        found = TokenSet(self.folder, self.manifest)
        found.shards = [shard for shard in self.shards if shard.entry.sequence_length == sequence_length]
        return found

    @property
    def hash(self) -> str:
        """What training orders and checkpoints know the tokens by; a take-down leaves it as it was."""
        return self.manifest.order_hash or self.manifest.hash

    @property
    def total_tokens(self) -> int:
        return self.manifest.tokens


def dtype_for(vocab_size: int) -> np.dtype[Any]:
    """uint16 where every id below `vocab_size` fits, else uint32; little-endian."""
    return np.dtype("<u2") if vocab_size <= 1 << 16 else np.dtype("<u4")


def verify(tokens: TokenSet) -> list[str]:
    """Re-read and re-hash every shard; one line per problem found."""
    manifest = tokens.manifest
    problems: list[str] = []
    path = storage.join(tokens.folder, TOKENIZER)
    if storage.stat(path) is None:
        problems.append(f"{path}: gone")
    elif storage.content_hash(path) != manifest.tokenizer_hash:
        problems.append(f"{path}: is not the tokenizer that made these tokens")
    for shard in tokens.shards:
        try:
            problems += _faults(shard, manifest)
        except (DataError, ConfigError) as error:
            problems.append(str(error))
    return problems


def _faults(shard: TokenShard, manifest: Manifest) -> list[str]:
    found = storage.content_hash(shard.path)
    faults = [] if found == shard.entry.hash else [f"{shard.path}: hash {found}, the manifest says {shard.entry.hash}"]
    mapped, table = shard.map(), shard.documents()
    highest = max((int(mapped[at : at + (1 << 24)].max()) for at in range(0, len(mapped), 1 << 24)), default=0)
    if highest >= manifest.vocab_size:
        faults.append(f"{shard.path}: the id {highest} is not below the vocabulary's {manifest.vocab_size}")
    ends, last = table["end"].to_numpy(), table["part"].to_numpy() == table["parts"].to_numpy() - 1
    faults += _masked_faults(shard, mapped, manifest)
    if (np.diff(ends, prepend=0) <= 0).any():
        faults.append(f"{shard.path}: the ends of its documents do not rise")
    elif (mapped[ends[last] - 1] != manifest.eos_id).any():
        faults.append(f"{shard.path}: a document does not end with the end-of-text id {manifest.eos_id}")
    return faults


def _masked_faults(shard: TokenShard, mapped: NDArray[Any], manifest: Manifest) -> list[str]:
    """Masked rows hold padding, but for the end-of-text that closes a document."""
    padding = manifest.eos_id if manifest.pad_id is None else manifest.pad_id
    for start, end in shard.masked() if manifest.masked else ():
        if not np.isin(mapped[start:end], (padding, manifest.eos_id)).all():
            return [f"{shard.path}: the masked tokens {start}:{end} are not all padding; take the documents down again"]
    return []
