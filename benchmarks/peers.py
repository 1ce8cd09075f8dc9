"""Peers in virtual environments of their own, so that their pins never meet ours."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent


def environment(name: str) -> Path:
    """`bin` folder of the peer's environment; made from `benchmarks/peers/NAME.txt` the first time."""
    folder = ROOT / ".venv-peers" / name
    ready = folder / ".ready"
    requirements = HERE / "peers" / f"{name}.txt"
    if not ready.exists() or ready.read_text() != requirements.read_text():
        sys.stderr.write(f"installing {requirements} into {folder}\n")
        venv.create(folder, with_pip=True, clear=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, "--upgrade", "pip"], check=True)
        subprocess.run([*pip, "-r", str(requirements)], check=True)
        ready.write_text(requirements.read_text())
    return folder / "bin"
