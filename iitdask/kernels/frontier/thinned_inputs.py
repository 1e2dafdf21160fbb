"""A sparser system whose partitions lose no more: inputs are left out (mathematics.md 26.4)."""

import numpy as np
from numpy.typing import NDArray

from iitdask.kernels.frontier.local_costs import LocalCosts, make_local_costs


def frontier_units(last: NDArray[np.int64], step: int) -> NDArray[np.int64]:
    """Return the units taken up before a step that have neighbours to come, ascending."""
    return np.flatnonzero(last[:step] >= step)


def widest_frontier(last: NDArray[np.int64]) -> tuple[int, int]:
    """Return the largest number of units in a frontier, and after how many steps it is reached."""
    widths = [len(frontier_units(last, step)) for step in range(len(last) + 1)]
    return max(widths), int(np.argmax(widths))


def thin_inputs(costs: LocalCosts, width: int) -> LocalCosts:
    """Leave out inputs until no frontier has more units than `width`.

    A unit loses the less of what it loses with and without an input that is left out. Of the units
    of the widest frontier the one goes whose inputs beyond it cost least.

    Parameters
    ----------
    costs : of the system
    width : units of a frontier at most

    Returns
    -------
    LocalCosts

    References
    ----------
    mathematics.md 26.4, Eq. (26.5).
    """
    while True:
        widest, step = widest_frontier(costs.last)
        if widest <= width:
            return costs
        inputs, bits = costs.inputs.copy(), costs.bits.copy()
        cuts = [_edges_beyond(inputs, u, step) for u in frontier_units(costs.last, step)]
        worths = [sum(_worth(inputs[i], bits[i], a) for i, a in edges) for edges in cuts]
        for i, a in cuts[int(np.argmin(worths))]:
            _leave_out(inputs[i], bits[i], int(np.flatnonzero(inputs[i] == a)[0]))
        costs = make_local_costs(inputs, bits)


def _edges_beyond(inputs: NDArray[np.int64], u: int, step: int) -> list[tuple[int, int]]:
    """Return (unit, input) of the edges between unit u and units from a step on."""
    here = [(u, int(a)) for a in inputs[u] if a >= step]
    return here + [(i, u) for i in range(step, len(inputs)) if (inputs[i] == u).any()]


def _worth(row: NDArray[np.int64], bits: NDArray[np.float64], a: int) -> float:
    """Return by how much leaving out input a may lower what a unit loses."""
    every = (1 << int((row >= 0).sum())) - 1
    return float(bits[every ^ 1 << int(np.flatnonzero(row == a)[0])] - bits.min())


def _leave_out(row: NDArray[np.int64], bits: NDArray[np.float64], place: int) -> None:
    """Leave out the input at a place, in both arrays."""
    least = bits.reshape(-1, 2, 1 << place).min(axis=1).ravel()
    bits[:] = np.concatenate([least, least])
    row[place:-1], row[-1] = row[place + 1 :].copy(), -1
