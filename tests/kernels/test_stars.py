"""Candidates are the pairs of the buckets, and a star is what deciding one document after the other leaves."""

from __future__ import annotations

from typing import Any

import numpy as np
import plain_minhash as plain
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma_pipe.kernels.stars import Buckets, bucket_pairs, halves, make_bench, settle
from dolma_pipe.stages.dedup.minhash.entries import gather_stars
from dolma_pipe.stages.dedup.minhash.stars import MEMBER

records = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=25)  # (key, text), in documented order


def packed(earlier: int, later: int) -> int:
    return later << 32 | earlier


def as_buckets(found: list[tuple[int, int]]) -> Buckets:
    keys, texts = np.array([key for key, _ in found], np.uint64), np.array([text for _, text in found], np.uint64)
    order = np.argsort(keys, kind="stable")
    return Buckets(keys[order], texts[order], np.arange(len(found), dtype=np.uint32)[order])


def all_pairs(buckets: Buckets, most: int, old: int, twin_keys: int, room: int) -> tuple[list[int], list[int], int]:
    bench = make_bench(buckets, most)
    pairs, twins = np.empty(room + most, np.uint64), np.empty(room, np.uint64)
    found: tuple[list[int], list[int]] = ([], [])
    while bench.state[0] < len(buckets.keys):
        for kind, array, count in zip(
            found, (pairs, twins), bucket_pairs(buckets, bench, old, np.uint64(twin_keys), pairs, twins), strict=True
        ):
            kind += array[:count].tolist()
    return *found, int(bench.state[3])


@settings(deadline=None, max_examples=200)
@given(records, st.integers(1, 4), st.integers(0, 8), st.integers(0, 4), st.integers(1, 30))
def test_candidates_are_those_of_the_definition(
    found: list[tuple[int, int]], most: int, old: int, twin_keys: int, room: int
) -> None:
    expected: tuple[list[int], list[int]] = ([], [])
    left_out = 0
    for key in range(4):
        firsts: dict[int, int] = {}
        for document, (its_key, text) in enumerate(found):
            if its_key != key:
                continue
            if text not in firsts:
                if document >= old:
                    expected[0].extend(packed(head, document) for head in list(firsts.values())[:most])
                    left_out += max(len(firsts) - most, 0)
                firsts[text] = document
            elif key < twin_keys and document >= old:
                expected[1].append(packed(document, firsts[text]))
    pairs, twins, skipped = all_pairs(as_buckets(found), most, old, twin_keys, room)
    assert (sorted(pairs), sorted(twins), skipped) == (sorted(expected[0]), sorted(expected[1]), left_out)


@st.composite
def graphs(draw: st.DrawFn) -> tuple[int, dict[tuple[int, int], float]]:
    count = draw(st.integers(1, 14))
    number = st.integers(0, count - 1)
    pairs = draw(st.lists(st.tuples(number, number).filter(lambda pair: pair[0] < pair[1]), max_size=40))
    return count, {pair: draw(st.sampled_from([0.8, 0.9, 1.0])) for pair in pairs}


def stars_of(
    count: int, scored: dict[tuple[int, int], float], page: int
) -> tuple[dict[int, int], list[tuple[int, int]]]:
    """(removed document -> centre, pairs of two removed ones), decided page by page."""
    removed = np.zeros(-(-count // 8), np.uint8)
    centres: dict[int, int] = {}
    aside: list[tuple[int, int]] = []
    for start in range(0, count, page):
        size = min(page, count - start)
        here = sorted((packed(*pair), score) for pair, score in scored.items() if start <= pair[1] < start + size)
        pairs = np.array([pair for pair, _ in here], np.uint64)
        chosen, sideways = settle(pairs, np.array([score for _, score in here]), removed, start, size)
        earlier, later = halves(pairs)
        centres |= {start + i: int(earlier[pair]) for i, pair in enumerate(chosen.tolist()) if pair >= 0}
        aside += list(zip(earlier[sideways].tolist(), later[sideways].tolist(), strict=True))
    return centres, aside


@settings(deadline=None, max_examples=200)
@given(graphs(), st.integers(1, 15))
def test_stars_are_those_of_the_definition(graph: Any, page: int) -> None:
    count, scored = graph
    centres, aside = stars_of(count, scored, page)
    assert centres == plain.settle(count, {pair: (score, 1) for pair, score in scored.items()})
    assert sorted(aside) == sorted(pair for pair in scored if pair[0] in centres)


@settings(deadline=None, max_examples=200)
@given(graphs())
def test_whoever_is_removed_was_compared_with_one_that_stays_and_nobody_that_stays_with_another(graph: Any) -> None:
    count, scored = graph
    centres, _ = stars_of(count, scored, 100)
    assert all((centre, document) in scored and centre not in centres for document, centre in centres.items())
    staying = set(range(count)) - set(centres)
    assert not any(one in staying and other in staying for one, other in scored)


def test_a_chain_is_no_cluster() -> None:
    chain = {(i, i + 1): 0.9 for i in range(9)}
    centres, _ = stars_of(10, chain, 3)
    assert centres == {1: 0, 3: 2, 5: 4, 7: 6, 9: 8}


@settings(deadline=None, max_examples=200)
@given(graphs(), st.lists(st.integers(0, 13), max_size=8), st.integers(1, 15))
def test_ranks_and_neighbours_are_those_of_the_definition(graph: Any, copied: list[int], page: int) -> None:
    count, scored = graph
    centres, aside = stars_of(count, scored, page)
    twins = [(count + i, original) for i, original in enumerate(original for original in copied if original < count)]
    text = {**{n: n for n in range(count)}, **dict(twins)}
    star = {document: centres.get(text[document], text[document]) for document in text}
    members = [(star[n], n, text[n], 1, 0.9) for n in text if star[n] != n]
    sides = [packed(*pair) for pair in aside if pair[1] in centres]
    found = gather_stars(np.array(members, MEMBER), np.array(sides, np.uint64))
    entries = {int(entry["document"]): entry for entry in found.entries}
    assert sorted(entries) == sorted({n for n in text if star[n] != n} | {star[n] for n in text if star[n] != n})
    assert [int(entry["document"]) for entry in found.entries] == sorted(entries)
    for place, (document, entry) in enumerate(entries.items()):
        of_star = sorted(n for n in text if star[n] == star[document])
        assert (entry["size"], entry["rank"]) == (len(of_star), of_star.index(document))
        assert entry["text"] == of_star.index(text[document])
        near = [of_star.index(n) for n in of_star if (n, text[document]) in scored]
        assert found.near[found.bounds[place] : found.bounds[place + 1]].tolist() == near
