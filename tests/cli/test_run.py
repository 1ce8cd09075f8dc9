"""run: a pipeline file does what its commands do one by one, and nothing twice."""

from __future__ import annotations

import gzip
import json
import random
import shutil
from pathlib import Path

import pytest
from pipelines import content, shell

PIPELINE = """
vars: {steps: 3}
steps:
  - ingest: {inputs: [raw], to: data, shard_bytes: 20000}
  - tag: {datasets: [data], taggers: [length]}
  - dedup: {datasets: [data], by: text}
  - mix:
      to: mixed
      sources:
        - name: mine
          dataset: data
          attributes: [length, dedup_text]
          steps:
            - keep: {long_enough: "length.words >= 20"}
            - dedup: {by: dedup_text}
            - split: {name: held_out, fraction: 0.2}
  - tokenizer: {datasets: [mixed], to: tokenizer.json, vocab_size: 300}
  - tokenize: {datasets: [mixed], tokenizer: tokenizer.json, to: tokens}
  - tokenize: {datasets: [mixed/splits/held_out], tokenizer: tokenizer.json, to: held_out}
  - train:
      to: run
      model: {d_model: 16, n_layers: 1, n_heads: 2, ffn_hidden: 32}
      data: [{tokens: tokens}]
      sequence_length: 32
      global_batch_size: 2
      steps: ${steps}
      optimizer: {learning_rate: 1e-3}
  - eval: {model: run, tokens: [held_out], to: score.json}
"""
COMMANDS = """
dolma-pipe ingest raw --to data --set shard_bytes=20000 &&
dolma-pipe tag data --taggers length &&
dolma-pipe dedup data --by text &&
dolma-pipe mix -c mix.yaml &&
dolma-pipe tokenizer train mixed --to tokenizer.json --vocab-size 300 &&
dolma-pipe tokenize mixed --tokenizer tokenizer.json --to tokens &&
dolma-pipe tokenize mixed/splits/held_out --tokenizer tokenizer.json --to held_out &&
dolma-pipe train -c train.yaml --steps 3 &&
dolma-pipe eval --model run --tokens held_out --to score.json
"""
CONFIGS = Path(__file__).parent.parent.parent / "configs"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    words = [f"word{i}" for i in range(200)]
    draw = random.Random(5)
    (tmp_path / "raw").mkdir()
    for i in range(120):
        text = " ".join(draw.choices(words, k=10 + i)) if i % 10 else "The same text again and again. " * 9
        (tmp_path / "raw" / f"{i:03d}.txt").write_text(text)
    (tmp_path / "p.yaml").write_text(PIPELINE)
    return tmp_path


def parts(folder: Path) -> None:
    """The settings of two steps as the files of their own that the commands read."""
    import yaml

    steps = {name: value for step in yaml.safe_load(PIPELINE)["steps"] for name, value in step.items()}
    del steps["train"]["steps"]
    steps["train"]["optimizer"]["learning_rate"] = 0.001
    for name in ("mix", "train"):
        (folder / f"{name}.yaml").write_text(json.dumps(steps[name]))


def test_a_pipeline_and_its_commands_give_the_same_content(folder: Path) -> None:
    one, two = folder / "one", folder / "two"
    for place in (one, two):
        place.mkdir()
        shutil.copytree(folder / "raw", place / "raw")
    parts(two)
    printed = shell("dolma-pipe run -c ../p.yaml --workers 2", one).splitlines()
    shell(COMMANDS, two)
    for name in ("mix.yaml", "train.yaml"):
        (two / name).unlink()
    assert len(printed) >= 9
    assert content(one) == content(two)
    assert (one / "tokens" / "shard-00000.bin").stat().st_size > 1000

    again = shell("dolma-pipe run -c ../p.yaml", one).splitlines()
    assert len(again) == 10
    assert all("nothing to do" in line for line in again[:-1])
    assert again[-1] == "nothing was left to do: all 9 steps were done before"


def test_a_mistake_in_the_last_step_stops_the_run_before_the_first(folder: Path) -> None:
    (folder / "p.yaml").write_text(PIPELINE.replace("tokens: [held_out]", "token: [held_out]"))
    printed = shell("dolma-pipe run -c p.yaml 2>&1 || echo exit $?", folder)
    assert (
        printed
        == "error: p.yaml: steps.8.eval: unknown key 'token' at the top level (did you mean 'tokens'?)\nexit 2\n"
    )
    assert not (folder / "data").exists()


@pytest.mark.corpus
def test_the_small_pipeline_and_its_script_agree_on_real_documents(corpus: Path, tmp_path: Path) -> None:
    for source in ("web", "stackexchange", "github_code", "wikipedia", "pubmed", "hackernews"):
        take(corpus / "corpus" / source / "documents", tmp_path / "corpus" / source / "documents", 120)
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    short = {"steps": 3, "schedule.warmup_steps": 1, "model.n_layers": 1, "global_batch_size": 8}
    settings = " ".join(f"--set train.{name}={value}" for name, value in short.items())
    shell(f"dolma-pipe run -c small --set vars.corpus=../corpus {settings} --workers 2", one)
    shell(f"sh {CONFIGS}/pipelines/small.sh ../corpus {settings.replace('train.', '')}", two)
    found = content(one)
    assert found == content(two)
    assert json.loads(found["runs/small-bits-per-byte.json"])["overall"]["bits_per_byte"] > 0


def take(source: Path, to: Path, count: int) -> None:
    """The first documents of a source."""
    to.mkdir(parents=True)
    first = sorted(source.iterdir())[0]
    if first.suffix == ".gz":
        lines = gzip.decompress(first.read_bytes()).splitlines()[:count]
    else:
        import zstandard

        lines = zstandard.ZstdDecompressor().stream_reader(first.read_bytes()).read().splitlines()[:count]
    (to / "part.jsonl").write_bytes(b"\n".join(lines) + b"\n")
