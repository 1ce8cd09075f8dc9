"""fastText's output layer: label scores of hidden vectors, and the best labels in the library's order.

The arithmetic is the library's, in float32 and in its order: a label's dot product column by column, a soft-max with
its maximum taken off, a sigmoid from a table of 512 (one-vs-all, negative sampling), or a walk down a Huffman tree
(hierarchical soft-max). A score is exp(log(p + 1e-5)): the library adds 1e-5 to every probability, and a tree leaves
out what lies below that. Equal scores come in the order that a binary heap (libstdc++'s) leaves them in.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from dolma_pipe.kernels import kernel, piece


class Output(NamedTuple):
    """A model's last layer.

    `columns`: float32[dimension, labels], the weights; `scale`: float32[labels], what each dot product is multiplied by
    (norms of a quantised layer, else 1). `table`: the sigmoid's values for one-vs-all, empty for the others.
    `left`/`right`: a tree's inner nodes, int32[labels - 1], for the hierarchical soft-max, with the labels' numbers
    first, then those of the inner nodes; `is_tree` says so. The root is the last node.
    """

    columns: np.ndarray
    scale: np.ndarray
    table: np.ndarray
    left: np.ndarray
    right: np.ndarray
    is_tree: bool


class Heap(NamedTuple):
    """The best labels so far, the worst of them first; `size` is int64[1]."""

    scores: np.ndarray
    labels: np.ndarray
    size: np.ndarray


_ADDED = 1e-5
_FLOAT_ONE = np.float32(1)
_MOST = np.float32(8)
_STEPS = np.float32(512)


@piece
def _log(value: np.float32) -> np.float32:
    return np.float32(math.log(np.float64(value) + _ADDED))


@piece
def _exp(value: np.float32) -> np.float32:
    return np.float32(math.exp(np.float64(value)))


@piece
def _rise(heap: Heap, hole: int, score: np.float32, label: int) -> None:
    """Put a label into the hole, or above it where it is worse than what stands there."""
    while hole > 0 and heap.scores[(hole - 1) // 2] > score:
        above = (hole - 1) // 2
        heap.scores[hole], heap.labels[hole] = heap.scores[above], heap.labels[above]
        hole = above
    heap.scores[hole], heap.labels[hole] = score, label


@piece
def _move_first(heap: Heap, size: int) -> None:
    """Swap the worst of the heap's first `size` for its last place and mend the rest."""
    last = size - 1
    score, label = heap.scores[last], heap.labels[last]
    heap.scores[last], heap.labels[last] = heap.scores[0], heap.labels[0]
    hole, child = 0, 0
    while child < (last - 1) // 2:
        child = 2 * (child + 1)
        if heap.scores[child] > heap.scores[child - 1]:
            child -= 1
        heap.scores[hole], heap.labels[hole] = heap.scores[child], heap.labels[child]
        hole = child
    if last % 2 == 0 and last > 0 and child == (last - 2) // 2:
        child = 2 * (child + 1)
        heap.scores[hole], heap.labels[hole] = heap.scores[child - 1], heap.labels[child - 1]
        hole = child - 1
    _rise(heap, hole, score, label)


@piece
def _offer(heap: Heap, k: int, score: np.float32, label: int) -> None:
    """Take a label in if it is one of the best `k` so far."""
    size = heap.size[0]
    if size == k and score < heap.scores[0]:
        return
    _rise(heap, size, score, label)
    if size == k:
        _move_first(heap, size + 1)
    else:
        heap.size[0] = size + 1


@piece
def _products(output: Output, hidden: np.ndarray, found: np.ndarray) -> None:
    for label in range(len(found)):
        found[label] = 0
    for i in range(len(hidden)):
        value = hidden[i]
        for label in range(len(found)):
            found[label] += value * output.columns[i, label]
    for label in range(len(found)):
        found[label] *= output.scale[label]


@piece
def _softmax(found: np.ndarray) -> None:
    most, total = found[0], np.float32(0)
    for label in range(len(found)):
        most = max(most, found[label])
    for label in range(len(found)):
        found[label] = _exp(found[label] - most)
        total += found[label]
    for label in range(len(found)):
        found[label] /= total


