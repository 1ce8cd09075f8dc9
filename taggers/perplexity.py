"""How a KenLM model of good text takes to a document: CCNet's perplexity (Wenzek et al. 2020, section 4).

    perplexity = 10 ^ (-(sum of the lines' log10 probabilities) / words)

A line is a sentence, its end a word of its own. Models are files of KenLM (`build_binary`, or ARPA), with or without
SentencePiece; CCNet's are `en.arpa.bin` and `en.sp.model`. One model knows one language: gate it (`only_where:
"langid.language = 'en'"`), or name the models of several languages, each of which gets the documents in its own. Head,
middle and tail are the recipes `ccnet_head`, `ccnet_middle` and `ccnet_tail`.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from dolma_pipe import storage
from dolma_pipe.batch import Batch
from dolma_pipe.config import fingerprint
from dolma_pipe.errors import ConfigError, DataError, DependencyError
from dolma_pipe.tagger import Tagger, count64, load, real, string
from dolma_pipe.types import Plain

PUNCTUATION = {
    ",": "，、", ".": "。", '"': "„”“«»」「《》", "'": "´’", ":": "∶：", "?": "？", "!": "！", "(": "（", ")": "）",
    ";": "；", "-": "–━►", " - ": "—", ". ": "．", "~": "～", "...": "…", "<": "〈", ">": "〉", "[": "【", "]": "】",
    "%": "％",
}  # fmt: skip
"""What CCNet puts (left) for typographic characters (right)."""

DIGITS = 4


class _Files(NamedTuple):
    model: str
    tokenizer: str | None


class Perplexity(Tagger):
    """CCNet's numbers, on text as CCNet normalises it: lower case, no accents, every digit 0, plain punctuation.

    model: a KenLM file. tokenizer: the SentencePiece model that it was trained with; without one, words are what stands
    between white space. language: what the model knows, for rules that go by it. Or models and tokenizers, with
    `{language}` in their paths, and the `languages` that there are such files of: a document gets the model of the
    language that the tagger `langid` says it is in, with a score of `min_language_score` or more (CCNet's 0.5);
    `langid` are options of that tagger.

    join_lines: newlines are taken out, so that words on either side of one become one, and a text is one sentence. That
    is what CCNet's pipeline and datatrove do, and what thresholds of theirs were found on; by itself each line is a
    sentence. normalize: no leaves the text as it is.

    An empty document is one empty line: its perplexity is that of a sentence that ends before it begins.
    """

    version = 2
    fields = {
        "language": string('what the model knows that scored the text; "" if it does not say, or if none scored it'),
        "perplexity": real(
            "10 ^ (-log_score / words), to one decimal as CCNet has it; low for text like the model's; infinite if no "
            "model knows the language"
        ),
        "log_score": real(
            "log10 probability of the text, ends of lines included; 0 or less, rounded to 4 decimals; 0 without a model"
        ),
        "words": count64("words, or pieces of SentencePiece, and one for the end of each line; 0 without a model"),
    }

    def __init__(
        self,
        *,
        model: str | None = None,
        tokenizer: str | None = None,
        language: str = "",
        models: str | None = None,
        tokenizers: str | None = None,
        languages: Sequence[str] = (),
        langid: Mapping[str, Plain] | None = None,
        min_language_score: float | None = None,
        join_lines: bool = False,
        normalize: bool = True,
    ) -> None:
        if models is None:
            several = {"tokenizers": tokenizers, "languages": languages, "langid": langid}
            _refuse(several | {"min_language_score": min_language_score}, "models: PATH with {language}")
            self.files = {} if model is None else {language: _Files(model, tokenizer)}
        else:
            _refuse({"model": model, "tokenizer": tokenizer, "language": language}, "model: FILE, not models")
            self.files = _files_of(models, tokenizers, languages)
        for path in (path for files in self.files.values() for path in files if path is not None):
            if not storage.is_file(path):
                raise ConfigError(f"perplexity: {path}: no such file")
        self.langid = load({"name": "langid", "k": 1, **(langid or {})}) if models is not None else None
        self.compiles = self.langid is not None  # pyright: ignore[reportAttributeAccessIssue]
        self.min_language_score = 0.5 if min_language_score is None else min_language_score
        self.join_lines, self.normalize = join_lines, normalize

    @functools.cached_property
    def model_hash(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        files = self.named_files
        hashes = [[storage.content_hash(path) if path else None for path in files[name]] for name in sorted(files)]
        if self.langid is None:
            return fingerprint(hashes[0])
        return fingerprint([sorted(files), hashes, self.langid.version, self.langid.model_hash])

    @property
    def named_files(self) -> dict[str, _Files]:
        if not self.files:
            raise ConfigError("perplexity: which model? Write {name: perplexity, model: FILE}")
        return self.files

    def tag(self, batch: Batch) -> dict[str, Any]:
        languages = self.languages_of(batch)
        scores, words = np.zeros(len(batch)), np.zeros(len(batch), np.int64)
        for row, language in enumerate(languages):
            if language in self.named_files:
                scores[row], words[row] = self.score(batch.text(row), self.files[language])
        scored = np.maximum(words, 1)
        with np.errstate(over="ignore"):
            perplexities = np.where(words > 0, np.power(10.0, -scores / scored), np.inf).tolist()
        rounded = [round(perplexity, 1) for perplexity in perplexities]
        return {
            "language": pa.array(languages, pa.string()),
            "perplexity": np.array(rounded, np.float64),
            "log_score": np.round(scores, DIGITS),
            "words": words,
        }

    def languages_of(self, batch: Batch) -> list[str]:
        """The language of each document's model, "" where there is none."""
        if self.langid is None:
            return list(self.named_files) * len(batch)
        found = self.langid.tag(batch)
        names, sure = found["language"].to_pylist(), np.asarray(found["score"]) >= self.min_language_score
        return [name if name in self.files and is_sure else "" for name, is_sure in zip(names, sure, strict=True)]

    def score(self, text: str, files: _Files) -> tuple[float, int]:
        """log10 probability and number of words."""
        model = _open_model(files.model)
        pieces = None if files.tokenizer is None else _open_pieces(files.tokenizer)
        score, words = 0.0, 0
        for sentence in self.sentences(text):
            line = sentence if pieces is None else " ".join(pieces.encode(sentence, out_type=str))
            score += model.score(line)
            words += len(line.split()) + 1
        return score, words

    def sentences(self, text: str) -> Iterable[str]:
        """What the model is asked about, one by one."""
        lines = [text.strip().replace("\n", "")] if self.join_lines else text.split("\n")
        return map(normalized, lines) if self.normalize else lines


def _refuse(given: Mapping[str, Any], without: str) -> None:
    """Options that mean something for the other way to name models."""
    name = next((name for name, value in given.items() if value not in (None, "", (), [])), None)
    if name is not None:
        raise ConfigError(f"perplexity: {name} has no effect here; it goes with {without}")


def _files_of(models: str, tokenizers: str | None, languages: Sequence[str]) -> dict[str, _Files]:
    """The files of each language, from paths with `{language}`."""
    for name, path in (("models", models), ("tokenizers", tokenizers)):
        if path is not None and "{language}" not in path:
            raise ConfigError(f"perplexity: {name}: {path!r} has no {{language}}, which stands for each of languages")
    if isinstance(languages, str) or not languages or "" in languages or len(set(languages)) < len(languages):
        raise ConfigError(f"perplexity: languages: {languages!r}: name those that there are models of, each once")
    return {
        language: _Files(
            models.replace("{language}", language),
            None if tokenizers is None else tokenizers.replace("{language}", language),
        )
        for language in languages
    }


class _Table(dict[int, str | int | None]):
    """What becomes of each code point once it is in lower case and taken apart (NFD), found when it is first met."""

    def __missing__(self, code: int) -> str | int | None:
        kind = unicodedata.category(chr(code))
        if kind == "Mn" or code < 0x20 or 0x7F <= code < 0xA0:
            self[code] = None
        else:
            self[code] = "0" if kind == "Nd" else _PLAIN.get(code, code)
        return self[code]


_PLAIN = {ord(character): plain for plain, characters in PUNCTUATION.items() for character in characters}
_TABLE = _Table()


def normalized(text: str) -> str:
    """CCNet's normalisation of a sentence."""
    return unicodedata.normalize("NFD", text.strip().lower()).translate(_TABLE)


@functools.cache
def _open_model(path: str) -> Any:
    """A KenLM model, mapped into memory once per process; workers share a binary one."""
    try:
        import kenlm
    except ImportError as error:
        raise DependencyError("kenlm", "perplexity", "the tagger 'perplexity'") from error
    config: Any = kenlm.Config()
    config.show_progress = False
    config.arpa_complain = kenlm.ARPALoadComplain.NONE
    try:
        return kenlm.Model(storage.local_path(path), config)
    except (OSError, RuntimeError) as error:
        raise DataError(f"{path}: not a KenLM model: {' '.join(str(error).split())[:200]}") from error


@functools.cache
def _open_pieces(path: str) -> Any:
    """A SentencePiece model."""
    try:
        import sentencepiece
    except ImportError as error:
        raise DependencyError("sentencepiece", "perplexity", "a tokenizer for the tagger 'perplexity'") from error
    try:
        return sentencepiece.SentencePieceProcessor(model_file=storage.local_path(path))
    except (OSError, RuntimeError) as error:
        raise DataError(f"{path}: not a SentencePiece model: {' '.join(str(error).split())[:200]}") from error
