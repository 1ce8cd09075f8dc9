"""What a step of a mix is, and how one is found by name.

A step does nothing itself. It says what shall happen, in the small vocabulary
below, and the mix does it for all steps at once: every rule is evaluated for
every document, the best copy of a cluster is sought among those that passed,
all edits are merged and applied once, and what remains is split and sampled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeVar

import msgspec

from dolma_pipe import storage
from dolma_pipe.config import Config, convert
from dolma_pipe.errors import ConfigError
from dolma_pipe.rules import NAME, Expression
from dolma_pipe.tagger import find_class
from dolma_pipe.types import Plain


class Edit(msgspec.Struct, frozen=True):
    """Spans of one attribute (code points of the original text) that are replaced; an empty text removes them.

    Spans with a score below `min_score` are left alone. With a `pseudonym` (a kind of `dolma_pipe.pseudonyms`) each
    span has its own text, made from its value and the `seed`, which the mix fills in.
    """

    set_name: str
    field: str
    text: str = ""
    min_score: float | None = None
    pseudonym: str | None = None
    seed: int = 0

    @property
    def name(self) -> str:
        return f"{self.set_name}.{self.field}"

    def seeded(self, seed: int) -> Edit:
        """The edit with the mix's seed, if it depends on one."""
        return msgspec.structs.replace(self, seed=seed) if self.pseudonym else self


class Dedup(msgspec.Struct, frozen=True):
    """One copy stays of every cluster of the set `by`: of those in the source that `sources` names first, the one for
    which `prefer` is largest, else the first.

    `date` compares the documents' `created` instead of `prefer`. `scope` says whether clusters reach over the sources
    of the mix or end at each source. A source of whose documents more than `max_removed_fraction` would go is refused.
    """

    by: str
    prefer: Expression | None = None
    date: Literal["earliest", "latest"] | None = None
    sources: tuple[str, ...] = ()
    scope: Literal["mix", "source"] = "mix"
    max_removed_fraction: float | None = None


class KeepAfter(msgspec.Struct, frozen=True):
    """What an edited text must still be to stay."""

    min_characters: int


Unit = Literal["documents", "bytes", "tokens"]


class Amount(msgspec.Struct, frozen=True):
    """So many documents, bytes of their text as written, or its tokens."""

    number: int
    unit: Unit


class Split(msgspec.Struct, frozen=True):
    """Held-out documents: a fraction of them, or as many as hold an amount.

    `by` draws groups and not documents: `host` (of `metadata.url`), a set of duplicates (its clusters), or SET.FIELD;
    what has no group is one of its own. With the scope `mix` the groups reach over all sources.
    """

    name: str
    fraction: float | None = None
    amount: Amount | None = None
    by: str | None = None
    scope: Literal["mix", "source"] = "source"

    @property
    def attribute(self) -> tuple[str, str] | None:
        """Set and field that hold the groups; None for documents and hosts."""
        if self.by in (None, "host"):
            return None
        set_name, dot, field = str(self.by).partition(".")
        return set_name, field if dot else "cluster"


class Limit(msgspec.Struct, frozen=True):
    """At most so much of what splits left, in the order of the documents' draws."""

    amount: Amount


class Upsample(msgspec.Struct, frozen=True):
    """How often each document is taken, by a number of its own.

    With `rates`, pairs of (least value, copies) that ascend: the last whose value is reached; below the first none.
    Else by where it stands among those of its `group`, in `buckets` of equal weight: nothing below the percentile
    `start` (0..1), rising to at most `max_epochs` copies of the best. `shares` divide the source among its groups.
    """

    value: Expression
    group: Expression | None = None
    rates: tuple[tuple[float, float], ...] = ()
    start: float = 0.0
    max_epochs: float = 1.0
    buckets: int = 20
    shares: tuple[tuple[str, float], ...] = ()


class Sample(msgspec.Struct, frozen=True):
    """How often a document is taken: `epochs` times (a rate is below 1), or for a share of the budget.

    `is_proportional`: the share is what the source has, by the budget's temperature; `min_share` is the least of
    the whole that it then gets. With `upsample`, `epochs` is the mean.
    """

    epochs: float | None = None
    share: float | None = None
    max_epochs: float = 1.0
    is_proportional: bool = False
    min_share: float = 0.0
    upsample: Upsample | None = None


Part = Expression | Edit | Dedup | KeepAfter | Split | Limit | Sample


class Step:
    """Base of all steps. `value` is what the YAML says below the step's name, `file` where it says so.

    A subclass implements `parts`; it raises `ConfigError` for a value that makes no sense.
    """

    def __init__(self, value: Plain, file: str) -> None:
        self.value = value
        self.file = file

    def parts(self) -> Sequence[Part]:
        """What shall happen."""
        raise NotImplementedError

    @property
    def where(self) -> str:
        """The file and the step, for messages."""
        return f"{self.file}: {type(self).__name__.lower()}"

    def beside(self, path: str) -> str:
        """A path that is given relative to the mix file."""
        return (
            path if path.startswith("/") or storage.is_remote(path) else storage.join(storage.parent(self.file), path)
        )


def load_step(value: Plain, file: str) -> Step:
    """The step that one entry of `steps` names: `{keep: gopher}`, `{"acme.mix:Hate": {...}}`."""
    if not isinstance(value, dict) or len(value) != 1:  # pyright: ignore[reportUnknownArgumentType]
        raise ConfigError(f"{file}: steps: expected one step by its name, as in '- keep: gopher', found {value!r}")
    name, inner = next(iter(value.items()))  # pyright: ignore[reportUnknownVariableType]
    kind: type[Step] = find_class(str(name), "mixers", Step)  # pyright: ignore[reportUnknownArgumentType]
    return kind(inner, file)


C = TypeVar("C", bound=Config)


def settings(step: Step, kind: type[C]) -> C:
    """The step's value as a typed struct."""
    if not isinstance(step.value, Mapping):
        raise ConfigError(f"{step.where}: expected settings, as in {{name: value}}, found {step.value!r}")
    return convert(step.value, kind, step.where)


def attribute(step: Step, path: str) -> tuple[str, str]:
    """`SET.FIELD` in two."""
    set_name, dot, field = path.partition(".")
    if not dot or not set_name or not field:
        raise ConfigError(f"{step.where}: {path!r} is not an attribute; write SET.FIELD, as in pii.email")
    return set_name, field


def folder_name(step: Step, name: str) -> str:
    """A name that can be a folder's."""
    if not NAME.fullmatch(name):
        raise ConfigError(f"{step.where}: {name!r} cannot name a folder; use letters, digits, '_', '-' and '.'")
    return name


def one_amount(step: Step, documents: int | None, bytes: int | None, tokens: int | None) -> Amount | None:
    """The amount that one of the three gives; None where none does."""
    given = {"documents": documents, "bytes": bytes, "tokens": tokens}
    found = [Amount(number, unit) for unit, number in given.items() if number is not None]  # pyright: ignore[reportArgumentType]
    if len(found) > 1:
        raise ConfigError(f"{step.where}: give one of 'documents', 'bytes' and 'tokens', found {step.value!r}")
    if found and found[0].number < 1:
        raise ConfigError(f"{step.where}: {found[0].unit}: {found[0].number} holds nothing; give 1 or more")
    return found[0] if found else None
