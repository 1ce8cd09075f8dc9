"""The data sets of a run: their shards in documented order, who of their documents competes, where results go."""

from __future__ import annotations

from dolma_pipe import storage
from dolma_pipe.attributes import attribute_path
from dolma_pipe.errors import ConfigError
from dolma_pipe.manifest import Ref
from dolma_pipe.recipes import conjunction
from dolma_pipe.shards import Shard, document_shards
from dolma_pipe.stages.dedup.competing import Competition, Sets, columns, missing_set, needed_sets
from dolma_pipe.stages.dedup.config import PARTITION_BYTES, DedupConfig, set_name
from dolma_pipe.stages.dedup.scopes import Scope

KEYS = "_keys"
"""Folder, in that of the attribute set, of all but its results."""
SCRATCH = "_scratch"
"""Folder in it of what may go once a run is finished."""


class Corpus:
    """Documented order is: data sets as given, shard path by bytes, row. Shards are numbered through in that order.

    Data sets that new ones are only compared with (`against`) come first; the first `kept` shards are theirs. `names`
    are what the data sets are called in results, `roots` their attribute folders. `look` fills `shards` (number of the
    data set, shard); call it when planning, not before: the files may change between two plans.
    """

    def __init__(self, config: DedupConfig) -> None:
        if not config.datasets:
            raise ConfigError("dedup: name at least one data set")
        if config.partition_bytes < 1:
            raise ConfigError(f"partition_bytes: {config.partition_bytes} holds no key (default: {PARTITION_BYTES})")
        self.config = config
        self.set_name = set_name(config)
        self.names = dataset_names([*config.against, *config.datasets])
        self.roots = [self._root(number) for number in range(len(self.names))]
        self.scope = Scope(config.scope)
        if config.against and config.scope == "dataset":
            raise ConfigError("against: has no effect with scope: dataset, which ends every comparison at a data set")
        self.shards: list[tuple[int, Shard]] = []
        self.kept = 0
        self.where = conjunction(config.where)
        self._sets: Sets = {}

    def _root(self, number: int) -> str:
        config, old = self.config, len(self.config.against)
        if config.attributes is None:
            return storage.join([*config.against, *config.datasets][number], "attributes")
        several = number < old or len(config.datasets) > 1
        return storage.join(config.attributes, self.names[number] if several else "")

    def look(self) -> None:
        """Find the shards, and the attribute sets that `where` reads."""
        config, old = self.config, len(self.config.against)
        kept = [(number, shard) for number, name in enumerate(config.against) for shard in document_shards(name)]
        new = [
            (old + number, shard)
            for number, dataset in enumerate(config.datasets)
            for shard in document_shards(dataset, config.include, config.exclude)
        ]
        self.shards, self.kept = kept + new, len(kept)
        for _, shard in self.shards:
            self.scope.check(shard)
        self._sets = needed_sets(self.where, self.roots[old], new[0][1]) if self.where else {}
        if self.set_name in self._sets:
            raise ConfigError(f"where: reads {self.set_name!r}, the set this run writes; give --name another name")

    @property
    def new(self) -> range:
        """The numbers of the shards that get results."""
        return range(self.kept, len(self.shards))

    @property
    def folders(self) -> list[str]:
        """The set's folder of every data set."""
        return [storage.join(root, self.set_name) for root in self.roots]

    @property
    def home(self) -> str:
        """The set's folder of the first data set that gets results, where what concerns all of them lies."""
        return self.folders[len(self.config.against)]

    def folder(self, index: int) -> str:
        """The set's folder of the data set that shard `index` belongs to."""
        return self.folders[self.shards[index][0]]

    def task_name(self, index: int) -> str:
        number, shard = self.shards[index]
        return f"{number}/{shard.stem}"

    def shard_name(self, index: int) -> tuple[str, str]:
        """What shard `index` is called in results: data set and shard."""
        number, shard = self.shards[index]
        return self.names[number], shard.name

    def inputs(self, index: int) -> tuple[Ref, ...]:
        """What is read of shard `index`: the documents, and the attributes that decide who competes."""
        number, shard = self.shards[index]
        root, sets = self.roots[number], self._sets_of(index)
        missing_set(sets, root, shard)
        refs = [Ref(f"attributes/{name}/{shard.stem}", attribute_path(root, name, shard)) for name in sets]
        return (Ref(f"documents/{shard.name}", shard.path), *refs)

    def _sets_of(self, index: int) -> Sets:
        return self._sets if index >= self.kept else {}

    def columns(self) -> list[str]:
        """Columns of the documents that `where` and `scope` read."""
        scope = {self.scope.column} if self.scope.column else set[str]()
        return sorted(scope | (columns(self.where) if self.where else set()))

    def competition(self, index: int) -> Competition:
        """Who competes in shard `index`: of what was kept before, everyone."""
        number, shard = self.shards[index]
        where = self.where if index >= self.kept else None
        return Competition(where, self._sets_of(index), self.roots[number], shard)

    def output(self, index: int) -> str:
        """The attribute file of shard `index`."""
        number, shard = self.shards[index]
        return attribute_path(self.roots[number], self.set_name, shard)

    def quarantine(self, index: int) -> str:
        number, shard = self.shards[index]
        return storage.join(self.roots[number], "_quarantine", shard.stem + ".jsonl")


def dataset_names(datasets: list[str]) -> list[str]:
    """What each data set is called in `duplicate_of`: the last part of its path, or as many as tell them apart."""
    parts = [dataset.rstrip("/").split("/") for dataset in datasets]
    for depth in range(1, max(len(found) for found in parts) + 1):
        names = ["/".join(found[-depth:]) for found in parts]
        if len(set(names)) == len(names):
            return names
    twice = next(dataset for dataset, found in zip(datasets, parts, strict=True) if parts.count(found) > 1)
    raise ConfigError(f"dedup: the data set {twice!r} is given twice")
