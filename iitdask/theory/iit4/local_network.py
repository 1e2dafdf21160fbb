"""A candidate system as tables per unit, its units along a narrow linear order.

The tables over parts of a unit's own inputs replace the marginals over all codes of the system, and
are small enough to travel with every block. References: docs/mathematics.md 27.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from iitdask.errors import InputError
from iitdask.kernels.linear_order import frontier_states, greedy_order
from iitdask.kernels.sparse.local_tables import LocalTables, SparseNetwork
from iitdask.model.factor import CountingFactor, Factor, prune_inputs
from iitdask.model.labels import MASK_UNITS
from iitdask.model.system import CandidateSystem
from iitdask.theory.marginal_tables import child_masks
from iitdask.theory.stage import Array

MAX_INPUTS = 8  # of a unit: tables over pairs of disjoint parts of its inputs hold 4**8 numbers
MAX_FRONTIER_STATES = 1 << 16  # that sums carry along the order
STATE_BITS = 62  # of the number of a state
LISTED_TIES = 4  # tied purviews, or states, for which a cell of a stage has room
FIRST_CAPACITY = 1 << 10  # tied states for which there is room in memory at first

PreparedNetwork = tuple[SparseNetwork, Mapping[str, Array]]  # And a stage's other inputs


SIDES = ("effect", "cause")


class LocalNetwork(NamedTuple):
    """What the stages of the search from local tables share."""

    arrays: dict[str, Array]  # Inputs of every stage
    order: Array  # (n,) unit of the system at each place of the linear order
    factors: tuple[list[Factor], list[Factor]]  # Of all units, effect and cause side
    frontier_states: int  # Most states of a frontier

    def along_order(self, masks: Array) -> Array:
        """Turn masks of units of the system into masks of places."""
        return moved_masks(masks, np.argsort(self.order))

    def of_system(self, masks: Array) -> Array:
        """Turn masks of places into masks of units of the system."""
        return moved_masks(masks, self.order)

    @property
    def scratch_bytes(self) -> int:
        """Bytes of the working memory of a search."""
        n, inputs = len(self.order), max(self.arrays[f"{s}_inputs"].shape[1] for s in SIDES)
        return int(16 * n * 4**inputs + 40 * (n + 1) * self.frontier_states + 64 * n**3)


def moved_masks(masks: Array, places: Array) -> Array:
    """Move bit k of each mask to places[k]."""
    out = np.zeros_like(masks)
    for k, place in enumerate(places.tolist()):
        out |= (masks >> k & 1) << place
    return out


def has_few_inputs(system: CandidateSystem) -> bool:
    """Tell whether the tables of all units are small, see ``MAX_INPUTS``."""
    return local_factors(system) is not None


def local_factors(system: CandidateSystem) -> tuple[list[Factor], list[Factor]] | None:
    """Return the factors of all units over units of the system, effect and cause side.

    None where one has too many inputs, see ``MAX_INPUTS``.
    """
    sides = []
    for factors in (system.effect_factors, system.cause_factors):
        pruned = []
        for factor in factors:
            if isinstance(factor, CountingFactor) or len(factor.parents) > 2 * MAX_INPUTS:
                return None
            pruned.append(prune_inputs(factor.parents, factor.table))
            if len(pruned[-1].parents) > MAX_INPUTS:
                return None
        sides.append(pruned)
    return sides[0], sides[1]


def require_masks(system: CandidateSystem) -> None:
    """Refuse a system of more units than a mask has room for."""
    if system.n > MASK_UNITS:
        raise InputError(f"units: expected a system of at most {MASK_UNITS}, got {system.n}")


def edge_masks(connectivity: Array) -> tuple[Array, Array]:
    """Return masks of the units with a declared edge to each unit, and from each, (n,) each."""
    return child_masks(connectivity.T), child_masks(connectivity)


def make_local_network(system: CandidateSystem) -> LocalNetwork | None:
    """Build the local tables of a system; None where they, or the frontier, would be too large.

    Parameters
    ----------
    system : the candidate system

    Returns
    -------
    LocalNetwork, or None

    References
    ----------
    docs/mathematics.md 27.1.
    """
    factors = local_factors(system)
    if factors is None or prod(system.levels) >= 1 << STATE_BITS:
        return None
    sources, targets = edge_masks(system.connectivity)
    order = greedy_order(_neighbours(factors), float(np.mean(system.levels)))
    levels, state = (np.array(x, np.int64)[order] for x in (system.levels, system.local_state))
    place = np.argsort(order)
    effect, cause = ([side[i] for i in order] for side in factors)
    cause = [Factor(f.parents, f.table[..., [v]]) for f, v in zip(cause, state, strict=True)]
    sides = [_local_arrays(side, place, levels, state) for side in (effect, cause)]
    states = max(frontier_states(side["inputs"], side["width"], levels) for side in sides)
    if states > MAX_FRONTIER_STATES:
        return None
    arrays = {
        "units": order.astype(np.int64),
        "levels": levels,
        "sources": moved_masks(sources[order], place),
        "targets": moved_masks(targets[order], place),
    }
    for name, side in zip(SIDES, sides, strict=True):
        arrays |= {f"{name}_{key}": value for key, value in side.items()}
    return LocalNetwork(arrays, order, factors, states)


def _neighbours(sides: Sequence[Sequence[Factor]]) -> Array:
    """Return masks of the units that share a factor with each unit, (n,)."""
    near = [0] * len(sides[0])
    for factors in sides:
        for factor in factors:
            scope = sum(1 << i for i in factor.parents)
            for i in factor.parents:
                near[i] |= scope & ~(1 << i)
    return np.array(near, np.int64)


def _local_arrays(
    factors: Sequence[Factor], place: Array, levels: Array, state: Array
) -> dict[str, Array]:
    """Return the fields of LocalTables of factors along the order, without the logarithms."""
    most = max((len(f.parents) for f in factors), default=0)
    count = np.array([len(f.parents) for f in factors], np.int64)
    inputs = np.zeros((len(factors), max(most, 1)), np.int64)
    offsets, current = np.zeros((2, len(factors), 1 << most), np.int64)
    rows: list[Array] = []
    begin, width = 0, max(factor.n_values for factor in factors)
    for j, factor in enumerate(factors):
        parents = place[list(factor.parents)].astype(np.int64)
        axes = np.argsort(parents)
        inputs[j, : len(parents)] = parents[axes]
        table = factor.table.transpose(*axes, len(parents))
        for part in range(1 << len(parents)):
            units = [k for k in range(len(parents)) if part >> k & 1]
            others = tuple(k for k in range(len(parents)) if not part >> k & 1)
            mean = table.mean(axis=others) if others else table
            values = mean.reshape(-1, factor.n_values, order="F")
            offsets[j, part] = begin
            code, weight = 0, 1
            for unit in inputs[j][units].tolist():
                code += int(state[unit]) * weight
                weight *= int(levels[unit])
            current[j, part] = begin + code
            begin += len(values)
            rows.append(np.pad(values, ((0, 0), (0, width - values.shape[1]))))
    return {
        "width": count,
        "inputs": inputs,
        "offsets": offsets,
        "current": current,
        "probability": np.concatenate(rows),
    }


def prepare_network(inputs: Mapping[str, Array]) -> PreparedNetwork:
    """Arrange the stored local tables for the kernels, with their logarithms."""
    sides: list[Any] = []
    for name in SIDES:
        probability = np.ascontiguousarray(inputs[f"{name}_probability"])
        with np.errstate(divide="ignore"):  # log2(0) is minus infinity, and never weighed
            logs = np.log2(probability)
        names = ("width", "inputs", "offsets", "current")
        fields: list[Any] = [inputs[f"{name}_{key}"] for key in names] + [probability, logs]
        sides.append(LocalTables(*fields))
    arrays: list[Any] = [inputs[name] for name in ("units", "levels", "sources", "targets")]
    arrays += [*sides, _largest_losses(sides[1], inputs["levels"])]
    return SparseNetwork(*arrays), inputs


def _largest_losses(tables: LocalTables, levels: Array) -> Array:
    """Return the most bits that a unit's current value loses without each part, (n, 2**K)."""
    out = np.zeros(tables.offsets.shape)
    for i, count in enumerate(tables.width.tolist()):
        alone = tables.logs[tables.offsets[i, 0], 0]
        for part in range(1, 1 << count):
            units = [tables.inputs[i, k] for k in range(count) if part >> k & 1]
            begin, states = tables.offsets[i, part], prod(levels[units].tolist())
            logs = tables.logs[begin : begin + states, 0]
            out[i, part] = max(0.0, float(logs.max() - alone)) if logs.max() > -np.inf else 0.0
    return out
