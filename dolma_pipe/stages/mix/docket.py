"""The shards of a mix in order, the groups they choose copies in, and how tasks about them are written down."""

from __future__ import annotations

from typing import Any, NamedTuple

from dolma_pipe import storage
from dolma_pipe.config import fingerprint
from dolma_pipe.manifest import MANIFEST, Ref
from dolma_pipe.stage import Task
from dolma_pipe.stages.mix.config import MixConfig
from dolma_pipe.stages.mix.copies import clusters
from dolma_pipe.stages.mix.fates import Court, Files, Place
from dolma_pipe.stages.mix.ledger import Ledger
from dolma_pipe.stages.mix.source import Source
from dolma_pipe.types import Plain


class Case(NamedTuple):
    """What a task about one shard works with."""

    place: Place
    source: Source
    court: Court


class Docket:
    """Everything that the phases of a mix have in common; `version` is the stage's."""

    def __init__(self, config: MixConfig, sources: list[Source], file: str, version: int) -> None:
        self.config, self.sources, self.file = config, sources, file
        self._version = version
        self.groups = clusters.groups(sources, [source.dedups for source in sources], file)
        self.repeats = clusters.groups(sources, [source.repeats for source in sources], file)
        shards = [(index, shard) for index, source in enumerate(sources) for shard in source.shards]
        self.places = [Place(number, index, shard) for number, (index, shard) in enumerate(shards)]
        self.files = Files(config.to)
        self.ledger = Ledger(config, sources, self.groups, self.repeats, self.places)

    def places_of(self, *indices: int) -> list[Place]:
        """The shards of some sources."""
        return [place for place in self.places if place.source in indices]

    def task(self, phase: str, name: str, about: Plain, payload: Plain = (), **more: Any) -> Task:
        definition = fingerprint(("mix", self._version, phase, about))
        record = storage.join(self.config.to, MANIFEST, phase, name + ".json")
        return Task(name, record, definition, payload=payload, **more)

    def shard_task(self, phase: str, place: Place, about: Plain, payload: tuple[Any, ...], **more: Any) -> Task:
        """A task about one shard; `payload` begins with the decisions it follows."""
        name = storage.join(self.sources[place.source].name, place.shard.stem)
        return self.task(phase, name, about, (place.number, *payload), **more)

    def case(self, task: Task) -> Case:
        """What a shard's task is about."""
        place, decisions = self.places[task.payload[0]], task.payload[1]
        court = Court(self.config.to, self.sources, self.groups, decisions, self.config.seed, self.repeats)
        return Case(place, self.sources[place.source], court)

    def document_ref(self, place: Place) -> Ref:
        return Ref(f"{self.sources[place.source].name}/documents/{place.shard.name}", place.shard.path)

    def attribute_refs(self, place: Place, sets: list[str]) -> tuple[Ref, ...]:
        source = self.sources[place.source]
        return tuple(
            Ref(f"{source.name}/attributes/{name}/{place.shard.stem}", source.attribute_file(name, place.shard))
            for name in sets
        )
