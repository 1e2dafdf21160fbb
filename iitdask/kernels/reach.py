"""When a pair cannot come up to the best phi found, shown without finding its minimum."""

from __future__ import annotations

from iitdask.kernels.families import EPS, HUGE, ON_CAUSE
from iitdask.kernels.jit import index, inner

__all__ = ["TRIALS", "cheapest_by_size", "is_out_of_reach"]

TRIALS = 8  # values of mu, tried side by side
ONE, TWO, THREE, FOUR = index(1), index(2), index(3), index(4)
FIVE, SIX, SEVEN, EIGHT = index(5), index(6), index(7), index(8)


@inner
def cheapest_by_size(f, row, elements, pops, side, out, begin):
    """``out[begin + k]``: least cost of one user among the blocks that sever k elements."""
    for k in range(elements + 1):
        out[begin + k] = HUGE
    if elements < 3:
        for b in range(1 << elements):
            k = begin + elements - int(pops[b])
            out[k] = min(out[k], f[row + b])
    else:
        # eight blocks at a time, that differ in the three lowest elements
        at, last = index(row), index(begin + elements)
        for high in range(index(1 << (elements - 3))):
            k = last - index(pops[high])
            out[k] = min(out[k], f[at])
            one, two = min(f[at + ONE], f[at + TWO]), min(f[at + THREE], f[at + FIVE])
            one, two = min(one, f[at + FOUR]), min(two, f[at + SIX])
            out[k - ONE] = min(out[k - ONE], one)
            out[k - TWO] = min(out[k - TWO], two)
            out[k - THREE] = min(out[k - THREE], f[at + SEVEN])
            at += EIGHT
    if side != ON_CAUSE:
        out[begin] = HUGE  # the whole mechanism kept is no partition


@inner
def is_out_of_reach(s, users, elements, ratio, floor):
    """Whether no partition has a ratio up to ``ratio`` and a cost of at least ``floor``.

    Such a partition would sever C >= floor / ratio pairs, so at any mu > ratio its cost less
    mu * C would be at most -(mu - ratio) * C. The users' own least values, without regard to
    whether their blocks are disjoint, bound that from below. The minimum partition has a ratio
    up to the one in hand: when it is out of reach its cost is below ``floor``.
    Reads per user u ``s.least[s.starts[u] + k]``, see ``cheapest_by_size``.
    """
    need = floor / ratio
    mus, least, totals = s.mus, s.leasts, s.totals
    for q in range(TRIALS):
        mus[q] = ratio * (1.0 + 0.03 * (q + 1) * (q + 1))
        totals[q] = (mus[q] - ratio) * need
    for u in range(users):
        for q in range(TRIALS):
            least[q] = HUGE
        for k in range(elements + 1):
            cost = s.least[s.starts[u] + k]
            for q in range(TRIALS):
                value = cost - mus[q] * k
                least[q] = min(least[q], value)
        for q in range(TRIALS):
            totals[q] += least[q]
    most = totals[0]
    for q in range(1, TRIALS):
        most = max(most, totals[q])
    return most > EPS
