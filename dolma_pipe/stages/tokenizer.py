"""Trains a byte-level BPE tokenizer on documents.

Pre-tokenization is GPT-2's (and OLMo 1's), without normalisation: text comes back byte for byte. Ids are, in this
order: special tokens, the 256 bytes, merges, added tokens such as PII masks. Texts are cut at special and added
tokens, so no merge is learned from them.

`gigatoken` trains some eight times faster than `tokenizers` and finds the same merges (a test compares the two).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from dolma_pipe import storage
from dolma_pipe.batch import Batch
from dolma_pipe.config import Config, fingerprint
from dolma_pipe.draws import draws
from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.manifest import MANIFEST, Record, Ref
from dolma_pipe.shards import DocumentReader, Shard, document_shards
from dolma_pipe.stage import Stage, Task, Work
from dolma_pipe.stages.text_sample import Names, Samples
from dolma_pipe.stages.tokenize.config import Origin, check_names
from dolma_pipe.takedown import tombstones

MASKS = ("|||EMAIL_ADDRESS|||", "|||PHONE_NUMBER|||", "|||IP_ADDRESS|||")
"""What OLMo's tokenizers have for personal data that a mix has masked."""

CUT = b"\xff"
"""Between texts: a byte that UTF-8 does not have."""

BYTES = 256


class TokenizerConfig(Config, frozen=True):
    """`vocab_size` ids in all, for the tokenizer written to `to` (a .json file, or a folder for tokenizer.json).

    `max_bytes` of text are used at most: documents in the order of their draws (seed, purpose "tokenizer").
    With `weights` each source gives its share of `max_bytes`, or all it has; without, all are sampled as one.
    `added_tokens` are matched in text, `special_tokens` are not; `eos` and `pad` are among the special ones.
    """

    datasets: list[str] = []
    to: str = ""
    vocab_size: Annotated[int, Meta(gt=0)] = 16_384
    max_bytes: Annotated[int, Meta(gt=0)] = 1 << 29
    weights: dict[str, Annotated[float, Meta(gt=0)]] = {}
    seed: int = 0
    eos: str = "<|endoftext|>"
    pad: str | None = "<|padding|>"
    special_tokens: list[str] = []
    added_tokens: tuple[str, ...] = MASKS
    engine: Literal["gigatoken", "tokenizers"] = "gigatoken"
    include: list[str] = []
    exclude: list[str] = []
    limit: Annotated[int, Meta(gt=0)] | None = None
    max_bad_fraction: float = 0.01

    @property
    def path(self) -> str:
        return self.to if self.to.endswith(".json") else storage.join(self.to, "tokenizer.json")

    @property
    def specials(self) -> list[str]:
        """All special tokens, in the order of their ids."""
        return list(dict.fromkeys([self.eos, *([self.pad] if self.pad else []), *self.special_tokens]))

    @property
    def merges(self) -> int:
        return self.vocab_size - BYTES - len(self.specials) - len(self.added_tokens)

    def check(self) -> None:
        if not self.datasets or not self.to:
            raise ConfigError("tokenizer train: give a data set and --to tokenizer.json")
        check_names(self.datasets)
        if self.merges < 1:
            least = self.vocab_size - self.merges + 1
            raise ConfigError(f"vocab_size is {self.vocab_size}; bytes, special and added tokens need {least} at least")
        both = sorted({name for name in self.specials if name in self.added_tokens})
        if both or len(set(self.added_tokens)) < len(self.added_tokens):
            raise ConfigError(f"added_tokens: {', '.join(both) or 'a token'} is listed twice")


