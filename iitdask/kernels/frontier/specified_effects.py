"""Effect states that a system specifies, all ties: as products of the states of groups of units.

Too many to be listed are combined from those of groups of units that read different ones.
mathematics.md 26.7.
"""

import math
from collections.abc import Iterator, Sequence
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
from iitdask.kernels.frontier.specified_causes import (
    MAX_LISTED,
    MAX_PRODUCTS,
    MAX_SPECIFIED,
    Alternatives,
    GroupStates,
    SideStates,
    place_values,
    union_of,
)
from iitdask.kernels.frontier.system_states import (
    EffectBounds,
    most_informative_effects,
    sum_of_products,
)
from iitdask.kernels.state_product import StateProduct, StateUnion
from iitdask.kernels.subsets import STATE_TIE_BITS, STATE_TIE_RELATIVE

MAX_WEIGHED = 1 << 21  # Effect states
TOO_MANY_EFFECTS = "too many effect states are nearly as informative as the best"
DOMINATED = 1e-9  # Relative difference from which one of two effects of a group cannot tie


def specified_effects(
    factors: Sequence[LocalFactor], levels: Sequence[int], current: Sequence[int]
) -> SideStates:
    """Return the effect states of largest intrinsic information, all ties.

    Parameters
    ----------
    factors : of each unit, effect side
    levels : values of each unit
    current : current value of each unit

    Returns
    -------
    SideStates

    Raises
    ------
    StateLimitError
        If too many have to be weighed, or tie, of units that read the same ones.

    References
    ----------
    mathematics.md 4 and 26.7, Eq. (4.2).
    """
    reduced = [f.varying() for f in factors]
    constant = [f for f in reduced if not f.inputs]
    order = order_factors([f for f in reduced if f.inputs], levels, range(len(levels)))
    entries, products, best, is_complete = most_informative_effects(
        order.elimination, _effect_bounds(order, current), MAX_WEIGHED
    )
    weights, own = place_values(levels), np.flatnonzero(order.units >= 0)
    if is_complete and len(entries) <= MAX_SPECIFIED:
        numbers = entries[:, own] @ weights[order.units[own]]
        at = np.argsort(numbers)
        units = tuple(sorted(order.units[own].tolist()))
        found = [[GroupStates(units, numbers[at], products[at])]]
    else:
        best, found = _effects_by_groups([f for f in reduced if f.inputs], levels, current)
    information = best * math.prod(float(f.table.max()) for f in constant)
    if information <= STATE_TIE_BITS:
        return SideStates(StateUnion((_every_effect(reduced, levels, current),)), 0.0)
    free = list[GroupStates]()
    for f in constant:
        values = np.flatnonzero(f.table >= f.table.max() * (1.0 - STATE_TIE_RELATIVE))
        free.append(GroupStates((f.unit,), values * weights[f.unit], f.table[values]))
    return SideStates(union_of(levels, [[*groups, *free] for groups in found]), information)


class _GroupEffects(NamedTuple):
    """Effects of some units with the same probability and the same bits."""

    states: GroupStates
    probability: float
    bits: float  # log2 of it over its mean over all states


def _effects_by_groups(
    factors: Sequence[LocalFactor], levels: Sequence[int], current: Sequence[int]
) -> tuple[float, Alternatives]:
    """Return the largest information of an effect, bits, and all effects that attain it.

    Probabilities of groups that read different units multiply, and their bits add up.
    """
    groups = [
        _group_effects(order_factors(own, levels, over), levels, current)
        for over, own in split_factors(factors, range(len(levels)))
        if own
    ]
    likely = [max(one.probability for one in own) for own in groups]
    rest = [(math.prod(likely[k:]), _most_bits(groups[k:])) for k in range(len(groups) + 1)]
    best, found, tried = 0.0, list[tuple[float, list[GroupStates]]](), 0

    def descend(chosen: list[GroupStates], p: float, bits: float) -> None:
        nonlocal best, tried
        k = len(chosen)
        least = best * (1.0 - STATE_TIE_RELATIVE) - STATE_TIE_BITS
        if p * rest[k][0] * (bits + rest[k][1]) * (1.0 + STATE_TIE_RELATIVE) < least:
            return
        if k == len(groups):
            best = max(best, p * bits)
            found.append((p * bits, chosen))
            return
        tried += len(groups[k])
        if tried > MAX_WEIGHED:
            raise StateLimitError(TOO_MANY_EFFECTS)
        for one in groups[k]:
            descend([*chosen, one.states], p * one.probability, bits + one.bits)

    descend([], 1.0, 0.0)
    least = best * (1.0 - STATE_TIE_RELATIVE) - STATE_TIE_BITS
    tied = [chosen for information, chosen in found if information >= least]
    if len(tied) > MAX_PRODUCTS:
        raise StateLimitError(TOO_MANY_EFFECTS)
    return best, tied


