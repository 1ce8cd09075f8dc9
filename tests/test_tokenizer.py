"""Tokenizers: the fast ids are the reference's ids, and no document can forge a boundary."""

from __future__ import annotations

import functools
import gzip
import itertools
import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_tokenizers import EOS, grown, write_tokenizer

from dolma_pipe.batch import make_batch
from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.fast_encoder import FastEncoder
from dolma_pipe.shards import DocumentReader
from dolma_pipe.stages.tokenizer import MASKS
from dolma_pipe.tokenizer import Tokenizer, identify, open_tokenizer

SHARED = {
    "allenai_dolma2.json": EOS,
    "allenai_eleuther-ai-gpt-neox-20b-pii-special.json": EOS,
    "allenai_gpt-neox-olmo-dolma-v1_5.json": EOS,
    "llama-test-tokenizer.json": "</s>",
}


def opened(path: str, engine: Any = "auto", **names: str) -> Tokenizer:
    return open_tokenizer(identify(path, **names), engine)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return opened(write_tokenizer(tmp_path_factory.mktemp("tiny")))


@functools.cache
def reference(path: str) -> Any:
    tokenizer = tokenizers.Tokenizer.from_file(path)
    tokenizer.encode_special_tokens = True
    return tokenizer


def reference_ids(path: str, texts: list[str]) -> list[list[int]]:
    return [encoding.ids for encoding in reference(path).encode_batch_fast(texts, add_special_tokens=False)]


def ids_of(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    """The ids of each document without its end-of-text."""
    ids, ends = tokenizer.documents(make_batch(texts))
    assert (ids[ends - 1] == tokenizer.eos_id).all()
    return [ids[start : end - 1].tolist() for start, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True)]


anything = st.text(st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from(" \n\t'sé\u0301<|>"))).flatmap(
    lambda text: st.sampled_from(
        [text, text + MASKS[0] + text, text + EOS, EOS[:-1] + text, "  " * 20 + text, text * 9]
    )
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(anything, min_size=1, max_size=6))
def test_ids_are_those_of_the_reference(tiny: Tokenizer, texts: list[str]) -> None:
    assert "gigatoken" in tiny.describe()
    assert ids_of(tiny, texts) == reference_ids(tiny.path, texts)


@pytest.mark.corpus
@pytest.mark.parametrize(("name", "eos"), SHARED.items())
def test_ids_are_those_of_the_reference_on_real_text(corpus: Path, name: str, eos: str) -> None:
    path = str(corpus / "tokenizers" / name)
    tokenizer = opened(path, eos=eos)
    assert tokenizer.describe().startswith("gigatoken")
    texts = [text[:1500] for text in real_texts(corpus)]
    assert ids_of(tokenizer, texts) == reference_ids(path, texts)


def real_texts(corpus: Path) -> list[str]:
    """A few documents of some sources, and a line in each of 350 languages."""
    found: list[str] = []
    for source in ("web", "wikipedia", "github_code", "ubuntu_irc", "arxiv"):
        path = min((corpus / "corpus" / source / "documents").iterdir())
        found += next(iter(DocumentReader(str(path), limit=40))).texts()
    with gzip.open(corpus / "lid" / "udhr2.jsonl.gz", "rt", encoding="utf-8") as lines:
        by_language = {record["variant"]: record["text"] for record in map(json.loads, lines)}
    return [*found, *(text[:200] for text in by_language.values())]


@pytest.mark.corpus
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(anything, min_size=1, max_size=4))
def test_ids_of_made_up_text_are_those_of_the_reference(corpus: Path, texts: list[str]) -> None:
    path = str(corpus / "tokenizers" / "allenai_gpt-neox-olmo-dolma-v1_5.json")
    assert ids_of(opened(path, eos=EOS), texts) == reference_ids(path, texts)


def test_a_document_cannot_forge_a_boundary(tiny: Tokenizer) -> None:
    ids, ends = tiny.documents(make_batch([f"a{EOS}b", EOS, f"{EOS}{EOS}"]))
    assert np.flatnonzero(ids == tiny.eos_id).tolist() == (ends - 1).tolist()


def test_added_tokens_that_are_not_special_match(tiny: Tokenizer) -> None:
    [ids] = ids_of(tiny, [f"write to {MASKS[0]}."])
    assert tiny.vocab_size - 3 in ids


def test_an_empty_document_is_an_end_of_text_alone(tiny: Tokenizer) -> None:
    ids, ends = tiny.documents(make_batch(["", "a", ""]))
    assert (ids[[0, -1]] == tiny.eos_id).all()
    assert (ends[0], len(ids) - ends[1]) == (1, 1)


def test_a_megabyte_without_a_space_is_encoded(tiny: Tokenizer) -> None:
    text = "abcdefghij" * 100_000
    assert ids_of(tiny, [text]) == reference_ids(tiny.path, [text])


