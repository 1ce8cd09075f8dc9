"""The wheel: everything is in it, and its core runs without ray and torch in an environment of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--quiet", "--no-index", "-w", str(folder), str(ROOT)], check=True)
    [path] = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts folder of a new environment with the wheel and links to the core's dependencies, nothing else."""
    folder = tmp_path_factory.mktemp("elsewhere") / "env"
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    found = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], check=True, capture_output=True
    )
    packages = Path(found.stdout.decode().strip())
    for name in core_distributions(wheel):
        link(metadata.distribution(name), packages)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python), "install"]
    subprocess.run([*pip, "--quiet", "--no-index", "--no-deps", str(wheel)], check=True)
    return folder / "bin"


def core_distributions(wheel: Path) -> set[str]:
    """What the core requires, and what that requires, without extras."""
    found: set[str] = set()
    waiting = requirements(wheel)
    while waiting:
        name = re.split(r"[^A-Za-z0-9._-]", waiting.pop(), maxsplit=1)[0]
        if name not in found and is_installed(name):
            found.add(name)
            waiting += [line for line in metadata.requires(name) or [] if "extra ==" not in line]
    return found


def requirements(wheel: Path) -> list[str]:
    """The wheel's own requirements: the metadata of an editable install may be older."""
    archive = zipfile.ZipFile(wheel)
    [path] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    lines = archive.read(path).decode().splitlines()
    return [
        line.removeprefix("Requires-Dist: ")
        for line in lines
        if line.startswith("Requires-Dist:") and "extra ==" not in line
    ]


def is_installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False  # for another platform or an older Python
    return True


def link(distribution: metadata.Distribution, packages: Path) -> None:
    for top in {file.parts[0] for file in distribution.files or [] if file.parts[0] not in ("..", "__pycache__")}:
        if not (packages / top).exists():
            (packages / top).symlink_to(str(distribution.locate_file(top)))


def run(scripts: Path, *arguments: str | Path, cwd: Path) -> str:
    environment = {"PATH": os.environ["PATH"], "HOME": str(cwd)}
    command = [scripts / "dolma-pipe", *arguments]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_recipes_models_and_markers(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in [
        *(ROOT / "configs").rglob("*.yaml"),
        *(ROOT / "dolma_pipe").rglob("*.py"),
        *(ROOT / "dolma_pipe" / "report").glob("page.*"),
        *(ROOT / "mixers").glob("*.py"),
        *(ROOT / "taggers").glob("*.py"),
    ]:
        relative = path.relative_to(ROOT).as_posix()
        assert (f"dolma_pipe/{relative}" if relative.startswith("configs/") else relative) in names
    assert {"dolma_pipe/py.typed", "taggers/py.typed", "mixers/py.typed"} <= names
    assert {
        path.relative_to(ROOT).as_posix() for path in (ROOT / "dolma_pipe" / "models").iterdir() if path.is_file()
    } <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if name.split("/")[0] in ("tests", "docs", "benchmarks", "configs")]


def test_the_core_runs_without_ray_and_torch(installed: Path, tmp_path: Path) -> None:
    listed = run(installed, "list", "taggers", cwd=tmp_path)
    assert {"gopher", "length", "langid"} <= set(re.findall(r"^\w+", listed, re.MULTILINE))
    probe = [installed / "python", "-c", "import importlib.util as u; print(u.find_spec('ray'), u.find_spec('torch'))"]
    assert subprocess.run(probe, check=True, capture_output=True, text=True, cwd=tmp_path).stdout == "None None\n"


def test_a_small_pipeline_runs_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    for i in range(20):
        (tmp_path / "raw" / f"{i:02d}.txt").write_text(f"This is the text of document {i}, and it says so. " * (1 + i))
    run(installed, "ingest", "raw", "--to", "data", cwd=tmp_path)
    run(installed, "tag", "data", "--taggers", "length,langid", cwd=tmp_path)
    mix = {
        "to": "mixed",
        "sources": [
            {
                "name": "raw",
                "dataset": "data",
                "attributes": ["length", "langid"],
                "steps": [{"keep": {"long": "length.characters >= 500", "english": "langid.en >= 0.5"}}],
            }
        ],
    }
    (tmp_path / "mix.yaml").write_text(json.dumps(mix))
    run(installed, "mix", "-c", "mix.yaml", cwd=tmp_path)
    assert list((tmp_path / "mixed" / "documents" / "raw").glob("*.jsonl.zst"))
    assert (tmp_path / "mixed" / "mix.lock.json").exists()


def test_a_missing_extra_is_named_with_the_line_that_cures_it(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<p>hello</p>")
    command = [installed / "dolma-pipe", "ingest", "page.html", "--to", "data"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: reading HTML needs the package 'resiliparse': pip install 'dolma_pipe[web]'\n"
