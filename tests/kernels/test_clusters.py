"""Equal keys are found whatever their first halves share, and counted in order."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma_pipe.kernels.clusters import copies_of, distinct_keys, key_order, occurrences, resolve

halves = st.sampled_from([0, 1, 2**63, 2**64 - 1])
few = st.lists(st.tuples(halves, halves), max_size=30)
many = st.tuples(few, st.integers(3, 9)).map(lambda drawn: drawn[0] * drawn[1])  # more than are sorted in place
keys = st.one_of(few, many)


def columns(pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([a for a, _ in pairs], np.uint64), np.array([b for _, b in pairs], np.uint64)


@settings(deadline=None)  # the first call compiles
@given(keys)
def test_keys_that_share_a_half_stay_apart(pairs: list[tuple[int, int]]) -> None:
    first, second = columns(pairs)
    slots, heads, counts = distinct_keys(first, second)
    distinct = sorted(set(pairs))
    assert key_order(first, second).tolist() == sorted(range(len(pairs)), key=lambda i: pairs[i])
    assert [distinct[slot] for slot in slots.tolist()] == pairs
    assert heads.tolist() == [pairs.index(key) for key in distinct]
    assert counts.tolist() == [pairs.count(key) for key in distinct]


@settings(deadline=None)  # the first call compiles
@given(keys, st.data())
def test_sizes_and_ranks_count_the_copies_that_each_record_stands_for(
    pairs: list[tuple[int, int]], data: st.DataObject
) -> None:
    counts = data.draw(st.lists(st.integers(1, 5), min_size=len(pairs), max_size=len(pairs)))
    first, second = columns(pairs)
    heads, sizes, ranks = resolve(first, second, np.array(counts, np.uint32))
    for i, key in enumerate(pairs):
        same = [j for j, other in enumerate(pairs) if other == key]
        assert heads[i] == same[0]
        assert sizes[i] == sum(counts[j] for j in same)
        assert ranks[i] == sum(counts[j] for j in same if j < i)


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.integers(0, 4), max_size=20))
def test_occurrences_count_what_came_before(slots: list[int]) -> None:
    found = occurrences(np.array(slots, np.uint32), 5)
    assert found.tolist() == [slots[:i].count(slot) for i, slot in enumerate(slots)]


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.integers(0, 4), max_size=20), st.lists(st.integers(0, 9), min_size=3, max_size=3))
def test_records_with_copies_come_in_order_and_count_on(slots: list[int], before: list[int]) -> None:
    of_slot = np.array([0, -1, 1, -1, 2])  # what slots 1 and 3 hold is alone
    records, entries, ranks = copies_of(np.array(slots, np.uint32), of_slot, np.array(before, np.int64))
    known = [i for i, slot in enumerate(slots) if of_slot[slot] >= 0]
    assert records.tolist() == known
    assert entries.tolist() == [of_slot[slots[i]] for i in known]
    assert ranks.tolist() == [before[of_slot[slots[i]]] + slots[:i].count(slots[i]) for i in known]
