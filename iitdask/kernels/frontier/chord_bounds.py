"""Bounds on how a partial partition goes on, without the sizes of its parts.

The square of a part's size is at least each of its chords, (2 k + 1) size - k (k + 1), which add up
unit by unit: least values need frontier states only (mathematics.md 26.4).
"""

import numpy as np

from iitdask.kernels.frontier.local_costs import HUGE_BITS, PART_IN, PART_OUT
from iitdask.kernels.frontier.partial_partitions import NO_PART
from iitdask.kernels.jit import inner, kernel


def chord_numbers(n):
    """Chords (k, a, i) whose bounds are used for n units, those without a and i first; (c, 3)."""
    ks = sorted({k for k in (0, 1, 2, n // 4, n // 3, n // 2, 2 * n // 3, n - 2) if k >= 0})
    few = sorted({0, *(max(1, n // part) for part in (6, 3, 2))})
    both = [(a, i) for a in few for i in few if a + i <= n]
    both.sort(key=sum)
    return np.array([(k, a, i) for a, i in both for k in ks], np.int64), len(ks)


@inner
def move_gain(chords, x, price, move):
    """What a unit adds to a value by chord x: its joining, a new part, an in- or out-unit."""
    k = chords[x, 0]
    gain = price * (2 * k + 1)
    if move & 1:
        gain -= price * k * (k + 1)
    if move >> 1 & 3 == PART_IN:
        gain += price * chords[x, 1]
    elif move >> 1 & 3 == PART_OUT:
        gain += price * chords[x, 2]
    return gain


@kernel
def backward_bounds(graph, price, chords):
    """Least value of the rest of a partition from each frontier state on, by chord.

    Parameters
    ----------
    graph : Relaxed
    price : float, of a severed pair, bits
    chords : (c, 3) int64, numbers k, units of out-parts a and of in-parts i that there are at least

    Returns
    -------
    (states, c) float64, bits

    References
    ----------
    mathematics.md 26.4, Eq. (26.4).
    """
    states, steps = graph.edges.shape[0] - 1, graph.starts.shape[0] - 2
    out = np.full((states, chords.shape[0]), HUGE_BITS)
    out[graph.starts[steps] :] = 0.0
    gains = np.empty((16, chords.shape[0]))
    for move in range(8):
        for x in range(chords.shape[0]):
            gains[move, x] = move_gain(chords, x, price, move)
    for e in range(graph.source.shape[0] - 1, -1, -1):
        move, bits = graph.move[e] & 7, graph.bits[e]
        source, target = graph.source[e], graph.target[e]
        for x in range(chords.shape[0]):
            value = bits + out[target, x] + gains[move, x]
            out[source, x] = min(out[source, x], value)
    return out


@kernel
def forward_bounds(graph, price, chords):
    """Least value of a way to each frontier state, by chord; see ``backward_bounds``."""
    out = np.full((graph.edges.shape[0] - 1, chords.shape[0]), HUGE_BITS)
    out[0] = 0.0
    for e in range(graph.source.shape[0]):
        for x in range(chords.shape[0]):
            gain = move_gain(chords, x, price, graph.move[e])
            value = out[graph.source[e], x] + graph.bits[e] + gain
            out[graph.target[e], x] = min(out[graph.target[e], x], value)
    return out


@inner
def follow_move(move, packed, open_parts, numbers):
    """Number the open parts anew after a transition; returns the part that the unit joined.

    open_parts : (16,) number that each open part has in the whole partition, replaced
    """
    own = open_parts[move >> 3]
    for p in range(16):
        numbers[p] = open_parts[p]
    for p in range(15):
        there = packed >> 4 * p & NO_PART
        if there != NO_PART:
            open_parts[there] = numbers[p]
    return own


@kernel
def relaxed_partition(graph, bounds, chords, x, price, part, direction):
    """Fill in the partition along the least way by one chord.

    Parameters
    ----------
    graph : Relaxed
    bounds : (states, c) float64, see ``backward_bounds``
    chords : (c, 3) int64
    x : int, the chord
    price : float, of a severed pair, bits
    part, direction : (n + 1,) int64, part of each unit and direction of each part; filled

    References
    ----------
    mathematics.md 26.5.
    """
    open_parts, numbers = np.zeros(16, np.int64), np.zeros(16, np.int64)
    state, count = 0, 0
    for t in range(graph.starts.shape[0] - 2):
        best, least = -1, HUGE_BITS
        for e in range(graph.edges[state], graph.edges[state + 1]):
            value = graph.bits[e] + bounds[graph.target[e], x]
            value += move_gain(chords, x, price, graph.move[e])
            if value < least:
                best, least = e, value
        move = graph.move[best]
        if move & 1:
            open_parts[move >> 3] = count
            direction[count] = move >> 1 & 3
            count += 1
        part[t] = follow_move(move, graph.parts[best], open_parts, numbers)
        state = graph.target[best]
