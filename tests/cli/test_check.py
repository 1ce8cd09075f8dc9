"""`check` knows what a file configures, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dolma_pipe.cli import check
from dolma_pipe.errors import ConfigError

CONFIGS = Path(__file__).parent.parent.parent / "configs"


@pytest.mark.parametrize(
    ("path", "stage"),
    [
        ("train/small.yaml", "train"),
        ("eval/tasks.yaml", "eval"),
        ("dpo/small.yaml", "dpo"),
        ("swarm/small.yaml", "swarm"),
    ],
)
def test_the_stage_of_a_file_is_known_by_its_keys(path: str, stage: str, capsys: pytest.CaptureFixture[str]) -> None:
    check.command(str(CONFIGS / path), None, [])
    assert f"a configuration of {stage!r}" in capsys.readouterr().out


def test_a_file_that_two_commands_could_read_has_to_be_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="could be of sft, dpo; say which with --as STAGE"):
        check.command(str(CONFIGS / "sft/small.yaml"), None, [])
    check.command(str(CONFIGS / "sft/small.yaml"), "sft", [])
    assert "a configuration of 'sft'" in capsys.readouterr().out


def test_a_stage_that_does_not_exist_is_named_with_those_that_do() -> None:
    with pytest.raises(ConfigError, match="--as 'sweep': expected one of ingest, tag"):
        check.command(str(CONFIGS / "sft/small.yaml"), "sweep", [])
