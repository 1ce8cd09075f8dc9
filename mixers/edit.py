"""`edit`: spans of the text are removed or replaced.

    - edit: {remove: dedup_paragraph.duplicate}
    - edit: {replace: pii.email, with: "|||EMAIL_ADDRESS|||"}
    - edit: {replace: [pii.email, pii.phone], with: "|||PII|||", min_score: 0.5}

Spans count code points of the original text, whatever other edits do. Spans that
overlap or touch are replaced together, by the text of the longest of them (of
equally long ones, of the first edit); an empty span changes nothing. A document
that has nothing but white space left is dropped as `empty_after_edit`.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from dolma_pipe import mixer
from dolma_pipe.config import Config
from dolma_pipe.errors import ConfigError


class _Settings(Config, frozen=True):
    remove: str | list[str] | None = None
    replace: str | list[str] | None = None
    text: str | None = msgspec.field(name="with", default=None)
    min_score: float | None = None


class Edit(mixer.Step):
    def parts(self) -> Sequence[mixer.Edit]:
        given = mixer.settings(self, _Settings)
        if (given.remove is None) == (given.replace is None):
            raise ConfigError(f"{self.where}: give either 'remove' or 'replace', found {self.value!r}")
        if (given.replace is None) != (given.text is None):
            raise ConfigError(f"{self.where}: 'replace' and 'with' belong together, found {self.value!r}")
        spans = given.replace if given.remove is None else given.remove
        paths = [spans] if isinstance(spans, str) else spans or []
        if not paths:
            raise ConfigError(f"{self.where}: names no spans; write SET.FIELD, as in pii.email")
        return [mixer.Edit(*mixer.attribute(self, path), given.text or "", given.min_score) for path in paths]
