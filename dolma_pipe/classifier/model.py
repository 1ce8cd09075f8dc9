"""The fastText library trains; what it wants and what it leaves behind stay in here."""

from __future__ import annotations

import contextlib
import ctypes
import os
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute

from dolma_pipe import storage
from dolma_pipe.classifier.config import ClassifierConfig
from dolma_pipe.classifier.examples import Example
from dolma_pipe.errors import DataError

pc: Any = pyarrow.compute

_M_PERTURB = -6
_SPACE = str.maketrans(dict.fromkeys("\n\r\v\f\t\0", " "))


def as_lines(texts: Sequence[str], lowercase: bool) -> list[str]:
    """Texts as lines of fastText: white space is the space, and no word of theirs is taken for a label or an end."""
    lowered = pc.utf8_lower(pa.array(texts, pa.large_string())).to_pylist() if lowercase else texts
    return [line.translate(_SPACE).replace("__label__", " ").replace("</s>", " ") for line in lowered]


def write_model(examples: Sequence[Example], config: ClassifierConfig) -> None:
    """Train and publish the model; the library wants files of its own, so both are made in a temporary folder."""
    lines = as_lines([e.text for e in examples], config.lowercase)
    with tempfile.TemporaryDirectory(prefix="dolma-pipe-") as folder:
        source, made = os.path.join(folder, "train.txt"), os.path.join(folder, "model")
        with open(source, "w", encoding="utf-8", newline="") as stream:
            stream.writelines(f"__label__{e.label} {line}\n" for e, line in zip(examples, lines, strict=True))
        with zeroed_memory():
            model = _fitted(source, config)
            if config.quantize:
                model.quantize(input=source, thread=1, cutoff=config.kept_ngrams, dsub=2, qnorm=True, verbose=0)
        model.save_model(made)
        with open(made, "rb") as stream, storage.create(config.to) as target:
            while chunk := stream.read(storage.CHUNK):
                target.write(chunk)


def _fitted(source: str, config: ClassifierConfig) -> Any:
    import fasttext

    try:
        return fasttext.train_supervised(
            source, thread=1, seed=config.seed, verbose=0, loss="softmax", dim=config.dimension, epoch=config.epochs,
            lr=config.learning_rate, wordNgrams=config.word_ngrams, minn=config.min_chars, maxn=config.max_chars,
            minCount=config.min_count, bucket=config.buckets,
        )  # fmt: skip
    except (RuntimeError, ValueError) as error:
        raise DataError(f"{config.to}: fastText could not be trained: {error} (try a lower learning_rate)") from error


@contextlib.contextmanager
def zeroed_memory() -> Iterator[None]:
    """Let the C library hand out zeroed memory: with one thread, fastText 0.10 draws only a tenth of its first vectors
    and takes the rest as it finds it, so small models come out different each time, or as no numbers."""
    fill: Any = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc; elsewhere large blocks are zeroed, small ones not
    if fill is not None:
        fill(_M_PERTURB, 0xFF)  # the complement of what is filled in
    try:
        yield
    finally:
        if fill is not None:
            fill(_M_PERTURB, 0)
