"""When a pair cannot come up to the best phi found, shown without finding its minimum."""

from __future__ import annotations

from iitdask.kernels.families import EPS, HUGE, ON_CAUSE
from iitdask.kernels.jit import index, inner

__all__ = ["cheapest_by_size", "is_out_of_reach"]

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
def raised(ratio, trial):
    """A price of a severed pair above the ratio, farther with every trial."""
    return ratio * (1.0 + 0.03 * float(trial * trial))


@inner
def is_out_of_reach(sizes, starts, users, elements, ratio, floor):
    """Whether no partition has a ratio up to ``ratio`` and a cost of at least ``floor``.

    Such a partition would sever C >= floor / ratio pairs, so at any mu > ratio its cost less
    mu * C would be at most -(mu - ratio) * C. The users' own least values, without regard to
    whether their blocks are disjoint, bound that from below. The minimum partition has a ratio
    up to the one in hand: when it is out of reach its cost is below ``floor``.
    sizes, starts : per user u ``sizes[starts[u] + k]``, see ``cheapest_by_size``
    """
    need = floor / ratio
    for first in range(1, 3):  # four prices at a time, held in registers
        one, two = raised(ratio, first), raised(ratio, first + 2)
        three, four = raised(ratio, first + 4), raised(ratio, first + 6)
        total1, total2 = (one - ratio) * need, (two - ratio) * need
        total3, total4 = (three - ratio) * need, (four - ratio) * need
        for u in range(users):
            least1, least2, least3, least4 = HUGE, HUGE, HUGE, HUGE
            start = index(starts[u])
            for k in range(index(elements + 1)):
                cost, severed = sizes[start + k], float(k)
                least1 = min(least1, cost - one * severed)
                least2 = min(least2, cost - two * severed)
                least3 = min(least3, cost - three * severed)
                least4 = min(least4, cost - four * severed)
            total1 += least1
            total2 += least2
            total3 += least3
            total4 += least4
        most, other = max(total1, total2), max(total3, total4)
        if max(most, other) > EPS:
            return True
    return False
