"""How fast the training loop is on a GPU: `python -m benchmarks.accelerator --device cuda --to accelerator.json`.

Each point of a small grid is a process of its own that trains a model as `dolma-pipe train` does, on a folder of random
tokens, and says what its steps took. Points are in the order of what they tell; those that no longer fit into
`--minutes` are left out. The file is written again after each of them. Needs torch, numpy, pyarrow, msgspec, xxhash and
the YAML loader, nothing else that dolma_pipe needs elsewhere. On a CPU a tiny model shows that all of it runs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Any

import msgspec
import torch
from torch.profiler import ProfilerActivity, profile, schedule

from benchmarks.measure import table
from benchmarks.step_times import PARTS, Clock, timed
from benchmarks.training import random_tokens
from dolma_pipe.config import convert
from dolma_pipe.train.config import TrainConfig
from dolma_pipe.train.loop import run
from dolma_pipe.train.metrics import Event, StepMetrics

TINY = {"d_model": 32, "n_layers": 2, "n_heads": 2, "ffn_hidden": 64, "vocab_size": 250, "tie_embeddings": True}
VOCABULARIES = {"olmo-1b": 50280, "olmo2-1b": 100278, "tiny": 250}
TOKENS_PER_STEP = 65536
WARM, TIMED, PROFILED = 3, 8, 2
"""Steps; of the profiled ones the first is the profiler's own warm-up."""
KERNELS = 12


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """What is trained, and how; `micro` sequences of `length` tokens at a time, `accumulated` of them a step.

    `cudnn`: attention is cuDNN's, where PyTorch's own choice is flash attention.
    """

    model: str
    length: int
    micro: int
    accumulated: int
    compile: bool = True
    recompute: str = "none"
    within_documents: bool = False
    cudnn: bool = False
    profiled: bool = False


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """Medians over the timed steps; `parts` are shares of a step on the device, `kernels` milliseconds of one step."""

    point: Point
    device: str
    error: str | None = None
    tokens_per_second: float | None = None
    seconds_per_step: float | None = None
    mfu: float | None = None
    mfu_executed: float | None = None
    peak_gb: float | None = None
    data_wait: float | None = None
    parts: dict[str, float] = {}
    kernels: dict[str, float] = {}


