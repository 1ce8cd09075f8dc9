"""What the loop asks of what it trains on: rows in an order, and the loss of some of them.

Pre-training (`language_modelling`) is one objective; instruction tuning and preference optimisation are others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from dolma_pipe.train.data.chunks import TokenRange
from dolma_pipe.train.data.documents import Traced
from dolma_pipe.train.model.transformer import Transformer
from dolma_pipe.train.sources import SourceLoss
from dolma_pipe.types import Plain


class Rows(Protocol):
    """Rows of a batch, on the CPU."""

    @property
    def row_count(self) -> int: ...

    def rows(self, start: int, end: int) -> Rows:
        """A part of them: a micro-batch."""
        ...


class Examples(Protocol):
    """An order of examples."""

    def batch(self, first: int, size: int, rank: int = 0, world_size: int = 1, length: int | None = None) -> Any:
        """A rank's `Rows`: every `world_size`-th from `first + rank` of the `size` rows from `first` on.

        Rows are `length` positions long and counted in that length; None is the order's own (longest) length.
        """
        ...

    def identity(self) -> dict[str, Plain]:
        """What the order depends on; a run goes on only where it is the same."""
        ...


@runtime_checkable
class Traceable(Protocol):
    """Examples that know whose text they are, and can leave some of it out."""

    def documents(self, first: int, size: int, length: int) -> list[Traced]:
        """Whose tokens `size` rows of `length` from `first` on train."""
        ...

    def exclude(self, found: Sequence[Traced]) -> list[TokenRange]:
        """Show all of these documents no more; their tokens."""
        ...

    def exclude_tokens(self, tokens: TokenRange) -> None:
        """Show these tokens no more."""
        ...

    def lineage(self) -> dict[str, Plain]:
        """What the examples were made of."""
        ...


@runtime_checkable
class Remembering(Protocol):
    """Examples that learn something on the way, which a run that goes on need not learn again."""

    def memory(self) -> dict[str, Plain]: ...

    def remember(self, memory: dict[str, Plain]) -> None: ...


class Whole(NamedTuple):
    """A step's global batch, of which every rank holds a part: what its loss is divided by, and its rows."""

    weight: int
    rows: int


class Loss(NamedTuple):
    """A micro-batch's share of the step's loss, and what is trained on besides but not told."""

    mean: Tensor
    extra: Tensor | None = None


class Report(NamedTuple):
    """What else a step's line of metrics holds; `seen` is the mean number of positions that one attended to, where
    the objective knows better than the model's shape."""

    sources: dict[str, SourceLoss] | None = None
    measures: dict[str, float] | None = None
    seen: float | None = None


class Objective(Protocol):
    """The loss of a step: a sum over rows and ranks, divided by the summed `weight` of all of them."""

    def weight(self, rows: Any) -> int:
        """What this rank's rows weigh: their labels that count, or their pairs."""
        ...

    def loss(self, model: Transformer, rows: Any, whole: Whole) -> Loss:
        """Of a micro-batch, already divided by `whole.weight`."""
        ...

    def report(self, step: int) -> Report:
        """After an update; every rank calls it, so ranks may add up."""
        ...
