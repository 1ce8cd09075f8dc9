"""One search for near duplicates: its rules, its data sets, and where its files lie."""

from __future__ import annotations

from dolma_pipe import storage
from dolma_pipe.manifest import MANIFEST
from dolma_pipe.stages.dedup.config import DedupConfig
from dolma_pipe.stages.dedup.corpus import KEYS, SCRATCH, Corpus
from dolma_pipe.stages.dedup.minhash.signatures import MinhashRules, Signer, check, choose_bands

SIGNATURES = "_signatures"


class Near:
    """One run: its rules, its data sets, and where its files lie."""

    def __init__(self, config: DedupConfig) -> None:
        self.config = config
        self.corpus = Corpus(config)
        self.rules = check(config.minhash or MinhashRules())
        self.signer = Signer(self.rules)
        self.bands = choose_bands(self.rules)
        self.reads_texts = self.rules.verify in ("jaccard", "containment")
        self.scratch = storage.join(self.corpus.home, KEYS, SCRATCH)

    @property
    def signature_folders(self) -> list[str]:
        return [storage.join(root, SIGNATURES, self.signer.folder) for root in self.corpus.roots]

    def signatures(self, index: int) -> str:
        """The file of the signatures of shard `index`."""
        number, shard = self.corpus.shards[index]
        return storage.join(self.signature_folders[number], shard.stem + ".arrays")

    def signature_record(self, index: int) -> str:
        number, shard = self.corpus.shards[index]
        return storage.join(self.signature_folders[number], MANIFEST, shard.stem + ".json")

    def record(self, phase: str) -> str:
        """The folder of the records of a phase whose outputs are scratch."""
        return storage.join(self.corpus.home, KEYS, MANIFEST, phase)

    def file(self, phase: str, name: str) -> str:
        """What the task `name` of a phase leaves for the next ones."""
        return storage.join(self.scratch, phase, name + ".arrays")

    def parts(self, phase: str, count: int) -> list[str]:
        """The files of all partitions of a phase."""
        return [self.file(phase, f"partition-{number:05d}") for number in range(count)]

    def shard_files(self, phase: str) -> list[str]:
        """The file of every shard of a phase; of those that had nothing to do there is none."""
        return [self.file(phase, self.corpus.task_name(index)) for index in range(len(self.corpus.shards))]

    def all_signatures(self) -> list[str]:
        return [self.signatures(index) for index in range(len(self.corpus.shards))]
