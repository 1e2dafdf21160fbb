"""Linear orders of units in which few of those passed still have neighbours to come.

Programmes that take up one unit after the other keep a number for every way in which the units of
the frontier can stand; a good order keeps the frontier narrow (mathematics.md 26.1).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from iitdask.kernels.jit import ZERO_INT64, inner, kernel

Array = NDArray[Any]
GREEDY_TRIES = 3  # of each first unit: ties are broken by chance
MOVES = 4000  # of single units to another place
MULTIPLIER, INCREMENT, MODULUS = 1103515245, 12345, 1 << 31


@inner
def frontier_cost(order, neighbours, base):
    """Sum of base**width over the steps of an order; neighbours: (n,) int64 masks."""
    seen, frontier, total = 0, 0, 0.0
    for t in range(order.shape[0]):
        seen |= 1 << order[t]
        frontier |= 1 << order[t]
        left, power = frontier, 1.0
        while left:
            low = left & -left
            left ^= low
            unit, above = 0, low >> 1
            while above:
                unit += 1
                above >>= 1
            if neighbours[unit] & ~seen:
                power *= base
            else:
                frontier ^= low
        total += power
    return total


@inner
def width_with(seen, neighbours, n):
    """How many units of a set have neighbours outside of it."""
    width = 0
    for u in range(n):
        if seen >> u & 1 and neighbours[u] & ~seen:
            width += 1
    return width


@inner
def fill_greedy_order(first, neighbours, seed, order):
    """Fill an order with the unit next that keeps the frontier narrowest; returns the seed.

    Of equal ones the first is taken if the seed is 0, else one by chance.
    """
    n = order.shape[0]
    order[0] = first
    seen, around = 1 << first, neighbours[first]
    for t in range(1, n):
        pool = around & ~seen
        if pool == 0:
            pool = ((1 << n) - 1) & ~seen
        chosen, least, draws = -1, n + 1, 0
        for u in range(n):
            if pool >> u & 1:
                width = width_with(seen | 1 << u, neighbours, n)
                if width < least:
                    chosen, least, draws = u, width, 1
                elif width == least and seed > 0:
                    draws += 1
                    seed = (seed * MULTIPLIER + INCREMENT) % MODULUS
                    if (seed >> 8) % draws == 0:
                        chosen = u
        order[t] = chosen
        seen |= 1 << chosen
        around |= neighbours[chosen]
    return seed


@inner
def move_unit(order, source, target, out):
    """Fill ``out`` with an order in which the unit at one place stands at another."""
    n, at = order.shape[0], 0
    for t in range(n):
        if t == target:
            out[t] = order[source]
        else:
            if at == source:
                at += 1
            out[t] = order[at]
            at += 1


@kernel
def narrow_order(neighbours, base):
    """Find an order of units with a narrow frontier: greedy from every unit, then single moves.

    The same units in the same order of numbers give the same result: what looks like chance is
    computed.

    Parameters
    ----------
    neighbours : (n,) int64, the units each unit has to meet while both are kept, as masks; n <= 62
    base : float, what one more unit in the frontier multiplies work by

    Returns
    -------
    (n,) int64, the units in order

    References
    ----------
    mathematics.md 26.1.
    """
    n = neighbours.shape[0]
    best, trial, least, seed = np.arange(n), np.arange(n), 1e300, 1
    for first in range(n):
        for _ in range(GREEDY_TRIES):
            seed = fill_greedy_order(first, neighbours, seed, trial)
            cost = frontier_cost(trial, neighbours, base)
            if cost < least:
                least = cost
                best[:] = trial
    for _ in range(MOVES if n > 2 else 0):
        seed = (seed * MULTIPLIER + INCREMENT) % MODULUS
        source = (seed >> 8) % n
        seed = (seed * MULTIPLIER + INCREMENT) % MODULUS
        move_unit(best, source, (seed >> 8) % n, trial)
        cost = frontier_cost(trial, neighbours, base)
        if cost <= least:
            least = cost
            best[:] = trial
    return best


@kernel
def greedy_order(neighbours, base):
    """As ``narrow_order``, but greedy alone, the first of equal units next: a ring goes round.

    Parameters
    ----------
    neighbours : (n,) int64, masks, see ``narrow_order``
    base : float, what one more unit in the frontier multiplies work by

    Returns
    -------
    (n,) int64, the units in order

    References
    ----------
    mathematics.md 27.1.
    """
    n = neighbours.shape[0]
    best, trial, least = np.arange(n), np.arange(n), 1e300
    for first in range(n):
        fill_greedy_order(first, neighbours, ZERO_INT64, trial)
        cost = frontier_cost(trial, neighbours, base)
        if cost < least:
            least = cost
            best[:] = trial
    return best


@kernel
def frontier_width(order, neighbours):
    """Largest number of units kept at once in an order; see ``narrow_order``."""
    n, seen, widest = order.shape[0], 0, 0
    for t in range(n):
        seen |= 1 << order[t]
        widest = max(widest, width_with(seen, neighbours, n))
    return widest


def frontier_states(scopes: Array, width: Array, levels: Array) -> int:
    """Most states of the units kept at once, each until the last factor over it is complete.

    Parameters
    ----------
    scopes : (factors, K) int64, units of each factor, ascending along the order
    width : (factors,) int64, how many these are
    levels : (n,) int64, values of each unit

    Returns
    -------
    int
    """
    until = np.arange(len(levels))
    for row, size in zip(scopes, width.tolist(), strict=True):
        if size:
            until[row[:size]] = np.maximum(until[row[:size]], row[size - 1])
    places = range(len(levels))
    kept = ([q for q in range(t + 1) if until[q] >= t] for t in places)
    return max(int(levels[units].prod()) for units in kept)
