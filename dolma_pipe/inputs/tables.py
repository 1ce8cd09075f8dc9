"""Tables of text as records: `.csv` and `.tsv`, whose first line names the fields (RFC 4180)."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterable, Iterator

LONGEST_FIELD = 1 << 30
"""Characters of a field; a quote that nothing closes swallows the rest of the file up to here."""


def table_rows(chunks: Iterable[bytes], *, tabs: bool) -> Iterator[dict[str, str] | str]:
    """The rows of a table in UTF-8, or what is wrong with one; `ValueError` or `csv.Error` where no row can follow."""
    csv.field_size_limit(LONGEST_FIELD)
    rows = csv.reader(_lines(codecs.iterdecode(chunks, "utf-8-sig")), delimiter="\t" if tabs else ",", strict=True)
    names = next(rows, [])
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise ValueError(f"the first line names the field {repeated!r} twice")
    for row in rows:
        if len(row) == len(names):
            yield dict(zip(names, row, strict=True))
        elif row:  # a blank line is no row
            yield f"{len(row)} fields, where the first line names {len(names)}"


def _lines(texts: Iterable[str]) -> Iterator[str]:
    """Lines with their ends; a quoted field may hold some of these."""
    held = ""
    for text in texts:
        *whole, held = (held + text).split("\n")
        yield from (line + "\n" for line in whole)
    if held:
        yield held
