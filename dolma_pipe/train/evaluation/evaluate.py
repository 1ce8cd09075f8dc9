"""A trained model measured: bits per byte by source and by domain, and multiple-choice tasks, in one result."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean
from typing import Any, NamedTuple

import msgspec

from dolma_pipe import storage
from dolma_pipe.config import fingerprint
from dolma_pipe.errors import DataError
from dolma_pipe.tokens import TokenSet
from dolma_pipe.train.checkpoints import checkpoint
from dolma_pipe.train.evaluation.config import EvalConfig, TaskConfig, open_task
from dolma_pipe.train.evaluation.heldout import (
    Listener,
    Score,
    Windowing,
    chosen,
    score_documents,
    text_documents,
    text_files,
    token_documents,
    total,
)
from dolma_pipe.train.evaluation.tasks import TaskScore, questions, score_task, task_file
from dolma_pipe.train.evaluation.text import TextEncoder, tokenizer_of
from dolma_pipe.train.model.transformer import Transformer
from dolma_pipe.train.parallel import choose_device


class EvalResult(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was measured.

    `sources` are those of token folders' documents (`tokens`: folders and their hashes), `overall` is over them all;
    `domains` are those of text folders, `macro_bits_per_byte` their mean. `definition` says of what.
    """

    model: str
    step: int
    window: int
    overlap: int
    tokens: dict[str, str] = {}
    sources: dict[str, Score] = {}
    overall: Score | None = None
    domains: dict[str, Score] = {}
    macro_bits_per_byte: float | None = None
    tasks: dict[str, TaskScore] = {}
    definition: str = ""


class _Inputs(NamedTuple):
    """What a configuration names, found."""

    folder: str
    record: checkpoint.CheckpointRecord
    sets: dict[str, TokenSet]
    texts: dict[str, str]
    tasks: dict[str, tuple[TaskConfig, str]]


def evaluate(config: EvalConfig, listen: Listener = lambda tokens: None) -> EvalResult:
    """Measure; `listen` hears how many tokens were scored, batch by batch. Writes `config.to` if given."""
    config.check()
    inputs = _open(config)
    model, _ = checkpoint.open_model(inputs.folder, choose_device(config.device))
    result = _measure(config, model, inputs, listen)
    if config.to is not None:
        storage.write_bytes(config.to, msgspec.json.format(msgspec.json.encode(result)) + b"\n")
    return result


def _measure(config: EvalConfig, model: Transformer, inputs: _Inputs, listen: Listener) -> EvalResult:
    window = config.window or inputs.record.sequence_length
    config.check_window(window)
    windowing = Windowing(window, config.overlap, config.batch_tokens)
    sources = _sources(config, model, inputs, windowing, listen)
    encoder = TextEncoder(tokenizer_of(inputs.folder, inputs.record)) if inputs.texts or inputs.tasks else None
    domains = {} if encoder is None else _domains(config, model, inputs, encoder, windowing, listen)
    tasks = {} if encoder is None else _tasks(config, model, inputs, encoder, windowing, listen)
    return EvalResult(
        model=inputs.folder,
        step=inputs.record.step,
        window=window,
        overlap=config.overlap,
        tokens={path: tokens.hash for path, tokens in inputs.sets.items()},
        sources=sources,
        overall=total(sources.values()) if sources else None,
        domains=domains,
        macro_bits_per_byte=fmean(one.bits_per_byte for one in domains.values()) if domains else None,
        tasks=tasks,
        definition=_definition(config, inputs),
    )


def standing(config: EvalConfig) -> EvalResult | None:
    """The result in `config.to` if evaluating again would give the same."""
    if config.to is None or not storage.is_file(config.to):
        return None
    try:
        found = msgspec.json.decode(storage.read_bytes(config.to), type=EvalResult)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None
    return found if found.definition == _definition(config, _open(config)) else None


def _open(config: EvalConfig) -> _Inputs:
    folder = checkpoint.find(config.model)
    record = checkpoint.read_record(folder)
    sets = {path: TokenSet.open(path) for path in config.tokens}
    for path, tokens in sets.items():
        if tokens.manifest.tokenizer_hash != record.data["tokenizer"]:
            raise DataError(f"{path} was made by another tokenizer than the one that {folder} was trained with")
    texts = [item for folder in config.texts for item in text_files(folder).items()]
    if len(dict(texts)) < len(texts):
        raise DataError(f"{', '.join(config.texts)}: two folders have a domain of one name; measure them one by one")
    tasks = [open_task(name) for name in config.tasks]
    return _Inputs(
        folder, record, sets, dict(texts),
        {name: (task, task_file(config.data or "", task.file or name)) for name, task in tasks},
    )  # fmt: skip


def _definition(config: EvalConfig, inputs: _Inputs) -> str:
    hashes = [tokens.hash for tokens in inputs.sets.values()]
    texts = {name: storage.content_hash(path) for name, path in inputs.texts.items()}
    tasks = {name: [task, storage.content_hash(path)] for name, (task, path) in inputs.tasks.items()}
    how = [config.window, config.overlap, config.limit, config.sample, config.seed, config.items, config.domain]
    return fingerprint([inputs.record, hashes, texts, tasks, how])


def _sources(
    config: EvalConfig, model: Transformer, inputs: _Inputs, windowing: Windowing, listen: Listener
) -> dict[str, Score]:
    if not inputs.sets:
        return {}
    found = (document for tokens in inputs.sets.values() for document in token_documents(tokens, config.limit))
    return _some_text(score_documents(model, found, windowing, config.items, listen), config.tokens)


def _domains(
    config: EvalConfig, model: Transformer, inputs: _Inputs, encoder: TextEncoder, windowing: Windowing,
    listen: Listener,
) -> dict[str, Score]:  # fmt: skip
    if not inputs.texts:
        return {}
    choose = _choice(config)
    found = (
        document
        for name, path in inputs.texts.items()
        for document in text_documents(name, path, encoder, config.domain, choose)
    )
    scores = score_documents(model, found, windowing, config.items, listen)
    silent = [name for name, one in scores.items() if not one.bytes]
    if silent:
        raise DataError(f"{', '.join(config.texts)}: no text to score in {', '.join(silent)}")
    return _some_text(scores, config.texts)


def _tasks(
    config: EvalConfig, model: Transformer, inputs: _Inputs, encoder: TextEncoder, windowing: Windowing,
    listen: Listener,
) -> dict[str, TaskScore]:  # fmt: skip
    choose = _choice(config)
    return {
        name: score_task(model, encoder, task, choose(questions(task, path), name), windowing, config.items, listen)
        for name, (task, path) in inputs.tasks.items()
    }


def _choice(config: EvalConfig) -> Callable[[list[Any], str], list[Any]]:
    return lambda rows, name: chosen(rows, name, config.limit, config.sample, config.seed)


def _some_text(scores: dict[str, Score], folders: list[str]) -> dict[str, Score]:
    if not any(one.bytes for one in scores.values()):
        raise DataError(f"{', '.join(folders)}: no text to score")
    return scores
