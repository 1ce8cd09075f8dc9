"""export: token shards in another system's form; one task per shard, and one for what describes them all."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import ClassVar, Literal

from dolma_pipe import storage
from dolma_pipe.config import Config, fingerprint
from dolma_pipe.errors import ConfigError
from dolma_pipe.exchange import mds
from dolma_pipe.exchange.megatron import export_megatron
from dolma_pipe.exchange.raw import Create, export_datatrove, export_npy, export_olmo
from dolma_pipe.manifest import MANIFEST, Record
from dolma_pipe.stage import Stage, Task, Work
from dolma_pipe.tokens import TOKENIZER, Manifest, TokenSet, TokenShard

Form = Literal["olmo", "megatron", "datatrove", "mds", "npy"]
LEAVE_OUT = ("megatron", "mds")
"""Forms without label masks: what is masked cannot be carried."""


class ExportConfig(Config, frozen=True):
    """The token folder `tokens` in a `format`, into the folder `to`."""

    tokens: str
    to: str
    format: Form


class ExportTokens(Stage):
    name: ClassVar[str] = "export"
    version: ClassVar[int] = 1
    phases: tuple[str, ...] = ("shards", "index")

    def __init__(self, config: ExportConfig) -> None:
        if storage.join(config.tokens) == storage.join(config.to):
            raise ConfigError(f"--to {config.to}: the tokens themselves lie there; name another folder")
        self.config = config
        self.home = config.to
        self.tokens = TokenSet.open(config.tokens)

    def plan(self, phase: str, done: dict[str, list[Record]]) -> list[Task]:
        manifest, form = self.tokens.manifest, self.config.format
        if phase == "index":
            about = [record.digest() for record in done["shards"]]
            files = [file for record in done["shards"] for file in record.facts.get("files", [])]
            return [self._task(phase, "index", [form, manifest.tokenizer_hash, about], files)]
        about = (form, manifest.vocab_size, manifest.dtype, manifest.masked > 0)
        return [
            self._task(phase, shard.name, [*about, shard.entry, self._table_hash(shard)], number)
            for number, shard in enumerate(self.tokens.shards)
        ]

    def _table_hash(self, shard: TokenShard) -> str:
        return storage.content_hash(storage.join(shard.folder, shard.name + ".docs.parquet"))

    def _task(self, phase: str, name: str, about: object, payload: object) -> Task:
        definition = fingerprint((self.name, self.version, phase, about))
        return Task(name, storage.join(self.home, MANIFEST, phase, name + ".json"), definition, (), payload)

    def run(self, phase: str, task: Task, work: Work) -> None:
        def create(name: str) -> AbstractContextManager[storage.Writer]:
            return work.create(storage.join(self.home, name))

        if phase == "index":
            self._describe(task, create)
        else:
            self._export(self.tokens.shards[task.payload], create, work)

    def _export(self, shard: TokenShard, create: Create, work: Work) -> None:
        manifest, form = self.tokens.manifest, self.config.format
        if form == "mds":
            work.fact("files", mds.as_plain(mds.export_mds(shard, manifest, create)))
        else:
            WRITERS[form](shard, manifest, create)
        work.count(tokens=len(shard), masked=_masked(shard, manifest))
        work.progress(shard.entry.documents, len(shard) * shard.dtype.itemsize)

    def _describe(self, task: Task, create: Create) -> None:
        if self.config.format == "mds":
            with create(mds.INDEX) as out:
                out.write(mds.make_index([mds.Written(*file) for file in task.payload]))
        path = storage.join(self.config.tokens, TOKENIZER)
        if storage.is_file(path):
            with create(TOKENIZER) as out:
                out.write(storage.read_bytes(path))


WRITERS = {
    "olmo": export_olmo, "npy": export_npy, "datatrove": export_datatrove, "megatron": export_megatron,
}  # fmt: skip


def _masked(shard: TokenShard, manifest: Manifest) -> int:
    return sum(int(end - start) for start, end in shard.masked()) if manifest.masked else 0
