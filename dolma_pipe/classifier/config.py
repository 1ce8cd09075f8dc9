"""What a classifier is made from, as typed configuration."""

from __future__ import annotations

from dolma_pipe.config import Config
from dolma_pipe.errors import ConfigError


class ClassifierConfig(Config, frozen=True):
    """What `dolma-pipe classifier train` reads from YAML.

    `examples` are files of JSON lines (.jsonl, .gz, .zst) with the fields `text` and `label`, or Jigsaw's csv;
    `documents` names data sets (or shards) by the label of all their texts. `rename` maps labels as they are read.
    `held_out` is the share of each of the two sides that are not trained on. The threshold gives the best F1, or with
    `min_precision` the highest recall at that precision. `lowercase`: train on lower-cased text; tag with the same
    option. `quantize` makes a small file (.ftz) that keeps `kept_ngrams` words and n-grams. The rest is fastText's.
    """

    to: str
    examples: list[str] = []
    documents: dict[str, str] = {}
    text: str = "text"
    label: str = "label"
    rename: dict[str, str] = {}
    max_per_label: int | None = None
    held_out: float = 0.1
    min_precision: float | None = None
    lowercase: bool = False
    seed: int = 17
    quantize: bool = False
    kept_ngrams: int = 100_000
    dimension: int = 32
    epochs: int = 5
    learning_rate: float = 0.3
    word_ngrams: int = 2
    min_chars: int = 0
    max_chars: int = 0
    min_count: int = 2
    buckets: int = 500_000


def check(config: ClassifierConfig) -> None:
    if not (config.examples or config.documents):
        raise ConfigError("classifier: name files of labelled examples, or documents: {LABEL: DATASET, ...}")
    if not 0 < config.held_out <= 0.4:
        raise ConfigError(f"classifier: held_out is {config.held_out}; it must be above 0 and at most 0.4")
    if config.min_precision is not None and not 0 < config.min_precision <= 1:
        raise ConfigError(f"classifier: min_precision is {config.min_precision}; it must be above 0 and at most 1")
    ending = ".ftz" if config.quantize else ".bin"
    if not config.to.endswith(ending):
        raise ConfigError(
            f"classifier: to is {config.to!r}; a {'quantized' if config.quantize else 'full'} model is a {ending}"
        )
