"""What a tagger is, and how one is found by name.

A tagger measures and never judges: for each document of a batch it gives every
field a value. Thresholds belong to the mix, so a new one never re-runs a tagger.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pyarrow as pa

from dolma_pipe.batch import Batch
from dolma_pipe.errors import ConfigError
from dolma_pipe.types import Plain


class Field(NamedTuple):
    """One value per document: its Arrow type and what it means (formula, unit, value for an empty document, source)."""

    type: pa.DataType
    doc: str


def count(doc: str) -> Field:
    return Field(pa.int32(), doc)


def count64(doc: str) -> Field:
    return Field(pa.int64(), doc)


def real(doc: str) -> Field:
    """A fraction, mean, ratio or score."""
    return Field(pa.float64(), doc)


def flag(doc: str) -> Field:
    return Field(pa.bool_(), doc)


def string(doc: str) -> Field:
    return Field(pa.string(), doc)


def spans(doc: str, **more: pa.DataType) -> Field:
    """Half-open ranges of code points of the original text, with a score and whatever `more` says."""
    fields = {"start": pa.int32(), "end": pa.int32(), "score": pa.float64(), **more}
    return Field(pa.list_(pa.struct(list(fields.items()))), doc)


def span_array(field: Field, offsets: Any, start: Any, end: Any, score: Any = 1.0, **more: Any) -> pa.ListArray:
    """Values of a span field: document i has the spans `offsets[i]:offsets[i + 1]` of the flat arrays."""
    item = field.type.value_type
    scores = np.full(len(start), score, np.float64) if np.isscalar(score) else score
    arrays = {"start": start, "end": end, "score": scores, **more}
    columns = [pa.array(arrays[part.name], part.type) for part in item]
    values = pa.StructArray.from_arrays(columns, fields=list(item))
    return pa.ListArray.from_arrays(pa.array(np.asarray(offsets, np.int32)), values, type=field.type)


class Tagger:
    """Base of all taggers; options are keyword arguments of the constructor.

    `version` rises whenever any value changes. `model_hash` names the model's bytes, where there is a model.
    `columns` are the document columns it reads besides id and text.
    """

    version: ClassVar[int]
    fields: Mapping[str, Field]
    model_hash: str = ""
    columns: tuple[str, ...] = ()

    def tag(self, batch: Batch) -> dict[str, Any]:
        """Every field's values for every document of the batch, in order; never null."""
        raise NotImplementedError


def per_document(
    function: Callable[[dict[str, Any]], Mapping[str, Any]], fields: Mapping[str, Field], version: int = 1
) -> type[Tagger]:
    """A tagger class around a function of one document (`id`, `text`, `metadata`) that returns a value per field."""

    class PerDocument(Tagger):
        columns = ("metadata",)

        def tag(self, batch: Batch) -> dict[str, Any]:
            rows = [function(batch.document(index)) for index in range(len(batch))]
            return {name: pa.array([row[name] for row in rows], field.type) for name, field in fields.items()}

    PerDocument.version = version  # pyright: ignore[reportAttributeAccessIssue]
    PerDocument.fields = fields
    PerDocument.__name__ = PerDocument.__qualname__ = getattr(function, "__name__", "PerDocument")
    return PerDocument


class Spec(NamedTuple):
    """How a config names a tagger: the attribute set it writes, what to use, and with which options."""

    name: str
    use: str
    options: dict[str, Plain]
    only_where: str | None = None
    view: str | None = None


def spec(value: str | Mapping[str, Plain]) -> Spec:
    """`gopher`, `acme.tox:Tox`, or `{name: nsfw, use: fasttext, model: m.bin, only_where: SQL, view: c4}`."""
    if isinstance(value, str):
        name = value.rsplit(":", 1)[-1] if ":" in value else value
        return Spec(_set_name(_snake(name) if ":" in value else name), value, {})
    options = dict(value)
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise ConfigError(f"taggers: {dict(value)!r} has no name; write {{name: SET, use: TAGGER, ...}}")
    use, only_where, view = options.pop("use", name), options.pop("only_where", None), options.pop("view", None)
    return Spec(_set_name(name), use, options, only_where, view)


