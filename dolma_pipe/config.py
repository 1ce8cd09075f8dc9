"""Configuration: one YAML loader, frozen typed structs, unknown keys refused at the door.

YAML here is the JSON-like core of YAML 1.2: `4e-4` is a number, `no` is a
string, `1_000` is 1000; repeated keys, aliases, anchors and tags are refused.
A flag beats `--set`, `--set` beats the file, the file beats the default.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec
import yaml

from dolma_pipe.errors import ConfigError
from dolma_pipe.types import Plain


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=False):
    """Base of everything that is read from YAML."""


C = TypeVar("C")


class _Loader(yaml.SafeLoader):
    """PyYAML's loader with YAML 1.2 scalars, and without what makes a config a program."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: Any = self.peek_event()  # pyright: ignore[reportUnknownMemberType]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise ConfigError(
                f"{_place(event.start_mark)}: aliases and anchors (& and *) are not allowed; repeat the value"
            )
        if getattr(event, "tag", None):
            raise ConfigError(f"{_place(event.start_mark)}: the tag {event.tag!r} is not allowed")
        return super().compose_node(parent, index)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        mapping: dict[Hashable, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)  # pyright: ignore[reportUnknownMemberType]
            if not isinstance(key, str):
                key = key_node.value
            if key in mapping:
                raise ConfigError(f"{_place(key_node.start_mark)}: the key {key!r} is repeated; keep one of them")
            mapping[key] = self.construct_object(value_node, deep=True)  # pyright: ignore[reportUnknownMemberType]
        return mapping


def _construct_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Hashable, Any]:
    return loader.construct_mapping(node)


def _construct_int(_: _Loader, node: yaml.ScalarNode) -> int:
    return int(node.value.replace("_", ""), 0)


def _construct_float(_: _Loader, node: yaml.ScalarNode) -> float:
    return float(node.value.replace("_", "").replace(".inf", "inf").replace(".nan", "nan"))


for _tag, _pattern, _first in (
    ("bool", r"^(?:true|false|True|False)$", "tfTF"),
    ("null", r"^(?:~|null|Null|)$", "~nN\0"),
    ("int", r"^[-+]?(?:0|[1-9][0-9_]*|0o[0-7]+|0x[0-9a-fA-F]+)$", "-+0123456789"),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", "-+.0123456789"),
):
    _characters = [*_first.replace("\0", ""), *([""] if "\0" in _first else [])]
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _characters)
_Loader.add_constructor("tag:yaml.org,2002:map", _construct_mapping)
_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _construct_float)


def _place(mark: yaml.Mark) -> str:
    return f"{mark.name}:{mark.line + 1}"


def parse_yaml(text: str, name: str) -> Plain:
    """Plain data of one YAML document; errors name `name` and the line."""
    loader = _Loader(text)
    loader.name = name
    try:
        return loader.get_single_data()  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    except yaml.YAMLError as error:
        mark: yaml.Mark | None = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "cannot be read"
        raise ConfigError(f"{_place(mark) if mark else name}: not valid YAML: {problem}") from error
    finally:
        loader.dispose()


