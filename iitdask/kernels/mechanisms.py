"""Best purviews of ranges of mechanisms, in either direction."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from iitdask.kernels.cause import cause_scan, reversed_bits
from iitdask.kernels.families import ON_CAUSE, ON_EFFECT
from iitdask.kernels.jit import kernel, leaf
from iitdask.kernels.leading import make_leads
from iitdask.kernels.pairs import Scratch, Tables
from iitdask.kernels.visits import best_effects_of, best_purviews, prepare_effects

__all__ = [
    "TOGETHER",
    "Found",
    "best_mechanisms",
    "make_room",
    "search_effects_together",
    "search_mechanisms",
]

Array = NDArray[Any]
TOGETHER = 8
"""Units from which the effect purviews of a mechanism are bounded together.

Fewer are as fast one by one, and what bounds them together is a third of all compilation.
"""
LANES = 8  # log2 of the mechanisms scanned together: six vectors of 2 kB stay in cache


class Found(NamedTuple):
    """What a range of m mechanisms leaves behind, filled in place."""

    phis: Array
    """(m,) float64 largest phi, bits."""
    ties: Array
    """(m,) int64 how many purviews attain it."""
    bits: Array
    """(m, ceil(2**n / 8)) uint8, one bit per tied purview."""
    searched: Array
    """(m,) int64 purviews not bounded away."""
    nodes: Array
    """(m, 2) int64 bound tables built and nodes visited."""


class Room(NamedTuple):
    """Working memory of the search over purviews, beside that of one pair."""

    joint: Array
    """(S,) float64 effects of a mechanism, summed over its states."""
    sums: Array
    """(codes,) float64 the same summed down to every purview."""
    bounds: Array
    """(2**n,) float64 upper bounds on phi of every purview, later the values, negated."""
    best: Array
    """(2**n,) float64"""
    gains: Array
    """(2**n,) float64"""
    heap: Array
    """(2**n,) int64 purviews, the largest bound first."""


@kernel
def make_room(size, states, codes):
    """Working memory for systems of so many subsets and states, and states of all subsets."""
    return Room(
        np.empty(states),
        np.empty(codes),
        np.empty(size),
        np.empty(size),
        np.empty(size),
        np.empty(size, np.int64),
    )


@leaf
def search_mechanisms(side, t, s, first, width, scanned, room, found):
    """Search the purviews of the 2**width mechanisms from ``first`` on, a row each of ``found``.

    scanned : what ``cause_scan`` filled, weights, states and bounds; on the effect side unused
    """
    for lane in range(1 << width):
        row = reversed_bits(lane, width)
        mechanism = first + row
        if mechanism > 0:
            if side == ON_CAUSE:
                for purview in range(scanned[2].shape[0]):
                    room.bounds[purview] = scanned[2][purview, lane]
            else:
                prepare_effects(t, s, mechanism, room)
            bits, nodes = found.bits[row], found.nodes[row]
            one = best_purviews(side, t, s, mechanism, room, scanned, lane, bits, nodes)
            found.phis[row], found.ties[row], found.searched[row] = one


@leaf
def search_effects_together(t, s, led, first, room, found, kept, known):
    """The same for effects, by the bounds that hold for all purviews of a mechanism together.

    kept : (2**n,) bool, the purviews that are searched; none given: all of them
    known : see ``best_effects_of``
    """
    bits, nodes = found.bits, found.nodes
    for row in range(found.phis.shape[0]):
        mechanism = first + row
        if mechanism > 0:
            prepare_effects(t, s, mechanism, room)
            for purview in range(kept.shape[0]):
                room.bounds[purview] = room.bounds[purview] if kept[purview] else 0.0
            one = best_effects_of(t, s, led, mechanism, room, bits[row], nodes[row], known)
            found.phis[row], found.ties[row], found.searched[row] = one


def best_mechanisms(side: np.int64, t: Tables, s: Scratch, begin: int, found: Found) -> None:
    """Search the purviews of the mechanisms from ``begin`` on, as many as ``found`` has rows.

    side : ON_CAUSE or ON_EFFECT; that many is a power of two and divides begin
    """
    room = make_room(len(t.codes), len(s.like), int(t.offsets[-1]))
    if side == ON_CAUSE:
        best_causes(t, s, begin, room, found)
    else:
        best_effects(t, s, begin, room, found)


def best_effects(t: Tables, s: Scratch, begin: int, room: Room, found: Found) -> None:
    """Search the effects of a range of mechanisms, one after the other."""
    n, none = len(t.levels), np.empty((0, 0))
    width, unused = len(found.phis).bit_length() - 1, (none, np.empty((0, 0), np.int64), none)
    if n < TOGETHER:
        search_mechanisms(ON_EFFECT, t, s, begin, width, unused, room, found)
    else:
        led, every = make_leads(n, len(s.like)), np.empty(0, np.bool_)
        search_effects_together(t, s, led, begin, room, found, every, 0.0)


def best_causes(t: Tables, s: Scratch, begin: int, room: Room, found: Found) -> None:
    """Search the causes of a range of mechanisms, scanned together."""
    size, count = len(t.codes), len(found.phis)
    width = min(LANES, count.bit_length() - 1)
    lanes = 1 << width
    vectors, table = np.empty((6, lanes)), np.empty((size, lanes))
    weights, states = np.zeros((size, lanes)), np.zeros((size, lanes), np.int64)
    for row in range(0, count, lanes):
        first, rows = begin + row, Found(*(each[row : row + lanes] for each in found))
        cause_scan(t.cause, t.log_cause, t.offsets, first, width, vectors, table, weights, states)
        search_mechanisms(ON_CAUSE, t, s, first, width, (weights, states, table), room, rows)
