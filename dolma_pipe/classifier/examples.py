"""Labelled texts: read, chosen by a hash of the text, and divided into what is trained on and what measures."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import xxhash

from dolma_pipe import storage
from dolma_pipe.classifier.config import ClassifierConfig
from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.shards import DocumentReader, document_shards
from dolma_pipe.streams import decompressed, json_objects

TRAINING, CALIBRATION, HELD_OUT = range(3)
FEWEST = 5
"""Examples of a label on each side, below which figures mean nothing."""

JIGSAW = ("toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate")
"""Columns of Jigsaw's csv (Toxic Comment Classification Challenge); its text is `comment_text`."""


class Example(NamedTuple):
    label: str
    text: str


def read(config: ClassifierConfig) -> Iterator[Example]:
    """All examples, in the order of the config; blank texts are left out."""
    for path in config.examples:
        if not storage.is_file(path):
            raise ConfigError(f"{path}: no such file of examples")
        rows = _csv_rows(path) if ".csv" in os.path.basename(path) else json_objects(path)
        yield from (_example(row, f"{path}, row {number}", config) for number, row in enumerate(rows, 1))
    for label, place in config.documents.items():
        shards = document_shards(place) if storage.exists(storage.join(place, "documents")) else [place]
        for shard in shards:
            yield from (Example(label, text) for batch in DocumentReader(shard) for text in batch.texts())


def _csv_rows(path: str) -> Iterator[dict[str, Any]]:
    try:
        yield from csv.DictReader(io.StringIO(decompressed(path).decode("utf-8-sig"), newline=""), strict=True)
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a csv in UTF-8: {error}") from error


def _example(row: dict[str, Any], place: str, config: ClassifierConfig) -> Example:
    if config.label not in row and config.text not in row and {"comment_text", *JIGSAW} <= set(row):
        text, label = row["comment_text"], "toxic" if any(row[name] == "1" for name in JIGSAW) else "clean"
    else:
        text, label = row.get(config.text), row.get(config.label)
    if not isinstance(text, str) or label is None or isinstance(label, (dict, list, float)):
        names = ", ".join(sorted(row)[:12])
        raise DataError(f"{place}: no text in {config.text!r} or no label in {config.label!r} (fields: {names})")
    name = label if isinstance(label, str) else json.dumps(label)
    return Example(config.rename.get(name, name), text)


def chosen(examples: Iterable[Example], config: ClassifierConfig) -> list[Example]:
    """The distinct examples in the order of a hash, `max_per_label` of each label: no matter how they were read.

    Of each label, twice as many texts as are wanted are held at most.
    """
    texts: dict[str, set[str]] = {}
    for label, text in examples:
        if text.strip():
            _check_label(label)
            texts.setdefault(label, set()).add(text)
            if config.max_per_label is not None and len(texts[label]) >= 2 * config.max_per_label:
                texts[label] = set(_first(texts[label], config))
    found = [Example(label, text) for label, some in texts.items() for text in _first(some, config)]
    return sorted(found, key=lambda e: (_hash(config.seed, "order", e.text), e))


def _first(texts: Iterable[str], config: ClassifierConfig) -> list[str]:
    return sorted(texts, key=lambda text: (_hash(config.seed, "order", text), text))[: config.max_per_label]


def _check_label(label: str) -> None:
    if not label or label.split() != [label] or "__label__" in label:
        raise ConfigError(f"classifier: {label!r} cannot be a label: fastText's are words; use rename")


def side_of(text: str, config: ClassifierConfig) -> int:
    """Texts that differ in case, digits or punctuation only are on one side."""
    letters = "".join(filter(str.isalpha, text.lower())) or text
    share = _hash(config.seed, "side", letters) / 2**64
    return HELD_OUT if share < config.held_out else CALIBRATION if share < 2 * config.held_out else TRAINING


def _hash(seed: int, purpose: str, text: str) -> int:
    return xxhash.xxh3_64_intdigest(f"{seed}\0{purpose}\0{text}".encode())


def check_sides(sides: Sequence[Sequence[Example]], config: ClassifierConfig) -> None:
    labels = sorted({e.label for side in sides for e in side})
    if len(labels) < 2:
        raise ConfigError(f"classifier: the examples have {len(labels)} label ({', '.join(labels)}); two are needed")
    for label in labels:
        few = min(sum(e.label == label for e in side) for side in sides)
        if few < FEWEST:
            raise ConfigError(
                f"classifier: only {few} examples of {label!r} to train on, to calibrate or to hold out; "
                "give more, or a larger held_out"
            )
