"""A mixing configuration of the Dolma toolkit as a mix of ours: `dolma-pipe convert mix OLD.yaml`.

Each `exclude` becomes a rule that says the opposite, all `include`s one rule, each replacement of spans an edit. What
differs in kind is said in `notes`, what cannot be said at all in `lost`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec

from dolma_pipe import storage
from dolma_pipe.config import Config, convert, read_yaml
from dolma_pipe.conversion import jq, jsonpath
from dolma_pipe.conversion.attributes import stored_keys
from dolma_pipe.conversion.names import Attributes
from dolma_pipe.conversion.predicates import Always, Condition, Either, keys, negated, simplified, sql
from dolma_pipe.errors import ConfigError
from dolma_pipe.rules import Expression, references
from dolma_pipe.types import Plain

Syntax = Literal["jsonpath", "jq"]
OVERLAPS = (
    "spans that overlap are replaced together, by the text of the longest; Dolma leaves the tail of the second standing"
)
_PLACE = re.compile(r"(?:\$)?\.attributes\.(\w+)|(?:\$)?\.attributes\[[\"'](\w+)[\"']\]")


class _Filter(Config, frozen=True):
    include: list[str] = []
    exclude: list[str] = []
    syntax: Syntax = "jsonpath"


class _Replacement(Config, frozen=True):
    span: str
    min_score: float | None = None
    max_score: float | None = None
    replacement: str = ""
    syntax: Syntax = "jsonpath"


class _Output(Config, frozen=True):
    path: str
    max_size_in_bytes: int | None = None
    discard_fields: list[str] | None = None
    min_text_length: int = 0


class _Stream(Config, frozen=True):
    name: str
    documents: list[str]
    output: _Output
    attributes: list[str] = []
    filter: _Filter | None = None
    span_replacement: list[_Replacement] | None = None
    compression: Plain = None


class _Old(Config, frozen=True):
    streams: list[_Stream]
    processes: Plain = None
    shuffle: Plain = None
    work_dir: Plain = None
    dryrun: Plain = None


class Converted(msgspec.Struct, frozen=True):
    """Our configuration, and what to know of it. `unmatched`: attributes that no set has, and the nearest name."""

    config: dict[str, Plain]
    unmatched: dict[str, str]
    lost: list[str]
    notes: list[str]


def convert_mix(path: str) -> Converted:
    """Read Dolma's YAML (or JSON); raises `ConfigError` for what is none."""
    old = convert(read_yaml(path), _Old, path)
    found = [_Source(stream, dataset, globs) for stream in old.streams for dataset, globs in _datasets(stream, path)]
    names = [source.stream.name for source in found]
    for number, source in enumerate(found):
        if names.count(source.stream.name) > 1:
            source.plain["name"] = f"{source.stream.name}_{names[: number + 1].count(source.stream.name)}"
    homes = list(dict.fromkeys(_home(stream) for stream in old.streams))
    notes = [f"{home}: all sources are written below {homes[0]}, in documents/SOURCE/" for home in homes[1:]]
    config: dict[str, Plain] = {"to": homes[0], "sources": [source.plain for source in found]}
    compressions = {source.compression() for source in found}
    config["compression"] = compressions.pop() if len(compressions) == 1 else "gz"
    unmatched = {key: guess for source in found for key, guess in source.names.unmatched.items()}
    lost = list(dict.fromkeys(said for source in found for said in source.lost))
    return Converted(config, unmatched, lost, list(dict.fromkeys([*notes, *(n for s in found for n in s.notes)])))


def _home(stream: _Stream) -> str:
    return storage.join(stream.output.path).removesuffix("/documents")


def _datasets(stream: _Stream, path: str) -> Iterator[tuple[str, list[str]]]:
    """The data sets of a stream, each with the globs that choose its documents."""
    found: dict[str, list[str]] = {}
    for glob in stream.documents:
        dataset, middle, rest = glob.partition("/documents/")
        if not middle or any(sign in dataset for sign in "*?["):
            raise ConfigError(f"{path}: stream {stream.name!r}: {glob}: expected DATASET/documents/GLOB")
        found.setdefault(dataset, []).append(rest)
    yield from found.items()


