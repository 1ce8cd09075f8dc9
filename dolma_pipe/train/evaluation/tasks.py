"""Multiple-choice tasks: a question's choices are scored as continuations of its context; the best one is the answer.

Scores of a choice whose tokens have the summed log-probability L, after the context:

    raw             L                                       lm-evaluation-harness' `acc`
    per_character   L / characters of the choice            its `acc_norm`, OLMo's `len_norm`
    per_byte        L / UTF-8 bytes of the choice           its `acc_bytes`
    per_token       L / tokens of the choice                Catwalk's `acc_per_token`
    unconditional   L - L after the task's context without a question ("Answer:")    Catwalk's `acc_uncond`

Characters and bytes are those of the choice without the blanks around it. The first of equal choices is the answer.
Beside accuracies: bits per byte of the right choice, -L / (ln 2 x bytes of the scored text, its leading blank
included), averaged over questions (OLMo's `bpb`), which moves long before accuracy does (Heineman et al. 2025).
"""

from __future__ import annotations

import math
import re
import string
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from dolma_pipe import storage
from dolma_pipe.errors import DataError
from dolma_pipe.streams import json_objects
from dolma_pipe.train.evaluation.config import TaskConfig, Variant
from dolma_pipe.train.evaluation.heldout import TEXT_FILES, Listener, Windowing
from dolma_pipe.train.evaluation.scoring import IGNORED, Window, continue_with, score
from dolma_pipe.train.evaluation.text import TextEncoder
from dolma_pipe.train.model.transformer import Transformer


class Question(NamedTuple):
    """A context and a continuation for each choice, and the number of the right one."""

    requests: list[tuple[str, str]]
    gold: int


class QuestionScore(msgspec.Struct, frozen=True):
    """One question: the chosen answer's number by each variant, the right one's, and the right one's bits per byte."""

    chosen: dict[Variant, int]
    gold: int
    bits_per_byte: float


class TaskScore(msgspec.Struct, frozen=True, kw_only=True):
    """`accuracy` by variant; `score` is the task's own, `standard_error` that of its accuracy, `chance` a guesser's.

    `truncated` requests did not fit into the window and lost the beginning of their context.
    """

    questions: int
    truncated: int
    chance: float
    score: Variant
    accuracy: dict[Variant, float]
    standard_error: float | None
    bits_per_byte: float
    items: list[QuestionScore] | None = None


# From rows to questions -------------------------------------------------------------------------------------------


def task_file(data: str, name: str) -> str:
    """The one file in `data` that holds a task: NAME.jsonl, or NAME.SPLIT.jsonl, compressed or not."""
    names = [found for found in storage.listing(data) if found.endswith(TEXT_FILES)]
    fitting = [found for found in names if found.rsplit("/", 1)[-1].partition(".")[0] == name]
    if len(fitting) != 1:
        found = ", ".join(fitting) or "none"
        raise DataError(f"{data}: one file {name}.jsonl (or .SPLIT.jsonl, .gz, .zst) is the task's; found: {found}")
    return storage.join(data, fitting[0])


def questions(task: TaskConfig, path: str) -> list[Question]:
    """Every row of a task's file as a question."""
    found: list[Question] = []
    for number, row in enumerate(json_objects(path), 1):
        try:
            question = _ready(row) if "requests" in row else _filled(task, row)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            fields = ", ".join(sorted(row)[:12])
            raise DataError(f"{path}, row {number}: not a question of {task.title}: {error!r} ({fields})") from error
        if not 0 <= question.gold < len(question.requests):
            raise DataError(f"{path}, row {number}: the right choice is {question.gold}, of {len(question.requests)}")
        found.append(question)
    if not found:
        raise DataError(f"{path}: no question")
    return found


def _ready(row: dict[str, Any]) -> Question:
    return Question([(one["context"], one["continuation"]) for one in row["requests"]], int(row["label"]))


def _filled(task: TaskConfig, row: dict[str, Any]) -> Question:
    values: dict[str, Any] = dict(row)
    if task.blank is not None:
        before, mark, after = _at(row, task.blank).partition("_")
        if not mark:
            raise ValueError(f"no _ in {task.blank}")
        values |= {"before": before, "after": after.strip()}
    choices = _at(row, task.choices) if isinstance(task.choices, str) else [_fill(one, values) for one in task.choices]
    requests: list[tuple[str, str]] = []
    for choice in choices:
        own = {**values, "choice": _replaced(task, choice)}
        requests.append((_replaced(task, _fill(task.context, own)), _fill(task.continuation, own)))
    return Question(requests, _gold(task, row))


