"""Best purviews of ranges of mechanisms, in either direction."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from iitdask.kernels.cause import cause_scan, cause_states, reversed_bits
from iitdask.kernels.disintegration import ON_CAUSE
from iitdask.kernels.effect import (
    effect_bounds,
    effect_costs,
    effect_states,
    marginalise,
    purview_probabilities,
)
from iitdask.kernels.jit import kernel
from iitdask.kernels.pairs import Scratch, Tables, pair_phi
from iitdask.kernels.purviews import ZERO, is_purview, members, tolerance
from iitdask.kernels.repertoire import mixture

__all__ = ["LANES", "best_mechanisms"]

Array = NDArray[Any]
TOP = np.int64(0)  # a NumPy integer: numba compiles one function and not two
LANES = 8  # log2 of the mechanisms scanned together: three vectors of 2 kB stay in cache


@kernel
def sift(heap, keys, start, count):
    """Restore the order of a max-heap below ``start``."""
    item = heap[start]
    root = start
    while 2 * root + 1 < count:
        child = 2 * root + 1
        if child + 1 < count and keys[heap[child + 1]] > keys[heap[child]]:
            child += 1
        if keys[heap[child]] <= keys[item]:
            break
        heap[root] = heap[child]
        root = child
    heap[root] = item


@kernel
def prepare_effects(t, s, mechanism, joint, sums, probs, bounds):
    """Everything about a mechanism's effects that all purviews share, and their bounds.

    joint : (S,) scratch; sums, probs : (codes,) float64 filled; bounds : (2**n,) filled
    """
    mechs = members(mechanism, s.mech)
    mixture(t.effect, t.offsets[mechanism], t.offsets[mechanism + 1], t.levels, joint)
    effect_costs(t.log_effect, s.mech, mechs, mechanism, s.effects)
    marginalise(joint, t.levels, t.offsets, sums)
    row = t.effect[t.codes[mechanism]]
    purview_probabilities(row, t.levels, t.columns, t.offsets, probs)
    scale = float(t.offsets[mechanism + 1] - t.offsets[mechanism])
    effect_bounds(
        probs,
        sums,
        scale,
        s.effects,
        mechs,
        t.offsets,
        t.levels,
        t.columns,
        s.purv,
        s.rows,
        s.weights,
        bounds,
    )


@kernel
def best_purviews(side, t, s, mechanism, sums, probs, bounds, heap, bits, tally):
    """Visit the purviews of one mechanism by decreasing bound; returns (phi, ties, visited)."""
    mechs = members(mechanism, s.mech)
    scale = float(t.offsets[mechanism + 1] - t.offsets[mechanism])
    count = 0
    for purview in range(1, bounds.shape[0]):
        if bounds[purview] > ZERO:
            heap[count] = purview
            count += 1
        else:
            bounds[purview] = 0.0  # a bound below zero would pass for a value below
    for start in range(count // 2 - 1, -1, -1):
        sift(heap, bounds, start, count)
    best, visited = 0.0, 0
    while count > 0 and bounds[heap[0]] >= best - tolerance(best):
        purview = heap[0]
        count -= 1
        heap[0] = heap[count]
        sift(heap, bounds, TOP, count)
        phi = -1.0
        if is_purview(mechanism, purview, t.children, side != ON_CAUSE):
            a, b = t.offsets[purview], t.offsets[purview + 1]
            if side == ON_CAUSE:
                cause_states(t.cause, t.offsets, mechanism, purview, s.like, s.weights)
            else:
                effect_states(probs, sums, a, b, scale, s.weights)
            purvs = members(purview, s.purv)
            phi, _, _, _ = pair_phi(side, t, s, mechs, purvs, b - a, best, tally)
            visited += 1
            best = max(best, phi)
        bounds[purview] = -phi  # from here on the value, kept where the bound was
    if best <= ZERO:
        return 0.0, 0, visited
    ties = 0
    for purview in range(1, bounds.shape[0]):
        if -bounds[purview] >= best - tolerance(best):
            ties += 1
            bits[purview >> 3] |= np.uint8(1 << (purview & 7))
    return best, ties, visited


def best_mechanisms(
    side: np.int64,
    t: Tables,
    s: Scratch,
    begin: int,
    end: int,
    phis: Array,
    ties: Array,
    bits: Array,
    searched: Array,
    nodes: Array,
) -> None:
    """Largest phi of the mechanisms begin .. end - 1, and the purviews that attain it.

    side     : ON_CAUSE or ON_EFFECT; end - begin is a power of two and divides begin
    phis     : (m,) float64; ties : (m,) int64, how many purviews tie; filled
    bits     : (m, ceil(2**n / 8)) uint8, one bit per tied purview; filled
    searched : (m,) int64, purviews not bounded away; nodes : (m, 2) int64, tables and nodes
    A loop over mechanisms costs Python microseconds and would cost numba seconds to compile.
    """
    size, codes = len(t.codes), int(t.offsets[-1])
    width = min(LANES, (end - begin).bit_length() - 1) if side == ON_CAUSE else 0
    heap, none = np.empty(size, np.int64), np.empty(0)
    if side == ON_CAUSE:
        table, sums, probs = np.zeros((size, 1 << width)), none, none
        vectors = [np.empty(1 << width) for _ in range(3)]
    else:
        joint, bounds = np.empty(len(s.like)), np.zeros(size)
        sums, probs = np.empty(codes), np.empty(codes)
    for first in range(begin, end, 1 << width):
        if side == ON_CAUSE:
            cause_scan(t.cause, t.log_cause[0], t.offsets, first, width, *vectors, table)
        for lane in range(1 << width):
            mechanism = first | int(reversed_bits(lane, width))
            if mechanism == 0:
                continue
            if side == ON_CAUSE:
                bounds = np.ascontiguousarray(table[:, lane])
            else:
                prepare_effects(t, s, mechanism, joint, sums, probs, bounds)
            row = mechanism - begin
            phis[row], ties[row], searched[row] = best_purviews(
                side, t, s, mechanism, sums, probs, bounds, heap, bits[row], nodes[row]
            )
