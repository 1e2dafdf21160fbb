"""Specified states of an effect purview, by branches over the values of its units.

mathematics.md 4 and 27.4. The leading state, every unit at its likeliest value, comes first. How
much another value can raise log2 of p(z | m) over its mean is bounded by a table of that unit.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from iitdask.kernels.jit import inner
from iitdask.kernels.sparse.elimination import arrange_elimination, eliminated_sum
from iitdask.kernels.subsets import STATE_TIE_BITS, STATE_TIE_RELATIVE

ROUNDING = 1e-12  # relative, of a bound


class StateScratch(NamedTuple):
    """Working memory of the search for states of a purview; n units, C states kept at most."""

    rows: NDArray[np.int64]  # (n,) where the table of each user begins
    value: NDArray[np.int64]  # (n,) value of each user in the state in hand
    tried: NDArray[np.int64]  # (n + 1,) values tried of each user
    weight: NDArray[np.float64]  # (n + 1,) probability of the values chosen
    rise: NDArray[np.float64]  # (n + 1,) bits that these can add to log2 of p over its mean
    weight_left: NDArray[np.float64]  # (n + 1,) largest probability of those to be chosen
    rise_left: NDArray[np.float64]  # (n + 1,)
    codes: NDArray[np.int64]  # (C,) states found, little-endian over the users
    information: NDArray[np.float64]  # (C,) their intrinsic information, bits
    weights: NDArray[np.float64]  # (C,) their probability
    phis: NDArray[np.float64]  # (C,) their phi, bits
    overflow: NDArray[np.int64]  # (1,) set when there were more


def make_state_scratch(n: int, capacity: int) -> StateScratch:
    """Allocate the working memory of a search that keeps so many tied states."""
    arrays: list[Any] = [
        *(np.zeros(size, np.int64) for size in (n, n, n + 1)),
        *(np.zeros(n + 1) for _ in range(4)),
        np.zeros(capacity, np.int64),
        *(np.zeros(capacity) for _ in range(3)),
        np.zeros(1, np.int64),
    ]
    return StateScratch(*arrays)


@inner
def keep_tied(t, count, best):
    """Drop the states that do not tie with the best; how many are left."""
    least, kept = best - STATE_TIE_RELATIVE * abs(best) - STATE_TIE_BITS, 0
    for k in range(count):
        if t.information[k] >= least:
            t.codes[kept], t.weights[kept] = t.codes[k], t.weights[k]
            t.information[kept] = t.information[k]
            kept += 1
    return kept


@inner
def next_value(leading, tried):
    """The value tried after so many others: the leading one first, the others in order."""
    if tried == 0:
        return leading
    return tried - 1 if tried <= leading else tried


@inner
def code_of_values(t, users, levels):
    """Number of the state in hand, little-endian over the users."""
    code, weight = 0, 1
    for u in range(users):
        code += t.value[u] * weight
        weight *= levels[u]
    return code


@inner
def read_values(t, code, users, levels):
    """Write the values of the users in a state."""
    for u in range(users):
        t.value[u] = code % levels[u]
        code //= levels[u]


@inner
def find_effect_states(w, t, table, places, users, elements, chances):
    """Find all specified states of an effect; returns (information, how many); fills ``t``.

    places : (width, place) of the users, see ``LocalCosts``
    chances : (levels, values, leading, rise) of each user: its number of values, their
        probabilities, the likeliest, and what each can add to log2 of p over its mean
    """
    levels, values, leading, rise = chances
    states = arrange_elimination(w, users, elements, places[0], places[1])
    span = np.log2(states)
    t.weight_left[users], t.rise_left[users] = 1.0, 0.0
    for u in range(users - 1, -1, -1):
        top, most = values[u, leading[u]], 0.0
        for v in range(levels[u]):
            most = max(most, values[u, v] / top * rise[u, v])
        t.weight_left[u] = t.weight_left[u + 1] * top
        t.rise_left[u] = t.rise_left[u + 1] + most
    best, count, lead, depth = -1.0, 0, -1.0, 0
    t.weight[0], t.rise[0], t.tried[0] = 1.0, 0.0, 0
    while depth >= 0:
        if depth == users:
            p = t.weight[users]
            bits = np.log2(p * states / eliminated_sum(w, users, table, t.rows, t.value))
            lead = max(0.0, bits) if lead < 0.0 else lead
            best = max(best, p * bits)
            if p * bits >= best - STATE_TIE_RELATIVE * abs(best) - STATE_TIE_BITS:
                if count == t.codes.shape[0]:
                    count = keep_tied(t, count, best)
                if count == t.codes.shape[0]:
                    t.overflow[0] = 1
                    return best, 0
                t.codes[count] = code_of_values(t, users, levels)
                t.information[count], t.weights[count] = p * bits, p
                count += 1
            depth -= 1
            continue
        if t.tried[depth] == levels[depth]:
            depth -= 1
            continue
        v = next_value(leading[depth], t.tried[depth])
        t.tried[depth] += 1
        p, more = t.weight[depth] * values[depth, v], t.rise[depth] + rise[depth, v]
        limit = span
        if lead >= 0.0:
            limit = min(limit, (lead + more + t.rise_left[depth + 1]) * (1.0 + ROUNDING))
        least = best - STATE_TIE_RELATIVE * abs(best) - STATE_TIE_BITS
        if p <= 0.0 or p * t.weight_left[depth + 1] * limit * (1.0 + ROUNDING) < least:
            continue
        t.value[depth] = v
        depth += 1
        t.weight[depth], t.rise[depth] = p, more
        if depth < users:
            t.tried[depth] = 0
    return best, keep_tied(t, count, best)
