"""One piece of work in this process, kernels warm: `python -m benchmarks.inside TASK SETTINGS` prints its seconds."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import memory, minhash, parts, tokenizing
from dolma_pipe import heap
from dolma_pipe.execution import Options, run_stage
from dolma_pipe.runners.local import Local
from dolma_pipe.shards import DocumentReader, document_shards
from dolma_pipe.stage import Stage

Result = dict[str, Any]


def read(data: str) -> Result:
    """Read and parse every document, and nothing else."""
    heap.keep_freed()  # as every task has it
    next(iter(DocumentReader(document_shards(data)[0])))
    started, busy = time.perf_counter(), time.process_time()
    size = sum(int(batch.offsets[-1]) for shard in document_shards(data) for batch in DocumentReader(shard))
    return {"seconds": time.perf_counter() - started, "cpu": time.process_time() - busy, "bytes": size}


def tag(data: str, to: str, taggers: list[Any]) -> Result:
    from dolma_pipe.stages.tag import Tag, TagConfig

    return _timed(Tag(TagConfig(datasets=[data], attributes=to, taggers=taggers)))


def dedup(data: str, to: str, **settings: Any) -> Result:
    """`spill_bytes`: what was written for later phases to read, and removed at the end."""
    from dolma_pipe import manifest
    from dolma_pipe.config import convert
    from dolma_pipe.stages.dedup import DedupConfig, dedup_stage

    config = convert({"datasets": [data], "attributes": to, **settings}, DedupConfig, "benchmark")
    stage = dedup_stage(config)
    next(iter(DocumentReader(document_shards(data)[0])))
    found = _timed(stage)
    places = Path(stage.home, "_keys/_manifest").glob("*/**/*.json")
    paths = [str(path) for path in places if "stat" not in path.parts]
    records = [record for path in paths if (record := manifest.read(path)) is not None]
    return {**found, "spill_bytes": sum(output.bytes for record in records for output in record.outputs)}


def mix(config: str) -> Result:
    from dolma_pipe.config import load
    from dolma_pipe.stages.mix import Mix, MixConfig

    stage = Mix(load(config, MixConfig), config)
    next(iter(DocumentReader(stage.places[0].shard, lines=True)))
    return _timed(stage)


def tokenize(**settings: Any) -> Result:
    from dolma_pipe.config import convert
    from dolma_pipe.stages.tokenize import Tokenize, TokenizeConfig

    return _timed(Tokenize(convert(settings, TokenizeConfig, "benchmark")))


def bloom_errors(**settings: Any) -> Result:
    from benchmarks.bloom_errors import measured

    return measured(**settings)


def repeated_windows(**settings: Any) -> Result:
    from benchmarks.windows import repeated

    return repeated(**settings)


def _timed(stage: Stage) -> Result:
    stage.warm()
    started, busy = time.perf_counter(), time.process_time()
    summary = run_stage(stage, Local(1), Options(force=True))
    seconds, cpu = time.perf_counter() - started, time.process_time() - busy
    return {"seconds": seconds, "cpu": cpu, "bytes": summary.counts.get("bytes", 0)}


TASKS: dict[str, Callable[..., Result]] = {
    "read": read, "tag": tag, "dedup": dedup, "mix": mix, "tokenize": tokenize, "minhash": minhash.search,
    "signatures": minhash.signatures, "datasketch": minhash.datasketch, "bloom_errors": bloom_errors,
    "repeated_windows": repeated_windows, "parts": parts.parts, "langid": parts.langid,
    "memory": memory.peaks, "encode": tokenizing.encode, "encode_loop": tokenizing.encode_loop,
    "read_plainly": tokenizing.read_plainly,
}  # fmt: skip

if __name__ == "__main__":
    result = TASKS[sys.argv[1]](**json.loads(sys.argv[2]))
    print(json.dumps(result))