@piece
def _sigmoids(found: np.ndarray, table: np.ndarray) -> None:
    for label in range(len(found)):
        value = found[label]
        if not value >= -_MOST:  # the same for what is no number, which has no place in the table
            found[label] = np.nan if value != value else np.float32(0)
        elif value > _MOST:
            found[label] = 1
        else:
            found[label] = table[np.int64((value + _MOST) * _STEPS / _MOST / np.float32(2))]


@piece
def _flat(output: Output, found: np.ndarray, k: int, heap: Heap, scores: np.ndarray) -> None:
    """Log scores of all labels from their dot products; the best go into the heap."""
    if len(output.table) > 0:
        _sigmoids(found, output.table)
    else:
        _softmax(found)
    for label in range(len(found)):
        scores[label] = _log(found[label])
        _offer(heap, k, scores[label], label)


@piece
def _tree(output: Output, products: np.ndarray, k: int, heap: Heap, scores: np.ndarray, stack: np.ndarray) -> None:
    """Log scores of all labels, -inf for those left out; the best go into the heap.

    `stack` (float64[n, 3]) holds (node, score, whether the library still looks here for the best k).
    """
    for label in range(len(scores)):
        scores[label] = -np.inf
    floor = _log(np.float32(0))
    stack[0, 0], stack[0, 1], stack[0, 2] = len(scores) - 1 + len(output.left), 0, 1
    height = 1
    while height > 0:
        height -= 1
        node, score, looks = int(stack[height, 0]), np.float32(stack[height, 1]), stack[height, 2] > 0
        if score < floor:
            continue
        looks = looks and not (heap.size[0] == k and score < heap.scores[0])
        if node < len(scores):
            scores[node] = score
            if looks:
                _offer(heap, k, score, node)
            continue
        inner = node - len(scores)
        below = _exp(-products[inner])
        right = np.float32(1.0 / np.float64(_FLOAT_ONE + below))
        stack[height, 0], stack[height, 1] = output.right[inner], score + _log(right)
        stack[height + 1, 0] = output.left[inner]
        stack[height + 1, 1] = score + _log(np.float32(1.0 - np.float64(right)))
        stack[height, 2] = stack[height + 1, 2] = looks
        height += 2


@kernel
def _fill(
    output: Output,
    hidden: np.ndarray,
    counts: np.ndarray,
    selected: np.ndarray,
    heap: Heap,
    products: np.ndarray,
    scores: np.ndarray,
    stack: np.ndarray,
    labels: np.ndarray,
    best: np.ndarray,
    chosen: np.ndarray,
) -> None:
    """Write what `label_scores` returns; what comes before that is scratch."""
    for row in range(len(hidden)):
        if counts[row] == 0:
            continue
        heap.size[0] = 0
        _products(output, hidden[row], products)
        if output.is_tree:
            _tree(output, products, labels.shape[1], heap, scores, stack)
        else:
            _flat(output, products, labels.shape[1], heap, scores)
        for count in range(heap.size[0], 1, -1):
            _move_first(heap, count)
        for i in range(heap.size[0]):
            labels[row, i] = heap.labels[i]
            best[row, i] = _exp(heap.scores[i])
        for i in range(len(selected)):
            chosen[row, i] = _exp(scores[selected[i]])


def label_scores(
    output: Output, hidden: np.ndarray, counts: np.ndarray, k: int, selected: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The best labels of each vector, best first, and the scores of some, best or not.

    Returns (labels int32[n, k], their scores float32[n, k], scores of the `selected` labels float32[n, len(selected)]).
    Where there are fewer than k, the label is -1 and the score 0; a selected label that is left out has score 0, and
    so has everything in a row with a count of 0.
    """
    size = output.columns.shape[1]
    labels, best = np.full((len(hidden), k), -1, np.int32), np.zeros((len(hidden), k), np.float32)
    chosen = np.zeros((len(hidden), len(selected)), np.float32)
    heap = Heap(np.empty(k + 1, np.float32), np.empty(k + 1, np.int32), np.zeros(1, np.int64))
    products, scores, stack = np.empty(size, np.float32), np.empty(size, np.float32), np.empty((size + 1, 3))
    _fill(output, hidden, counts, selected, heap, products, scores, stack, labels, best, chosen)
    return labels, best, chosen
