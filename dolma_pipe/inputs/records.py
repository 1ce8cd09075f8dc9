"""A record of any JSON-like source as a Dolma document: which field is what, and what is wrong with it."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from dolma_pipe.config import Config
from dolma_pipe.jsonl import no_repeats
from dolma_pipe.shards import FIELDS

MOST_NAMED = 12
"""Fields of a record that an error names."""


class Fields(Config, frozen=True):
    """Which field of a record is what; an `id` of "" names records by `<file>#<line>`."""

    id: str = "id"
    text: str = "text"
    url: str = "url"
    created: str = "created"


def decode_record(line: bytes, fields: Fields, place: str) -> dict[str, Any]:
    """The document of one JSON line, `ValueError` if it is none; `place` is its id where records have no id field."""
    try:
        record = json.loads(line.decode(), object_pairs_hook=no_repeats, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise ValueError(f"invalid UTF-8 at byte {error.start} of the line") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"invalid JSON: {error}") from error
    return as_document(record, fields, place)


def as_document(record: Any, fields: Fields, place: str) -> dict[str, Any]:
    """A record as a Dolma document, `ValueError` if it is none; fields that documents lack go into its metadata."""
    document = _shaped(record, fields, place)
    try:
        msgspec.json.encode(document)
    except UnicodeEncodeError as error:
        raise ValueError("a surrogate escape without its other half") from error
    except (TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"a value that JSON cannot carry: {error}") from error
    return document


def _shaped(record: Any, fields: Fields, place: str) -> dict[str, Any]:
    if not isinstance(record, dict):
        raise ValueError(f"expected an object, found {type(record).__name__}")
    rest: dict[str, Any] = dict(record)
    _refuse_missing(rest, fields)
    metadata = rest.pop("metadata", None)
    if metadata is None:
        metadata = {}
    if not isinstance(metadata, dict):
        raise ValueError(f"metadata is {type(metadata).__name__}, expected an object")
    document: dict[str, Any] = {
        "id": _identity(rest.pop(fields.id, None), fields.id) if fields.id else place,
        "text": _string(rest.pop(fields.text, None), fields.text),
    }
    if created := rest.pop(fields.created, None):
        document["created"] = _string(created, fields.created)
    for name in ("source", "added"):
        if rest.get(name) is not None:
            document[name] = _string(rest.pop(name), name)
    document["metadata"] = {**metadata, **_extras(rest, metadata, fields)}
    return document


def _refuse_missing(record: dict[str, Any], fields: Fields) -> None:
    """Say what fields there are, and how to name the one that is meant."""
    options = {"text": "name another with --text-field", "id": "name another with --id-field, or none: --id-field ''"}
    for key, option in options.items():
        name = getattr(fields, key)
        if name and record.get(name) is None:
            there = ", ".join([*map(str, record)][:MOST_NAMED]) or "none"
            raise ValueError(f"the field {name!r} is missing: there are {there}; {option}")


def _extras(rest: dict[str, Any], metadata: dict[str, Any], fields: Fields) -> dict[str, Any]:
    extras = {name: value for name, value in rest.items() if name not in FIELDS or value is not None}
    if fields.url in extras:
        extras["url"] = extras.pop(fields.url)
    for name, value in extras.items():
        if name in metadata and metadata[name] != value:
            raise ValueError(f"the field {name!r} is in the record and in its metadata, with two values")
    return extras


def _identity(value: Any, name: str) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _string(value, name)


def _string(value: Any, name: str) -> str:
    if value is None:
        raise ValueError(f"the field {name!r} is missing")
    if not isinstance(value, str):
        raise ValueError(f"the field {name!r} is {type(value).__name__}, expected a string")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
