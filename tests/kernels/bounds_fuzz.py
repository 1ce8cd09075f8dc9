"""Run by test_bounds.py in a process of its own, with Numba's bounds checks on: every kernel over random texts."""

from __future__ import annotations

import json
import random
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import plain_definitions as plain
import test_pii as personal

from dolma_pipe.batch import Batch, make_batch
from dolma_pipe.fused import Fused
from dolma_pipe.kernels import (
    alphabetic,
    bloom,
    characters,
    collapse,
    csvrows,
    duplicates,
    hashing,
    joined,
    jsonlines,
    jsonstrings,
    keys,
    minhash,
    ngrams,
    overlap,
    packing,
    passages,
    periods,
    ranges,
    rewriting,
    scenes,
    stars,
    tokens,
    utf8,
    winnowing,
    xxh3,
)  # fmt: skip
from dolma_pipe.stages.dedup.minhash.signatures import MinhashRules, Signer
from dolma_pipe.tagger import load

CHARACTERS = "ab.# \n\0é…•漢😀{j[<&'\"/*\\" + "".join(plain.SPACES)
CHARACTERS += "'\"\u200b\u200d\u0301,_1א🇩ใのカ가"  # every Word_Break that matters, and scripts without spaces
WORDS = [
    "the",
    "javascript",
    "privacy policy",
    "use of cookies",
    "lorem ipsum",
    "...",
    "é" * 9,
    "Mr. J.",
    "terms of use",
    "[1]",
    "[edit]",
    "[citation needed",
    "<script",
    "</style>",
    "<!--",
    '"""',
    "&amp;",
    "https://www.a.b/x?y",
    "10.0.0.1",
    "3 likes",
    "read more...",
    "ABC DEF",
]

OTHER_LANGUAGES = [
    load({"name": "gopher", "words": "unicode", "languages": ["en", "de", "zh"]}),
    load({"name": "gopher_repetition", "words": "icu"}),
]


def random_text(generator: random.Random) -> str:
    kind = generator.random()
    size = generator.choice([0, 1, 2, 7, 8, 9, 20, 200])
    if kind < 0.5:
        return "".join(generator.choices(CHARACTERS, k=size))
    return "".join(generator.choice(WORDS) + generator.choice(CHARACTERS) for _ in range(size))


def run_positions(batch: Batch) -> None:
    lines = batch.lines
    documents = np.repeat(np.arange(len(batch)), np.diff(lines.offsets))
    chars = utf8.bytes_to_chars(batch.data, batch.offsets, documents, lines.ends.astype(np.int64))
    assert np.array_equal(utf8.chars_to_bytes(batch.data, batch.offsets, documents, chars), lines.ends)


def run_overlap(batch: Batch) -> None:
    hashes, offsets = overlap.folded_words(batch.data, batch.offsets, overlap.alphabet())
    runs = overlap.run_hashes(hashes, offsets, 3)
    known = overlap.lookup(np.unique(runs[runs != 0])[::3])
    found, _ = overlap.find_runs(batch.data, batch.offsets, overlap.alphabet(), 3, known)
    assert np.array_equal(known.keys[found[:, 1]], runs[np.isin(runs, known.keys)])


@cache
def lists(folder: str = tempfile.mkdtemp()) -> dict[str, list[str]]:
    """Block lists of every kind, as options of the tagger `url`."""
    entries = {"domains": "example.org\n||a.b^", "hosts": "www.a.b", "urls": "a.b/x", "words": "the\nx1",
               "soft_words": "javascript\na", "subwords": "lorem\nab"}  # fmt: skip
    for name, content in entries.items():
        (Path(folder) / name).write_text(content)
    return {name: [str(Path(folder) / name)] for name in entries}


def run_urls(batch: Batch) -> None:
    metadata = [json.dumps({"url": f"http://{text[:60]}"}) for text in batch.texts()]
    load({"name": "url", **lists()}).tag(make_batch(batch.texts(), metadata=metadata))


def run_views(batch: Batch) -> None:
    fused = Fused(
        [{"name": "fineweb", "view": "c4"}, {"name": "dclm", "view": "dclm"}, {"name": "lines", "view": "c4"}]
    )
    fused.measure(batch, list(fused.specs))


def run_periods(batch: Batch) -> None:
    """Each byte a token."""
    rows = periods.periodic_runs(batch.data, batch.offsets, 5)
    first, last = batch.offsets[rows[:, 0]] + rows[:, 1], batch.offsets[rows[:, 0]] + rows[:, 2] - 1
    edges = periods.run_bytes(batch.data, np.stack((first, first + 1), 1), np.stack((last, last + 1), 1))
    assert np.all(edges[:, 0] < edges[:, 1])