def _point(model: str, length: int, micro: int, **how: Any) -> Point:
    return Point(model=model, length=length, micro=micro, accumulated=max(1, TOKENS_PER_STEP // length // micro), **how)


GRID = [
    _point("olmo-1b", 2048, 8, profiled=True),
    _point("olmo2-1b", 4096, 4, profiled=True),
    _point("olmo-1b", 2048, 16),
    _point("olmo2-1b", 4096, 2),
    _point("olmo-1b", 2048, 8, cudnn=True),
    _point("olmo-1b", 2048, 8, compile=False),
    _point("olmo2-1b", 4096, 8, recompute="selective"),
    _point("olmo-1b", 2048, 24, recompute="selective"),
    _point("olmo-1b", 2048, 8, within_documents=True),
    _point("olmo2-1b", 4096, 2, compile=False),
    _point("olmo-1b", 2048, 32, recompute="full"),
    _point("olmo2-1b", 4096, 4, within_documents=True),
]
SMALL = [
    Point(model="tiny", length=64, micro=2, accumulated=2, compile=False, profiled=True),
    Point(model="tiny", length=64, micro=4, accumulated=1, compile=False, recompute="full", within_documents=True),
]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every point that there is time for, write the file, print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accelerator", description=__doc__)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--to", default="accelerator.json")
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--only", help="measure this one point (JSON) and print it as JSON")
    given = parser.parse_args(arguments)
    if given.only is not None:
        point = msgspec.json.decode(given.only, type=Point)
        print(msgspec.json.encode(measure(point, given.device)).decode())
        return
    end = monotonic() + 60 * given.minutes
    found: list[Measured] = []
    for point in GRID if given.device == "cuda" else SMALL:
        left = end - monotonic()
        if found and left < slowest(found):
            break
        found.append(in_own_process(point, given.device, left))
        Path(given.to).write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
        print(_line(found[-1]), flush=True)
    show(found)


_spent: list[float] = []


def slowest(found: Sequence[Measured]) -> float:
    """What a point has taken at most: the next one is begun only if it fits."""
    return max(_spent[-len(found) :])


def in_own_process(point: Point, device: str, seconds: float) -> Measured:
    """A point whose memory, compiled code and failure are its own."""
    started = monotonic()
    command = [sys.executable, "-m", "benchmarks.accelerator", "--device", device, "--only"]
    environment = {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True", **os.environ}
    try:
        done = subprocess.run(
            [*command, msgspec.json.encode(point).decode()],
            env=environment,
            capture_output=True,
            text=True,
            timeout=max(seconds, 1.0),
        )
    except subprocess.TimeoutExpired:
        return Measured(point=point, device=device, error="the time was over")
    finally:
        _spent.append(monotonic() - started)
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        reasons = [line for line in done.stderr.splitlines() if line and not line[0].isspace()]
        return Measured(point=point, device=device, error=(reasons or ["no output"])[-1][:300])
    return msgspec.json.decode(lines[-1], type=Measured)


class Done(Exception):
    """The steps are over; the checkpoint that would end the run is none of what is measured."""


def measure(point: Point, device: str) -> Measured:
    """Train for some steps, and say what they took."""
    if point.cudnn:
        torch.backends.cuda.enable_flash_sdp(False)
        torch.backends.cuda.enable_mem_efficient_sdp(False)
    clock, lines = Clock(device), list[StepMetrics]()
    steps = WARM + TIMED + (PROFILED if point.profiled else 0)
    profiler = profile(activities=_activities(device), schedule=schedule(wait=WARM + TIMED, warmup=1, active=1))

    def listen(event: Event) -> None:
        if isinstance(event, StepMetrics):
            lines.append(event)
            if point.profiled:
                profiler.step()
            if len(lines) == steps:
                raise Done

    with tempfile.TemporaryDirectory(prefix="accelerator-") as folder:
        config = settings(point, device, Path(folder), steps)
        if point.profiled:
            profiler.start()
        try:
            run(config, lambda of, done: timed(of, done, clock), listen)
        except Done:
            pass
        finally:
            clock.close()
        if point.profiled:
            profiler.stop()
    return summary(point, lines[WARM : WARM + TIMED], clock, kernels(profiler) if point.profiled else {})


def settings(point: Point, device: str, folder: Path, steps: int) -> TrainConfig:
    """The run of a point, with a folder of tokens that is made for it."""
    batch = point.micro * point.accumulated
    tokens = random_tokens(folder / "tokens", (steps + 2) * batch * point.length, VOCABULARIES[point.model])
    plain: dict[str, Any] = {
        "to": str(folder / "run"), "model": TINY if point.model == "tiny" else point.model,
        "data": [{"tokens": tokens}], "sequence_length": point.length, "global_batch_size": batch,
        "micro_batch_size": point.micro, "steps": steps + 1, "optimizer": {"learning_rate": 1e-4},
        "z_loss": 1e-5 if point.model.startswith("olmo2") else 0.0, "precision": "bf16", "device": device,
        "compile": point.compile, "activation_checkpointing": point.recompute,
        "within_documents": point.within_documents, "checkpoint": {"every_steps": steps + 1},
    }  # fmt: skip
    return convert(plain, TrainConfig, "benchmark")


def _activities(device: str) -> list[ProfilerActivity]:
    return [ProfilerActivity.CUDA] if device == "cuda" else [ProfilerActivity.CPU]


def kernels(profiler: profile) -> dict[str, float]:
    """What one step spent most of the device's time on, in milliseconds."""
    found = {
        one.key[:120]: (one.self_device_time_total or one.self_cpu_time_total) / 1000
        for one in profiler.key_averages()
        if not one.key.startswith("ProfilerStep")
    }
    return dict(sorted(found.items(), key=lambda item: -item[1])[:KERNELS])


def summary(point: Point, lines: Sequence[StepMetrics], clock: Clock, heaviest: dict[str, float]) -> Measured:
    tokens = point.length * point.micro * point.accumulated
    seconds = median(tokens / line.tokens_per_second for line in lines)
    steps = clock.steps()[WARM : WARM + TIMED]
    parts = {part: median(step[part] for step in steps) for part in PARTS}
    memory = lines[-1].memory_bytes
    return Measured(
        point=point,
        device=torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        tokens_per_second=tokens / seconds,
        seconds_per_step=seconds,
        mfu=None if lines[0].mfu is None else median(line.mfu or 0.0 for line in lines),
        mfu_executed=None if lines[0].mfu_executed is None else median(line.mfu_executed or 0.0 for line in lines),
        peak_gb=None if memory is None else memory / 1e9,
        data_wait=median(line.data_wait_seconds for line in lines) / seconds,
        parts={part: value / sum(parts.values()) for part, value in parts.items()},
        kernels=heaviest,
    )


def _line(one: Measured) -> str:
    what = one.error or f"{one.tokens_per_second or 0:,.0f} tokens/s, MFU {one.mfu or 0:.1%}"
    return f"{json.dumps(msgspec.to_builtins(one.point))}: {what}"


def show(found: Sequence[Measured]) -> None:
    """The table, and the heaviest kernels of the profiled points."""
    header = ["model", "length", "micro x acc.", "how", "tokens/s", "MFU %", "executed %", "step s",
              *(f"{part} %" for part in PARTS), "data wait %", "peak GB"]  # fmt: skip
    table("Training on " + found[0].device, header, [_row(one) for one in found])
    for one in found:
        if one.kernels:
            rows = [[name, value] for name, value in one.kernels.items()]
            table(f"Heaviest of a step, {one.point.model}", ["kernel", "ms"], rows)


def _row(one: Measured) -> list[object]:
    point = one.point
    what = [point.model, point.length, f"{point.micro} x {point.accumulated}", _how(point)]
    if one.error is not None:
        return [*what, one.error[:60], *[""] * (len(PARTS) + 5)]
    shares = [one.mfu, one.mfu_executed, *(one.parts[part] for part in PARTS), one.data_wait]
    percent: list[object] = ["" if share is None else share * 100 for share in shares]
    peak = "" if one.peak_gb is None else one.peak_gb
    return [*what, one.tokens_per_second, *percent[:2], one.seconds_per_step, *percent[2:], peak]


def _how(point: Point) -> str:
    said = ["compiled" if point.compile else "not compiled"]
    said += [f"{point.recompute} recomputation"] * (point.recompute != "none")
    said += ["documents apart"] * point.within_documents + ["cuDNN"] * point.cudnn
    return ", ".join(said)


if __name__ == "__main__":
    main()
