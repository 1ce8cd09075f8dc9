"""An index of the questions and answers of test sets, in which a text can be looked up.

It holds hashes of runs of words, never the words, so it can be shipped without the test sets. A run of a question
weighs by its rarity, ln((1 + questions + background documents) / those that have it): a text with "which of the
following is" has nothing of a question, one with the rest of it has it.
"""

from __future__ import annotations

import io
import re
import string
import zipfile
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec
import numpy as np

from dolma_pipe import storage
from dolma_pipe.batch import make_batch
from dolma_pipe.config import Config
from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.kernels.overlap import alphabet, find_runs, folded_words, lookup, run_hashes
from dolma_pipe.shards import DocumentReader, document_shards
from dolma_pipe.streams import json_objects

FORMAT = "dolma_pipe contamination index 1"
MOST_ITEMS = 64
"""A run of words that more questions than this have identifies none of them, and is left out."""
PROMPT_ITEMS = 8
"""What all questions of a task begin or end with is its prompt, where there are at least so many."""
_BLANK = re.compile(r"(?<!\w)_(?!\w)")


class IndexConfig(Config, frozen=True):
    """What `dolma-pipe contamination index` reads from YAML.

    `tests` are files of JSON lines (.jsonl, .gz, .zst), an item each; `question`, `choices` and `answer` are fields,
    the answer a text, or the number (from 0), label or letter of a choice; choices may be `{text: [...], label:
    [...]}`. A `_` that stands alone in a question is the blank that its answer fills. `task` and `id` come from the
    fields of that name, else from the file's name and the row. `words` is the length of the runs that are compared.
    Phrases of the data sets in `background` (up to `limit` documents of each shard) are less evidence the more
    documents have them.
    """

    tests: list[str]
    to: str
    question: str = "question"
    choices: str = "choices"
    answer: str = "label"
    words: int = 5
    background: list[str] = []
    limit: int | None = None


class Item(NamedTuple):
    """One question of a test set, and its answer ("" where none is known)."""

    task: str
    id: str
    question: str
    answer: str


class Index:
    """Run k (hash `keys[k]`, sorted) weighs `weights[k]` and is in the items `items[begins[k]:begins[k + 1]]`, there at
    word `positions`. Item i has `lengths[i]` words, its distinct runs weigh `totals[i]`, and its answer has the runs
    `answers[answer_begins[i]:answer_begins[i + 1]]`, of `answer_words[i]` words each.
    """

    def __init__(self, words: int, tasks: list[str], ids: list[str], arrays: dict[str, np.ndarray]) -> None:
        self.words, self.tasks, self.ids, self.arrays = words, tasks, ids, arrays
        self.keys, self.weights, self.begins = (arrays[name] for name in ("keys", "weights", "begins"))
        self.items, self.positions = arrays["items"], arrays["positions"]
        self.lengths, self.totals = arrays["lengths"], arrays["totals"]
        self.answers, self.answer_begins = arrays["answers"], arrays["answer_begins"]
        self.answer_words = arrays["answer_words"]
        self.runs = lookup(self.keys)

    def answer(self, item: int) -> np.ndarray:
        """Hashed runs of an item's answer."""
        return self.answers[self.answer_begins[item] : self.answer_begins[item + 1]]

    def save(self, path: str) -> None:
        about = {"format": FORMAT, "words": self.words, "tasks": self.tasks, "ids": self.ids}
        stream = io.BytesIO()
        arrays: dict[str, Any] = {**self.arrays, "about": np.frombuffer(msgspec.json.encode(about), np.uint8)}
        np.savez_compressed(stream, **arrays)
        storage.write_bytes(path, stream.getvalue())