def _gold(task: TaskConfig, row: dict[str, Any]) -> int:
    value = _at(row, task.gold) if isinstance(task.gold, str) else task.gold
    if task.labels is None:
        return int(value)
    labels = _at(row, task.labels) if isinstance(task.labels, str) else task.labels
    return [str(label) for label in labels].index(str(value).strip())


def _at(row: Mapping[str, Any], path: str) -> Any:
    value: Any = row
    for key in path.split("."):
        value = value[key]
    return value


class _Template(string.Formatter):
    """`{a.b}` reaches into objects; `{a:capitalize}` is the only format."""

    def get_field(self, field_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, str]:
        return _at(kwargs, field_name), field_name

    def format_field(self, value: Any, format_spec: str) -> str:
        if format_spec not in ("", "capitalize"):
            raise ValueError(f"{format_spec!r} is not capitalize")
        return str(value).capitalize() if format_spec else str(value)


_TEMPLATE = _Template()


def _fill(template: str, values: Mapping[str, Any]) -> str:
    return _TEMPLATE.vformat(template, (), values)


def _replaced(task: TaskConfig, text: str) -> str:
    if task.replace:
        text = text.strip()
    for pattern, other in task.replace:
        text = re.sub(pattern, other, text)
    return text


# From questions to scores -----------------------------------------------------------------------------------------


class _Request(NamedTuple):
    windows: list[Window]
    is_cut: bool
    tokens: int


def score_task(
    model: Transformer, encoder: TextEncoder, task: TaskConfig, asked: list[Question], windowing: Windowing,
    items: bool = False, listen: Listener = lambda tokens: None,
) -> TaskScore:  # fmt: skip
    """Score every choice of every question, and count."""
    requests = list(_requests(task, asked, encoder, windowing.window))
    nats = np.zeros(len(requests))
    windows = (window for request in requests for window in request.windows)
    for window, loss in score(model, windows, windowing.batch_tokens):
        nats[window.item] += loss.nats
        listen(int((window.labels != IGNORED).sum()))
    per_choice = 1 if task.unconditional is None else 2
    found: list[QuestionScore] = []
    at = 0
    for question in asked:
        end = at + per_choice * len(question.requests)
        tokens = np.array([request.tokens for request in requests[at:end:per_choice]])
        empty = nats[at + 1 : end : 2] if per_choice == 2 else None
        found.append(judge(question, -nats[at:end:per_choice], tokens, None if empty is None else -empty))
        at = end
    return _counted(task, asked, found, sum(request.is_cut for request in requests), items)


def _requests(task: TaskConfig, asked: list[Question], encoder: TextEncoder, window: int) -> Iterator[_Request]:
    """Each choice after its context and, where the task says one, after the context without a question."""
    number = 0
    for question in asked:
        for context, continuation in question.requests:
            contexts = [context] if task.unconditional is None else [context, task.unconditional]
            for before in contexts:
                left, right = encoder.pair(before, continuation)
                windows = list(continue_with(number, left, right, window))
                yield _Request(windows, len(left) + len(right) > window + 1, len(right))
                number += 1


def judge(question: Question, logs: Any, tokens: Any, unconditional: Any = None) -> QuestionScore:
    """The answers to a question by the log-probabilities of its choices (arrays over choices)."""
    bare = [continuation.strip() for _, continuation in question.requests]
    scores: dict[Variant, Any] = {
        "raw": logs,
        "per_character": logs / np.array([max(1, len(text)) for text in bare]),
        "per_byte": logs / np.array([max(1, len(text.encode())) for text in bare]),
        "per_token": logs / np.maximum(1, tokens),
    }
    if unconditional is not None:
        scores["unconditional"] = logs - unconditional
    answers: dict[Variant, int] = {name: int(np.argmax(values)) for name, values in scores.items()}
    size = len(question.requests[question.gold][1].encode())
    return QuestionScore(answers, question.gold, float(-logs[question.gold] / (math.log(2) * max(1, size))))


def _counted(
    task: TaskConfig, asked: list[Question], found: list[QuestionScore], truncated: int, items: bool
) -> TaskScore:
    count = len(found)
    accuracy: dict[Variant, float] = {
        name: sum(one.chosen[name] == one.gold for one in found) / count for name in found[0].chosen
    }
    own = accuracy[task.score]
    return TaskScore(
        questions=count,
        truncated=truncated,
        chance=sum(1 / len(question.requests) for question in asked) / count,
        score=task.score,
        accuracy=accuracy,
        standard_error=math.sqrt(own * (1 - own) / (count - 1)) if count > 1 else None,
        bits_per_byte=sum(one.bits_per_byte for one in found) / count,
        items=found if items else None,
    )
