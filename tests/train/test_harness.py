"""A checkpoint behind lm-evaluation-harness' interface, of which a small likeness stands here."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from toy_text import text_tokens, toy_tokenizer

from dolma_pipe.errors import DependencyError
from dolma_pipe.train.checkpoints import checkpoint
from dolma_pipe.train.config import DataSource, OptimizerConfig, TrainConfig
from dolma_pipe.train.evaluation import harness
from dolma_pipe.train.evaluation.harness import NativeModel
from dolma_pipe.train.evaluation.scoring import cut, score
from dolma_pipe.train.loop import train
from dolma_pipe.train.model.architecture import ModelConfig
from dolma_pipe.train.model.generate import GenerateConfig


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("harness")
    config = TrainConfig(
        to=str(folder / "run"),
        model=ModelConfig(d_model=16, n_layers=1, n_heads=2, ffn_hidden=24),
        data=[DataSource(tokens=text_tokens(folder / "text", ["the cat in the hat", "on the other air"] * 40))],
        sequence_length=32,
        global_batch_size=8,
        steps=60,  # enough to write more than one word
        optimizer=OptimizerConfig(learning_rate=1e-2),
        precision="fp64",
        device="cpu",
    )
    train(config)
    return config.to


@pytest.fixture(scope="module")
def native(run: str) -> NativeModel:
    return NativeModel(run, batch_tokens=64, device="cpu")


def chances(run: str, ids: list[int]) -> torch.Tensor:
    model, _ = checkpoint.open_model(checkpoint.find(run), torch.device("cpu"))
    with torch.no_grad():
        return torch.log_softmax(model(torch.tensor([ids]))[0], dim=-1)


def test_a_continuation_has_the_probability_of_its_tokens(run: str, native: NativeModel) -> None:
    before, after = toy_tokenizer().encode("the cat").ids, toy_tokenizer().encode(" in the").ids
    found = chances(run, before + after)
    expected = [found[len(before) - 1 + i, token].item() for i, token in enumerate(after)]
    pairs = [("the cat", " in the"), ("", "the"), ("the cat ", "in the")]
    answers = native.log_likelihoods(pairs)
    assert answers[0][0] == pytest.approx(sum(expected), abs=1e-12)
    assert answers[2] == answers[0]
    likeliest = int(chances(run, before).argmax(dim=-1)[-1])
    best = toy_tokenizer().decode([likeliest])
    assert native.log_likelihoods([("the cat", best)])[0][1]


def test_a_text_has_the_probability_of_its_tokens_after_end_of_text(run: str, native: NativeModel) -> None:
    ids = toy_tokenizer().encode("the cat in the hat").ids
    found = chances(run, [0, *ids])
    expected = sum(found[i, token].item() for i, token in enumerate(ids))
    assert native.rolling(["the cat in the hat", ""]) == [pytest.approx(expected, abs=1e-12), 0.0]


def test_writing_ends_before_the_first_stop(native: NativeModel) -> None:
    whole = native.write("the cat", [], GenerateConfig(max_tokens=12))
    assert " " in whole.strip()
    stop = whole.strip().split(" ")[1]
    assert native.write("the cat", [stop, ""], GenerateConfig(max_tokens=12)) == whole[: whole.index(stop)]


def test_a_context_keeps_half_of_the_window(native: NativeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    def note(model: Any, prompt: list[int], config: GenerateConfig, eos: int) -> list[int]:
        asked.append((len(prompt), config.max_tokens))
        return []

    monkeypatch.setattr(harness, "generate", note)
    long = "the cat in the hat " * 30
    for context, tokens in (("the cat", 4), ("the cat", 256), (long, 8), (long, 256)):
        native.write(context, [], GenerateConfig(max_tokens=tokens))
    short = len(toy_tokenizer().encode("the cat").ids)
    assert asked == [(short, 4), (short, 32 - short), (24, 8), (16, 16)]


def test_a_continuation_longer_than_the_window_is_scored_whole(native: NativeModel) -> None:
    text = " in the hat" * 20
    [(log, greedy)] = native.log_likelihoods([("the cat", text)])
    ids = toy_tokenizer().encode("the cat" + text).ids
    begin = len(toy_tokenizer().encode("the cat").ids) - 1
    assert len(ids) - begin > 2 * native.window
    parts = list(cut(0, np.array(ids[begin:]), native.window, 0))
    assert log == pytest.approx(-sum(loss.nats for _, loss in score(native.model, parts, 64)), abs=1e-9)
    assert not greedy


def test_an_empty_continuation_is_certain(native: NativeModel) -> None:
    assert native.log_likelihoods([("", ""), ("the cat", "")]) == [(0.0, True)] * 2
    assert native.log_likelihoods([("", "")]) == [(0.0, True)]


def test_an_answer_does_not_depend_on_its_batch(run: str, native: NativeModel) -> None:
    pairs = [("the", " cat in the hat"), ("on the other", " air"), ("", "the cat"), ("the hat" * 20, " cat")]
    alone = [NativeModel(run, batch_tokens=1, device="cpu").log_likelihoods([pair])[0][0] for pair in pairs]
    assert [log for log, _ in native.log_likelihoods(pairs)] == pytest.approx(alone, abs=1e-12)


def test_the_harness_finds_the_model_by_its_name(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known: dict[str, Any] = {}
    model, registry = ModuleType("lm_eval.api.model"), ModuleType("lm_eval.api.registry")
    setattr(model, "LM", object)  # noqa: B010
    keep: Callable[[str], Any] = lambda name: lambda kind: known.setdefault(name, kind)  # noqa: E731
    setattr(registry, "register_model", keep)  # noqa: B010
    for module in (ModuleType("lm_eval"), ModuleType("lm_eval.api"), model, registry):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(harness, "find_spec", lambda name: True)
    harness.register()
    adapter = known["dolma_pipe"](run, batch_size="4", device="cuda:0")
    ask = lambda *arguments: [SimpleNamespace(args=arguments)]  # noqa: E731
    [(log, greedy)] = adapter.loglikelihood(ask("the", " cat"))
    assert log < 0
    assert isinstance(greedy, bool)
    assert adapter.loglikelihood_rolling(ask("the cat"))[0] < 0
    assert adapter.native.batch_tokens == 4 * 32
    settings = {"until": "the", "max_gen_toks": 5, "do_sample": False, "temperature": 0.7}
    assert "the" not in adapter.generate_until(ask("on", settings))[0]


def test_without_the_harness_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "find_spec", lambda name: None)
    with pytest.raises(DependencyError, match=r"dolma_pipe\[harness\]"):
        harness.register()