class TrainTokenizer(Stage):
    name = "tokenizer"
    version = 2
    phases = ("train",)

    def __init__(self, config: TokenizerConfig) -> None:
        config.check()
        self.config = config
        self.home = storage.parent(config.path)
        self.max_bad_fraction = config.max_bad_fraction
        self.origins = [Origin.of(dataset) for dataset in config.datasets]

    def plan(self, phase: str, done: dict[str, list[Record]]) -> list[Task]:
        config = self.config
        shards = [
            (number, tuple(shard))
            for number, origin in enumerate(self.origins)
            for shard in document_shards(origin.dataset, config.include, config.exclude)
        ]
        refs = tuple(Ref(f"{self.origins[n].name}/documents/{shard[1]}", Shard(*shard).path) for n, shard in shards)
        how = (
            config.vocab_size, config.max_bytes, config.seed, config.specials, config.pad, config.added_tokens,
            config.engine, config.limit, config.weights, [sorted(tombstones.read(name)) for name in config.datasets],
            [origin.lock is not None for origin in self.origins],
        )  # fmt: skip
        definition = fingerprint((self.name, self.version, how))
        name = config.path.rsplit("/", 1)[-1].removesuffix(".json")
        record = storage.join(self.home, MANIFEST, "train", name + ".json")
        return [Task(name, record, definition, refs, shards)]

    def still_wanted(self, record: Record) -> bool:
        return True  # other tokenizers may lie in the same folder

    def run(self, phase: str, task: Task, work: Work) -> None:
        texts = [*self._texts(task, work)]
        if not any(texts):
            raise DataError(f"{', '.join(self.config.datasets)}: no text to train a tokenizer on")
        learn = learn_fast if self.config.engine == "gigatoken" else learn_reference
        merges = learn(texts, self.config.merges)
        with work.create(self.config.path) as out:
            out.write(make_tokenizer(merges, self.config.specials, self.config.added_tokens).encode())
        with work.create(storage.join(self.home, "tokenizer_config.json")) as out:
            out.write(msgspec.json.format(msgspec.json.encode(_hugging_face(self.config)), indent=2) + b"\n")

    def _texts(self, task: Task, work: Work) -> Iterator[bytes]:
        """The chosen texts in documented order (data sets as given, shards by bytes, rows), cut at `CUT`."""
        samples = Samples(self.config.max_bytes, self.config.weights)
        for batch, sources, found, stays in self._batches(task, work):
            samples.add(sources, found, np.diff(batch.offsets) * stays)
            work.count(documents=len(batch), bytes=len(batch.data))
        samples.settle()
        if samples.unseen:
            known = ", ".join(sorted(samples.seen))
            raise ConfigError(f"weights: no document is of {samples.unseen[0]!r} (sources: {known})")
        for batch, sources, found, stays in self._batches(task, None):
            rows = np.flatnonzero(samples.takes(sources, found) & stays)
            work.count(used_documents=len(rows), used_bytes=int(np.diff(batch.offsets)[rows].sum()))
            yield cut(
                [batch.text(int(row)).encode() for row in rows], [*self.config.specials, *self.config.added_tokens]
            )

    def _batches(
        self, task: Task, work: Work | None
    ) -> Iterator[tuple[Batch, Names, NDArray[np.uint64], NDArray[np.bool_]]]:
        """All batches, with their documents' sources and draws, and which were not taken down. The first pass (with
        `work`) tells what it saw."""
        for ref, (number, shard) in zip(task.inputs, task.payload, strict=True):
            origin, shard = self.origins[number], Shard(*shard)
            gone = tombstones.read(origin.dataset)
            reader = DocumentReader(shard, origin.columns, limit=self.config.limit)
            for batch in reader:
                sources = np.array(origin.sources(batch).to_pylist(), object)
                found = np.empty(len(batch), np.uint64)
                for source in dict.fromkeys(sources.tolist()):
                    rows = np.flatnonzero(sources == source)
                    found[rows] = draws(self.config.seed, "tokenizer", source, batch.ids.take(rows), origin.copy(shard))
                if work is not None:
                    work.progress(len(batch), len(batch.data))
                stays = np.array([name not in gone for name in batch.ids.to_pylist()] if gone else [True] * len(batch))
                yield batch, sources, found, stays
            if work is not None:
                work.count(bad_rows=reader.bad_rows, bad_bytes=reader.bad_bytes)
                if reader.hash is not None and reader.size is not None:
                    work.seen(ref, reader.size, reader.hash)


def cut(texts: Sequence[bytes], tokens: Sequence[str]) -> bytes:
    """The texts, with `CUT` between them and in the place of every token."""
    joined = CUT.join(texts)
    for token in tokens:
        joined = joined.replace(token.encode(), CUT)
    return joined


def learn_reference(texts: Iterable[bytes], count: int) -> list[tuple[str, str]]:
    """The first `count` merges that `tokenizers` learns from texts separated by `CUT`."""
    import tokenizers
    from tokenizers import models, pre_tokenizers, trainers

    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer: Any = trainers.BpeTrainer(vocab_size=BYTES + count, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(([piece.decode() for piece in text.split(CUT) if piece] for text in texts), trainer)
    merges = [(left, right) for left, right in msgspec.json.decode(tokenizer.to_str())["model"]["merges"]]
    if len(merges) < count:
        raise _too_little(count)
    return merges


def learn_fast(texts: Sequence[bytes], count: int) -> list[tuple[str, str]]:
    """What `learn_reference` finds, from `gigatoken` where that is sure; all texts lie in memory.

    Every distinct word of more than a byte ends as a token of its own, so there are as many merges at least. A text
    with fewer words may run out of pairs, where gigatoken goes on and invents some: it is left to the reference.
    """
    import gigatoken
    from gigatoken.gigatoken_rs import pretokenized_counts

    joined = CUT.join(texts)
    with _silence():
        if sum(len(word) > 1 for word, _ in pretokenized_counts(joined, CUT)) < count:
            return learn_reference(texts, count)
        _, found = gigatoken.train_bpe(joined, BYTES + count, [], separator=CUT)
    letters = byte_letters()
    return [
        ("".join(letters[byte] for byte in left), "".join(letters[byte] for byte in right)) for left, right in found
    ]


def _too_little(count: int) -> DataError:
    return DataError(f"the text is too little for {count} merges; give more text or a smaller --vocab-size")


def byte_letters() -> list[str]:
    """The letter that stands for each byte in byte-level BPE files: itself where printable, else from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(BYTES)]


def make_tokenizer(merges: Sequence[tuple[str, str]], specials: Sequence[str], added: Sequence[str]) -> str:
    """A `tokenizer.json`."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers

    names = [*specials, *sorted(byte_letters()), *(left + right for left, right in merges)]
    vocabulary = {name: number for number, name in enumerate(names)}
    model: Any = models.BPE(vocab=vocabulary, merges=list(merges))
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(specials))
    tokenizer.add_tokens([tokenizers.AddedToken(name, normalized=False) for name in added])
    return tokenizer.to_str(pretty=True)


def _hugging_face(config: TokenizerConfig) -> dict[str, Any]:
    named = {"eos_token": config.eos, "pad_token": config.pad}
    extra = [name for name in config.specials if name not in (config.eos, config.pad)]
    found = {**named, "additional_special_tokens": extra, "tokenizer_class": "PreTrainedTokenizerFast"}
    return {name: value for name, value in found.items() if value}


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Nothing on standard output and error: gigatoken's trainer talks, and standard output is for results."""
    kept = [os.dup(number) for number in (1, 2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for number in (1, 2):
            os.dup2(nowhere, number)
        yield
    finally:
        for number, former in zip((1, 2), kept, strict=True):
            os.dup2(former, number)
            os.close(former)
        os.close(nowhere)
