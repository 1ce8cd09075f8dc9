"""Token files of other systems, as documents: OLMo's, Megatron's, datatrove's."""

from __future__ import annotations

import gzip
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from dolma_pipe import storage
from dolma_pipe.batch import Int64s
from dolma_pipe.errors import DataError
from dolma_pipe.exchange.megatron import read_index

csv: Any = pyarrow.csv

Form = Literal["olmo", "megatron", "datatrove"]
ENDINGS: dict[Form, str] = {"olmo": ".npy", "megatron": ".idx", "datatrove": ".ds"}
NUMPY = b"\x93NUMPY"
"""How the header of a NumPy file begins."""

MASKS = {"olmo": ".label_mask.npy", "datatrove": ".ds.loss"}
BESIDE: dict[Form, tuple[str, ...]] = {
    "olmo": (".csv.gz", MASKS["olmo"]),
    "megatron": (".bin",),
    "datatrove": (".ds.index", ".ds.metadata", MASKS["datatrove"]),
}


class Foreign(NamedTuple):
    """Files of one name in a folder."""

    folder: str
    name: str
    form: Form

    def path(self, ending: str | None = None) -> str:
        return storage.join(self.folder, self.name + (ENDINGS[self.form] if ending is None else ending))

    def files(self) -> list[str]:
        """Endings of all files that are read."""
        return [ENDINGS[self.form], *(ending for ending in BESIDE[self.form] if storage.is_file(self.path(ending)))]


class Documents(NamedTuple):
    """Documents of a file: tokens `starts:ends` of `tokens`; which are no labels; id, file and row of each."""

    tokens: NDArray[Any]
    starts: Int64s
    ends: Int64s
    masked: NDArray[np.bool_]
    ids: pa.Array
    files: pa.Array
    rows: Int64s


def find(folder: str, form: Form) -> list[Foreign]:
    """The token files of a folder, by name; `DataError` if there are none."""
    ending = ENDINGS[form]
    names = storage.listing(folder) if storage.exists(folder) else []
    stems = [name.removesuffix(ending) for name in names if name.endswith(ending) and not name.endswith(MASKS["olmo"])]
    if not stems:
        raise DataError(f"{folder}: no *{ending} files of {form}'s form")
    found = [Foreign(folder, name, form) for name in sorted(stems, key=str.encode)]
    return [file for file in found if storage.size(file.path(".bin" if form == "megatron" else None))]


def read(file: Foreign, dtype: np.dtype[Any], eos: int) -> Documents:
    """A file's documents, whose ids are `dtype` where the file does not say it, and end with `eos`."""
    if file.form == "megatron":
        kind, starts, ends = read_index(file.path())
        tokens = _map(file.path(".bin"), kind)
    else:
        tokens = _map(file.path(), _token_type(file) or dtype)
        ends = _ends(file, tokens, eos)
        starts = np.concatenate([[0], ends[:-1]])
    if len(ends) == 0 or ends[-1] != len(tokens) or (ends <= starts).any():
        raise DataError(f"{file.path()}: its documents end at token {ends[-1:]}, but it has {len(tokens)}")
    masked = _masked(file, starts, ends)
    unclosed = np.flatnonzero(~masked & (tokens[ends - 1] != eos))
    if len(unclosed):
        raise DataError(
            f"{file.path()}: document {unclosed[0]} does not end with the end-of-text id {eos}; name another --eos, or "
            "export it whole"
        )
    return Documents(tokens, starts, ends, masked, *_names(file, len(ends)))


def _map(path: str, dtype: np.dtype[Any]) -> NDArray[Any]:
    size = storage.size(path)
    if size % dtype.itemsize:
        raise DataError(f"{path}: {size} bytes are no array of {dtype.name}")
    if np.memmap(storage.local_path(path), np.uint8, mode="r")[: len(NUMPY)].tobytes() == NUMPY:
        raise DataError(f"{path}: a NumPy file with a header, which would be read as tokens; OLMo's have none")
    return np.memmap(storage.local_path(path), dtype, mode="r")


def _token_type(file: Foreign) -> np.dtype[Any] | None:
    """What datatrove's metadata says of the width of an id."""
    path = file.path(".ds.metadata")
    if file.form != "datatrove" or not storage.is_file(path):
        return None
    first = storage.read_bytes(path).decode().split("\n", 1)[0]
    width = first.rpartition("|")[2]
    if width not in ("2", "4"):
        raise DataError(f"{path}: {first!r} does not say how wide an id is; expected NAME|2 or NAME|4")
    return np.dtype(f"<u{width}")


def _ends(file: Foreign, tokens: NDArray[Any], eos: int) -> Int64s:
    index = file.path(".ds.index" if file.form == "datatrove" else ".csv.gz")
    if not storage.is_file(index):
        return np.flatnonzero(tokens == eos) + 1
    if file.form == "datatrove":
        ends = np.frombuffer(storage.read_bytes(index), "<u8").astype(np.int64)
    else:
        table = _csv(index)
        ends = table["end"].to_numpy()
        if (table["start"].to_numpy() != np.concatenate([[0], ends[:-1]])).any():
            raise DataError(f"{index}: its documents do not lie behind one another")
    if len(ends) == 0 or ends[-1] != len(tokens):
        raise DataError(f"{index}: its documents end at token {ends[-1:]}, but {file.path()} has {len(tokens)}")
    return ends


def _csv(path: str) -> pa.Table:
    """start, end, id, src, loc; there is no header."""
    types = {"start": pa.int64(), "end": pa.int64(), "id": pa.string(), "src": pa.string(), "loc": pa.int64()}
    try:
        return csv.read_csv(
            pa.py_buffer(gzip.decompress(storage.read_bytes(path))),
            csv.ReadOptions(use_threads=False, column_names=list(types)),
            csv.ParseOptions(newlines_in_values=True),
            csv.ConvertOptions(column_types=types, strings_can_be_null=False, quoted_strings_can_be_null=False),
        )
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path}: not start,end,id,src,loc of OLMo's form: {error}") from error


def _masked(file: Foreign, starts: Int64s, ends: Int64s) -> NDArray[np.bool_]:
    """Which documents are no labels, all of them; one that is so in part is an error."""
    path = file.path(MASKS.get(file.form, ""))
    if file.form not in MASKS or not storage.is_file(path):
        return np.zeros(len(ends), np.bool_)
    sums = np.concatenate([[0], np.cumsum(_map(path, np.dtype(np.bool_)), dtype=np.int64)])
    counted = sums[ends] - sums[starts]
    partly = np.flatnonzero((counted > 0) & (counted < ends - starts))
    if len(partly):
        raise DataError(f"{path}: document {partly[0]} is masked in part; only whole documents can be")
    return counted == 0


def _names(file: Foreign, count: int) -> tuple[pa.Array, pa.Array, Int64s]:
    """Id, file and row of each document, as the table beside it says, or made of its place."""
    path = file.path(".csv.gz")
    if file.form == "olmo" and storage.is_file(path):
        table = _csv(path)
        return table["id"].combine_chunks(), table["src"].combine_chunks(), table["loc"].to_numpy() - 1
    ids = pa.array([f"{file.name}:{number}" for number in range(count)], pa.string())
    return ids, pa.repeat(file.name + ENDINGS[file.form], count), np.arange(count)
