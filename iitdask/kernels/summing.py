"""What a few distinctions and their relations add up to, in closed form (spec.md 11)."""

from __future__ import annotations

import numpy as np

from iitdask.kernels.codes import popcount
from iitdask.kernels.jit import kernel

__all__ = ["structure_sums"]


@kernel
def add(high, low, value):
    """Add to a number held as the sum of two doubles, which keep 106 bits."""
    total = high + value
    part = total - high
    low += (high - (total - part)) + (value - part)
    return total, low


@kernel
def relation_count(union, loops):
    """Relations between distinctions; exact modulo 2**64, and never more than 2**63.

    union : (D,) int64 unit-states of each distinction, D < 64
    """
    used, places = 0, 0
    for d in range(union.shape[0]):
        used |= union[d]
    inside = np.zeros(1 << popcount(used), np.int64)
    for d in range(union.shape[0]):
        packed, places, bit = 0, 0, 0
        while used >> bit:
            if used >> bit & 1:
                packed |= (union[d] >> bit & 1) << places
                places += 1
            bit += 1
        inside[packed] += 1
    for b in range(places):
        for x in range(inside.shape[0]):
            if not x >> b & 1:
                inside[x] += inside[x | (1 << b)]
    count = np.int64(loops)
    for x in range(1, inside.shape[0]):
        m = inside[x]
        sets = (np.int64(1) << m) - m - 1
        count += sets if popcount(x) & 1 else -sets
    return count


@kernel
def structure_sums(phi, cause, effect, out):
    """Fill ``out`` with Phi and the sums of phi over distinctions and relations, in bits.

    phi : (D,) float64; cause, effect : (D,) int64, unit-states each distinction binds, masks
    returns the number of relations
    """
    total, small = 0.0, 0.0
    for d in range(phi.shape[0]):
        total, small = add(total, small, phi[d])
    out[1] = total + small
    union, share, loops = cause | effect, np.empty(phi.shape[0]), 0
    high, low = 0.0, 0.0
    every = 0
    for d in range(phi.shape[0]):
        share[d] = phi[d] / popcount(union[d])
        every |= union[d]
        common = popcount(cause[d] & effect[d])
        loops += common > 0
        for _ in range(common):
            high, low = add(high, low, share[d])
    order = np.argsort(share, kind="mergesort")
    bit = 0
    while every >> bit:
        above = 0  # distinctions over this unit-state with a larger share
        for j in range(order.shape[0] - 1, -1, -1):
            d = order[j]
            if union[d] >> bit & 1:
                if above:
                    high, low = add(high, low, share[d] * 2.0**above)
                    high, low = add(high, low, -share[d])
                above += 1
        bit += 1
    out[2] = high + low
    out[0] = out[1] + out[2]
    return relation_count(union, loops)
