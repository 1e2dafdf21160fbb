"""Purviews by decreasing bound: a heap of their masks."""

from __future__ import annotations

import numpy as np

from iitdask.kernels.jit import inner
from iitdask.kernels.purviews import ZERO

__all__ = ["fill_heap", "sift", "top_of"]


@inner
def sift(heap, keys, start, count):
    """Restore the order of a max-heap below ``start``."""
    item = heap[start]
    root = start
    while 2 * root + 1 < count:
        child = 2 * root + 1
        other = min(child + 1, count - 1)
        # a choice, not a branch, that a processor would guess wrong half the time
        child = other if keys[heap[other]] > keys[heap[child]] else child
        if keys[heap[child]] <= keys[item]:
            break
        heap[root] = heap[child]
        root = child
    heap[root] = item


@inner
def fill_heap(bounds, heap, floor):
    """Make a max-heap of the purviews whose bound exceeds zero and reaches floor; how many."""
    count = np.int64(0)  # a literal 0 would compile the callee once more
    for purview in range(1, bounds.shape[0]):
        if bounds[purview] > ZERO and bounds[purview] >= floor:
            heap[count] = purview
            count += 1
    for start in range(count // 2 - 1, -1, -1):
        sift(heap, bounds, start, count)
    return count


@inner
def top_of(bounds):
    """Purview of the largest bound: a few of them cost less than a heap."""
    top = 1
    for purview in range(2, bounds.shape[0]):
        top = purview if bounds[purview] > bounds[top] else top
    return top
