"""Conversations as tokens, and which of them are an answer's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from dolma_pipe import storage
from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.streams import json_objects
from dolma_pipe.tokenizer import identify, open_tokenizer
from dolma_pipe.tokens import TOKENIZER
from dolma_pipe.train.adaptation.config import ChatTemplate, TuneConfig
from dolma_pipe.train.checkpoints import checkpoint
from dolma_pipe.train.checkpoints.start import is_hugging_face
from dolma_pipe.train.data.chunks import IGNORED
from dolma_pipe.train.evaluation.heldout import TEXT_FILES
from dolma_pipe.train.evaluation.scoring import Ids
from dolma_pipe.train.evaluation.text import StoredTokenizer, TextEncoder, tokenizer_of


class Message(msgspec.Struct, frozen=True):
    """One turn; roles are those of the template."""

    role: str
    content: str


class Encoded(NamedTuple):
    """A conversation: what the model sees, and the next tokens where they are an answer's, `IGNORED` elsewhere."""

    inputs: Ids
    labels: Ids


class ChatEncoder:
    """Conversations in a template. Each piece of text is encoded by itself, as it is when the model answers."""

    def __init__(self, stored: StoredTokenizer, template: ChatTemplate) -> None:
        self._text, self._template = TextEncoder(stored), template
        roles = template.roles.items()
        self._around = {role: [self._text.encode_template(part) for part in parts] for role, parts in roles}
        self._end = np.array([stored.eos]) if template.end is None else self._text.encode_template(template.end)
        self._first = np.array([stored.first])

    @property
    def end(self) -> int:
        """The token at which an answer is over."""
        return int(self._end[0])

    def encode(self, conversations: Sequence[Sequence[Message]], last_only: bool = False) -> list[Encoded]:
        """All answers are trained, or the last message alone; after it nothing follows but the answer's end."""
        contents = iter(self._text.encode([message.content for messages in conversations for message in messages]))
        return [self._joined(messages, contents, last_only) for messages in conversations]

    def _joined(self, messages: Sequence[Message], contents: Iterator[Ids], last_only: bool) -> Encoded:
        pieces: list[Ids] = [self._first]
        trained: list[NDArray[np.bool_]] = [np.zeros(1, np.bool_)]
        for number, message in enumerate(messages):
            before, after = self._around[message.role]
            is_answer, is_last = message.role == "assistant", number == len(messages) - 1
            counts = is_answer and (is_last or not last_only)
            parts = [before, next(contents), self._end if is_answer else self._end[:0], after[:0] if is_last else after]
            pieces += parts
            trained += [np.full(len(ids), counts and part in (1, 2)) for part, ids in enumerate(parts)]
        tokens, wanted = np.concatenate(pieces), np.concatenate(trained)
        return Encoded(tokens[:-1], np.where(wanted[1:], tokens[1:], IGNORED))

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """The tokens after which the model gives its answer."""
        pieces = [self._first]
        for message in messages:
            before, after = self._around[message.role]
            end = self._end if message.role == "assistant" else self._end[:0]
            pieces += [before, self._text.encode([message.content])[0], end, after]
        return np.concatenate([*pieces, self._around["assistant"][0]]).tolist()

    def messages(self, row: Any, place: str) -> list[Message]:
        """What a list of `{role, content}` holds; anything else is a `DataError`."""
        try:
            found = msgspec.convert(row, list[Message])
        except msgspec.ValidationError as error:
            raise DataError(f"{place}: not a list of messages {{role, content}}: {error}") from error
        unknown = [message.role for message in found if message.role not in self._around]
        if unknown:
            raise DataError(f"{place}: the template has no role {unknown[0]!r} (it has {', '.join(self._around)})")
        if not found or found[-1].role != "assistant":
            raise DataError(f"{place}: a conversation ends with an answer (role assistant)")
        return found


def chat_rows(paths: Sequence[str]) -> Iterator[tuple[dict[str, Any], str]]:
    """The rows of files, or of all files of folders, and where each stands."""
    for path in files(paths):
        for number, row in enumerate(json_objects(path), 1):
            yield row, f"{path}, row {number}"


def files(paths: Sequence[str]) -> list[str]:
    """The files that `data` names, by themselves or by their folder."""
    found: list[str] = []
    for path in paths:
        if storage.is_file(path):
            found.append(path)
        else:
            found += [storage.join(path, name) for name in storage.listing(path) if name.endswith(TEXT_FILES)]
    if not found:
        raise DataError(f"{', '.join(paths)}: no file of JSON lines")
    return found


def starting_tokenizer(config: TuneConfig) -> StoredTokenizer:
    """The tokenizer that the configuration names, else that of the model it starts from."""
    if config.start is None:
        raise ConfigError("start: name the model to tune")
    if config.tokenizer is None and not is_hugging_face(config.start):
        if config.eos is not None:
            raise ConfigError(f"eos has no effect: {config.start} says what its end-of-text is; leave it out")
        folder = checkpoint.find(config.start)
        return tokenizer_of(folder, checkpoint.read_record(folder))
    identity = identify(config.tokenizer or storage.join(config.start, TOKENIZER), config.eos)
    found = open_tokenizer(identity, "tokenizers")
    return StoredTokenizer(identity.path, found.raw, found.eos_id, found.bos_id, found.pad_id)
