"""What can go wrong, as one small tree.

    PipeError
    |-- ConfigError         a flag, a YAML or a rule is not what it must be; nothing was done
    |   `-- DependencyError an optional package is not installed; names the line that installs it
    |-- DataError           a file or a row is not what it must be
    |   `-- AlignmentError  attributes and documents do not describe the same rows
    `-- TaskError           a task could not be finished; the others were

A message is one line: what, where, the value, the next step.
"""

from __future__ import annotations


class PipeError(Exception):
    """Anything the command line reports as one line instead of a traceback."""

    exit_code = 1


class ConfigError(PipeError):
    """A flag, a YAML key or a rule that cannot be used; raised before any work."""

    exit_code = 2


class DependencyError(ConfigError):
    """An optional package is missing; `extra` is the one that brings it."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs the package {package!r}: pip install 'dolma_pipe[{extra}]'")


class DataError(PipeError):
    """A file or a row that is not what it must be."""


class AlignmentError(DataError):
    """Attribute rows that do not describe the document rows beside them."""


class TaskError(PipeError):
    """A task that could not be finished; every other task was."""
