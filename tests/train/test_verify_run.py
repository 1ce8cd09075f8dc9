"""`dolma-pipe verify RUN`: from the checkpoint to its tokens, their tokenizer, and the mix, every link by hash."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tiny_tokenizers import write_tokenizer
from token_folders import random_tokens
from typer.testing import CliRunner

from dolma_pipe import storage
from dolma_pipe.cli import app
from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.tokens import MANIFEST, Manifest, Origin
from dolma_pipe.train.checkpoints import checkpoint, lineage
from dolma_pipe.train.checkpoints.verify import verify_run
from dolma_pipe.train.config import TrainConfig
from dolma_pipe.train.loop import train

MakeConfig = Callable[..., TrainConfig]


@pytest.fixture
def chain(make_config: MakeConfig, tmp_path: Path, tokens: str) -> TrainConfig:
    """A run on the tokens of a mix, with every hash as it is."""
    write_tokenizer(Path(tokens))
    lock = tmp_path / "mixed" / "web" / "mix.lock.json"
    lock.parent.mkdir(parents=True)
    lock.write_text('{"sources": []}')
    path = Path(tokens, MANIFEST)
    manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    shards = [
        msgspec.structs.replace(shard, hash=storage.content_hash(str(Path(tokens, shard.name + ".bin"))))
        for shard in manifest.shards
    ]
    origins = [Origin("web", storage.content_hash(str(lock)))]
    known = storage.content_hash(str(Path(tokens, "tokenizer.json")))
    changed = msgspec.structs.replace(manifest, shards=shards, origins=origins, tokenizer_hash=known)
    path.write_bytes(msgspec.json.encode(changed))
    config = make_config()
    train(config)
    return config


def test_an_untouched_chain_has_no_problems(chain: TrainConfig, tmp_path: Path) -> None:
    result = verify_run(chain.to, [str(tmp_path / "mixed" / "web")])
    assert (result.problems, result.notes) == ([], [])
    assert (result.checkpoints, result.folders) == (3, 1)
    shown = CliRunner().invoke(app, ["verify", chain.to], catch_exceptions=False).stdout
    assert "the mix web was not looked at" in shown
    assert "6 files of 3 checkpoints and 1 token folders re-read, 0 problems" in shown


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def test_one_flipped_bit_anywhere_is_named(chain: TrainConfig, tmp_path: Path, tokens: str) -> None:
    flip(Path(checkpoint.find(chain.to), "__0_0.distcp"))
    flip(Path(tokens, "shard-00001.bin"))
    flip(tmp_path / "mixed" / "web" / "mix.lock.json")
    problems = verify_run(chain.to, [str(tmp_path / "mixed" / "web")]).problems
    for expected in ("step-00000012/__0_0.distcp: hash", "shard-00001.bin: hash", "the data were mixed anew"):
        assert sum(expected in problem for problem in problems) == 1
    with pytest.raises(DataError, match="links of its chain"):
        CliRunner().invoke(app, ["verify", chain.to], catch_exceptions=False)


def test_other_tokens_and_another_tokenizer_are_named(chain: TrainConfig, tokens: str) -> None:
    random_tokens(Path(tokens), seed=1, tokenizer="another")
    problems = verify_run(chain.to).problems
    assert any(f"{tokens}: manifest" in problem for problem in problems)
    assert any(f"{tokens}: tokenizer another, the run had" in problem for problem in problems)
    Path(tokens, MANIFEST).unlink()
    assert any("no such file" in problem for problem in verify_run(chain.to).problems)


def test_other_code_is_a_note_and_no_problem(chain: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dolma_pipe.train.checkpoints.verify.code", lambda: {"version": "9", "train": "0" * 32})
    result = verify_run(checkpoint.find(chain.to))
    assert result.problems == []
    assert f"trained by version {lineage.code()['version']}" in result.notes[0]


def test_the_code_of_a_run_is_all_of_the_training_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    before = lineage.code.__wrapped__()
    plain = Path.read_text

    def changed(path: Path, encoding: str) -> str:
        return plain(path, encoding=encoding) + "#" * (path.name == "loader.py")

    monkeypatch.setattr(Path, "read_text", changed)
    assert lineage.code.__wrapped__()["train"] != before["train"]


def test_one_checkpoint_can_be_verified_alone(chain: TrainConfig) -> None:
    shown = CliRunner().invoke(app, ["verify", checkpoint.find(chain.to), "--json"], catch_exceptions=False).stdout
    assert json.loads(shown)["checkpoints"] == 1


def test_a_mix_of_something_that_is_no_run_is_refused(tokens: str) -> None:
    with pytest.raises(ConfigError, match="is no training run"):
        CliRunner().invoke(app, ["verify", tokens, "--mixed", "x"], catch_exceptions=False)
