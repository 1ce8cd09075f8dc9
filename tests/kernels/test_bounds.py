from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_no_kernel_reads_or_writes_outside_its_arrays() -> None:
    here = Path(__file__).parent
    path = os.pathsep.join([str(here.parent), *sys.path])
    found = subprocess.run(
        [sys.executable, str(here / "bounds_fuzz.py")],
        env={**os.environ, "NUMBA_BOUNDSCHECK": "1", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
