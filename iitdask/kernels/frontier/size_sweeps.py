"""Sweeps over all units with the sizes of parts: partitions of a value below zero, or all ties."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from iitdask.kernels.frontier.chord_bounds import backward_bounds, chord_numbers
from iitdask.kernels.frontier.frontier_states import COUNT_SHIFT, Level, Relaxed
from iitdask.kernels.frontier.local_costs import LocalCosts
from iitdask.kernels.frontier.partial_partitions import TIE_BITS
from iitdask.kernels.frontier.relaxed_graphs import (
    BudgetError,
    first_level,
    make_pruning,
    take_step,
)
from iitdask.kernels.frontier.sized_states import (
    Goal,
    SizedStates,
    Ways,
    make_sized,
    mark_dominated,
    step_sizes,
)
from iitdask.kernels.frontier.tied_partitions import TiedWays

FRONTIER_STATES, SIZED_STATES = 1_000_000, 4_000_000  # At most in one step
BOUND_CELLS = 40_000_000  # Of a table of bounds
STRICTLY = 2 * TIE_BITS  # By how much a state has to be better than one that may tie


class Sweep(NamedTuple):
    """What a sweep found."""

    value: float  # Least bits less the price of the severed pairs; inf where none was found
    severed: int  # Most pairs that a partition of that value severs
    ways: TiedWays | None  # To all partitions of that value that sever so many
    tried: float  # Transitions
    is_complete: bool  # Whether no state was left out but by a bound


class _Step(NamedTuple):
    """Ways of one step, with what they do to the parts."""

    ways: Ways
    move: NDArray[np.int64]
    parts: NDArray[np.int64]


def sweep_sizes(
    costs: LocalCosts,
    guide: Relaxed,
    price: float,
    allowed: int,
    beam: int | None,
    budget: float,
) -> Sweep:
    """Look for partitions whose bits are less than the price of what they sever.

    Parameters
    ----------
    costs : of the system
    guide : whose bounds prune
    price : of a severed pair, bits
    allowed : pairs that may stay, a unit with itself included, where a partition can only tie
    beam : states kept in each step; None: all
    budget : transitions that may be tried

    Returns
    -------
    Sweep

    Raises
    ------
    BudgetError
        If there are more transitions or states.

    References
    ----------
    mathematics.md 26.3 to 26.6.
    """
    n, tried, is_complete = len(costs.last), 0.0, True
    chords, plain = chord_numbers(n)
    if (len(guide.edges) - 1) * len(chords) > BOUND_CELLS:
        chords = chords[:plain]
    bounds = backward_bounds(guide, price, chords)
    goal = Goal(price, n, allowed, bounds, chords)
    pruning = make_pruning(guide, bounds, price, chords[:plain], n)
    level, sized, steps = first_level(costs, plain), make_sized(1), list[_Step]()
    for v in range(n):
        before = level.keys[:, 1] >> COUNT_SHIFT & 15
        level, count = take_step(costs, v, level, pruning, True, FRONTIER_STATES)
        edges = np.searchsorted(level.source, np.arange(len(before) + 1))
        tried += abs(count)
        if count < 0 or tried > budget:
            raise BudgetError(tried)
        sized, ways, count = step_sizes(sized, before, edges, level, v, goal, SIZED_STATES)
        tried += abs(count)
        if count < 0 or tried > budget:
            raise BudgetError(tried)
        if not len(sized.state):
            return Sweep(np.inf, 0, None, tried, is_complete)
        if v < n - 1:
            slack = STRICTLY if beam is None else 0.0
            kept = _undominated(sized, level, price, slack)
            if beam is not None and kept.sum() > beam:
                kept, is_complete = _best_states(sized, level, goal, kept, beam), False
            sized, ways = _keep_states(sized, ways, kept)
        steps.append(_Step(ways, level.move[ways.edge], level.parts[ways.edge]))
        level, sized = _keep_frontier(level, sized)
    values = sized.bits + price * (sized.whole - n * n)
    best = values <= values.min() + TIE_BITS
    severed = n * n - int(sized.whole[best].min())
    ends = np.flatnonzero(best & (sized.whole == n * n - severed))
    return Sweep(float(values.min()), severed, _join_steps(steps, ends), tried, is_complete)


def _undominated(sized: SizedStates, level: Level, price: float, slack: float) -> NDArray[np.bool_]:
    """Tell which states none of the same frontier makes superfluous."""
    order = np.lexsort((sized.bits + price * sized.whole, sized.state))
    open_parts = level.keys[:, 1] >> COUNT_SHIFT & 15
    kept: NDArray[np.bool_] = ~mark_dominated(sized, order, open_parts, price, slack)
    return kept


def _best_states(
    sized: SizedStates, level: Level, goal: Goal, kept: NDArray[np.bool_], beam: int
) -> NDArray[np.bool_]:
    """Keep of the states those of the lowest bounds."""
    least = goal.bounds[level.images].max(axis=1)[sized.state]
    values = sized.bits + goal.price * sized.whole + least
    among = np.flatnonzero(kept)
    out = np.zeros(len(kept), np.bool_)
    out[among[np.argpartition(values[among], beam)[:beam]]] = True
    return out


def _keep_states(
    sized: SizedStates, ways: Ways, kept: NDArray[np.bool_]
) -> tuple[SizedStates, Ways]:
    """Leave out states with sizes, and the ways to them."""
    number, w = np.cumsum(kept) - 1, kept[ways.target]
    ways = Ways(ways.source[w], number[ways.target[w]], ways.edge[w], ways.value[w], ways.whole[w])
    states, bits = sized.state[kept], sized.bits[kept]
    return SizedStates(states, sized.sizes[kept], bits, sized.whole[kept]), ways


def _keep_frontier(level: Level, sized: SizedStates) -> tuple[Level, SizedStates]:
    """Leave out frontier states that no state with sizes is in."""
    live, state = np.unique(sized.state, return_inverse=True)
    level = level._replace(
        keys=level.keys[live],
        images=level.images[live],
        image_parts=level.image_parts[live],
        least=level.least[live],
        chords=level.chords[live],
    )
    return level, sized._replace(state=state)


def _join_steps(steps: list[_Step], ends: NDArray[np.int64]) -> TiedWays:
    """Number the states with sizes of all steps one after the other, and sort the ways to them."""
    starts, parts = [0, 1], list[tuple[NDArray[np.int64], ...]]()
    for t, step in enumerate(steps):
        order = np.argsort(step.ways.target, kind="stable")
        target = step.ways.target[order] + starts[t + 1]
        parts.append(
            (target, step.ways.source[order] + starts[t], step.move[order], step.parts[order])
        )
        starts.append(starts[-1] + int(step.ways.target.max()) + 1)
    target, source, move, packed = (np.concatenate(each) for each in zip(*parts, strict=True))
    begin = np.searchsorted(target, np.arange(starts[-1] + 1))
    return TiedWays(begin, source, move, packed, ends + starts[-2])
