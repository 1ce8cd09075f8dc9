"""Documents that were taken down, as a rule that no mix need write."""

from __future__ import annotations

from dolma_pipe import storage
from dolma_pipe.rules import Expression
from dolma_pipe.takedown import tombstones

TAKEN_DOWN = "taken_down"


def taken_down(dataset: str, to: str) -> list[Expression]:
    """The rule that drops what has a tombstone in the data set, or in the mix; none where there are no tombstones."""
    ids = sorted(tombstones.read(dataset) | tombstones.read(to))
    if not ids:
        return []
    listed = ", ".join("'" + name.replace("'", "''") + "'" for name in ids)
    return [Expression(TAKEN_DOWN, f"id NOT IN ({listed})", storage.join(dataset, tombstones.NAME))]
