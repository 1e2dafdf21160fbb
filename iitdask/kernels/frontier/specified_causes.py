"""Cause states that a system specifies, all ties: as products of the states of groups of units.

Where too many states of a group tie to be listed, its units are held one after the other until the
others fall into groups of fewer: a union of products. mathematics.md 26.7.
"""

import math
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from iitdask.kernels.frontier.eliminations import (
    FactorOrder,
    LocalFactor,
    StateLimitError,
    order_factors,
    split_factors,
)
from iitdask.kernels.frontier.system_states import (
    largest_products,
    likeliest_states,
    sum_of_products,
)
from iitdask.kernels.state_product import StateProduct, StateUnion
from iitdask.kernels.subsets import STATE_TIE_RELATIVE

MAX_SPECIFIED = 1 << 16  # Tied states of units that hang together by common outputs
MAX_LISTED = 1 << 12  # Of a part of such units, once some of them are held
MAX_PRODUCTS = 1 << 10  # Into which all tied states of one side are divided


class GroupStates(NamedTuple):
    """States of some units that tie."""

    units: tuple[int, ...]
    codes: NDArray[np.int64]  # (m,) ascending, other units 0
    weights: NDArray[np.float64]  # (m,) their probabilities


Alternatives = list[list[GroupStates]]  # Products of groups; no two share a state


class SideStates(NamedTuple):
    """States that a system specifies on one side."""

    states: StateUnion
    information: float  # Their intrinsic information, bits


def specified_causes(
    factors: Sequence[LocalFactor], levels: Sequence[int], current: Sequence[int]
) -> SideStates:
    """Return the cause states of largest intrinsic information, all ties.

    Units that no factor reads together tie apart from each other.

    Parameters
    ----------
    factors : of each unit, cause side
    levels : values of each unit
    current : current value of each unit

    Returns
    -------
    SideStates

    Raises
    ------
    StateLimitError
        If there are too many and they do not fall into products of fewer.

    References
    ----------
    mathematics.md 4 and 26.7, Eq. (4.1).
    """
    groups = split_factors([f.varying() for f in factors], range(len(levels)))
    found = [_likeliest_of(own, levels, over, current) for over, own in groups]
    states = union_of(levels, _combined(found))
    one = states.products[0]
    logs = (
        np.log2(w[0]) + np.log2([float(levels[u]) for u in over]).sum()
        for w, over in zip(one.weights, one.units, strict=True)
    )
    return SideStates(states, one.weight * float(sum(logs)))


def _likeliest_of(
    factors: Sequence[LocalFactor],
    levels: Sequence[int],
    over: tuple[int, ...],
    current: Sequence[int],
) -> Alternatives:
    """Return the likeliest states of the units of a group, with their probabilities."""
    order = order_factors(factors, levels, over)
    total = sum_of_products(order.elimination, order.values_of(current))
    listed = _listed(order, current, MAX_SPECIFIED)
    if listed is None:
        found = _divided(factors, levels, over, current)
    else:
        found = [[GroupStates(over, *listed)]]
    return [[g[0]._replace(weights=g[0].weights / total), *g[1:]] for g in found]


def _listed(
    order: FactorOrder, current: Sequence[int], most: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]] | None:
    """Return the states of the largest product, ascending, and it; None if there are too many."""
    values = order.values_of(current)
    entries, products, is_complete = likeliest_states(order.elimination, values, most)
    if not is_complete:
        return None
    codes, weights = np.zeros(len(entries), np.int64), place_values(order.levels)
    for f, new in enumerate(order.entering):
        left = entries[:, f].copy()
        for a in new:
            codes += left % order.levels[a] * weights[a]
            left //= order.levels[a]
    at = np.argsort(codes)
    return codes[at], products[at]


def _divided(
    factors: Sequence[LocalFactor],
    levels: Sequence[int],
    over: tuple[int, ...],
    current: Sequence[int],
) -> Alternatives:
    """Return the states of the largest product of a group whose units are held one by one.

    Only values with which that product is attained are held. Weights are products of factors.
    """
    unit, best = _dividing_unit(factors, over), 0.0
    tried = list[tuple[float, int, list[LocalFactor]]]()
    rest = tuple(a for a in over if a != unit)
    for value in range(levels[unit]):
        held = [f.with_input_held(unit, value) for f in factors]
        top = _largest_product(held, levels, rest, current)
        tried.append((top, value, held))
        best = max(best, top)
    out: Alternatives = []
    for top, value, held in tried:
        if top <= 0.0 or top < best * (1.0 - STATE_TIE_RELATIVE):
            continue
        parts = list[Alternatives]()
        for units, own in split_factors(held, rest):
            listed = _listed(order_factors(own, levels, units), current, MAX_LISTED)
            if listed is None:
                parts.append(_divided(own, levels, units, current))
            else:
                parts.append([[GroupStates(units, *listed)]])
        scale = math.prod(float(f.table[current[f.unit]]) for f in held if not f.inputs)
        code = np.array([value]) * place_values(levels)[unit]
        here = GroupStates((unit,), code, np.array([scale]))
        out += [[here, *groups] for groups in _combined(parts)]
        if len(out) > MAX_PRODUCTS:
            break
    if not 0 < len(out) <= MAX_PRODUCTS:
        raise StateLimitError(f"more than {MAX_SPECIFIED} cause states tie")
    return out


def _dividing_unit(factors: Sequence[LocalFactor], over: Sequence[int]) -> int:
    """Return the unit without which the largest group is smallest, of several the most read."""

    def largest(unit: int) -> tuple[int, int, int]:
        rest = [f._replace(inputs=tuple(a for a in f.inputs if a != unit)) for f in factors]
        groups = split_factors(rest, [a for a in over if a != unit])
        read = sum(unit in f.inputs for f in factors)
        return max((len(units) for units, _ in groups), default=0), -read, unit

    return min(over, key=largest)


def _largest_product(
    factors: Sequence[LocalFactor],
    levels: Sequence[int],
    over: Sequence[int],
    current: Sequence[int],
) -> float:
    """Return the largest product of factors over the states of some units."""
    out = math.prod(float(f.table[current[f.unit]]) for f in factors if not f.inputs)
    for units, own in split_factors(factors, over):
        order = order_factors(own, levels, units)
        out *= float(largest_products(order.elimination, order.values_of(current))[0, 0])
    return out


def _combined(parts: Sequence[Alternatives]) -> Alternatives:
    """Return every combination of one product of each part."""
    if math.prod(len(part) for part in parts) > MAX_PRODUCTS:
        raise StateLimitError(f"more than {MAX_SPECIFIED} cause states tie")
    return [[group for groups in one for group in groups] for one in product(*parts)]


def union_of(levels: Sequence[int], found: Alternatives) -> StateUnion:
    """Return alternatives as states of a system of all the units."""
    columns = (zip(*groups, strict=True) for groups in found)
    return StateUnion(tuple(StateProduct(tuple(levels), *column) for column in columns))


def place_values(levels: Sequence[int]) -> NDArray[np.int64]:
    """Return what a unit's value is multiplied by in the number of a state; (n,)."""
    return np.concatenate([[1], np.cumprod(levels[:-1], dtype=np.int64)])
