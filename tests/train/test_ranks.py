"""Two processes (gloo, FSDP2) train what one trains; they stop, die and go on without losing a step.

These are real `torchrun` runs of the command line, a few seconds each.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from token_folders import random_tokens

from dolma_pipe.config import convert
from dolma_pipe.train.checkpoints import checkpoint
from dolma_pipe.train.config import TrainConfig
from dolma_pipe.train.loop import train
from dolma_pipe.train.metrics import StepMetrics, read_metrics

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone"]


class Runs(NamedTuple):
    """A folder of runs that differ in where they are and in what a test changes."""

    root: Path

    def settings(self, run: str, **changes: Any) -> dict[str, Any]:
        settings: dict[str, Any] = {
            "to": str(self.root / run),
            "model": {"d_model": 16, "n_layers": 2, "n_heads": 2, "ffn_hidden": 24},
            "data": [{"tokens": str(self.root / "tokens"), "epochs": 6}],
            "sequence_length": 32,
            "global_batch_size": 8,
            "micro_batch_size": 3,
            "optimizer": {"learning_rate": 1e-2},
            "schedule": {"warmup_steps": 3, "final_fraction": 1.0},
            "checkpoint": {"every_steps": 10, "keep_last": None},
            "precision": "fp64",
            "device": "cpu",
        }
        return settings | changes

    def alone(self, run: str, **changes: Any) -> list[StepMetrics]:
        """Train in this process; the metrics."""
        train(convert(self.settings(run, **changes), TrainConfig, "test"))
        return self.metrics(run)

    def start(self, run: str, ranks: int = 2, options: Sequence[str] = (), **changes: Any) -> subprocess.Popen[str]:
        """Train with several ranks; `options` are torchrun's."""
        config = self.root / f"{run}.json"  # YAML is a superset of JSON
        config.write_bytes(msgspec.json.encode(self.settings(run, **changes)))
        command = [*TORCHRUN, *options, "--nproc-per-node", str(ranks), "-m", "dolma_pipe", "train", "-c", str(config)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def together(self, run: str, ranks: int = 2, **changes: Any) -> list[StepMetrics]:
        """Train with several ranks to the end; the metrics."""
        with self.start(run, ranks, **changes) as process:
            output, errors = process.communicate()
        assert process.returncode == 0, errors
        assert output.count("train -> ") == 1  # one rank speaks
        assert f"{ranks} x cpu" in errors
        return self.metrics(run)

    def metrics(self, run: str) -> list[StepMetrics]:
        return read_metrics(str(self.root / run))


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    random_tokens(tmp_path / "tokens")
    return Runs(tmp_path)


def assert_same_curve(found: list[StepMetrics], expected: list[StepMetrics], tolerance: float) -> None:
    assert [line.step for line in found] == [line.step for line in expected]
    assert found[0].grad_norm == pytest.approx(expected[0].grad_norm, rel=tolerance)  # a summed mean would be twice it
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.loss == pytest.approx(theirs.loss, abs=tolerance)


def test_two_ranks_draw_the_curve_of_one_in_float64(runs: Runs) -> None:
    # 6 epochs end in the middle of the 31st step or so: padding on one rank and not on the other is part of it.
    expected = runs.alone("one")
    assert len(expected) >= 30
    assert_same_curve(runs.together("two"), expected, 1e-9)


def test_two_ranks_draw_the_curve_of_one_in_float32(runs: Runs) -> None:
    changes: dict[str, Any] = {"precision": "fp32", "steps": 20}
    changes["model"] = {"d_model": 16, "n_layers": 2, "n_heads": 2, "ffn_hidden": 24, "tie_embeddings": True}
    assert_same_curve(runs.together("two", **changes), runs.alone("one", **changes), 1e-5)


EXPERTS = {
    "d_model": 16, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "ffn_hidden": 24, "norm": "rms", "sliding_window": 9,
    "experts": {"count": 3, "chosen": 2, "balance_loss": 0.1, "router_z_loss": 0.01},
}  # fmt: skip
OLMO2 = {
    "d_model": 16, "n_layers": 2, "n_heads": 2, "ffn_hidden": 24, "norm": "rms", "norm_after": True,
    "query_key_norm": "width",
}  # fmt: skip


@pytest.mark.parametrize("model", [EXPERTS, OLMO2], ids=["experts", "olmo2"])
def test_experts_norms_and_z_losses_do_not_depend_on_the_number_of_ranks(runs: Runs, model: dict[str, Any]) -> None:
    changes: dict[str, Any] = {"model": model, "steps": 12, "z_loss": 1e-3}
    assert_same_curve(runs.together("two", **changes), runs.alone("one", **changes), 1e-9)


def test_four_ranks_in_two_replicas_that_compute_activations_again_draw_the_same_curve(runs: Runs) -> None:
    changes: dict[str, Any] = {"steps": 8, "source_loss_every": 4}
    expected = runs.alone("one", **changes)
    found = runs.together("four", ranks=4, replicas=2, activation_checkpointing="full", **changes)
    assert_same_curve(found, expected, 1e-9)
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.sources or {}).keys() == (theirs.sources or {}).keys()
        for name, loss in (theirs.sources or {}).items():
            assert ours.sources is not None
            assert loss.first is not None
            assert ours.sources[name].first is not None
            assert ours.sources[name].first.loss == pytest.approx(loss.first.loss, abs=1e-9)  # pyright: ignore[reportOptionalMemberAccess]