class _Source:
    """One source of the mix that comes of a stream and a data set."""

    def __init__(self, stream: _Stream, dataset: str, globs: Sequence[str]) -> None:
        self.stream = stream
        self.lost, self.notes = list[str](), list[str]()
        seen = {name: stored_keys(dataset, name) or set() for name in stream.attributes}
        self.names = Attributes(stream.attributes, seen)
        rules, edits = self._rules(), list(self._edits())
        steps: list[Plain] = [{"keep": rules}] if rules else []
        steps += edits
        if stream.output.min_text_length > 1 and edits:
            steps.append({"keep_after": {"min_characters": stream.output.min_text_length}})
        self.plain: dict[str, Plain] = {"name": stream.name, "dataset": dataset}
        if any(glob not in ("*", "**/*") for glob in globs):
            self.plain["include"] = list(globs)
        self.plain |= {"attributes": self._sets(rules, edits), "steps": steps}
        self._tell()

    def compression(self) -> str:
        given = (self.stream.compression or {}).get("output")
        return {"zst": "zst", "": "none"}.get(str(given), "gz")

    def _rules(self) -> dict[str, str]:
        filters = self.stream.filter or _Filter()
        found: dict[str, str] = {}
        for text in filters.exclude:
            condition = self._parsed(text, filters.syntax)
            if condition is not None:
                self._add(found, negated(condition))
        included = [self._parsed(text, filters.syntax) for text in filters.include]
        known = [condition for condition in included if condition is not None]
        if known and len(known) == len(included):
            self._add(found, simplified(Either(tuple(known))) if len(known) > 1 else known[0])
        if self.stream.output.min_text_length:
            found["not_empty" if self.stream.output.min_text_length == 1 else "min_text_length"] = (
                f"length.bytes >= {self.stream.output.min_text_length}"
            )
        return found

    def _parsed(self, text: str, syntax: Syntax) -> Condition | None:
        try:
            return simplified((jsonpath if syntax == "jsonpath" else jq).parse(text))
        except ConfigError as error:
            self.lost.append(f"filter {error}")
            return None

    def _add(self, rules: dict[str, str], condition: Condition) -> None:
        """A rule by a name that tells what it is about."""
        if isinstance(condition, Always) or (isinstance(condition, Either) and Always() in condition.parts):
            self.notes.append("a filter that every document passes is left out")
            return
        key = next(keys(condition), "") or "source"
        name = _called(key)
        count = sum(known == name or known.startswith(f"{name}_") for known in rules)
        rules[f"{name}_{count + 1}" if count else name] = sql(condition, self.names)

    def _edits(self) -> Iterator[Plain]:
        for number, found in enumerate(self.stream.span_replacement or []):
            key = self._key(found)
            if key is None:
                continue
            if found.max_score is not None:
                self.lost.append(f"span_replacement {found.span}: max_score: {found.max_score:g}; all above it go too")
            if found.replacement.startswith("$") or "{}" in found.replacement:
                self.lost.append(
                    f"span_replacement {found.span}: replacement {found.replacement!r} depends on the document"
                )
                continue
            edit: dict[str, Plain] = {"remove" if not found.replacement else "replace": self.names.spans(key)}
            edit |= {"with": found.replacement} if found.replacement else {}
            edit |= {"min_score": found.min_score} if found.min_score is not None else {}
            if number:
                self.notes.append(OVERLAPS)
            yield {"edit": edit}

    def _key(self, found: _Replacement) -> str | None:
        place = _PLACE.fullmatch(found.span.strip())
        if place is None:
            self.lost.append(f"span_replacement {found.span}: not an attribute's spans")
            return None
        return place[1] or place[2]

    def _sets(self, rules: dict[str, str], edits: Sequence[Any]) -> list[str]:
        """The attribute sets that rules and edits read, in the order in which they do."""
        heads = [
            path[0]
            for name, text in rules.items()
            for path in sorted(references(Expression(name, text, "the conversion")))
            if len(path) > 1
        ]
        heads += [str(next(iter(step["edit"].values()))).partition(".")[0] for step in edits]
        return list(dict.fromkeys(heads))

    def _tell(self) -> None:
        output = self.stream.output
        if output.max_size_in_bytes is not None:
            self.notes.append(
                "max_size_in_bytes: the mix writes one file per input; `tokenize` makes shards of one size"
            )
        if output.discard_fields and set(output.discard_fields) != {"attributes"}:
            kept = ", ".join(field for field in output.discard_fields if field != "attributes")
            self.notes.append(f"discard_fields: {kept} stay in the documents, which are passed through as they are")
        if self.stream.span_replacement and not output.min_text_length:
            self.notes.append("what edits leave nothing of is dropped; Dolma writes it, unless min_text_length is 1")
        if output.min_text_length > 1:
            self.notes.append("min_text_length: Dolma counts bytes without white space at the ends, ours counts all")


def _called(key: str) -> str:
    """`exp__gopher_v1__word_count` as word_count; a key without parts as it is."""
    return key.rpartition("__")[2] or key
