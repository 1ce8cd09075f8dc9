"""Groups of documents that a split keeps together: those of a host, of a cluster of duplicates, of one name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute

from dolma_pipe.batch import Batch
from dolma_pipe.mixer import Split

pc: Any = pyarrow.compute
_AUTHORITY = re.compile(r"\s*(?:[A-Za-z][A-Za-z0-9+.-]*:)?(?://)?(?:[^/?#@]*@)?(\[[^\]/?#]*\]|[^/?#:\s]*)")


def groups_of(split: Split, attributes: Mapping[str, pa.StructArray], batch: Batch | None) -> pa.StringArray:
    """The group of each document; null for one that has none. Hosts are read from the documents' `metadata.url`."""
    if split.attribute is None:
        assert batch is not None, "hosts are in the documents"
        found = batch.metadata("url").dictionary_encode()
        hosts = pa.array([_host(url) for url in found.dictionary.to_pylist()], pa.string())
        return hosts.take(found.indices)
    set_name, field = split.attribute
    names = pc.struct_field(attributes[set_name], field).cast(pa.string())
    return pc.if_else(pc.equal(names, ""), pa.scalar(None, pa.string()), names)


def _host(url: str) -> str | None:
    """The host in lower case, without user, port, brackets and final dot; None where there is none."""
    found = _AUTHORITY.match(url)
    host = found.group(1).strip("[]").rstrip(".").lower() if found is not None else ""
    return host if "." in host or ":" in host or ("//" in url and host) else None
