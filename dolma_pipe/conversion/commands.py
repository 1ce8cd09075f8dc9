"""The Dolma toolkit's YAML for `tag`, `dedupe` and `tokens` as command lines of ours (`mix` is in mixing.py)."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import Any

import msgspec

from dolma_pipe.config import Config, convert, read_yaml
from dolma_pipe.conversion.names import similar_taggers, taggers_for
from dolma_pipe.errors import ConfigError
from dolma_pipe.types import Plain

KEYS = {"mix": "streams", "dedupe": "dedupe", "tag": "taggers", "tokens": "destination"}
"""What only the configuration of one command has, beside `documents`."""


class Commands(msgspec.Struct, frozen=True):
    """Command lines, what of the file they leave out, and what to know of them."""

    lines: list[str]
    lost: list[str]
    notes: list[str]


class _Common(Config, frozen=True):
    documents: list[str]
    processes: int = 1
    work_dir: Plain = None
    dryrun: Plain = None
    debug: Plain = None


class _Tag(_Common, frozen=True, kw_only=True):
    taggers: list[str]
    experiment: str | None = None
    tagger_modules: list[str] = []
    destination: Plain = None
    ignore_existing: Plain = None
    profile: Plain = None


class _ByDocument(Config, frozen=True):
    key: str
    attribute_name: str | None = None


class _ByParagraph(Config, frozen=True):
    attribute_name: str | None = None
    paragraph_separator: str = "\n"
    by_ngram: dict[str, Plain] | None = None


class _Key(Config, frozen=True):
    name: str | None = None
    documents: _ByDocument | None = None
    paragraphs: _ByParagraph | None = None
    skip_empty: Plain = None
    min_length: int = 0
    min_words: int = 0
    num_partitions: Plain = None
    partition_index: Plain = None
    file_partition: Plain = None
    document_dir: Plain = None


class _Dedupe(_Common, frozen=True, kw_only=True):
    dedupe: _Key
    bloom_filter: dict[str, Plain] = {}
    compression: Plain = None
    is_s3_volume: Plain = None


class _Tokens(_Common, frozen=True, kw_only=True):
    destination: str
    tokenizer: dict[str, Plain] = {}
    tokenizer_name_or_path: str | None = None
    dtype: str = "uint16"
    max_size: int | None = None
    seed: int | None = None
    files_per_process: Plain = None
    batch_size: Plain = None
    ring_size: Plain = None
    sample_ring_prop: Plain = None
    fields: Plain = None


def kind_of(data: Any) -> str | None:
    """The Dolma command that plain data of a YAML is for, if it looks like one."""
    if not isinstance(data, dict) or not ("streams" in data or "documents" in data):
        return None
    return next((kind for kind, key in KEYS.items() if key in data), None)


def convert_commands(path: str) -> Commands:
    """What to type instead; raises `ConfigError` for what is no configuration of the Dolma toolkit."""
    data = read_yaml(path)
    kind = kind_of(data)
    if kind == "tag":
        return _tag(convert(data, _Tag, path), path)
    if kind == "dedupe":
        return _dedupe(convert(data, _Dedupe, path), path)
    if kind == "tokens":
        return _tokens(convert(data, _Tokens, path), path)
    if kind == "mix":
        new = re.sub(r"\.(ya?ml|json)$", "", path) + ".mix.yaml"
        return Commands([_line("convert", "mix", path, "--to", new), _line("mix", "-c", new)], [], [])
    known = ", ".join(KEYS)
    raise ConfigError(f"{path}: no configuration of the Dolma toolkit that is known here ({known})")


def _tag(old: _Tag, path: str) -> Commands:
    wanted: dict[str, None] = {}
    lost: list[str] = [f"tagger_modules: {name}: write it as a tagger of ours" for name in old.tagger_modules]
    notes: list[str] = []
    for tagger in old.taggers:
        sets, alike = taggers_for(tagger), similar_taggers(tagger)
        wanted |= dict.fromkeys(sets or alike)
        if alike and not sets:
            notes.append(f"{tagger}: {', '.join(alike)} measures the like, by other means")
        elif not sets:
            lost.append(f"tagger {tagger}: nothing here measures that; see dolma-pipe list taggers")
    if "bad_words" in wanted:
        del wanted["bad_words"]
        notes.append("bad words are counted by a tagger of their own, bad_words, which wants the lists named")
    if old.experiment is not None:
        notes.append(f"experiment {old.experiment}: sets are called as their taggers are; none is needed")
    tags = _line("tag", *_places(old, path), "--taggers", ",".join(wanted), *_workers(old))
    return Commands([tags] if wanted else [], lost, notes)


def _dedupe(old: _Dedupe, path: str) -> Commands:
    how, lost, notes = list[str](), list[str](), list[str]()
    rules, minimum = old.dedupe, old.dedupe.min_length
    if rules.documents is not None:
        how += ["--by", _key(rules.documents.key, path)]
        if minimum:
            how += ["--where", f"length.characters >= {minimum}"]
            notes.append("--where reads what `dolma-pipe tag DATASET --taggers length` has measured")
    elif rules.paragraphs is not None:
        how += ["-c", "ngram"] if rules.paragraphs.by_ngram else ["--by", "paragraph"]
        if rules.paragraphs.by_ngram:
            lost.append("by_ngram: its lengths and thresholds; ours stand in configs/dedup/ngram.yaml")
        if (separator := rules.paragraphs.paragraph_separator) != "\n":
            how += ["--set", f"paragraph.separator={_quoted(separator)}"]
        if minimum:
            how += ["--set", f"paragraph.min_characters={minimum}"]
    else:
        raise ConfigError(f"{path}: dedupe: expected documents or paragraphs")
    if rules.min_words:
        lost.append(f"min_words {rules.min_words}: say it as --where, with an attribute that counts words")
    if old.bloom_filter:
        notes.append("duplicates are found exactly: no filter has to be given a size, and nothing is taken for one")
    notes.append("what is empty is nobody's duplicate, and counted as missing keys")
    return Commands([_line("dedup", *_places(old, path), *how, *_workers(old))], lost, notes)


def _tokens(old: _Tokens, path: str) -> Commands:
    named = str(old.tokenizer.get("name_or_path") or old.tokenizer_name_or_path or "tokenizer.json")
    how = ["--tokenizer", named, "--to", old.destination]
    notes = ["--tokenizer is a tokenizer.json, or the folder that holds it"] if not named.endswith(".json") else []
    if old.tokenizer.get("eos_token_id") is not None:
        notes.append(f"eos_token_id {old.tokenizer['eos_token_id']}: --eos names the token, as in '<|endoftext|>'")
    if old.max_size is not None:
        how += ["--shard-tokens", str(old.max_size // (4 if old.dtype == "uint32" else 2))]
    if old.seed is not None:
        how += ["--seed", str(old.seed)]
    lost = ["fields: documents have `id` and `text`; ingest renames fields"] if old.fields is not None else []
    return Commands([_line("tokenize", *_places(old, path), *how, *_workers(old))], lost, notes)


def _key(key: str, path: str) -> str:
    """What `--by` calls a JSONPath to one field."""
    field = key.removeprefix("$.")
    found = {"metadata.url": "url"}.get(field, field)
    if not re.fullmatch(r"url|text|id|source|added|created|metadata(\.\w+)+", found):
        raise ConfigError(f"{path}: dedupe: key {key!r}: expected $.text, $.metadata.url or $.metadata.NAME")
    return found


def _places(old: _Common, path: str) -> list[str]:
    """The data sets of the globs, and what they leave out of them."""
    datasets: dict[str, None] = {}
    globs: list[str] = []
    for glob in old.documents:
        dataset, middle, rest = glob.partition("/documents")
        if not middle or any(sign in dataset for sign in "*?["):
            raise ConfigError(f"{path}: documents: {glob}: expected DATASET/documents/GLOB")
        datasets[dataset] = None
        globs += [rest.lstrip("/")] if rest.strip("/*") and not rest.startswith("/*") else []
    return [*datasets, *(["--set", f"include={_quoted(globs)}"] if globs else [])]


def _workers(old: _Common) -> Sequence[str]:
    return () if old.processes == 1 else ("--workers", str(old.processes))


def _quoted(value: Plain) -> str:
    return msgspec.json.encode(value).decode()


def _line(*words: str) -> str:
    return shlex.join(["dolma-pipe", *words])
