"""Upper bounds of phi_s of many candidates at once, and which of them leave a question open.

The bounds come from tables over every unit's own inputs: no table over the states of a candidate
is made. A candidate whose bound is below phi_s of a complex that it overlaps is no complex: see
mathematics.md 24.4.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from iitdask.model.candidate_set import CandidateSet
from iitdask.model.factor import CountingFactor, Factor
from iitdask.theory.stage import Array

MAX_FRONTIER_UNITS = 14  # Of a table that sums over states make
MAX_BOUNDED_INPUTS = 10  # of a unit, whose losses are tabulated over all sets of inputs inside


def phi_upper_bounds(
    pool: CandidateSet, candidates: Sequence[tuple[int, ...]], is_weighed: bool = False
) -> Array:
    """Return upper bounds of phi_s of candidates, (C,) bits; infinite where none is known.

    Parameters
    ----------
    pool : the network, its state and the posterior of its past
    candidates : units of each
    is_weighed : whether what causes lose is times the probability of the specified cause state,
        which takes longer: without it that counts as 1

    Returns
    -------
    ndarray, (C,)

    References
    ----------
    mathematics.md 24.4, Eq. (24.2).
    """
    inside = np.zeros((len(candidates), pool.substrate.n_units), bool)
    for row, units in enumerate(candidates):
        inside[row, list(units)] = True
    size, log_leading = inside.sum(axis=1), np.zeros(len(candidates))
    # Cause and effect side: what all units lose, each for itself, and the readers of each
    complete, losses = np.zeros((2, len(candidates))), np.zeros((2, 2, *inside.shape))
    for unit in np.flatnonzero(inside.any(axis=0)).tolist():
        rows = np.flatnonzero(inside[:, unit])
        factor = pool.substrate.factors[unit]
        if isinstance(factor, CountingFactor) or len(factor.parents) > MAX_BOUNDED_INPUTS:
            complete[:, rows] = losses[:, 0, rows, unit] = np.inf
            for source in factor.parents:
                losses[:, 1, rows, source] = np.inf
            continue
        sets = inside[np.ix_(rows, np.array(factor.parents, int))] @ (
            1 << np.arange(len(factor.parents))
        )
        kinds, of_row = np.unique(sets, return_inverse=True)
        tables = [_losses_within(pool, unit, factor, int(kind)) for kind in kinds]
        lost = np.stack(tables)[of_row]  # (rows, 2, 1 + inputs)
        log_leading[rows] += np.log(factor.table[_row_now(pool, factor)].max())
        complete[:, rows] += lost[:, :, 0].T
        losses[:, 0, rows, unit] = lost[:, :, 0].T
        for axis, source in enumerate(factor.parents):
            if source != unit:
                losses[:, 1, rows, source] += lost[:, :, 1 + axis].T
    losses[:, :, ~inside] = np.inf
    one_way, both_ways = losses.min(axis=(1, 3)), losses.sum(axis=1).min(axis=2)
    least = np.minimum(complete, size * np.minimum(one_way, both_ways / 2))
    least[1] *= np.exp(log_leading)
    if is_weighed:
        least[0] *= [selectivity(pool, units) for units in candidates]
    return np.where(size == 1, np.inf, least.min(axis=0))


def _row_now(pool: CandidateSet, factor: Factor) -> tuple[int, ...]:
    return tuple(pool.state[unit] for unit in factor.parents)


def _losses_within(pool: CandidateSet, unit: int, factor: Factor, inside: int) -> Array:
    """Return most bits a unit loses where some inputs are severed, (2, 1 + inputs).

    Rows are the cause and the effect side; columns all inputs but the unit itself, and each input.
    Losses of effects are times the probability of the state, over that of the likeliest one.
    """
    axes = range(len(factor.parents))
    within = [a for a in axes if inside >> a & 1]
    now = _row_now(pool, factor)
    effect = factor.table[tuple(slice(None) if a in within else now[a] for a in axes)]
    cause = _cause_likelihood(pool, unit, factor, within)
    at_state = tuple(now[a] for a in within)
    out = np.zeros((2, 1 + len(factor.parents)))
    severed = [tuple(k for k, a in enumerate(within) if factor.parents[a] != unit)]
    severed += [(within.index(a),) if a in within else () for a in axes]
    for column, lost in enumerate(severed):
        left = cause.mean(axis=lost, keepdims=True)
        out[0, column] = _most_bits(cause, left, np.ones(()))
        left = effect.mean(axis=lost, keepdims=True)
        left = left[tuple(0 if k in lost else value for k, value in enumerate(at_state))]
        own = effect[at_state]
        out[1, column] = _most_bits(own, left, own / own.max())
    return out


def _cause_likelihood(
    pool: CandidateSet, unit: int, factor: Factor, within: Sequence[int]
) -> Array:
    """Return P(unit has its value | its inputs at the axes `within`), the others averaged."""
    outside = tuple(a for a in range(len(factor.parents)) if a not in within)
    weights = pool.background.joint(factor.parents, pool.substrate.levels)
    weights = weights.sum(axis=tuple(within), keepdims=True)
    likelihood = factor.table[..., pool.state[unit]]
    return np.asarray((likelihood * (weights / weights.sum())).sum(axis=outside))


def selectivity(pool: CandidateSet, units: Sequence[int]) -> float:
    """Return the probability of the specified cause state of a candidate, 1 where it takes long.

    That is the largest probability of a state of the units before, given their state now: the
    largest product of likelihoods over the sum of all, one unit after another.

    Parameters
    ----------
    pool : the network, its state and the posterior of its past
    units : of the candidate

    Returns
    -------
    float, at most 1

    References
    ----------
    mathematics.md 24.4, Eq. (24.2).
    """
    members, tables = set(units), list[tuple[tuple[int, ...], Array, Array]]()
    for unit in units:
        factor = pool.substrate.factors[unit]
        if isinstance(factor, CountingFactor) or len(factor.parents) > MAX_BOUNDED_INPUTS:
            return 1.0
        within = [axis for axis, parent in enumerate(factor.parents) if parent in members]
        table = _cause_likelihood(pool, unit, factor, within)
        tables.append((tuple(factor.parents[axis] for axis in within), table, table))
    left = list(units)
    while left:
        scopes = {u: set().union(*(inputs for inputs, *_ in tables if u in inputs)) for u in left}
        unit = min(left, key=lambda u: len(scopes[u]))
        scope = tuple(sorted(scopes[unit] | {unit}))
        if len(scope) > MAX_FRONTIER_UNITS:
            return 1.0
        left.remove(unit)
        near = [each for each in tables if unit in each[0]]
        tables = [each for each in tables if unit not in each[0]]
        total = largest = np.ones([pool.substrate.levels[u] for u in scope])
        for inputs, summed, most in near:
            shape = [pool.substrate.levels[u] if u in inputs else 1 for u in scope]
            total, largest = total * summed.reshape(shape), largest * most.reshape(shape)
        axis, rest = scope.index(unit), tuple(u for u in scope if u != unit)
        tables.append((rest, total.sum(axis=axis), largest.max(axis=axis)))
    sums = float(np.prod([summed for _, summed, _ in tables]))
    return float(np.prod([most for *_, most in tables])) / sums if sums > 0 else 1.0


def _most_bits(whole: Array, left: Array, weight: Array) -> float:
    """Return the largest weighed log-ratio where the whole is possible, at least 0."""
    whole, left, weight = np.broadcast_arrays(whole, left, weight)
    possible = whole > 0
    bits = weight[possible] * np.log2(whole[possible] / left[possible])
    return float(bits.max(initial=0.0))


def open_candidates(
    candidates: Sequence[tuple[int, ...]], values: Array, is_known: Array, tie: float
) -> list[int]:
    """Return the candidates that may be complexes and whose phi_s is not known, largest first.

    The others are no complexes, whatever their phi_s.

    Parameters
    ----------
    candidates : units of each
    values : (C,) phi_s where it is known, else an upper bound, bits
    is_known : (C,) bool
    tie : relative difference up to which two phi_s tie

    Returns
    -------
    list of int, numbers of candidates

    References
    ----------
    mathematics.md 24.4.
    """
    masks = [sum(1 << unit for unit in units) for units in candidates]
    slack = 2 * tie * np.maximum(1.0, values)
    order = [k for k in np.argsort(-values, kind="stable").tolist() if values[k] > 0]
    taken = claimed = 0  # Units of complexes, and of candidates that may be complexes
    found = []
    for place, k in enumerate(order):
        if masks[k] & taken:
            continue
        later = ((values[j], masks[j]) for j in order[place + 1 :] if not masks[j] & taken)
        if not is_known[k]:
            found.append(k)
        elif not masks[k] & claimed and not _overlaps_one(masks[k], values[k] - slack[k], later):
            taken |= masks[k]
            continue
        claimed |= masks[k]
    return found


def _overlaps_one(mask: int, least: float, later: Iterable[tuple[float, int]]) -> bool:
    """Whether a mask overlaps one of others, in order of values, whose value is not less."""
    for value, other in later:
        if value < least:
            return False
        if mask & other:
            return True
    return False