def run_passages(batch: Batch) -> None:
    """Repeated passages from end to end, every scene contested; and a Bloom filter of their keys."""
    length = 9
    found = winnowing.find_anchors(batch.data, batch.offsets, np.ones(len(batch), np.bool_), length, 6)
    rows = np.repeat(np.arange(len(batch)), found.counts)
    order = np.lexsort((found.scene, found.core))
    scenes.compare_scenes(found.core, found.scene, np.ones(len(rows), np.uint32), order)
    starts = batch.offsets[rows] + found.start
    middles, ends = starts + found.lead, starts + found.more + length
    sides = np.stack([starts, middles, middles + 4, ends], axis=1).reshape(-1)
    text, offsets = ranges.gather_ranges(batch.data, sides[::2], sides[1::2])
    known = np.zeros(len(rows), np.bool_)
    asked = scenes.Scenes(
        found.core, found.scene, rows.astype(np.uint32), found.start, found.lead, found.more, known, offsets[::2], text
    )
    memory = scenes.with_room(scenes.empty_memory(2), int(found.more.sum()) + 3 * len(rows))
    low, high, _, _ = scenes.settle(asked, np.uint32(0), length, 6, 1 << 20, memory)
    hits = np.flatnonzero(low <= high)
    counts = np.bincount(rows[hits], minlength=len(batch))
    places = found.start[hits].astype(np.int64)
    joined = passages.join_ranges(
        batch.data, batch.offsets, counts, places + low[hits], places + high[hits] + length, 2
    )
    assert np.all(joined.start < joined.end)
    words = np.zeros(3 * bloom.BLOCK_WORDS, np.uint64)
    block = bloom.blocks_of(found.core, 3)
    for adds in (True, False):
        seen = bloom.look_up(words, block, found.scene, np.arange(len(block)), 20, np.uint64(1), adds)
    assert np.all(seen)


def run_pii(generator: random.Random) -> None:
    """Texts that nearly hold personal data, cut anywhere."""
    pieces = [*personal.NUMBERS, *personal.SIGNS, *personal.WORDS, *personal.PLACES, *personal.SECRETS]
    texts = ["".join(generator.choices(pieces, k=generator.randrange(12))) for _ in range(8)]
    load("pii").tag(make_batch([text[: generator.randrange(len(text) + 1)] for text in texts]))


def run_json(generator: random.Random) -> None:
    """JSON lines: whole, cut anywhere, a few bytes of them broken."""
    rows = [{"id": i, "text": random_text(generator), "metadata": {"a": [1.5, None]}} for i in range(5)]
    lines = b"\n".join(json.dumps(row, ensure_ascii=generator.random() < 0.5).encode() for row in rows)
    block = np.frombuffer(lines, np.uint8)[: generator.randrange(1, len(lines) + 1)].copy()
    for _ in range(generator.randrange(4)):
        block[generator.randrange(len(block))] = generator.randrange(256)
    found = jsonlines.find_documents(block)
    for ranges_of, kinds in zip(found.fields, found.kinds, strict=True):
        jsonstrings.gather_strings(block, ranges_of, kinds, found.sure)
    texts = make_batch([random_text(generator) for _ in range(int(found.sure.sum()))])
    rewriting.put_texts(block, found.starts[found.sure], found.ends[found.sure], texts.data, texts.offsets)


def run_keys(batch: Batch) -> None:
    everyone = np.ones(len(batch), np.bool_)
    for separator in ("\n", "\n\n", "漢"):
        keys.split_paragraphs(
            batch.data, batch.offsets, everyone, np.frombuffer(separator.encode(), np.uint8), 1
        )  # fmt: skip
    keys.document_keys(batch.data, batch.offsets, everyone)
    collapse.collapse(batch.data, batch.offsets, alphabetic.alphabetic_bitmap(), True)


def run_minhash(batch: Batch) -> None:
    for rules in (MinhashRules(), MinhashRules(shingle=1, scheme="legacy", ignore_numbers=True, ignore_accents=False)):
        signer = Signer(rules)
        signed = signer.sign(batch)
        bounds = np.concatenate([[0], np.cumsum(signer.shingle_count(signed.words))])
        hashes = signer.shingles(batch, np.arange(len(batch)), bounds)
        values, bounds = minhash.distinct(np.sort(hashes), bounds)
        few = np.arange(len(batch) - 1)
        minhash.overlaps(values, bounds, few, few + 1)
        keys = minhash.band_keys(signed.signatures % 3, np.zeros(len(batch), np.uint64), 9, 9).reshape(-1)
        order = np.argsort(keys, kind="stable")
        numbers = np.tile(np.arange(len(batch), dtype=np.uint32), 9)[order]
        buckets = stars.Buckets(keys[order], signed.keys[numbers, 0], numbers)
        bench = stars.make_bench(buckets, 2)
        pairs, twins = np.empty(4, np.uint64), np.empty(2, np.uint64)
        while bench.state[0] < len(keys):
            found, _ = stars.bucket_pairs(buckets, bench, 0, np.uint64(1 << 62), pairs, twins)
            some = np.unique(pairs[:found])
            stars.settle(some, np.ones(len(some)), np.zeros(len(batch), np.uint8), 0, len(batch))
    count = len(batch)
    near, bounds = np.zeros(count, np.int32), np.arange(count + 1)
    stars.survivors(np.array([0, count]), np.arange(count), near, bounds, count)


