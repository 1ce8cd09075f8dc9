"""What becomes of a skipped step: its documents are named in `RUN/skipped.jsonl`, and quarantined where asked."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from dolma_pipe import storage
from dolma_pipe.errors import ConfigError
from dolma_pipe.train.config import SkipConfig
from dolma_pipe.train.data.chunks import TokenRange
from dolma_pipe.train.data.documents import Traced
from dolma_pipe.train.metrics import StepSkipped, skipped_path
from dolma_pipe.train.objective import Examples, Traceable
from dolma_pipe.train.parallel import World
from dolma_pipe.train.phases import Phase, Position


class SkippedDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A line of `skipped.jsonl`."""

    step: int
    reason: str
    quarantined: bool
    document: Traced


class Quarantine:
    """The tokens that are shown no more, which every rank excludes alike; the first one writes whose they were."""

    def __init__(
        self, run: str, config: SkipConfig, examples: Examples, excluded: list[TokenRange], world: World
    ) -> None:
        self._run, self._config, self._world = run, config, world
        self._examples = examples if isinstance(examples, Traceable) else None
        if config.quarantine and self._examples is None:
            raise ConfigError("skip.quarantine: these examples cannot be excluded; leave it out")
        self.excluded = list(excluded)
        if self._examples is not None:
            for one in self.excluded:
                self._examples.exclude_tokens(one)

    def forget_after(self, step: int) -> None:
        """Remove the lines of steps that run again."""
        path = skipped_path(self._run)
        if not storage.exists(path):
            return
        lines = storage.read_bytes(path).splitlines()
        kept = [line for line in lines if msgspec.json.decode(line, type=SkippedDocument).step <= step]
        storage.write_bytes(path, b"".join(line + b"\n" for line in kept))

    def skip(self, at: Position, phase: Phase, reason: str, tell: Callable[[StepSkipped], None]) -> bool:
        """The step after `at` was skipped; whether there are tokens now that are shown no more."""
        if self._examples is None:
            if self._world.first:
                tell(StepSkipped(step=at.step + 1, reason=reason, documents=[], quarantined=False))
            return False
        first, size = at.tokens // phase.sequence_length, phase.global_batch_size
        found = self._examples.documents(first, size, phase.sequence_length)
        if self._config.quarantine:
            self.excluded += self._examples.exclude(found)
        if self._world.first:
            self._write(at.step + 1, reason, found)
            tell(StepSkipped(step=at.step + 1, reason=reason, documents=found, quarantined=self._config.quarantine))
        return self._config.quarantine

    def _write(self, step: int, reason: str, found: list[Traced]) -> None:
        path = storage.local_path(skipped_path(self._run))
        with open(path, "ab") as stream:
            for one in found:
                line = SkippedDocument(step=step, reason=reason, quarantined=self._config.quarantine, document=one)
                stream.write(msgspec.json.encode(line) + b"\n")
