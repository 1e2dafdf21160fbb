"""What a substrate does by itself: successors of states, attractors, long-run probabilities."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from iitdask.errors import InputError
from iitdask.kernels.trajectories import follow_to_cycles, next_codes, next_states
from iitdask.model.factor import CountingFactor, Factor
from iitdask.model.substrate import Substrate, target_fingerprint
from iitdask.model.system import Target, factor_rows
from iitdask.types import Array, Mask, Table

MAX_EXACT_STATES = 1 << 24  # States that are all followed
MAX_CHANCE_STATES = 1 << 10  # States of a substrate with chance whose whole matrix is looked at
CERTAIN = 1 - 1e-12  # Probability from which on nothing is left to chance
MAX_STEPS = 1 << 15  # Steps after which a start is left without an attractor


@dataclass(frozen=True, eq=False)
class WholeNetwork(Target):
    """A substrate as a whole, in no particular state."""

    FIELDS: ClassVar[tuple[str, ...]] = ()
    REQUIRED: ClassVar[int] = 0

    @classmethod
    def build(cls, substrate: Substrate, *_fields: Any, **_more: Any) -> Self:
        """Build the target, which has no fields."""
        return cls(substrate)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that decides results; labels do not."""
        return target_fingerprint("network", self.substrate, [])


class NextValues(NamedTuple):
    """The next values of units of which nothing is left to chance: tables, one after the other."""

    levels: Array  # (N,) int64 values of each unit
    parents: Array  # (N, W) int64, -1 after the last of a unit
    weights: Array  # (N, W) int64, what a value of a parent adds to the row of a table
    starts: Array  # (N,) int64 first row of each unit
    tables: Array  # (R,) uint8 next value by row

    def after(self, states: Array) -> Array:
        """Return the states (K, N) uint8 that follow states."""
        return np.asarray(next_states(np.ascontiguousarray(states), *self[1:]))


def states_of_codes(codes: Array, levels: Sequence[int]) -> Array:
    """Return the values (K, N) uint8 of states by number; stored unit by unit."""
    out = np.empty((len(codes), len(levels)), np.uint8, order="F")
    rest = codes.astype(np.int64)
    for i, k in enumerate(levels):
        rest, out[:, i] = np.divmod(rest, k)
    return out


def is_deterministic(substrate: Substrate) -> bool:
    """Return True if nothing is left to chance."""
    return all(bool((_rows(factor).max(axis=-1) >= CERTAIN).all()) for factor in substrate.factors)


def _rows(factor: Factor | CountingFactor) -> Table:
    return factor.probability_by_count if isinstance(factor, CountingFactor) else factor.table


def next_values(substrate: Substrate) -> NextValues:
    """Return the next values of a substrate without chance."""
    n, width = substrate.n_units, max(1, *(len(f.parents) for f in substrate.factors))
    parents, weights = np.full((n, width), -1), np.zeros((n, width), np.int64)
    tables = []
    for i, factor in enumerate(substrate.factors):
        own = [substrate.levels[p] for p in factor.parents]
        is_counting = isinstance(factor, CountingFactor)
        parents[i, : len(own)] = factor.parents
        weights[i, : len(own)] = 1 if is_counting else np.cumprod([1, *own[:-1]])[: len(own)]
        tables.append(_rows(factor).argmax(axis=-1).astype(np.uint8).ravel(order="F"))
    starts = np.cumsum([0, *map(len, tables[:-1])])
    return NextValues(np.array(substrate.levels), parents, weights, starts, np.concatenate(tables))


def core_units(substrate: Substrate) -> tuple[int, ...]:
    """Return the units that remain when those that feed none are dropped again and again.

    Nothing that is dropped makes a difference to them: their parents all remain.
    """
    edges = np.array(substrate.inferred)
    kept = np.ones(len(edges), np.bool_)
    while True:
        feeds = edges[:, kept].any(axis=1)
        if not (kept & ~feeds).any():
            return tuple(np.flatnonzero(kept).tolist())
        kept &= feeds