def read_yaml(path: str | Path) -> Plain:
    """Plain data of a YAML file."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such configuration file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as a configuration: {error}") from error
    return parse_yaml(text, str(path))


def apply_overrides(data: dict[str, Plain], overrides: Sequence[str]) -> dict[str, Plain]:
    """Apply `a.b=value` settings (values are YAML; `a.0.b` reaches into a list) to a copy of `data`."""
    result: Any = msgspec.json.decode(msgspec.json.encode(data))
    for override in overrides:
        path, sign, value = override.partition("=")
        if not sign or not path:
            raise ConfigError(f"--set {override!r}: expected KEY.PATH=VALUE")
        _assign(result, path, parse_yaml(value, f"--set {path}"))
    return result


def _assign(node: Any, path: str, value: Plain) -> None:
    *parents, last = path.split(".")
    for part in parents:
        node = node[_list_index(node, part, path)] if isinstance(node, list) else node.setdefault(part, {})
        if not isinstance(node, (dict, list)):
            raise ConfigError(f"--set {path}: {part!r} holds {node!r}, which has no keys")
    if isinstance(node, list):
        node[_list_index(node, last, path)] = value  # pyright: ignore[reportUnknownArgumentType]
    else:
        node[last] = value


def _list_index(node: list[Any], part: str, path: str) -> int:
    if not part.isdigit() or int(part) >= len(node):
        raise ConfigError(f"--set {path}: {part!r} is not an index of a list of {len(node)} (0 to {len(node) - 1})")
    return int(part)


def load(path: str | Path | None, kind: type[C], overrides: Sequence[str] = (), **flags: Plain) -> C:
    """Read `path` as a `kind`; `overrides` are `--set` values, `flags` come from the command line (None: not given)."""
    data: Plain = {} if path is None else read_yaml(path)
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected keys and values, found {type(data).__name__}")
    merged = apply_overrides(data, overrides)  # pyright: ignore[reportUnknownArgumentType]
    merged.update({key: value for key, value in flags.items() if value is not None})
    return convert(merged, kind, str(path) if path is not None else "command line")


def convert(data: Plain, kind: type[C], where: str) -> C:
    """Plain data as a typed struct; errors say where, which key, and what was probably meant."""
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {_explain(str(error), kind)}") from error


def _explain(message: str, kind: type[Any]) -> str:
    what, _, path = message.partition(" - at ")
    place = path.strip("`").removeprefix("$").removeprefix(".") or "the top level"
    unknown = re.search(r"unknown field `(.+?)`", what)
    if unknown:
        name = unknown.group(1)
        guesses = difflib.get_close_matches(name, sorted(field_names(kind)), n=1)
        guess = f" (did you mean {guesses[0]!r}?)" if guesses else ""
        return f"unknown key {name!r} at {place}{guess}"
    missing = re.search(r"missing required field `(.+?)`", what)
    if missing:
        return f"the key {missing.group(1)!r} is missing at {place}"
    known = ", ".join(_choices(kind, place)) if what.startswith("Invalid enum value ") else ""
    if known:
        return f"{what.removeprefix('Invalid enum value ')} at {place} is not one of {known}"
    return f"{what[0].lower()}{what[1:]} at {place}".replace("`", "")


def _choices(kind: Any, place: str) -> list[str]:
    """What may stand at `a.b[0].c` of a config, where that is one of several names."""
    kinds = [kind]
    for name in re.findall(r"\w+", re.sub(r"\[.*?\]", "", place)):
        structs = [part for one in kinds for part in _parts(one) if _is_struct(part)]
        kinds = [
            get_type_hints(struct)[field.name]
            for struct in structs
            for field in msgspec.structs.fields(struct)
            if field.encode_name == name
        ]
    literals = [part for one in kinds for part in _parts(one) if get_origin(part) is Literal]
    return [str(value) for literal in literals for value in get_args(literal)]


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _parts(kind: Any) -> Iterator[Any]:
    """A type and all that its arguments are made of."""
    yield kind
    for argument in get_args(kind):
        yield from _parts(argument)


def field_names(kind: Any, seen: set[Any] | None = None) -> set[str]:
    """Every key that a config of this type may have, at any depth."""
    seen = set() if seen is None else seen
    if kind in seen if _hashable(kind) else False:
        return set()
    if _is_struct(kind):
        seen.add(kind)
        names = {field.encode_name for field in msgspec.structs.fields(kind)}
        return names.union(*(field_names(hint, seen) for hint in get_type_hints(kind).values()))
    return set().union(*(field_names(argument, seen) for argument in get_args(kind)), set())


def required_names(kind: type[Config]) -> set[str]:
    """The keys that a config of this type must have."""
    return {field.encode_name for field in msgspec.structs.fields(kind) if field.required}


def _hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def fingerprint(value: Plain) -> str:
    """32 hex digits that are equal only for equal values (canonical JSON, sha256); structs count as their fields."""
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()[:32]


def located(name_or_path: str | None, folder: str) -> str | None:
    """A configuration file by its path, or a bundled one by its name: `small` is `configs/<folder>/small.yaml`."""
    if name_or_path is None or Path(name_or_path).exists() or "/" in name_or_path or "." in name_or_path:
        return name_or_path
    return str(bundled(f"{folder}/{name_or_path}.yaml"))


def bundled(name: str) -> Path:
    """Path of a bundled file below `configs/`, as `rules/gopher.yaml`; a wheel carries them inside the package."""
    package = Path(__file__).parent
    for root in (package / "configs", package.parent / "configs"):
        if (root / name).exists():
            return root / name
    folder = (package.parent / "configs" / name).parent
    known = sorted(path.stem for path in folder.glob("*.yaml")) if folder.exists() else []
    guesses = difflib.get_close_matches(Path(name).stem, known, n=1)
    guess = f"; did you mean {guesses[0]!r}?" if guesses else ""
    raise ConfigError(f"no bundled configuration {name!r}{guess} (known: {', '.join(known) or 'none'})")
