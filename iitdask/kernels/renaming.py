"""Which of several tied pairs of system states is named, where units can be exchanged.

The published rule (spec.md 8.4) writes the substrate in every numbering of its
units that keeps the declared graph, takes the numberings with the smallest
form, and names the pair of states that looks smallest in one of those.
"""

from __future__ import annotations

import numpy as np

from iitdask.kernels.jit import kernel

__all__ = ["joint_keys", "smallest_forms", "state_rank"]


@kernel
def joint_keys(table, levels):
    """Rounded probabilities as numbers that order as the published bytes do; (S, n, most).

    table : (S, c) float64, all units; states little-endian
    """
    n, states = levels.shape[0], table.shape[0]
    most = levels.max()
    rounded = np.zeros((states, n, most))
    column = 0
    for i in range(n):
        for v in range(levels[i]):
            for x in range(states):
                rounded[x, i, v] = np.rint(table[x, column] * 1e12) / 1e12 + 0.0
            column += 1
    keys = rounded.view(np.uint64)
    for x in range(states):
        for i in range(n):
            for v in range(most):
                word, swapped = keys[x, i, v], np.uint64(0)
                for _ in range(8):
                    swapped = (swapped << np.uint64(8)) | (word & np.uint64(255))
                    word >>= np.uint64(8)
                keys[x, i, v] = swapped
    return keys


@kernel
def advance(order):
    """Turn a permutation into the next in lexicographic order; False after the last."""
    i = order.shape[0] - 2
    while i >= 0 and order[i] > order[i + 1]:
        i -= 1
    if i < 0:
        return False
    j = order.shape[0] - 1
    while order[j] < order[i]:
        j -= 1
    order[i], order[j] = order[j], order[i]
    low, high = i + 1, order.shape[0] - 1
    while low < high:
        order[low], order[high] = order[high], order[low]
        low += 1
        high -= 1
    return True


@kernel
def keeps_graph(order, levels, children):
    """Whether a renumbering leaves numbers of values and declared connections as they are."""
    n = levels.shape[0]
    for a in range(n):
        if levels[order[a]] != levels[a]:
            return False
        for b in range(n):
            if children[order[a]] >> order[b] & 1 != children[a] >> b & 1:
                return False
    return True


@kernel
def compare(keys, levels, one, other):
    """-1, 0 or 1: the form under one renumbering against that under another."""
    n, most = levels.shape[0], keys.shape[2]
    strides = np.ones(n, np.int64)
    for i in range(1, n):
        strides[i] = strides[i - 1] * levels[i - 1]
    digits = np.zeros(n, np.int64)  # states with the first axis slowest
    while True:
        x, y = 0, 0
        for a in range(n):
            x += digits[a] * strides[one[a]]
            y += digits[a] * strides[other[a]]
        for a in range(n):
            for v in range(most):
                p, q = keys[x, one[a], v], keys[y, other[a], v]
                if p != q:
                    return -1 if p < q else 1
        a = n - 1
        while a >= 0:
            digits[a] += 1
            if digits[a] < levels[a]:
                break
            digits[a] = 0
            a -= 1
        if a < 0:
            return 0


@kernel
def smallest_forms(table, levels, children):
    """Renumberings with the smallest form; (m, n) int64, the identity's equals among them."""
    n = levels.shape[0]
    keys = joint_keys(table, levels)
    order = np.arange(n)
    count = 1
    for i in range(2, n + 1):
        count *= i
    kept = np.empty((count, n), np.int64)
    found = 0
    while True:
        if keeps_graph(order, levels, children):
            verdict = compare(keys, levels, order, kept[0]) if found else -1
            if verdict < 0:
                found = 0
            if verdict <= 0:
                kept[found] = order
                found += 1
        if not advance(order):
            return kept[:found].copy()


@kernel
def state_rank(code, levels, forms):
    """Place of a state in the published order: the smallest of its renumbered writings."""
    n = levels.shape[0]
    digits = np.empty(n, np.int64)
    for i in range(n):
        digits[i] = code % levels[i]
        code //= levels[i]
    base = levels.max()
    best = np.int64(-1)
    for f in range(forms.shape[0]):
        rank = np.int64(0)
        for a in range(n):
            rank = rank * base + digits[forms[f, a]]
        if best < 0 or rank < best:
            best = rank
    return best
