"""What sampled sources are made of: languages, origins, duplicates, lengths, personal data (counts of it only)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dolma_pipe.report import histograms
from dolma_pipe.report.documents import personal_fields
from dolma_pipe.report.sampling import Sample

Array = npt.NDArray[Any]
Facts = dict[str, Any]


class Composed(Protocol):
    """A sample, and which of its documents are written."""

    @property
    def sample(self) -> Sample: ...

    @property
    def written(self) -> Array: ...


def composition(sampled: Mapping[str, Composed]) -> Facts:
    """Counts in the sample by source; the page and the card blow them up to the whole source."""
    return {
        "languages": {name: _shares(source, _languages(source.sample)) for name, source in sampled.items()},
        "origins": {name: _shares(source, source.sample.sources) for name, source in sampled.items()},
        "licenses": {name: _shares(source, source.sample.licenses) for name, source in sampled.items()},
        "duplicates": {name: _duplicates(source.sample) for name, source in sampled.items()},
        "lengths": _lengths(sampled),
        "personal": {name: _personal(source.sample) for name, source in sampled.items()},
    }


def _languages(sample: Sample) -> pa.Array | None:
    """The language that the first set with one says."""
    found = [column for name in sample.sets if (column := sample.field(name, "language")) is not None]
    return next((c for c in found if pa.types.is_string(c.type) or pa.types.is_large_string(c.type)), None)


def _shares(source: Composed, column: pa.Array | None) -> list[Facts]:
    """Documents of each value, largest first: read, and written."""
    found: dict[str, list[int]] = {}
    values = [] if column is None else column.to_pylist()
    for value, written in zip(values, source.written[: len(values)].tolist(), strict=True):
        entry = found.setdefault(value or "", [0, 0])
        entry[0] += 1
        entry[1] += written
    rows = [{"value": value, "sampled": read, "written": written} for value, (read, written) in found.items()]
    return sorted(rows, key=lambda row: (-row["sampled"], row["value"]))


def _duplicates(sample: Sample) -> list[Facts]:
    """Per dedup set: sampled documents that are copies, or of which some part is."""
    found: list[Facts] = []
    for name in sample.sets:
        copies = sample.field(name, "is_duplicate")
        copies = sample.field(name, "duplicate_fraction") if copies is None else copies
        if copies is not None:
            hits = int((np.asarray(copies.cast(pa.float64()).fill_null(0.0)) > 0).sum())
            found.append({"set": name, "sampled": hits})
    return found


def _lengths(sampled: Mapping[str, Composed]) -> Facts | None:
    lengths = {name: source.sample.characters.astype(np.float64) for name, source in sampled.items()}
    scale = histograms.scale_of(np.concatenate([np.empty(0), *lengths.values()]), [])
    if scale is None:
        return None
    scale = histograms.Scale("log", scale.low, scale.high)
    written = {name: lengths[name][source.written] for name, source in sampled.items()}
    points = [0.05, 0.25, 0.5, 0.75, 0.95]
    return {
        "read": histograms.plain(scale, lengths),
        "written": histograms.plain(scale, written)["bins"],
        "quantiles": {name: [int(q) for q in np.quantile(v, points)] for name, v in lengths.items() if len(v)},
    }


def _personal(sample: Sample) -> list[Facts]:
    found: list[Facts] = []
    for name, column in personal_fields(sample).items():
        counts: Any = column.value_lengths()
        spans = np.asarray(counts.fill_null(0))
        found.append({"field": name, "sampled": int((spans > 0).sum()), "spans": int(spans.sum())})
    return found
