"""What the phases of near-duplicate search do to files; `stage.py` says which there are and when."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dolma_pipe import storage
from dolma_pipe.attributes import AttributeWriter
from dolma_pipe.batch import Batch, UInt64s
from dolma_pipe.errors import DataError
from dolma_pipe.kernels.folding import START
from dolma_pipe.kernels.hashing import hash128_ranges
from dolma_pipe.kernels.minhash import band_keys, band_width, distinct, overlaps
from dolma_pipe.kernels.ranges import gather_ranges
from dolma_pipe.kernels.stars import Buckets, bucket_pairs, make_bench, settle
from dolma_pipe.shards import DocumentReader
from dolma_pipe.stage import Task, Work
from dolma_pipe.stages.dedup.arrays import ArrayReader, ArrayWriter
from dolma_pipe.stages.dedup.minhash.buckets import BucketWriter, read_buckets
from dolma_pipe.stages.dedup.minhash.entries import gather_stars, read_entries, write_entries
from dolma_pipe.stages.dedup.minhash.near import Near
from dolma_pipe.stages.dedup.minhash.numbering import Numbering
from dolma_pipe.stages.dedup.minhash.pairs import read_candidates, read_wanted, write_pairs
from dolma_pipe.stages.dedup.minhash.rows import NEAR_FIELDS, near_rows
from dolma_pipe.stages.dedup.minhash.shingles import ShingleReader, ShingleWriter
from dolma_pipe.stages.dedup.minhash.signatures import SignatureWriter, read_page
from dolma_pipe.stages.dedup.minhash.similarity import OfShingles, OfSignatures, Similarity, threshold_of, verify
from dolma_pipe.stages.dedup.minhash.stars import StarWriter, cut_partitions, read_judged, read_members
from dolma_pipe.stages.dedup.normalization import value_bytes
from dolma_pipe.stages.dedup.results import Places
from dolma_pipe.stages.dedup.scopes import missing_count
from dolma_pipe.types import Plain


def sign_shard(near: Near, task: Task, work: Work) -> None:
    index: int = task.payload
    shard = near.corpus.shards[index][1]
    with ExitStack() as stack:
        bad = stack.enter_context(work.quarantine(near.corpus.quarantine(index)))
        reader = DocumentReader(shard, ("id", "text"), limit=near.config.limit, bad=bad)
        writer = SignatureWriter(stack.enter_context(work.create(near.signatures(index))))
        for batch in reader:
            writer.write(near.signer.sign(batch))
            work.count(bytes=len(batch.data))
            work.progress(len(batch), len(batch.data))
        writer.close()
    if reader.hash is not None and reader.size is not None:
        work.seen(task.inputs[0], reader.size, reader.hash)
    work.count(documents=reader.rows, bad_rows=reader.bad_rows, bad_bytes=reader.bad_bytes)
    work.fact("shard", {"name": shard.name, "size": reader.size, "hash": reader.hash})
    work.fact("signatures", near.signer.about)


class _Measured(NamedTuple):
    """What is known of a shard that is not read again."""

    hash: str | None
    bad_rows: int


class _Entrants(NamedTuple):
    """Of every document of a shard: does it compete, and the hash of its scope."""

    competes: npt.NDArray[np.bool_]
    scopes: UInt64s


def write_bands(near: Near, task: Task, work: Work) -> None:
    index, measured = task.payload[0], _Measured(*task.payload[1:])
    with ArrayReader(near.signatures(index)) as file, work.create(near.file("bands", task.name)) as stream:
        entrants = _entrants(near, index, task, work, measured, file)
        writer = BucketWriter(stream, near.bands)
        row = 0
        for page in _pages(file):
            signed = read_page(file, page, near.rules.permutations)
            here = slice(row, row + len(signed.ids))
            competes = entrants.competes[here]
            writer.write(signed, competes, entrants.scopes[here])
            row += len(signed.ids)
            if index >= near.corpus.kept:
                keyed, passed = int((competes & (signed.words > 0)).sum()), int(competes.sum())
                work.count(documents=len(competes), keyed=keyed, missing_keys=passed - keyed)
                work.count(not_competing=len(competes) - passed)
        writer.close()
    work.fact("records", writer.records)


def _pages(file: ArrayReader) -> Iterator[int]:
    """The pages of a file of signatures."""
    page = 0
    while file.has(f"{page}/words"):
        yield page
        page += 1


def _entrants(near: Near, index: int, task: Task, work: Work, measured: _Measured, file: ArrayReader) -> _Entrants:
    """The documents are read again only where `where` or `scope` ask for their fields."""
    corpus = near.corpus
    competition = corpus.competition(index)
    number, shard = corpus.shards[index]
    columns = dict.fromkeys(("id", *corpus.columns()))
    reader = DocumentReader(shard, tuple(columns), limit=near.config.limit) if corpus.columns() else None
    competes, scopes = [np.empty(0, np.bool_)], [np.empty(0, np.uint64)]
    for batch in reader if reader is not None else _ids_only(file, shard.name):
        competes.append(competition.of(batch))
        scopes.append(_scopes(near, batch, corpus.names[number], work))
    competition.finish(measured)
    if reader is not None and reader.hash is not None and reader.size is not None:
        work.seen(task.inputs[0], reader.size, reader.hash)
    return _Entrants(np.concatenate(competes), np.concatenate(scopes))


def _ids_only(file: ArrayReader, shard: str) -> Iterator[Batch]:
    for page in _pages(file):
        ids = file.read_strings(f"{page}/ids").cast(pa.string())
        yield Batch(shard, 0, pa.RecordBatch.from_pydict({"id": ids}))


def _scopes(near: Near, batch: Batch, dataset: str, work: Work) -> UInt64s:
    scope = near.corpus.scope
    if scope.is_all:
        return np.full(len(batch), START)
    found = scope.of(batch, dataset)
    work.count(missing_scopes=missing_count(found))
    data, offsets = value_bytes(found)
    return np.ascontiguousarray(hash128_ranges(data, offsets[:-1], offsets[1:])[:, 0])


def find_pairs(near: Near, task: Task, work: Work) -> None:
    part, counts = task.payload
    numbering = Numbering(counts)
    buckets = read_buckets(near.shard_files("bands"), part, numbering)
    old = int(numbering.firsts[near.corpus.kept])
    with work.create(near.file("pairs", task.name)) as stream:
        of_first_band = np.uint64(band_width(near.bands.number))
        found = write_pairs(buckets, near.rules.bucket_limit, old, of_first_band, numbering, stream)
    work.count(not_compared=found["not_compared"])


def write_sets(near: Near, task: Task, work: Work) -> None:
    index, counts, partitions, size = task.payload
    path = near.corpus.shards[index][1].path
    if size is not None and storage.size(path) != size:  # None: a limited run did not read it to its end
        raise DataError(f"{path}: changed since its signatures were made; run again")
    numbering = Numbering(counts)
    pages = numbering.pages_of(index)
    with ArrayReader(near.signatures(index)) as signatures, work.create(near.file("sets", task.name)) as stream:
        writer = ShingleWriter(stream, near.signer, counts[index])
        wanted = [found.astype(np.int64) for _, found in read_wanted(near.parts("pairs", partitions), pages)]
        rows = np.concatenate([np.empty(0, np.int64), *wanted]) - numbering.firsts[index]
        words = [signatures.read(f"{page}/words") for page in range(len(pages))]
        if len(rows):
            _write_sets(near, index, rows, np.concatenate(words), writer)
        writer.close()
    work.count(read_again=writer.documents)


def _write_sets(
    near: Near, index: int, rows: npt.NDArray[np.int64], words: npt.NDArray[np.uint32], writer: ShingleWriter
) -> None:
    """Read the shard up to its last wanted row."""
    for batch in DocumentReader(near.corpus.shards[index][1], ("id", "text"), limit=near.config.limit):
        here = rows[np.searchsorted(rows, batch.first_row) : np.searchsorted(rows, batch.first_row + len(batch))]
        writer.write(batch, here, words[here])
        if batch.first_row + len(batch) > rows[-1]:
            break


def verify_shard(near: Near, task: Task, work: Work) -> None:
    index, counts, partitions, _ = task.payload
    numbering = Numbering(counts)
    similarity = _similarity(near, numbering)
    with work.create(near.file("verify", task.name)) as stream:
        out = ArrayWriter(stream)
        paths = near.parts("pairs", partitions)
        for page, pairs, bands in read_candidates(paths, numbering.pages_of(index)):
            found = verify(pairs, bands, similarity, threshold_of(near.rules))
            for name, array in found._asdict().items():
                out.add(f"{page}/{name}", array)
            work.count(candidates=len(pairs), verified=len(found.pairs))
        out.close()


def _similarity(near: Near, numbering: Numbering) -> Similarity:
    if near.reads_texts:
        sets = ShingleReader(near.shard_files("sets"), numbering)
        return OfShingles(sets, near.rules.verify == "containment")
    return OfSignatures(near.all_signatures(), numbering, near.rules.permutations)


def settle_stars(near: Near, task: Task, work: Work) -> None:
    counts, partitions = task.payload
    numbering, kept = Numbering(counts), near.corpus.kept
    verified, pairs = near.shard_files("verify")[kept:], near.parts("pairs", partitions)
    limit = near.config.partition_bytes
    with work.create(near.file("stars", task.name)) as stream:
        cuts = cut_partitions(read_judged(verified, kept, pairs, numbering), numbering, limit)
        writer = StarWriter(stream, numbering, cuts, near.bands.number)
        for page in read_judged(verified, kept, pairs, numbering):
            writer.write(page)
        writer.close()
    work.count(same_words=writer.twins)
    work.fact("removed", writer.near + writer.twins)
    work.fact("partitions", len(cuts) + 1)


def gather(near: Near, task: Task, work: Work) -> None:
    counts, part = task.payload
    star = gather_stars(*read_members(near.file("stars", "stars"), part))
    with work.create(near.file("gather", task.name)) as stream:
        write_entries(stream, star, near.all_signatures(), Numbering(counts))


def write_rows(near: Near, task: Task, work: Work) -> None:
    index, counts, partitions, about = task.payload
    numbering, places = Numbering(counts), Places(near.corpus.shard_name)
    pages = numbering.pages_of(index)
    with ArrayReader(near.signatures(index)) as signatures, work.create(near.corpus.output(index)) as stream:
        types = {name: field.type for name, field in NEAR_FIELDS.items()}
        writer = AttributeWriter(stream, near.corpus.set_name, types, _about(near), nullable=True)
        entries = read_entries(near.parts("gather", partitions), pages)
        for number, (page, found) in enumerate(zip(pages, entries, strict=True)):
            ids = signatures.read_strings(f"{number}/ids")
            rows = near_rows(ids, int(numbering.starts[page]), found, numbering, places)
            writer.write(rows.ids, rows.columns)
            work.count(documents=len(ids), **rows.counts)
            work.progress(len(ids))
        writer.close(**about)


def _about(near: Near) -> dict[str, Plain]:
    rules = {**msgspec.to_builtins(near.rules), **dict(zip(("bands", "rows"), near.bands, strict=True))}
    scope = near.config.scope
    return {"tagger": "dedup", "by": "minhash", "where": near.corpus.where, "scope": scope, "minhash": rules}


def warm_up(near: Near, batch: Batch) -> None:
    """Compile the kernels of all phases, with arrays of the types that they will see."""
    signed = near.signer.sign(batch)
    keys = band_keys(signed.signatures, np.full(len(batch), START), *near.bands)
    buckets = Buckets(keys.reshape(-1), np.zeros(keys.size, np.uint64), np.zeros(keys.size, np.uint32))
    pairs, twins = np.zeros(1, np.uint64), np.zeros(1, np.uint64)
    bucket_pairs(buckets, make_bench(buckets, 1), 0, np.uint64(0), pairs, twins)
    bounds = np.concatenate([[0], np.cumsum(near.signer.shingle_count(signed.words))])
    values, bounds = distinct(near.signer.shingles(batch, np.arange(len(batch)), bounds), bounds)
    overlaps(values, bounds, np.zeros(1, np.int64), np.ones(1, np.int64))
    settle(pairs, np.zeros(1), np.zeros(1, np.uint8), 0, 1)
    gather_ranges(np.zeros(1, np.uint8), np.zeros(1, np.int64), np.ones(1, np.int64))


PHASES: dict[str, Callable[[Near, Task, Work], None]] = {
    "keep": sign_shard, "sign": sign_shard, "bands": write_bands, "pairs": find_pairs, "sets": write_sets,
    "verify": verify_shard, "stars": settle_stars, "gather": gather, "write": write_rows,
}  # fmt: skip
