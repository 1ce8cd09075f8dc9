"""What `dolma-pipe dedup` reads from YAML; each kind of deduplication brings the rules of its own."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from dolma_pipe.config import Config
from dolma_pipe.errors import ConfigError
from dolma_pipe.stages.dedup.bloom.filter import BloomRules
from dolma_pipe.stages.dedup.documents import TextRules
from dolma_pipe.stages.dedup.minhash.signatures import MinhashRules
from dolma_pipe.stages.dedup.paragraphs import ParagraphRules
from dolma_pipe.stages.dedup.substring.anchors import SubstringRules
from dolma_pipe.url import UrlRules

PARTITION_BYTES = 64 << 20
RULES = {"url": "url", "text": "text", "paragraph": "paragraph", "substring": "substring", "minhash": "minhash"}
"""The settings that shape one kind alone -> that kind; with any other they are refused."""


class DedupConfig(Config, frozen=True):
    """Settings of every kind, and the rules of each.

    `by`: url, text, paragraph, substring, minhash, id, source, added, created or metadata.NAME (dotted). `name` is the
    attribute set (default `dedup_<by>`). `attributes` is the folder for the results (default: `attributes/` in each
    data set; with several data sets each gets a folder of its name in it). `where`: only documents that pass compete
    (SQL, a recipe's name, or a list of both). `scope`: only documents of one scope can be copies of each other (see
    scopes.py). `against`: data sets that were kept before; they come first and get no results. `expect_duplicates`:
    finding none is an error. `bloom`: documents or paragraphs are compared with a filter of what was seen, and the set
    is called `dedup_<by>_bloom`. `limit`: documents read of each shard. `partition_bytes`: about the memory that one
    partition of the keys may take.
    """

    datasets: list[str]
    by: str
    name: str | None = None
    attributes: str | None = None
    where: str | list[str] | None = None
    scope: str = "all"
    against: list[str] = []
    expect_duplicates: bool = False
    url: UrlRules | None = None
    text: TextRules | None = None
    paragraph: ParagraphRules | None = None
    substring: SubstringRules | None = None
    bloom: BloomRules | None = None
    minhash: MinhashRules | None = None
    include: list[str] = []
    exclude: list[str] = []
    limit: Annotated[int, Meta(gt=0)] | None = None
    partition_bytes: int = PARTITION_BYTES
    max_bad_fraction: float = 0.01


def refuse_idle_rules(config: DedupConfig) -> None:
    """Rules for what is not compared are a `ConfigError`."""
    for name, user in RULES.items():
        if getattr(config, name) is not None and config.by != user:
            raise ConfigError(f"{name}: has no effect with by: {config.by}; remove it")


def set_name(config: DedupConfig) -> str:
    """The attribute set of the results: `name`, or `dedup_url`, `dedup_metadata_doi` after what is compared."""
    by = config.by + ("_bloom" if config.bloom else "")
    name = config.name or "dedup_" + "".join(c if c.isalnum() else "_" for c in by)
    if not name.isidentifier() or name.startswith("_"):
        raise ConfigError(f"name: {name!r} cannot name an attribute set; use letters, digits and _")
    return name
