"""A run that compared nothing is refused, with the reason."""

from __future__ import annotations

from collections.abc import Sequence

from dolma_pipe.errors import DataError
from dolma_pipe.manifest import Record
from dolma_pipe.stages.dedup.corpus import Corpus


def total(records: Sequence[Record], name: str) -> int:
    """A count, over all records."""
    return sum(record.counts.get(name, 0) for record in records)


def refuse_inert(corpus: Corpus, read: Sequence[Record], keyed: int, missing: str) -> None:
    """Of documents that were `read` for new results some must compete, have a key (`missing` says what none of them
    has) and a scope."""
    by, scope, documents = corpus.config.by, corpus.config.scope, total(read, "documents")
    if not documents:
        return
    if total(read, "not_competing") == documents:
        raise DataError(f"dedup: no document passes --where ({corpus.where}); nothing would be compared")
    if not keyed:
        raise DataError(f"dedup by {by}: {missing} (of {documents}); nothing was compared")
    if total(read, "missing_scopes") == documents:
        raise DataError(f"dedup by {by}: no document has {scope}, which --scope names; name a field that they have")