def core_of(substrate: Substrate, units: Sequence[int]) -> Substrate:
    """Return some units as a substrate of their own; all their parents must be among them."""
    number = {unit: k for k, unit in enumerate(units)}
    factors = []
    for unit in units:
        factor = substrate.factors[unit]
        factors.append(factor._replace(parents=tuple(number[p] for p in factor.parents)))
    edges = substrate.connectivity[np.ix_(units, units)]
    levels = tuple(substrate.levels[unit] for unit in units)
    return Substrate(tuple(factors), edges, levels, tuple(substrate.labels[u] for u in units))


class Attractors(NamedTuple):
    """Attractors, those with the largest basins first."""

    first: Array  # (A,) number of a state of each, the smallest
    n_states: Array  # (A,) states of each
    period: Array  # (A,)
    basin: Array  # (A,) states that lead to each; with chance, in expectation


def attractors_of_map(successor: Array) -> tuple[Attractors, Array]:
    """Return the cycles of a map of numbers, and which one (S,) each number leads to.

    References
    ----------
    mathematics.md 34.1.
    """
    reached, size = successor, -1
    while True:  # states after twice as many steps, until only those on cycles are left
        on_cycle = np.zeros(len(successor), np.bool_)
        on_cycle[reached] = True
        count = int(on_cycle.sum())
        if count == size:
            break
        size, reached = count, reached[reached]
    states = np.flatnonzero(on_cycle)
    index = np.full(len(successor), -1, np.int64)
    index[states] = np.arange(len(states))
    step = index[successor[states]]
    least = np.arange(len(states))
    while True:  # smallest member of the cycle among twice as many steps
        lower = np.minimum(least, least[step])
        if (lower == least).all():
            break
        least, step = lower, step[step]
    firsts, member, periods = np.unique(least, return_inverse=True, return_counts=True)
    leads_to = member.ravel()[index[reached]]
    basins = np.bincount(leads_to, minlength=len(firsts))
    order = np.lexsort((firsts, -basins))
    place = np.argsort(order)
    found = Attractors(states[firsts][order], periods[order], periods[order], basins[order] * 1.0)
    return found, place[leads_to]


def attractors_with_chance(substrate: Substrate) -> tuple[Attractors, Mask, Table]:
    """Return the closed classes of states, their members (A, S) and long-run probabilities (S,).

    References
    ----------
    mathematics.md 34.2.
    """
    matrix = transition_matrix(substrate)
    count = len(matrix)
    reach = (matrix > 0) | np.eye(count, dtype=np.bool_)
    steps = 1
    while steps < count:
        numbers = reach.astype(np.float32)
        reach, steps = numbers @ numbers > 0, 2 * steps
    both = reach & reach.T
    is_closed = (reach == both).all(axis=1)
    classes = np.unique(both[is_closed], axis=0)
    classes = classes[np.argsort([int(np.argmax(row)) for row in classes])]
    stay = ~is_closed
    absorbed = np.zeros((count, len(classes)))
    for k, members in enumerate(classes):
        absorbed[members, k] = 1.0
    if stay.any():
        inner = np.eye(int(stay.sum())) - matrix[np.ix_(stay, stay)]
        absorbed[stay] = np.linalg.solve(inner, matrix[stay] @ absorbed)
    basins = absorbed.sum(axis=0)
    long_run = np.zeros(count)
    for k, members in enumerate(classes):
        long_run[members] = _stationary(matrix[np.ix_(members, members)]) * basins[k] / count
    periods = np.array([_period(matrix > 0, members) for members in classes])
    firsts = np.array([int(np.argmax(row)) for row in classes])
    order = np.lexsort((firsts, -np.round(basins, 9)))
    sizes = classes.sum(axis=1)
    found = Attractors(firsts[order], sizes[order], periods[order], basins[order])
    return found, classes[order], long_run