@pytest.mark.corpus
@pytest.mark.parametrize("name", ["allenai_dolma2.json", "allenai_gpt-neox-olmo-dolma-v1_5.json"])
def test_a_megabyte_without_a_space_is_that_of_the_reference(corpus: Path, name: str) -> None:
    path = str(corpus / "tokenizers" / name)
    text = "".join(chr(97 + i * i % 26) for i in range(1_000_000))
    assert ids_of(opened(path, eos=EOS), [text]) == reference_ids(path, [text])


def test_the_slow_path_writes_the_same(tiny: Tokenizer) -> None:
    texts = ["The quick fox", "", f"x{EOS}y", "日本語 😀"]
    slow = opened(tiny.path, engine="tokenizers")
    assert slow.describe().startswith("tokenizers")
    assert ids_of(slow, texts) == ids_of(tiny, texts)


def test_counts_are_those_of_what_is_written(tiny: Tokenizer) -> None:
    batch = make_batch(["The quick fox", "", "日本語"])
    assert tiny.count_tokens(batch).tolist() == np.diff(tiny.documents(batch)[1], prepend=0).tolist()


def test_bytes_of_tokens_add_up_to_the_text(tiny: Tokenizer) -> None:
    batch = make_batch(["The quick fox\n\n", "日本語 😀 \0", f"{MASKS[1]} é"])
    ids, ends = tiny.documents(batch)
    sums = np.concatenate([[0], np.cumsum(tiny.token_bytes()[ids])])
    assert np.diff(sums[ends], prepend=0).tolist() == np.diff(batch.offsets).tolist()


def test_a_beginning_token_is_written_where_it_is_named(tiny: Tokenizer) -> None:
    tokenizer = opened(tiny.path, bos="<|padding|>")
    ids, ends = tokenizer.documents(make_batch(["a", ""]))
    assert ids[[0, ends[0]]].tolist() == [tokenizer.bos_id] * 2
    assert len(ids) == ends[-1] == tokenizer.count_tokens(make_batch(["a", ""])).sum()


def test_a_token_that_ends_documents_does_not_begin_them_too(tmp_path: Path) -> None:
    path = Path(write_tokenizer(tmp_path))
    assert identify(str(path)).names.bos is None
    config = {"eos_token": EOS, "bos_token": EOS, "add_bos_token": True}
    path.with_name("tokenizer_config.json").write_text(json.dumps(config))
    assert identify(str(path)).names == (EOS, None, None)
    with pytest.raises(ConfigError, match="ends documents, and so stands before the next one"):
        identify(str(path), bos=EOS)


def test_many_ids_need_four_bytes(tmp_path: Path) -> None:
    assert opened(write_tokenizer(tmp_path)).dtype == np.uint16
    assert opened(grown(write_tokenizer(tmp_path), 70_000)).dtype == np.uint32


def test_a_difference_in_the_proof_falls_back_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dolma_pipe.tokenizer.load_fast", lambda spec: _Wrong(spec))
    tokenizer = opened(write_tokenizer(tmp_path, merges=10))
    assert "gigatoken gives other ids for" in tokenizer.describe()
    assert ids_of(tokenizer, ["The fox"]) == reference_ids(tokenizer.path, ["The fox"])
    with pytest.raises(ConfigError, match="gives other ids"):
        opened(tokenizer.path, engine="gigatoken")


class _Wrong:
    """An encoder that is right but for texts with a tab, or another character."""

    def __init__(self, spec: dict[str, Any], character: str = "\t") -> None:
        import gigatoken

        self._character = character

        others = [token for token in spec["added_tokens"] if not token["special"]]
        self._right = gigatoken.Tokenizer.from_json(json.dumps({**spec, "added_tokens": others}))

    def encode_batch(self, texts: Any, parallel: bool) -> Any:
        return self._right.encode_batch(
            [text.replace(self._character, " ").encode() for text in texts.to_list()], parallel=parallel
        )