def open_index(path: str) -> Index:
    """The index that `dolma-pipe contamination index` wrote."""
    try:
        with np.load(io.BytesIO(storage.read_bytes(path)), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        about = msgspec.json.decode(arrays.pop("about").tobytes())
        _refuse_other_format(path, about)
        return Index(about["words"], about["tasks"], about["ids"], arrays)
    except (KeyError, TypeError, ValueError, OSError, EOFError, msgspec.DecodeError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not a contamination index ({error}); make it with contamination index") from error


def _refuse_other_format(path: str, about: dict[str, Any]) -> None:
    if about["format"] != FORMAT:
        raise DataError(f"{path}: holds a {about['format']!r}, this version reads {FORMAT!r}; make the index again")


# The items of a test set ------------------------------------------------------------------------------------------


def read_items(config: IndexConfig) -> Iterator[Item]:
    """All items of all files, in their order."""
    for path in config.tests:
        name = path.rsplit("/", 1)[-1].partition(".jsonl")[0]
        for number, row in enumerate(json_objects(path), 1):
            question = row.get(config.question)
            if not isinstance(question, str):
                fields = ", ".join(sorted(row)[:12])
                raise DataError(f"{path}, row {number}: no text in {config.question!r} (fields: {fields})")
            answer = _answer(row, f"{path}, row {number}", config)
            filled = _BLANK.sub(lambda _, answer=answer: answer, question) if answer else question
            yield Item(str(row.get("task", name)), str(row.get("id", number)), filled, answer)


def _answer(row: dict[str, Any], place: str, config: IndexConfig) -> str:
    """The answer as it is given, or the choice whose number (from 0), label or letter is given."""
    answer: Any = row.get(config.answer)
    choices: Any = row.get(config.choices)
    labels: list[Any] = []
    if isinstance(choices, dict):  # {"text": [...], "label": ["A", "B", ...]}
        labels, choices = choices.get("label") or [], choices.get("text")
    if isinstance(choices, list):
        number = _number(answer, choices, labels)
        if number is not None and not 0 <= number < len(choices):
            raise DataError(f"{place}: {config.answer} is {answer}, and there are {len(choices)} choices")
        answer = answer if number is None else choices[number]
    return "" if answer is None else str(answer)


def _number(answer: Any, choices: list[Any], labels: list[Any]) -> int | None:
    """The number of the choice that an answer names; None where it is an answer itself."""
    if answer in labels:
        return labels.index(answer)
    letters = string.ascii_uppercase[: len(choices)]
    if isinstance(answer, str) and len(answer) == 1 and answer in letters and answer not in choices:
        return letters.index(answer)
    return answer if isinstance(answer, int) else None


def _words(texts: Sequence[str]) -> list[np.ndarray]:
    """Hashed words of each text."""
    batch = make_batch(list(texts))
    hashes, offsets = folded_words(batch.data, batch.offsets, alphabet())
    return [hashes[start:end] for start, end in pairwise(offsets)]


def _questions(items: Sequence[Item], fewest: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Hashed words of each question, without its task's prompt, and of its answer.

    A question that is shorter than a run is continued by its answer, and has none any more.
    """
    found = _words([item.question for item in items])
    for task in dict.fromkeys(item.task for item in items):
        rows = [i for i, item in enumerate(items) if item.task == task]
        before, after = _prompt([found[i] for i in rows])
        for i in rows:
            found[i] = found[i][before : len(found[i]) - after]
    answers = _words([item.answer for item in items])
    for i, (question, answer) in enumerate(zip(found, answers, strict=True)):
        if len(question) < fewest:
            found[i], answers[i] = np.concatenate([question, answer]), answer[:0]
    return found, answers


def _prompt(questions: list[np.ndarray]) -> tuple[int, int]:
    """How many words all questions begin with, and end with."""
    if len({question.tobytes() for question in questions}) < PROMPT_ITEMS:
        return 0, 0
    shortest = min(map(len, questions))
    before = _common([question[:shortest] for question in questions])
    return before, _common([question[::-1][: shortest - before] for question in questions])


def _common(rows: list[np.ndarray]) -> int:
    """Length of the longest common beginning of equally long rows."""
    same = (np.stack(rows) == rows[0]).all(axis=0)
    return len(same) if same.all() else int(np.argmin(same))


# Building ---------------------------------------------------------------------------------------------------------


class Built(NamedTuple):
    """An index, and the items that have too few words of their own to be found."""

    made: Index
    left_out: list[Item]


def build(config: IndexConfig) -> Built:
    """The index of all items that have at least one run of words that few others have."""
    if not 2 <= config.words <= 32:
        raise ConfigError(f"contamination: words is {config.words}; a run has 2 to 32 words")
    items = list(read_items(config))
    questions, answers = _questions(items, config.words)
    found = _postings(questions, config.words)
    has_run = np.bincount(found["items"], minlength=len(items)) > 0
    if not has_run.any():
        raise DataError(f"contamination: no item of {', '.join(config.tests)} has a run of {config.words} words")
    numbers = np.cumsum(has_run) - 1
    found["items"] = numbers[found["items"]].astype(np.int32)
    kept = [item for item, has in zip(items, has_run, strict=True) if has]
    found["lengths"] = np.array([len(q) for q, has in zip(questions, has_run, strict=True) if has], np.int32)
    _weigh(found, kept, config)
    _add_answers(found, [answer for answer, has in zip(answers, has_run, strict=True) if has], config.words)
    index = Index(config.words, [item.task for item in kept], [item.id for item in kept], found)
    return Built(index, [item for item, has in zip(items, has_run, strict=True) if not has])


def _postings(questions: list[np.ndarray], words: int) -> dict[str, np.ndarray]:
    """Which runs there are, and where: keys, begins, items, positions."""
    offsets = np.concatenate(([0], np.cumsum([len(question) for question in questions], dtype=np.int64)))
    runs = run_hashes(np.concatenate([np.empty(0, np.uint64), *questions]), offsets, words)
    whole = np.flatnonzero(runs)
    owners = np.searchsorted(offsets, whole, side="right") - 1
    order = np.lexsort((whole, runs[whole]))
    whole, owners = whole[order], owners[order]
    keys, places = np.unique(runs[whole], return_inverse=True)
    held_by = np.bincount(np.unique(np.stack((places, owners)), axis=1)[0], minlength=len(keys))
    told = held_by[places] <= MOST_ITEMS
    keys, counts = keys[held_by <= MOST_ITEMS], np.bincount(places[told], minlength=len(keys))[held_by <= MOST_ITEMS]
    return {
        "keys": keys,
        "begins": np.concatenate(([0], np.cumsum(counts, dtype=np.int64))),
        "items": owners[told].astype(np.int32),
        "positions": (whole - offsets[owners])[told].astype(np.int32),
    }


def _weigh(found: dict[str, np.ndarray], items: list[Item], config: IndexConfig) -> None:
    """Add `weights` of runs and `totals` of items."""
    places = np.repeat(np.arange(len(found["keys"])), np.diff(found["begins"]))
    pairs = np.unique(np.stack((places, found["items"])), axis=1)
    seen = np.bincount(pairs[0], minlength=len(found["keys"]))
    documents = 0
    runs = lookup(found["keys"])
    for dataset in config.background:
        for shard in document_shards(dataset):
            for batch in DocumentReader(shard, limit=config.limit):
                hits, offsets = find_runs(batch.data, batch.offsets, alphabet(), config.words, runs)
                rows = np.repeat(np.arange(len(batch)), np.diff(offsets))
                distinct = np.unique(np.stack((rows, hits[:, 1])), axis=1)
                seen += np.bincount(distinct[1], minlength=len(seen))
                documents += len(batch)
    found["weights"] = np.log((1 + len(items) + documents) / seen)
    found["totals"] = np.bincount(pairs[1], found["weights"][pairs[0]], len(items))


def _add_answers(found: dict[str, np.ndarray], answers: list[np.ndarray], words: int) -> None:
    """Add `answers`, `answer_begins` and `answer_words`."""
    widths = np.array([min(len(answer), words) for answer in answers], np.int32)
    runs = [
        np.unique(run_hashes(answer, np.array([0, len(answer)]), int(width))[: len(answer) - width + 1 if width else 0])
        for answer, width in zip(answers, widths, strict=True)
    ]
    found["answers"] = np.concatenate([np.empty(0, np.uint64), *runs])
    found["answer_begins"] = np.concatenate(([0], np.cumsum([len(run) for run in runs], dtype=np.int64)))
    found["answer_words"] = widths
