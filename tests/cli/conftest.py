"""The command line, called in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest

from dolma_pipe.cli import main


class Said(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """`cli("tag", folder, "--taggers", "gopher")` as a shell would see it."""

    def call(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["dolma-pipe", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr()
        code = end.value.code
        return Said(code if isinstance(code, int) else 0 if code is None else 1, said.out, said.err)

    return call
