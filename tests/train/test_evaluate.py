"""Bits per byte, against answers computed by hand."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from token_folders import EOS, Row, random_tokens, write_shards
from toy_text import text_tokens, toy_tokenizer

from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.tokens import TokenSet
from dolma_pipe.train.config import TrainConfig
from dolma_pipe.train.data.loader import IGNORED
from dolma_pipe.train.evaluation.config import EvalConfig
from dolma_pipe.train.evaluation.evaluate import evaluate, standing
from dolma_pipe.train.evaluation.heldout import Score, Windowing, chosen, score_documents, token_documents
from dolma_pipe.train.evaluation.scoring import continue_with, cut
from dolma_pipe.train.loop import train
from dolma_pipe.train.model.architecture import ModelConfig
from dolma_pipe.train.model.initialisation import materialise
from dolma_pipe.train.model.transformer import Transformer, on_meta

MakeConfig = Callable[..., TrainConfig]
TEXTS = ["the cat", "a hat in the rain", "one other", "abba on air"]


@pytest.fixture(scope="module")
def model() -> Transformer:
    config = ModelConfig(d_model=16, n_layers=2, n_heads=2, ffn_hidden=24, vocab_size=64, padded_vocab_size=64)
    model = on_meta(config, "fp64")
    materialise(model, 0, torch.device("cpu"))
    return model.eval()


def score(model: Transformer, folder: str, window: int = 100, overlap: int = 0, batch: int = 256) -> dict[str, Score]:
    found = token_documents(TokenSet.open(folder))
    return score_documents(model, found, Windowing(window, overlap, batch), False, lambda _: None)


def write_texts(path: Path, texts: list[str], **fields: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        json.dumps({"text": text, **{name: value[i] for name, value in fields.items()}}) for i, text in enumerate(texts)
    ]
    path.write_bytes(gzip.compress("\n".join(lines).encode()))


@pytest.fixture
def run(make_config: MakeConfig, tmp_path: Path) -> str:
    """A run of two steps on text."""
    config = make_config(steps=2, schedule={}, data=[{"tokens": text_tokens(tmp_path / "text", TEXTS * 10)}])
    train(config)
    return config.to


def test_a_model_that_knows_nothing_spends_log2_of_the_rows_on_every_token(tmp_path: Path, model: Transformer) -> None:
    blank = on_meta(model.config, "fp64").to_empty(device="cpu")
    for parameter in blank.parameters():
        torch.nn.init.zeros_(parameter)
    rows = [Row([5, 6, 7, EOS], "web", bytes=9), Row([8, EOS], "books", bytes=2), Row([9, 9, EOS], "web", bytes=3)]
    found = score(blank, write_shards(tmp_path / "t", [rows[:2], rows[2:]]))
    assert found["web"].bits_per_byte == pytest.approx(5 * 6 / 12)  # 5 tokens at log2(64) bits, over 9 + 3 bytes
    assert found["books"].bits_per_byte == pytest.approx(1 * 6 / 2)
    assert (found["web"].documents, found["web"].tokens, found["web"].bytes) == (2, 5, 12)


def test_the_first_token_is_predicted_from_end_of_text_and_the_last_one_is_text(
    tmp_path: Path, model: Transformer
) -> None:
    folder = write_shards(tmp_path / "t", [[Row([5, 6, 7, EOS], bytes=4)]])
    with torch.no_grad():
        chances = torch.log_softmax(model(torch.tensor([[EOS, 5, 6]]))[0], dim=-1)
    nats = -(chances[0, 5] + chances[1, 6] + chances[2, 7]).item()
    assert score(model, folder)["web"].bits_per_byte == pytest.approx(nats / math.log(2) / 4)


def test_begin_of_text_takes_the_place_of_end_of_text(tmp_path: Path, model: Transformer) -> None:
    folder = write_shards(tmp_path / "t", [[Row([1, 5, 6, EOS], bytes=4)]], bos=1)
    with torch.no_grad():
        chances = torch.log_softmax(model(torch.tensor([[1, 5]]))[0], dim=-1)
    assert score(model, folder)["web"].nats == pytest.approx(-(chances[0, 5] + chances[1, 6]).item())


def test_documents_do_not_see_each_other(tmp_path: Path, model: Transformer) -> None:
    rows = [Row([5, 6, 7, EOS], "web"), Row([8, 9, EOS], "books")]
    together = score(model, write_shards(tmp_path / "both", [rows]))
    alone = score(model, write_shards(tmp_path / "one", [rows[1:]]))
    assert together["books"].nats == pytest.approx(alone["books"].nats, abs=1e-12)


def test_a_document_in_two_shards_is_scored_as_one(tmp_path: Path, model: Transformer) -> None:
    whole = write_shards(tmp_path / "whole", [[Row([5, 6, 7, 8, EOS], bytes=8)]])
    parts = [
        [Row([5, 6], bytes=3, part=0, parts=2)],
        [Row([7, 8, EOS], bytes=5, part=1, parts=2), Row([9, EOS], "books")],
    ]
    assert score(model, write_shards(tmp_path / "parts", parts))["web"] == score(model, whole)["web"]


@pytest.mark.parametrize(("window", "overlap"), [(100, 0), (7, 0), (7, 3), (2, 1), (1, 0)])
def test_windows_score_every_token_exactly_once(window: int, overlap: int) -> None:
    tokens = np.arange(100, 130)
    found = list(cut(0, tokens, window, overlap))
    labels = np.concatenate([item.labels[item.labels != IGNORED] for item in found])
    assert labels.tolist() == tokens[1:].tolist()
    for item in found:
        counted = item.labels != IGNORED
        assert (item.inputs[counted] + 1 == item.labels[counted]).all()
    assert [int((item.labels == IGNORED).sum()) for item in found[1:-1]] == [overlap] * (len(found) - 2)
    assert {len(item.inputs) for item in found} == {min(window, 29)}  # the last one reaches back


def test_a_context_that_is_too_long_loses_its_beginning() -> None:
    context, continuation = np.arange(10), np.arange(10, 13)
    [whole] = continue_with(0, context, continuation, 5)
    assert whole.inputs.tolist() == [7, 8, 9, 10, 11]
    assert whole.labels.tolist() == [IGNORED, IGNORED, 10, 11, 12]
    parts = list(continue_with(0, context, continuation, 2))
    assert [part.inputs.tolist() for part in parts] == [[9, 10], [10, 11]]
    assert [part.labels.tolist() for part in parts] == [[10, 11], [IGNORED, 12]]
    assert list(continue_with(0, context, continuation[:0], 2)) == []


def test_a_text_without_tokens_scores_nothing(tmp_path: Path, model: Transformer) -> None:
    found = score(model, write_shards(tmp_path / "t", [[Row([EOS], bytes=0), Row([5, EOS])]]))["web"]
    assert (found.documents, found.tokens) == (2, 1)


def test_nothing_to_score_is_an_error(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config()
    train(config)
    empty = write_shards(tmp_path / "empty", [[Row([EOS], bytes=0)]])
    with pytest.raises(DataError, match="no text to score"):
        evaluate(EvalConfig(model=config.to, tokens=[empty]))


def test_the_batch_size_does_not_matter(tmp_path: Path, model: Transformer) -> None:
    folder = random_tokens(tmp_path / "t")
    small, large = (score(model, folder, window=16, overlap=4, batch=batch) for batch in (1, 1000))
    assert {name: found.nats for name, found in small.items()} == pytest.approx({n: f.nats for n, f in large.items()})


def test_a_run_is_evaluated_by_source(make_config: MakeConfig, tokens: str, tmp_path: Path) -> None:
    config = make_config()
    train(config)
    heard: list[int] = []
    result = evaluate(EvalConfig(model=config.to, tokens=[tokens], to=str(tmp_path / "bpb.json")), heard.append)
    assert list(result.sources) == ["books", "web"]
    assert (result.step, result.window, result.overlap) == (12, 32, 0)
    assert result.overall is not None
    assert sum(heard) == result.overall.tokens
    assert result.overall.nats == pytest.approx(sum(found.nats for found in result.sources.values()))
    assert b'"bits_per_byte"' in (tmp_path / "bpb.json").read_bytes()


def test_tokens_of_another_tokenizer_are_refused(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config()
    train(config)
    other = random_tokens(tmp_path / "other", tokenizer="another")
    with pytest.raises(DataError, match="another tokenizer"):
        evaluate(EvalConfig(model=config.to, tokens=[other]))


def test_text_scores_what_its_tokens_score(run: str, tmp_path: Path) -> None:
    write_texts(tmp_path / "domains" / "cats.jsonl.gz", TEXTS[:3])
    write_texts(tmp_path / "domains" / "sub" / "air.jsonl.gz", TEXTS[3:])
    shards = [text_tokens(tmp_path / name, texts, name) for name, texts in (("c", TEXTS[:3]), ("a", TEXTS[3:]))]
    result = evaluate(EvalConfig(model=run, tokens=shards, texts=[str(tmp_path / "domains")]))
    assert list(result.domains) == ["cats", "sub/air"]
    assert result.domains["cats"].nats == pytest.approx(result.sources["c"].nats, abs=1e-9)
    assert result.domains["cats"].bytes == sum(map(len, TEXTS[:3]))
    mean = (result.domains["cats"].bits_per_byte + result.domains["sub/air"].bits_per_byte) / 2
    assert result.macro_bits_per_byte == pytest.approx(mean)


def test_a_field_can_name_the_domain(run: str, tmp_path: Path) -> None:
    write_texts(tmp_path / "d" / "all.jsonl.gz", TEXTS, metadata=[{"site": name} for name in "xyxy"])
    result = evaluate(EvalConfig(model=run, texts=[str(tmp_path / "d")], domain="metadata.site", items=True))
    assert {name: found.documents for name, found in result.domains.items()} == {"x": 2, "y": 2}
    found = result.domains["x"]
    assert found.items is not None
    assert found.nats == pytest.approx(sum(nats for nats, _ in found.items))
    with pytest.raises(DataError, match="without a text in 'metadata"):
        evaluate(EvalConfig(model=run, texts=[str(tmp_path / "d")], domain="metadata.place"))


def test_a_folder_without_texts_and_a_domain_in_two_files_are_refused(run: str, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    with pytest.raises(DataError, match="no text; a domain is a file"):
        evaluate(EvalConfig(model=run, texts=[str(tmp_path / "d")]))
    write_texts(tmp_path / "d" / "cats.jsonl.gz", TEXTS)
    (tmp_path / "d" / "cats.jsonl").write_text('{"text": "a"}')
    with pytest.raises(DataError, match="are the same domain"):
        evaluate(EvalConfig(model=run, texts=[str(tmp_path / "d")]))
    write_texts(tmp_path / "e" / "cats.jsonl.gz", [""])
    with pytest.raises(DataError, match="no text to score in cats"):
        evaluate(EvalConfig(model=run, texts=[str(tmp_path / "e")]))


def test_a_sample_is_a_function_of_the_seed_and_grows_by_adding() -> None:
    rows = list(range(50))
    few, more = chosen(rows, "web", None, 5, 1), chosen(rows, "web", None, 20, 1)
    assert set(few) < set(more)
    assert few == sorted(few) == chosen(rows, "web", None, 5, 1)
    assert few != chosen(rows, "web", None, 5, 2)
    assert chosen(rows, "web", None, 99, 1) == rows


def test_a_result_stands_until_the_texts_change(run: str, tmp_path: Path) -> None:
    write_texts(tmp_path / "d" / "all.jsonl.gz", TEXTS)
    config = EvalConfig(model=run, texts=[str(tmp_path / "d")], to=str(tmp_path / "bpb.json"))
    assert standing(config) is None
    result = evaluate(config)
    assert standing(config) == result
    write_texts(tmp_path / "d" / "all.jsonl.gz", TEXTS[1:])
    assert standing(config) is None


def test_special_tokens_in_text_are_text(run: str, tmp_path: Path) -> None:
    write_texts(tmp_path / "d" / "all.jsonl.gz", ["a<|endoftext|>b"])
    result = evaluate(EvalConfig(model=run, texts=[str(tmp_path / "d")]))
    assert result.domains["all"].tokens > len(toy_tokenizer().encode("a<|endoftext|>b").ids)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tokens": ["t"], "window": 8, "overlap": 8}, "leaves nothing to score"),
        ({}, "nothing to measure"),
        ({"tasks": ["arc_easy"]}, "belong together"),
        ({"tokens": ["t"], "sample": 3}, "sample draws from texts and tasks"),
        ({"texts": ["t"], "seed": 3}, "seed has no effect"),
        ({"tokens": ["t"], "domain": "source"}, "domain has no effect"),
        ({"tasks": ["arc_esay"], "data": "d"}, "did you mean 'arc_easy'"),
    ],
)
def test_what_has_no_effect_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        EvalConfig(model="m", **settings).check()
