"""Every command in the documentation runs, and the reference is what the code says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parent.parent / "docs"
FIRST = DOCS.parent / "README.md"
PAGES = [FIRST, DOCS / "tutorial.md", *sorted((DOCS / "how-to").glob("*.md"))]
FENCE = re.compile(r"^(?:```|<!-- )(\w+)\n(.*?)^(?:```|-->)$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (\S+\.(?:yaml|py|jsonl|toml))\n")


def script_of(page: Path) -> str:
    """The page as a shell script: named files are written, console lines (and a hidden set-up's) are run."""
    lines = ["set -e"]
    for kind, body in FENCE.findall(page.read_text()):
        named = FILE.match(body)
        if kind in ("yaml", "python", "toml") and named:
            lines.append(f"cat > {named.group(1)} <<'END_OF_FILE'\n{body}END_OF_FILE")
        elif kind in ("console", "setup"):
            commands = body.replace("\\\n", " ").splitlines()
            lines += [line.removeprefix("$ ") for line in commands if line.startswith("$ ")]
    return "\n".join(lines)


def marked(page: Path) -> Any:
    return pytest.param(page, id=page.stem, marks=[pytest.mark.kenlm] if page.stem == "perplexity" else [])


@pytest.mark.parametrize("page", [marked(page) for page in PAGES])
def test_every_command_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    script = script_of(page)
    assert "dolma-pipe" in script, f"{page.name} shows no command in a ```console block"
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONWARNINGS": ""}
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def test_the_reference_is_up_to_date() -> None:
    done = subprocess.run([sys.executable, str(DOCS / "generate.py"), "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "page", [FIRST, *sorted(DOCS.rglob("*.md"))], ids=lambda page: page.parent.name + "/" + page.name
)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_index_has_every_page() -> None:
    linked = set(re.findall(r"\]\(([^)#:]+)\)", (DOCS / "README.md").read_text()))
    assert linked == {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")} - {"README.md"}
