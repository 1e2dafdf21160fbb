"""Graphs of frontier states: built step by step, and cut down to what a bound leaves."""

import numpy as np
from numpy.typing import NDArray

from iitdask.kernels.frontier.chord_bounds import backward_bounds, forward_bounds
from iitdask.kernels.frontier.frontier_states import WORD_BITS, Level, Pruning, Relaxed, make_level
from iitdask.kernels.frontier.local_costs import LocalCosts
from iitdask.kernels.frontier.partial_partitions import TIE_BITS, expand_level
from iitdask.kernels.frontier.thinned_inputs import frontier_units, widest_frontier


class BudgetError(Exception):
    """More transitions would be needed than may be tried."""


def empty_graph() -> Relaxed:
    """Return the graph of no guide."""
    none = np.zeros(0, np.int64)
    return Relaxed(
        np.zeros(1, np.int64), np.zeros(1, np.int64), none, none, none, none, np.zeros(0)
    )


def first_level(costs: LocalCosts, chords: int) -> Level:
    """Return the state before the first step."""
    width, most = widest_frontier(costs.last)[0], costs.inputs.shape[1]
    words = 2 + -(-width // (WORD_BITS // max(most, 1)))
    level: Level = make_level(1, words, chords, 0)
    level.keys[:] = 0
    return level


def make_pruning(
    guide: Relaxed, bounds: NDArray[np.float64], price: float, chords: NDArray[np.int64], n: int
) -> Pruning:
    """Return what prunes frontier states at a price per severed pair."""
    k = chords[:, 0]
    gains = np.stack([price * (2 * k + 1), price * k * (k + 1)])
    return Pruning(guide, bounds, gains, price * n * n, price * n * (n - 1) + TIE_BITS)


def take_step(
    costs: LocalCosts, v: int, level: Level, pruning: Pruning, is_strict: bool, limit: int
) -> tuple[Level, int]:
    """Take up unit v; see ``partial_partitions.expand_level``."""
    before, after = frontier_units(costs.last, v), frontier_units(costs.last, v + 1)
    out: tuple[Level, int] = expand_level(costs, v, before, after, level, pruning, is_strict, limit)
    return out


def build_graph(
    costs: LocalCosts, pruning: Pruning, is_strict: bool, limit: int, budget: float
) -> tuple[Relaxed, float]:
    """Make all frontier states that may belong to a partition worth its price.

    Parameters
    ----------
    costs : of the system, or of one with fewer inputs
    pruning : what leaves out states
    is_strict : whether in- and out-parts have to meet and there have to be two parts
    limit : states after one step at most
    budget : transitions that may be tried

    Returns
    -------
    graph : Relaxed
    tried : transitions tried

    Raises
    ------
    BudgetError
        If there are more states or transitions.

    References
    ----------
    mathematics.md 26.4.
    """
    n, tried = len(costs.last), 0.0
    level, levels = first_level(costs, pruning.gains.shape[1]), []
    starts = [0, 1]
    for v in range(n):
        level, count = take_step(costs, v, level, pruning, is_strict, limit)
        tried += abs(count)
        if count < 0 or tried > budget:
            raise BudgetError(tried)
        levels.append(level)
        starts.append(starts[-1] + len(level.keys))
    source = np.concatenate([x.source + starts[t] for t, x in enumerate(levels)])
    target = np.concatenate([x.target + starts[t + 1] for t, x in enumerate(levels)])
    rest = [np.concatenate([getattr(x, f) for x in levels]) for f in ("move", "parts", "bits")]
    edges = np.searchsorted(source, np.arange(starts[-1] + 1))
    return Relaxed(np.array(starts), edges, source, target, *rest), tried


def restrict_graph(graph: Relaxed, price: float, chords: NDArray[np.int64]) -> Relaxed:
    """Leave out states that belong to no partition worth its price, by a bound.

    Parameters
    ----------
    graph : Relaxed
    price : of a severed pair, bits
    chords : (c, 3) see ``chord_bounds.chord_numbers``

    Returns
    -------
    Relaxed

    References
    ----------
    mathematics.md 26.4.
    """
    n = len(graph.starts) - 2
    value = forward_bounds(graph, price, chords) + backward_bounds(graph, price, chords)
    kept = (value - price * n * n <= TIE_BITS).all(axis=1)
    number = np.concatenate([[0], np.cumsum(kept)])
    e = kept[graph.source] & kept[graph.target]
    source, target = number[graph.source[e]], number[graph.target[e]]
    edges = np.searchsorted(source, np.arange(number[-1] + 1))
    starts = number[graph.starts]
    return Relaxed(starts, edges, source, target, graph.move[e], graph.parts[e], graph.bits[e])