def test_a_difference_on_the_input_stops_the_run_and_names_the_text(
    tiny: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = make_batch(["fine", "a\tb"], ids=["one", "two"], shard="a.jsonl")
    tiny.check_sample(batch, 2)
    wrong = _Wrong(json.loads(Path(tiny.path).read_text()))
    monkeypatch.setattr(tiny, "_fast", FastEncoder(wrong, tiny._encode_slow))
    with pytest.raises(DataError, match=r"a\.jsonl.*document 'two'.*engine=tokenizers"):
        tiny.check_sample(batch, 2)


def test_documents_with_a_character_that_the_fast_path_gets_wrong_are_encoded_by_the_reference(tmp_path: Path) -> None:
    tokenizer = opened(write_tokenizer(tmp_path, merges=11))
    wrong = FastEncoder(_Wrong(json.loads(Path(tokenizer.path).read_text()), "\u0897"), tokenizer._encode_slow)
    for texts in (["", "fine", "ö 日 😀"], ["fine", "a\u0897", "", "\u0897", "日"], ["\u0897 fox"], ["The fox", "日"]):
        batch = make_batch(texts)
        ids, ends = wrong.encode(batch.data, batch.offsets)
        found = [ids[start:end].tolist() for start, end in itertools.pairwise(ends)]
        assert found == reference_ids(tokenizer.path, texts)


def test_characters_that_compose_or_change_places_are_those_of_the_reference(tmp_path: Path) -> None:
    """Each mark, and some of all other characters, beside others; the two do not know the same version of Unicode."""
    path = Path(write_tokenizer(tmp_path, merges=13))
    path.write_text(json.dumps({**json.loads(path.read_text()), "normalizer": {"type": "NFC"}}))
    marks = [code for code in range(0x80, 0x20000) if unicodedata.category(chr(code)).startswith("M")]
    others = [*range(0x80, 0xD800, 53), *range(0xE000, 0x20000, 97)]
    codes = sorted({*marks, *others, *range(0x880, 0x8A0), *range(0x11380, 0x113D0), *range(0x16D60, 0x16D70)})
    texts = [f"o{c}{d} {d}\u0334{c}{d}" for c, d in itertools.pairwise(map(chr, codes))]
    tokenizer = opened(str(path))
    assert tokenizer.describe().startswith("gigatoken")
    assert ids_of(tokenizer, texts) == reference_ids(str(path), texts)


def test_the_fast_path_is_left_where_a_special_token_can_hide_another(tmp_path: Path) -> None:
    path = Path(write_tokenizer(tmp_path, merges=12))
    spec = json.loads(path.read_text())
    spec["added_tokens"].append({**spec["added_tokens"][-1], "id": spec["added_tokens"][-1]["id"] + 1, "content": ">>"})
    path.write_text(json.dumps(spec))
    assert "can overlap the token '>>'" in opened(str(path)).describe()


def test_a_tokenizer_that_only_the_reference_reads_is_read(tmp_path: Path) -> None:
    words = {"[UNK]": 0, "the": 1, "fox": 2, "[SEP]": 3}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["[SEP]"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    found = opened(str(tmp_path), eos="[SEP]")
    assert found.describe().startswith("tokenizers")
    assert ids_of(found, ["the fox flies"]) == [[1, 2, 0]]


def test_a_unigram_model_does_not_find_its_special_tokens_in_text(tmp_path: Path) -> None:
    pieces = [("<unk>", 0.0), ("</s>", 0.0), *((piece, -2.0) for piece in ("\u2581", "the", "<", "/", "s", ">"))]
    tokenizer = tokenizers.Tokenizer(tokenizers.models.Unigram(pieces, 0, False))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    tokenizer.decoder = tokenizers.decoders.Metaspace()
    tokenizer.add_special_tokens(["<unk>", "</s>", "<mask>"])
    tokenizer.add_tokens(["[MAIL]"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    found = opened(str(tmp_path), eos="</s>")
    assert ids_of(found, ["the</s>the", "<unk>", "the[MAIL]"]) == [
        [2, 3, 4, 5, 6, 7, 3], [2, 4, 0, 7], [2, 3, 9],
    ]  # fmt: skip
    assert (found.eos_id, found.vocab_size) == (1, 10)
    assert found.decode([2, 3, 1, 8, 3]) == "thethe"
    assert found.token_bytes().tolist() == [0, 0, 1, 3, 1, 1, 1, 1, 0, 6]


def test_without_an_end_of_text_the_candidates_are_named(tmp_path: Path) -> None:
    path = write_tokenizer(tmp_path, named=False)
    with pytest.raises(ConfigError, match=r"--eos \(special tokens: <\|endoftext\|>, <\|padding\|>\)"):
        identify(path)
    assert opened(path, eos=EOS).eos_id == 0


def test_an_end_of_text_that_is_no_token_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the eos token '</s>' is not an added token"):
        opened(write_tokenizer(tmp_path), eos="</s>")


def test_any_added_token_can_end_documents_and_is_special_then(tmp_path: Path) -> None:
    tokenizer = opened(write_tokenizer(tmp_path), eos=MASKS[2])
    ids, ends = tokenizer.documents(make_batch([f"at {MASKS[2]}!"]))
    assert np.flatnonzero(ids == tokenizer.eos_id).tolist() == [ends[0] - 1]


@pytest.mark.parametrize(
    ("content", "complaint"), [("{", "not a tokenizer.json"), ('{"a": 1}', "has no model"), (None, "no such")]
)
def test_what_is_no_tokenizer_is_refused(tmp_path: Path, content: str | None, complaint: str) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ConfigError, match=complaint):
        opened(str(tmp_path), eos=EOS)
