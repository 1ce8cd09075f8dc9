"""The benchmark for GPUs runs from end to end on a CPU, where nothing is installed but what it says it needs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BARE = """
import builtins, sys
allowed = {"torch", "numpy", "pyarrow", "msgspec", "yaml", "xxhash", "dolma_pipe", "benchmarks"}
plain = builtins.__import__

def only(name, globals=None, locals=None, fromlist=(), level=0):
    importer, top = (globals or {}).get("__name__", "").partition(".")[0], name.partition(".")[0]
    if level == 0 and importer in ("dolma_pipe", "benchmarks") and top not in allowed | sys.stdlib_module_names:
        raise ModuleNotFoundError(f"{globals['__name__']} imports {name}")
    return plain(name, globals, locals, fromlist, level)

builtins.__import__ = only
import torch
torch.set_num_threads(1)
import benchmarks.accelerator as accelerator
accelerator.in_own_process = lambda point, device, seconds: (
    accelerator._spent.append(0.0), accelerator.measure(point, device)
)[1]
accelerator.main(["--device", "cpu", "--to", sys.argv[1]])
"""


def test_the_benchmark_of_gpus_runs_on_a_cpu_with_few_libraries(tmp_path: Path) -> None:
    to = tmp_path / "accelerator.json"
    done = subprocess.run([sys.executable, "-c", BARE, str(to)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    whole, again = json.loads(to.read_text())
    assert whole["tokens_per_second"] > 0
    assert sum(whole["parts"].values()) == pytest.approx(1.0)
    assert set(whole["parts"]) == {"forward", "backward and clipping", "optimizer", "between steps"}
    assert whole["parts"]["backward and clipping"] > whole["parts"]["optimizer"]
    assert whole["kernels"]
    assert again["point"]["within_documents"]
    assert "| tiny" in done.stdout