def _most_bits(groups: Sequence[Sequence[_GroupEffects]]) -> float:
    return sum(max(one.bits for one in own) for own in groups)


def _group_effects(
    order: FactorOrder, levels: Sequence[int], current: Sequence[int]
) -> list[_GroupEffects]:
    """Return the effects of a group that no other one exceeds, those of the same values together.

    None is exceeded whose probability, or whose bits, are larger than those of every other one.
    """
    own = np.flatnonzero(order.units >= 0)
    units = order.units[own]
    shape = [levels[u] for u in units.tolist()]
    if math.prod(shape) > MAX_LISTED:
        raise StateLimitError(TOO_MANY_EFFECTS)
    values = np.zeros((math.prod(shape), len(order.units)), np.int64)
    values[:, own] = np.stack(np.unravel_index(np.arange(len(values)), shape, order="F"), axis=1)
    rows = [_row_of(order, f, current) for f in range(len(order.units))]
    e = order.elimination
    p = np.prod([e.tables[f, rows[f], values[:, f]] for f in own.tolist()], axis=0)
    values, p = values[p > 0.0], p[p > 0.0]
    total = np.array([sum_of_products(e, row) for row in values])
    over = sorted({a for inputs in order.inputs for a in inputs})
    bits = np.log2(p / total) + np.log2([float(levels[a]) for a in over]).sum()
    codes = values[:, own] @ place_values(levels)[units]
    out = list[_GroupEffects]()
    for at in _same_values(p, bits):
        is_more = (p > p[at[0]] * (1.0 + DOMINATED)) & (bits >= bits[at[0]] - STATE_TIE_RELATIVE)
        is_more |= (bits > bits[at[0]] + DOMINATED) & (p >= p[at[0]] * (1.0 - STATE_TIE_RELATIVE))
        if not is_more.any():
            at = at[np.argsort(codes[at])]
            states = GroupStates(tuple(sorted(units.tolist())), codes[at], p[at])
            out.append(_GroupEffects(states, float(p[at].max()), float(bits[at].max())))
    return out


def _same_values(p: NDArray[np.float64], bits: NDArray[np.float64]) -> Iterator[NDArray[np.int64]]:
    """Yield positions of the effects that differ by rounding only, in probability and bits."""
    order = np.argsort(-p, kind="stable")
    steps = np.flatnonzero(-np.diff(p[order]) > STATE_TIE_RELATIVE * p[order][:-1]) + 1
    for same in np.split(order, steps):
        at = same[np.argsort(bits[same], kind="stable")]
        apart = np.flatnonzero(np.diff(bits[at]) > STATE_TIE_RELATIVE) + 1
        yield from np.split(at, apart)


def _row_of(order: FactorOrder, f: int, state: Sequence[int]) -> int:
    """Return the row of a factor's table at a state of its inputs."""
    row, size = 0, 1
    for a in order.inputs[f]:
        row, size = row + state[a] * size, size * order.levels[a]
    return row


def _every_effect(
    factors: Sequence[LocalFactor], levels: Sequence[int], current: Sequence[int]
) -> StateProduct:
    """Return all states of a system without effect: the impossible ones tie with the others."""
    weights = place_values(levels)
    codes = tuple(np.arange(levels[f.unit]) * weights[f.unit] for f in factors)
    likely = tuple(f.table[tuple(current[a] for a in f.inputs)] for f in factors)
    return StateProduct(tuple(levels), tuple((f.unit,) for f in factors), codes, likely)


def _effect_bounds(order: FactorOrder, current: Sequence[int]) -> EffectBounds:
    """Return what every unit's value adds at most to the information of an effect state."""
    e = order.elimination
    steps, _, widest = e.tables.shape
    likely, value, gain = np.zeros((3, steps, widest))
    log_states = float(np.log2(np.array(order.levels, float)).sum())
    open_gain, rest = np.zeros(steps + 1), np.ones(steps + 1)
    for f in range(steps - 1, -1, -1):
        row = _row_of(order, f, current)
        table = e.tables[f, : math.prod(order.levels[a] for a in order.inputs[f])]
        own = table[row]
        by = np.argsort(-own, kind="stable")
        likely[f], value[f] = own[by], by
        lead = table[:, by[0]]
        for k in range(1, widest):
            if own[by[k]] > 0:
                least = (table[lead > 0, by[k]] / lead[lead > 0]).min()
                odd = own[by[k]] / own[by[0]]
                gain[f, k] = min(log_states, np.log2(odd / least)) if least > 0 else log_states
                open_gain[f] = max(open_gain[f], odd * gain[f, k])
        open_gain[f] += open_gain[f + 1]
        rest[f] = rest[f + 1] * own[by[0]]
    return EffectBounds(likely, value.astype(np.int64), gain, rest, open_gain, log_states)