def run(batch: Batch) -> None:
    run_minhash(batch)
    for name in ("gopher", "gopher_repetition", "c4", "length", "lines", "fineweb", "datatrove_c4", "datatrove_ngrams",
                 "dclm", "dolma_pii"):  # fmt: skip
        load(name).tag(batch)
    for tagger in OTHER_LANGUAGES:
        tagger.tag(batch)
    for language in ("python", "java", "html"):
        load({"name": "code", "language": language}).tag(batch)
    words = batch.words
    few = ngrams.ngram_signals(batch.data, batch.offsets, batch.marks, 16)
    many = ngrams.ngram_signals(batch.data, batch.offsets, batch.marks, ngrams.MOST_SLOTS)
    assert all(np.array_equal(a, b) for a, b in zip(few, many, strict=True))
    duplicates.duplicate_signals(batch.data, batch.offsets, batch.marks, 16)
    few = joined.joined_repeats(batch.data, batch.offsets, batch.marks, 16)
    many = joined.joined_repeats(batch.data, batch.offsets, batch.marks, ngrams.MOST_SLOTS)
    assert np.array_equal(few, many)
    hashing.hash128_ranges(batch.data, words.starts, words.ends)
    xxh3.framed_hashes(batch.data[:30], batch.data, batch.offsets, batch.data[:9], xxh3.secret())
    assert utf8.validate(batch.data, batch.offsets) == -1
    characters.find_doubtful(batch.data, batch.offsets, np.zeros(0x110000, np.uint8))
    run_positions(batch)
    run_overlap(batch)
    run_keys(batch)
    run_passages(batch)
    run_periods(batch)
    run_urls(batch)
    run_views(batch)


def run_tokens(generator: random.Random) -> None:
    """Documents of random ids in random segments, closed, copied and packed."""
    sizes = [generator.randrange(9) for _ in range(generator.randrange(1, 12))]
    offsets = np.cumsum([0, *sizes])
    ids = np.array([generator.randrange(1, 99) for _ in range(sum(sizes))], np.uint32)
    closed = np.empty(len(ids) + 2 * len(sizes), np.uint16)
    assert tokens.close_documents(ids, offsets, 7, 0, closed) == -1
    documents = np.cumsum([0, *(generator.randrange(2) for _ in sizes[1:])])
    heads = np.array([[generator.choice((-1, 3)) for _ in range(2)] for _ in sizes])
    out = np.empty(len(ids) + int((heads >= 0).sum()) + 2 * (int(documents[-1]) + 1), np.uint16)
    forged, ends = tokens.close_segments(ids, offsets, heads, documents, 7, 0, out)
    assert (forged, ends[-1], out[-1]) == (-1, len(out), 0)
    whole, bits = ids | (ids & 1) << 17, np.packbits(ids & 1, bitorder="little")
    joined, planes = np.empty_like(whole), np.pad(np.stack([bits & 0, bits]), ((0, 0), (0, 1)))
    tokens.join_ids(ids.astype(np.uint16), planes, offsets[:-1], np.diff(offsets), joined, offsets[:-1])
    assert np.array_equal(joined, whole)
    names = np.array([generator.choice(b'ab,"\r\n') for _ in range(sum(sizes))], np.uint8)
    ends = np.array([generator.choice((0, 9, 10, 2**63 - 2)) for _ in sizes])
    codes = np.array([generator.randrange(len(sizes)) for _ in sizes])
    csvrows.place_rows(ends, ends, names, offsets, names, offsets, codes, ends)
    packing.best_fit(np.sort(np.array(sizes) + 1)[::-1].copy(), 9)


def main() -> None:
    generator = random.Random(3)
    run(make_batch(plain.HARD_TEXTS))
    run(make_batch([]))
    for _ in range(150):
        run(make_batch([random_text(generator) for _ in range(generator.randrange(1, 8))]))
    for _ in range(150):
        run_pii(generator)
        run_json(generator)
        run_tokens(generator)
    broken = generator.randbytes(3000)
    sizes = np.array([0, *sorted(generator.choices(range(3000), k=300)), 3000])
    utf8.validate(np.frombuffer(broken, np.uint8), sizes)


if __name__ == "__main__":
    main()