def transition_matrix(substrate: Substrate) -> Table:
    """Return P(next state | state) of all states, (S, S) little-endian."""
    levels, count = substrate.levels, math.prod(substrate.levels)
    if count > MAX_CHANCE_STATES:
        raise InputError(
            f"dynamics: a substrate of {count:.4g} states with chance: expected at most "
            f"{MAX_CHANCE_STATES} states, or units without chance"
        )
    everyone = {i: i for i in range(len(levels))}
    matrix = np.ones((count, 1))
    for factor in substrate.factors:  # the first unit varies fastest
        rows = factor_rows(factor, everyone, levels)
        matrix = (rows[:, :, None] * matrix[:, None, :]).reshape(count, -1)
    return matrix


def _stationary(matrix: Table) -> Table:
    """Return the stationary distribution of one closed class."""
    system = np.vstack([matrix.T - np.eye(len(matrix)), np.ones(len(matrix))])
    target = np.zeros(len(matrix) + 1)
    target[-1] = 1.0
    solution: Table = np.clip(np.linalg.lstsq(system, target, rcond=None)[0], 0.0, None)
    solution /= solution.sum()
    return solution


def _period(is_possible: Mask, members: Mask) -> int:
    """Return the greatest common divisor of the lengths of all cycles of a class."""
    start = int(np.argmax(members))
    depth = {start: 0}
    frontier, period = [start], 0
    while frontier:
        state = frontier.pop()
        for after in np.flatnonzero(is_possible[state]).tolist():
            if after in depth:
                period = math.gcd(period, depth[state] + 1 - depth[after])
            else:
                depth[after] = depth[state] + 1
                frontier.append(after)
    return abs(period)


def follow_starts(network: NextValues, starts: Array) -> tuple[Array, Array]:
    """Return the period (K,) of the cycle each start leads to and its least state (K, N).

    The period is 0 where no state came back within ``MAX_STEPS`` steps.

    References
    ----------
    mathematics.md 34.1 (Brent's method).
    """
    cycle, period = np.array(starts, np.uint8), np.zeros(len(starts), np.int64)
    follow_to_cycles(cycle, *network[1:], MAX_STEPS, period)
    return period, cycle


def trajectory(network: NextValues, start: Array, steps: int) -> Iterator[Array]:
    """Yield a state and those that follow it."""
    state = np.array(start, np.uint8)[None]
    yield state[0]
    for _ in range(steps):
        state = network.after(state)
        yield state[0]


def simulate(substrate: Substrate, start: Sequence[int], steps: int, seed: int) -> Array:
    """Return a trajectory (steps + 1, N) of a substrate, with chance or without."""
    rng = np.random.default_rng(seed)
    out = np.empty((steps + 1, substrate.n_units), np.int64)
    out[0] = start
    for t in range(steps):
        draws = rng.random(substrate.n_units)
        for i, factor in enumerate(substrate.factors):
            own = out[t, list(factor.parents)]
            is_counting = isinstance(factor, CountingFactor)
            row = _rows(factor)[int(own.sum()) if is_counting else tuple(own)]
            out[t + 1, i] = min(
                int(np.searchsorted(np.cumsum(row), draws[i], "right")), len(row) - 1
            )
    return out


def recurrent_states(substrate: Substrate, most: int | None = None) -> Mapping[int, int]:
    """Return the number of the attractor of each recurrent state, of some or of all attractors."""
    if is_deterministic(substrate):
        count = math.prod(substrate.levels)
        successor = np.asarray(next_codes(0, count, *next_values(substrate)))
        found, _ = attractors_of_map(successor)
        chosen = found.first[:most].tolist()
        out: dict[int, int] = {}
        for k, state in enumerate(chosen):
            for _ in range(int(found.period[k])):
                out[state] = k
                state = int(successor[state])
        return out
    _, classes, _ = attractors_with_chance(substrate)
    return {int(s): k for k, row in enumerate(classes[:most]) for s in np.flatnonzero(row)}