def test_a_run_moves_from_one_rank_to_two_and_back_across_the_border_of_two_phases(runs: Runs) -> None:
    phases: list[dict[str, Any]] = [{"steps": 12, "sequence_length": 16}, {"steps": 14, "global_batch_size": 6}]
    expected = runs.alone("whole", phases=phases)
    runs.alone("moving", phases=[{**phases[0], "steps": 10}], chunk_length=32)
    with runs.start("moving", phases=phases, checkpoint={"every_steps": 1, "keep_last": 1}) as process:
        for _ in _until(process, "saved"):
            process.send_signal(signal.SIGTERM)
        process.communicate()
    stopped = checkpoint.read_record(checkpoint.find(str(runs.root / "moving"))).step
    assert stopped > 10
    assert len(runs.metrics("moving")) == stopped
    assert_same_curve(runs.alone("moving", phases=phases), expected, 1e-9)


def test_a_killed_rank_fails_the_attempt_and_an_elastic_restart_goes_on(runs: Runs) -> None:
    changes: dict[str, Any] = {"steps": 16, "checkpoint": {"every_steps": 1, "keep_last": 1}}
    with runs.start("killed", options=["--max-restarts", "1"], **changes) as process:
        for _ in _until(process, "saved"):
            os.kill(_workers(process.pid)[-1], signal.SIGKILL)
        _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert "another rank is gone; run again" in errors
    assert_same_curve(runs.metrics("killed"), runs.alone("whole", **changes), 1e-9)


def test_a_rank_that_hangs_is_named(runs: Runs) -> None:
    phases = [{"steps": 1000, "data": [{"tokens": str(runs.root / "tokens")}]}]
    with runs.start("hung", rank_timeout_seconds=5, data=[], phases=phases) as process:
        hanging = 0
        for _ in _until(process, "step 1 of"):
            hanging = _workers(process.pid)[-1]
            os.kill(hanging, signal.SIGSTOP)
        for _ in _until(process, "rank 1 of 2 did not come within 5 s"):
            os.kill(hanging, signal.SIGCONT)
        process.communicate()
    assert process.returncode != 0


def _until(process: subprocess.Popen[str], word: str) -> Iterator[None]:
    """Once, when a line of the run's plain progress holds `word`."""
    assert process.stderr is not None
    lines: list[str] = []
    for line in process.stderr:
        lines.append(line)
        if word in line:
            yield
            return
    raise AssertionError("".join(lines))


def _workers(parent: int) -> list[int]:
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return sorted(int(child) for child in children)
