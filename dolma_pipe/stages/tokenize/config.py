"""What a tokenize run is, and whose documents it reads."""

from __future__ import annotations

import re
from typing import Annotated, Literal, NamedTuple

import pyarrow as pa
from msgspec import Meta

from dolma_pipe import storage
from dolma_pipe.batch import Batch
from dolma_pipe.config import Config
from dolma_pipe.errors import ConfigError
from dolma_pipe.shards import Shard
from dolma_pipe.stages.tokenize.fim import FimConfig
from dolma_pipe.tokenizer import Engine

LOCK = "mix.lock.json"


class TokenizeConfig(Config, frozen=True):
    """Data sets in, one folder of token shards (`to`) out.

    `eos`, `bos`, `pad` are tokens as strings (default: the tokenizer_config.json beside the tokenizer; bos only if
    it says add_bos_token). `shard_tokens` is the size at which a shard closes. `seed` orders the documents.
    `engine`: auto takes gigatoken where its ids prove equal to tokenizers'. `cache` (default: `to`) is a local folder
    for encoded input, one per token folder; with `keep_cache: false` it is removed at the end, and a run after a
    change of the input encodes everything again.

    `pack` fills shards with whole sequences of `sequence_length` tokens: "concatenate" cuts documents wherever one
    ends, "best-fit" only those that are longer than one. With several lengths, each document goes to the shortest that
    holds it, and a shard has sequences of one length. `fim` rearranges documents for fill-in-the-middle.
    """

    datasets: list[str] = []
    to: str = ""
    tokenizer: str = ""
    eos: str | None = None
    bos: str | None = None
    pad: str | None = None
    shard_tokens: Annotated[int, Meta(gt=0)] = 1 << 28
    seed: int = 0
    engine: Engine = "auto"
    pack: Literal["concatenate", "best-fit"] | None = None
    sequence_length: int | list[int] | None = None
    fim: FimConfig | None = None
    include: list[str] = []
    exclude: list[str] = []
    limit: Annotated[int, Meta(gt=0)] | None = None
    cache: str | None = None
    keep_cache: bool = True
    max_bad_fraction: float = 0.01

    def check(self) -> None:
        """Refuse what cannot work, before any work."""
        for name in ("datasets", "to", "tokenizer"):
            if not getattr(self, name):
                raise ConfigError(f"tokenize: {name} is missing; dolma-pipe tokenize DATASET --tokenizer FILE --to DIR")
        check_names(self.datasets)
        if storage.is_remote(self.cache or self.to):
            raise ConfigError(
                f"tokenize: {self.cache or self.to}: token runs are mapped into memory; give a local folder for them "
                "(--set cache=DIR), the token shards may lie on s3"
            )
        self._check_packing()
        if self.fim is not None:
            self.fim.check()

    @property
    def sequence_lengths(self) -> list[int]:
        """Lengths of packed sequences, ascending; none where documents are not packed."""
        given = self.sequence_length
        return [] if given is None else sorted(given) if isinstance(given, list) else [given]

    def _check_packing(self) -> None:
        lengths = self.sequence_lengths
        if (self.pack is None) != (not lengths):
            raise ConfigError("tokenize: pack and sequence_length belong together: give both, or neither")
        if len(set(lengths)) < len(lengths) or any(length < 2 for length in lengths):
            raise ConfigError(f"tokenize: sequence_length {lengths}: expected different numbers of 2 or more")
        if lengths and self.shard_tokens < lengths[-1]:
            raise ConfigError(f"tokenize: shard_tokens {self.shard_tokens} is less than a sequence of {lengths[-1]}")
        if self.pack == "concatenate" and len(lengths) > 1:
            raise ConfigError("tokenize: pack: concatenate has one sequence_length; several are for best-fit")


def folder_name(dataset: str) -> str:
    """What a data set is called in token tables: its folder's name."""
    return dataset.rstrip("/").rsplit("/", 1)[-1]


def check_names(datasets: list[str]) -> None:
    """Refuse two data sets with one name: tables of tokens could not tell them apart."""
    names = [folder_name(dataset) for dataset in datasets]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two data sets are called {name!r}; mix them, or rename the folder of one")


class Origin(NamedTuple):
    """A data set as this stage reads it. What a mix wrote has its sources as folders below documents/."""

    dataset: str
    name: str
    lock: str | None

    @classmethod
    def of(cls, dataset: str) -> Origin:
        folders = [dataset]
        if "/splits/" in dataset:
            folders.append(dataset.rsplit("/splits/", 1)[0])
        locks = [storage.join(folder, LOCK) for folder in folders]
        return cls(dataset, folder_name(dataset), next((path for path in locks if storage.is_file(path)), None))

    @property
    def columns(self) -> tuple[str, ...]:
        return ("id", "text") if self.lock else ("id", "text", "source")

    def sources(self, batch: Batch) -> pa.Array:
        """Each document's source: the mix source's name, else its own `source` field, else the data set's name."""
        if self.lock:
            return pa.array([batch.shard.split("/", 1)[0]] * len(batch), pa.string())
        return batch.columns.column("source").fill_null(self.name)

    def copy(self, shard: Shard) -> int:
        """Which copy of its documents a shard holds: a mix that repeats documents writes copy n to `NAME.copyn`."""
        found = re.search(r"\.copy(\d+)$", shard.stem) if self.lock else None
        return int(found.group(1)) if found else 0
