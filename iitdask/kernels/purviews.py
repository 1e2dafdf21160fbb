"""What the searches over purviews share: admissibility, tolerances, tie sets."""

from __future__ import annotations

from iitdask.kernels.jit import leaf

__all__ = [
    "STATE_FLOOR",
    "STATE_TIE",
    "ZERO",
    "is_admissible",
    "is_purview",
    "members",
    "tolerance",
]

ZERO = 1e-13
"""A phi up to this is zero (spec.md section 0)."""
STATE_TIE = 1e-12
"""Relative difference up to which two specified states tie (spec.md section 4)."""
STATE_FLOOR = 1e-15
"""Absolute part of the same: intrinsic informations near zero carry rounding of this size."""


@leaf
def tolerance(phi):
    """Difference up to which two values of phi tie."""
    return 1e-12 * (max(1.0, phi))


@leaf
def members(mask, out):
    """Write the units of a mask in ascending order; returns how many."""
    count = 0
    i = 0
    # without a branch on the bit, that a processor would guess wrong half the time
    while mask >> i:
        out[count] = i
        count += mask >> i & 1
        i += 1
    return count


@leaf
def is_admissible(origin, target, children):
    """Whether all of origin feed target, all of target are fed, and all hang together.

    origin, target : masks; children : (n,) int64, units that each unit feeds.
    spec.md 6.3: no zero row or column, and connected when both sides have several units.
    """
    reached = 0
    i = 0
    while origin >> i:
        if origin >> i & 1:
            if children[i] & target == 0:
                return False
            reached |= children[i] & target
        i += 1
    if reached != target:
        return False
    if origin & (origin - 1) == 0 or target & (target - 1) == 0:
        return True
    low = origin & -origin
    i = 0
    while low >> i != 1:
        i += 1
    seen, hit = low, children[i] & target
    while True:
        grown = hit
        i = 0
        while origin >> i:
            if origin >> i & 1 and not seen >> i & 1 and children[i] & hit:
                seen |= 1 << i
                grown |= children[i] & target
            i += 1
        if grown == hit:
            return seen == origin and hit == target
        hit = grown


@leaf
def is_purview(mechanism, purview, children, forward):
    """Whether a purview is admissible for a mechanism; ``forward`` on the effect side."""
    if forward:
        return is_admissible(mechanism, purview, children)
    return is_admissible(purview, mechanism, children)
