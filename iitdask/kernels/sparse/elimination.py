"""Sums over the states of a mechanism of a product of tables, its units summed out one by one.

A unit is summed out after the last factor that depends on it; what is kept meanwhile is a vector
over the states of the units in between, the *frontier*. mathematics.md 27.4.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from iitdask.kernels.jit import merged


class Elimination(NamedTuple):
    """In which order units are summed out, and the vector; n units, S states of the frontier."""

    last: NDArray[np.int64]  # (n,) last element of each factor, -1 of one that depends on none
    until: NDArray[np.int64]  # (n,) last element of the factors that depend on each element
    levels: NDArray[np.int64]  # (n,) values of each element
    steps: NDArray[np.int64]  # (1,) elements that some factor depends on
    element: NDArray[np.int64]  # (n,) these
    factors: NDArray[np.int64]  # (n,) factors by their last element
    begin: NDArray[np.int64]  # (n + 1,) where those of each step begin
    leaving: NDArray[np.int64]  # (n + 1,) where the elements summed out after each step begin
    stride: NDArray[np.int64]  # (n,) their strides in the vector
    size: NDArray[np.int64]  # (n,) and how many values they have
    frontier: NDArray[np.int64]  # (n,) elements that the vector is over
    codes: NDArray[np.int64]  # (n, S) local state of each factor at each state of the frontier
    vector: NDArray[np.float64]  # (S,)


def make_elimination(n: int, states: int) -> Elimination:
    """Allocate the working memory of sums whose frontier has at most so many states."""
    arrays: list[Any] = [
        *(np.zeros(size, np.int64) for size in (n, n, n, 1, n, n, n + 1, n + 1, n, n, n)),
        np.zeros((n, states), np.int64),
        np.zeros(states),
    ]
    return Elimination(*arrays)


@merged
def fill_codes(w, width, place, factor, members):
    """Fill the local state of a factor at every state of the frontier of so many elements."""
    size = 1
    w.codes[factor, 0] = 0
    for f in range(members):
        e, weight, here = w.frontier[f], 1, 0
        for k in range(width[factor]):
            here = weight if place[factor, k] == e else here
            weight *= w.levels[place[factor, k]]
        for v in range(1, w.levels[e]):
            for x in range(size):
                w.codes[factor, v * size + x] = w.codes[factor, x] + v * here
        size *= w.levels[e]


@merged
def arrange_elimination(w, users, elements, width, place):
    """Plan the sum over the elements of factors that each depend on some; returns its summands.

    width, place : how many elements each factor depends on, and which
    """
    for e in range(elements):
        w.until[e] = -1
    for u in range(users):
        w.last[u] = place[u, width[u] - 1] if width[u] > 0 else -1
        for k in range(width[u]):
            e = place[u, k]
            w.until[e] = max(w.until[e], w.last[u])
    step, arranged, gone, members, states = 0, 0, 0, 0, 1.0
    for e in range(elements):
        if w.until[e] < 0:
            continue
        w.frontier[members] = e
        members += 1
        states *= w.levels[e]
        w.element[step], w.begin[step], w.leaving[step] = e, arranged, gone
        for u in range(users):
            if w.last[u] == e:
                w.factors[arranged] = u
                arranged += 1
                fill_codes(w, width, place, u, members)
        f, stride = 0, 1
        while f < members:
            q = w.frontier[f]
            if w.until[q] > e:
                stride *= w.levels[q]
                f += 1
                continue
            w.stride[gone], w.size[gone] = stride, w.levels[q]
            gone += 1
            members -= 1
            for g in range(f, members):
                w.frontier[g] = w.frontier[g + 1]
        step += 1
    w.steps[0], w.begin[step], w.leaving[step] = step, arranged, gone
    return states


@merged
def eliminated_sum(w, users, table, rows, columns):
    """The sum that was planned; factor u is ``table[rows[u] + its local state, columns[u]]``."""
    vector, size = w.vector, 1
    vector[0] = 1.0
    for u in range(users):
        if w.last[u] < 0:
            vector[0] *= table[rows[u], columns[u]]
    for step in range(w.steps[0]):
        more = w.levels[w.element[step]]
        for v in range(1, more):
            for x in range(size):
                vector[v * size + x] = vector[x]
        size *= more
        for f in range(w.begin[step], w.begin[step + 1]):
            u = w.factors[f]
            row, column = rows[u], columns[u]
            for x in range(size):
                vector[x] *= table[row + w.codes[u, x], column]
        for d in range(w.leaving[step], w.leaving[step + 1]):
            stride, k = w.stride[d], w.size[d]
            size //= k
            for high in range(size // stride):  # writes stay before what is still to be read
                for low in range(stride):
                    total = 0.0
                    for v in range(k):
                        total += vector[(high * k + v) * stride + low]
                    vector[high * stride + low] = total
    return vector[0]
