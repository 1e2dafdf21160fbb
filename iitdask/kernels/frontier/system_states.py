"""States that a sparse system specifies: products of local tables, without a table over all states.

Sums and maxima over all states of a product of factors go over the values of a narrow frontier of
units, one factor after the other (mathematics.md 26.7).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from iitdask.kernels.jit import inner, kernel
from iitdask.kernels.subsets import STATE_TIE_BITS, STATE_TIE_RELATIVE


class Elimination(NamedTuple):
    """Factors of a system in an order, and what each does to the values of the frontier.

    A factor of ones stands for each unit that is no input of any.
    """

    begin: NDArray[np.int64]  # (f + 1,) where the joint values of each step begin
    before: NDArray[np.int64]  # (f,) joint values of the frontier before each step
    row: NDArray[np.int64]  # (joint values,) row of the factor's table
    after: NDArray[np.int64]  # (joint values,) joint value of the frontier after the step
    sizes: NDArray[np.int64]  # (f + 1,) joint values of the frontier before and after the steps
    tables: NDArray[np.float64]  # (f, rows, values) P(unit takes value | row)


@inner
def multiply_factor(e, f, value, vector, out, is_sum):
    """Take up factor f at one value: sums or maxima over the units that leave."""
    for x in range(e.sizes[f + 1]):
        out[x] = 0.0
    for x in range(e.begin[f], e.begin[f + 1]):
        joint = x - e.begin[f]
        term = vector[joint % e.before[f]] * e.tables[f, e.row[x], value]
        to = e.after[x]
        out[to] = out[to] + term if is_sum else max(out[to], term)


@kernel
def sum_of_products(e, values):
    """Sum over all states of the product of all factors at these values; values: (f,)."""
    count = values.shape[0]
    vectors = np.zeros((2, e.sizes.max()))
    vectors[0, 0] = 1.0
    for f in range(count):
        multiply_factor(e, f, values[f], vectors[f & 1], vectors[1 - (f & 1)], True)
    return vectors[count & 1, 0]


@kernel
def largest_products(e, values):
    """Largest product of the factors from each step on, by joint value of the frontier.

    values : (f,) int64, of the units
    returns (f + 1, joint values) float64
    """
    count = values.shape[0]
    out = np.zeros((count + 1, e.sizes.max()))
    out[count, 0] = 1.0
    for f in range(count - 1, -1, -1):
        for x in range(e.begin[f], e.begin[f + 1]):
            joint = (x - e.begin[f]) % e.before[f]
            term = e.tables[f, e.row[x], values[f]] * out[f + 1, e.after[x]]
            out[f, joint] = max(out[f, joint], term)
    return out


@kernel
def likeliest_states(e, values, limit):
    """Find all states whose product of factors is largest, up to the tolerance of ties.

    Parameters
    ----------
    e : Elimination
    values : (f,) int64, of the units
    limit : int, states at most

    Returns
    -------
    entries : (m, f) int64, which joint value of the units that enter at each step each state has
    products : (m,) float64
    is_complete : bool, whether there are no more than the limit

    References
    ----------
    mathematics.md 4 and 26.7.
    """
    count, found = values.shape[0], 0
    rest = largest_products(e, values)
    least = rest[0, 0] * (1.0 - STATE_TIE_RELATIVE)
    entries, products = np.zeros((1, count), np.int64), np.zeros(1)
    place, entry = np.zeros(count + 1, np.int64), np.zeros(count + 1, np.int64)
    product, f = np.ones(count + 1), 0
    while f >= 0:
        if f == count:
            if found == limit:
                return entries[:found], products[:found], False
            if found == products.shape[0]:
                entries = np.concatenate((entries, np.zeros_like(entries)))
                products = np.concatenate((products, products))
            entries[found], products[found] = entry[:count] - 1, product[count]
            found += 1
            f -= 1
            continue
        x = e.begin[f] + place[f] + entry[f] * e.before[f]
        if x >= e.begin[f + 1]:
            entry[f] = 0
            f -= 1
            continue
        entry[f] += 1
        term = product[f] * e.tables[f, e.row[x], values[f]]
        if term * rest[f + 1, e.after[x]] >= least:
            product[f + 1], place[f + 1] = term, e.after[x]
            f += 1
    return entries[:found], products[:found], True


class EffectBounds(NamedTuple):
    """What bounds the information of an effect state some of whose units are decided."""

    likely: NDArray[np.float64]  # (f, values) P(value | current state), the likeliest value first
    value: NDArray[np.int64]  # (f, values) these values
    gain: NDArray[np.float64]  # (f, values) bits that a value may add beyond the likeliest
    rest: NDArray[np.float64]  # (f + 1,) largest probability of the units from each on
    open_gain: NDArray[np.float64]  # (f + 1,) bits that undecided units may add
    log_states: float  # log2 of the number of states


@inner
def update_best(information, best, found, entries, kept):
    """Drop states that no longer tie with the best; returns how many are left."""
    least = best - STATE_TIE_RELATIVE * abs(best) - STATE_TIE_BITS
    count = 0
    for k in range(found):
        if information[k] >= least:
            information[count] = information[k]
            kept[count] = kept[k]
            for f in range(entries.shape[1]):
                entries[count, f] = entries[k, f]
            count += 1
    return count


@kernel
def most_informative_effects(e, b, limit):
    """Find all effect states of largest intrinsic information, depth first over the units.

    Parameters
    ----------
    e : Elimination
    b : EffectBounds
    limit : int, states weighed at most

    Returns
    -------
    entries : (m, f) int64, value of each factor's unit
    products : (m,) float64, their probabilities
    best : float, their information, bits
    is_complete : bool, whether no more than the limit had to be weighed

    References
    ----------
    mathematics.md 4 and 26.7, Eq. (26.6).
    """
    count, widest = b.value.shape[0], b.value.shape[1]
    vectors, vectors_at = np.zeros((count + 1, e.sizes.max())), np.zeros(count + 1, np.int64)
    chosen, product, gained = np.zeros(count, np.int64), np.ones(count + 1), np.zeros(count + 1)
    entries, information, kept = np.zeros((64, count), np.int64), np.zeros(64), np.zeros(64)
    best, first, found, weighed, f = 0.0, b.log_states, 0, 0, 0
    vectors[0, 0] = 1.0
    while f >= 0:
        if f == count:
            weighed += 1
            bits = np.log2(product[f] / vectors[f, 0]) + b.log_states
            if weighed == 1:
                first = max(0.0, bits)
            best = max(best, product[f] * bits)
            if found == information.shape[0]:
                found = update_best(information, best, found, entries, kept)
                if 2 * found > information.shape[0]:
                    entries = np.concatenate((entries, entries))
                    information = np.concatenate((information, information))
                    kept = np.concatenate((kept, kept))
            entries[found], information[found] = chosen, product[f] * bits
            kept[found] = product[f]
            found += 1
            if weighed == limit:
                return entries[:0], kept[:0], best, False
            f -= 1
            continue
        k = vectors_at[f]
        if k == widest or b.likely[f, k] <= 0.0:
            vectors_at[f] = 0
            f -= 1
            continue
        vectors_at[f] += 1
        p, gain = product[f] * b.likely[f, k], gained[f] + b.gain[f, k]
        bits = min(b.log_states, (first + gain + b.open_gain[f + 1]) * (1.0 + STATE_TIE_RELATIVE))
        if p * b.rest[f + 1] * bits < best * (1.0 - STATE_TIE_RELATIVE) - STATE_TIE_BITS:
            continue
        chosen[f], product[f + 1], gained[f + 1] = b.value[f, k], p, gain
        multiply_factor(e, f, chosen[f], vectors[f], vectors[f + 1], True)
        f += 1
    found = update_best(information, best, found, entries, kept)
    return entries[:found], kept[:found], best, True
