"""What an evaluation is, as typed configuration; imports no torch."""

from __future__ import annotations

from typing import Literal

from dolma_pipe.config import Config, bundled, convert, read_yaml
from dolma_pipe.errors import ConfigError
from dolma_pipe.train.config import Count
from dolma_pipe.train.model.architecture import Positive

Variant = Literal["raw", "per_character", "per_byte", "per_token", "unconditional"]
"""How a choice is scored: the log-probability of its text, as it is or divided; or less that without the question."""


class TaskConfig(Config, frozen=True):
    """A multiple-choice task: how a row of its file becomes a question, and how its choices are scored.

    The file is `DATA/NAME.jsonl`, `.jsonl.gz` or `.zst`, `NAME.SPLIT.jsonl...` too; `file` is another name for it. A
    row that brings `requests` (`[{context, continuation}]`, one for each choice) and the number of the right one as
    `label` is taken as it is. Else the templates are filled: `{a.b}` is a field of the row, `{choice}` one of its
    choices, `{before}` and `{after}` what surrounds `_` in the field `blank`; `{a:capitalize}` writes it with a
    capital. `choices` is the field that lists them, or a list of templates. `gold` is the number of the right choice,
    or the field that holds it, or that holds one of the `labels` (a field, or a list of values). `replace` are patterns
    with what takes their place, in contexts and choices.

    `score` is the variant that the task's published figures use; `unconditional` the context, without a question,
    that the variant of this name compares with.
    """

    title: str
    context: str
    choices: str | list[str]
    gold: str | int
    score: Variant
    continuation: str = " {choice}"
    labels: str | list[str] | None = None
    blank: str | None = None
    replace: list[tuple[str, str]] = []
    unconditional: str | None = None
    file: str | None = None

    def check(self, name: str) -> None:
        if self.score == "unconditional" and self.unconditional is None:
            raise ConfigError(f"task {name}: score is unconditional, but `unconditional` says no context for it")


def open_task(name: str) -> tuple[str, TaskConfig]:
    """A task by its name (`configs/eval/tasks/`), or by the path of its YAML; its name, and what it is."""
    is_file = "/" in name or name.endswith(".yaml")
    path = name if is_file else str(bundled(f"eval/tasks/{name}.yaml"))
    task = convert(read_yaml(path), TaskConfig, path)
    short = path.rsplit("/", 1)[-1].removesuffix(".yaml")
    task.check(short)
    return short, task


class EvalConfig(Config, frozen=True):
    """What a trained model is measured on; `model` is a run (its newest checkpoint) or one checkpoint's folder.

    `tokens` are folders of held-out token shards: bits per byte by source. `texts` are folders of text files, one
    for each domain (JSON lines with a `text`): bits per byte by domain, and their mean. `domain` is the field that
    names a text's domain, where it is not the file. `tasks` are multiple-choice tasks, whose files lie in `data`.

    Texts longer than `window` tokens (default: the sequence length of training) are scored window by window; a window
    repeats `overlap` tokens of the one before as unscored context. `limit`: only the first so many documents of each
    token folder and file of texts, and questions of each task; `sample`: so many of each file and task, drawn by
    `seed`. With `items` the result lists every document and question.
    """

    model: str
    tokens: list[str] = []
    texts: list[str] = []
    tasks: list[str] = []
    data: str | None = None
    domain: str | None = None
    window: Positive | None = None
    overlap: Count = 0
    batch_tokens: Positive = 16_384
    limit: Positive | None = None
    sample: Positive | None = None
    seed: int = 0
    items: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"
    to: str | None = None

    def check(self) -> None:
        """Refuse what could be known to fail, or to have no effect, before any work."""
        if not (self.tokens or self.texts or self.tasks):
            raise ConfigError("eval: nothing to measure; give tokens, texts (a folder of domains) or tasks")
        if bool(self.tasks) != (self.data is not None):
            raise ConfigError("eval: tasks and data (the folder of their files) belong together; give both or neither")
        if self.domain is not None and not self.texts:
            raise ConfigError("eval: domain has no effect without texts")
        if self.sample is not None and (self.limit is not None or not (self.texts or self.tasks)):
            raise ConfigError("eval: sample draws from texts and tasks, and takes the place of limit")
        if self.seed and self.sample is None:
            raise ConfigError("eval: seed has no effect without sample")
        if self.overlap and not (self.tokens or self.texts):
            raise ConfigError("eval: overlap has no effect without tokens or texts")
        for name in self.tasks:
            open_task(name)
        if self.window is not None:
            self.check_window(self.window)

    def check_window(self, window: int) -> None:
        if self.overlap >= window:
            raise ConfigError(f"overlap {self.overlap} leaves nothing to score in a window of {window}; lessen it")