def _set_name(name: str) -> str:
    if not name.isidentifier() or name.startswith("_"):
        raise ConfigError(f"taggers: {name!r} cannot name an attribute set; use letters, digits and _")
    return name


def _snake(name: str) -> str:
    return "".join("_" + c.lower() if c.isupper() and i else c.lower() for i, c in enumerate(name))


def load(value: str | Mapping[str, Plain] | Spec) -> Tagger:
    """The tagger that a config names, made with its options; it runs nothing and loads no model yet."""
    found = value if isinstance(value, Spec) else spec(value)
    kind = find_class(found.use, "taggers", Tagger)
    accepted = [name for name in inspect.signature(kind).parameters if name not in ("args", "kwargs")]
    for option in found.options:
        if option not in accepted:
            guess = difflib.get_close_matches(option, accepted, n=1)
            hint = f" (did you mean {guess[0]!r}?)" if guess else f" (options: {', '.join(accepted) or 'none'})"
            raise ConfigError(f"taggers: {found.use} has no option {option!r}{hint}")
    try:
        return kind(**found.options)
    except TypeError as error:
        raise ConfigError(f"taggers: {found.use}: {error}") from error


def available(package: str = "taggers") -> list[str]:
    """Names of the bundled taggers (or mixers), without importing them."""
    folder = Path(__file__).parent.parent / package
    return sorted(path.stem for path in folder.glob("[!_]*.py"))


def find_class(use: str, package: str, base: type[Any]) -> type[Any]:
    """The class behind a name: `gopher` is `taggers/gopher.py`'s only one, `module:Class` a stranger's."""
    module_name, colon, class_name = use.partition(":")
    if colon:
        module = _import(module_name, use)
        kind = getattr(module, class_name, None)
        if kind is None:
            raise ConfigError(f"{use}: the module {module_name} ({module.__file__}) has no {class_name!r}")
    else:
        kind = _bundled_class(use, package, base)
    if not (isinstance(kind, type) and issubclass(kind, base)):
        raise ConfigError(
            f"{use}: not a {base.__name__}; subclass dolma_pipe.{base.__module__.rsplit('.')[-1]}.{base.__name__}"
        )
    return kind


def _bundled_class(use: str, package: str, base: type[Any]) -> type[Any]:
    known = available(package)
    if use not in known:
        guess = difflib.get_close_matches(use, known, n=1)
        hint = f"; did you mean {guess[0]!r}?" if guess else ""
        raise ConfigError(f"no {base.__name__.lower()} {use!r}{hint} (known: {', '.join(known)}; or 'module:Class')")
    module = _import(f"{package}.{use}", use)
    _check_sibling(module, package)
    own = [kind for kind in vars(module).values() if isinstance(kind, type) and kind.__module__ == module.__name__]
    kinds = [kind for kind in own if issubclass(kind, base) and not kind.__name__.startswith("_")]
    if len(kinds) != 1:
        raise ConfigError(f"{package}/{use}.py defines {len(kinds)} classes of {base.__name__}; it must define one")
    return kinds[0]


def _import(module_name: str, use: str) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and module_name.startswith(error.name):
            raise ConfigError(f"{use}: no module {module_name!r} can be imported; is it installed here?") from error
        raise ConfigError(f"{use}: {module_name} needs the module {error.name!r}, which is not installed") from error


def _check_sibling(module: ModuleType, package: str) -> None:
    expected = Path(__file__).parent.parent / package
    found = Path(inspect.getfile(module)).parent
    if found.resolve() != expected.resolve():
        raise ConfigError(
            f"{package!r} is {found}, not the one installed with dolma_pipe ({expected}); "
            "is another folder of that name first on sys.path?"
        )
