"""What directed partitions of a system cost, one by one: the runner-up, and a partition given.

References: docs/mathematics.md 8 and 41.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from iitdask.kernels.subsets import PHI_ZERO_BITS, phi_tolerance
from iitdask.model.system import CandidateSystem
from iitdask.theory.iit4.system_analysis import cut_costs_at, fill_states, system_inputs
from iitdask.theory.stage import Array

MAX_RUNNER_UP_UNITS = 9  # Units of a system of which every directed partition is looked at
DIRECTIONS = ("cause", "effect", "both")  # What a block is cut off from: its inputs, outputs


class StatePairCosts(NamedTuple):
    """What units lose with their inputs, at one pair of states that a system specifies."""

    costs: Array  # (2, n, 2**n) bits, cause and effect side, by the mask of severed inputs
    selectivity: Array  # (2,) probability of the specified states
    information: Array  # (2,) intrinsic information of them, bits
    current: Array  # (2,) probability of the current state: p(current | current), either side

    @classmethod
    def from_states(cls, system: CandidateSystem, states: tuple[int, int]) -> StatePairCosts:
        """Take the costs at a pair of states, little-endian."""
        inputs = system_inputs(system)
        filled = fill_states(inputs, (slice(0, 2),))
        forward, information = filled["forward"], filled["information"]
        cause, effect = states
        costs = [cut_costs_at(inputs, state, k == 0) for k, state in enumerate(states)]
        selectivity = forward[0, cause] / forward[0].sum(), forward[1, effect]
        known = information[0, cause], information[1, effect]
        at_current = forward[:, system.code]
        return cls(np.stack(costs), np.array(selectivity), np.array(known), at_current)

    def phi(self, severed: Array) -> Array:
        """Return (2, p) bits that partitions cost on each side, given (p, n) severed inputs."""
        units = np.arange(self.costs.shape[1])
        bits: Array = self.costs[:, units, severed].sum(axis=-1) * self.selectivity[:, None]
        return np.where(bits > PHI_ZERO_BITS, bits, 0.0)


def severed_inputs(n: int, blocks: Sequence[int], directions: Sequence[str]) -> list[int]:
    """Return the masks of the inputs that each of n units loses under a directed partition.

    Parameters
    ----------
    n : units of the system
    blocks : masks of the blocks, which together are all units
    directions : of each block one of ``DIRECTIONS``

    Returns
    -------
    list of int, (n,)

    References
    ----------
    docs/mathematics.md 7.
    """
    out = [0] * n
    every = (1 << n) - 1
    silent = [b for b, way in zip(blocks, directions, strict=True) if way != "cause"]
    for block, way in zip(blocks, directions, strict=True):
        lost = every & ~block if way != "effect" else 0
        for other in silent:
            lost |= other if other != block else 0
        for unit in range(n):
            if block >> unit & 1:
                out[unit] = lost
    return out


def directed_partitions(n: int, most: int | None = None) -> Iterator[Array]:
    """Yield (p, n) severed inputs of the partitions into each set of two or more blocks.

    most : how many blocks at most; by default as many as there are units
    """
    if n == 1:
        yield np.ones((1, 1), np.int64)
        return
    every = (1 << n) - 1
    for label in _labellings(n):
        k = max(label) + 1
        if k == 1 or (most is not None and k > most):
            continue
        blocks = np.zeros(k, np.int64)
        for unit, number in enumerate(label):
            blocks[number] |= 1 << unit
        ways = np.indices((3,) * k).reshape(k, -1).T  # 0 inputs, 1 outputs, 2 both
        silent = (ways > 0) @ blocks  # a block's outputs are lost by all others
        lost = np.where(ways != 1, every & ~blocks, silent[:, None] & ~blocks)
        lost = lost[:, list(label)]
        yield lost


def _labellings(n: int) -> Iterator[tuple[int, ...]]:
    """Yield the block of every unit in each set partition, numbered by their first units."""
    stack: list[tuple[int, ...]] = [(0,)]
    while stack:
        label = stack.pop()
        if len(label) == n:
            yield label
        else:
            stack += [(*label, number) for number in range(max(label) + 2)]


def runner_up(costs: StatePairCosts, most: int | None = None) -> tuple[float, float | None]:
    """Return the least normalized value over all partitions, and the next one above it.

    Parameters
    ----------
    costs : of up to ``MAX_RUNNER_UP_UNITS`` units, at a pair of states
    most : blocks of a partition at most, see :func:`directed_partitions`

    Returns
    -------
    tuple, bits per severed pair; None where every partition attains the minimum

    References
    ----------
    docs/mathematics.md, Eq. (41.1).
    """
    values = [
        costs.phi(severed).min(axis=0) / np.bitwise_count(severed).sum(axis=1)
        for severed in directed_partitions(costs.costs.shape[1], most)
    ]
    every = np.concatenate(values)
    least = float(every.min())
    above = every[every > least + phi_tolerance(least)]
    return least, float(above.min()) if len(above) else None
