"""Which way mechanisms are searched: over all masks, or over what declared edges connect.

The choice is a function of the system and the option `search` alone. It weighs the number of
connected pairs against what the search over all masks computes; both are counted, never timed.
References: docs/mathematics.md 27.7.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import NamedTuple

import numpy as np

from iitdask.errors import InputError
from iitdask.kernels.sparse.connected_sets import connected_sets, count_purviews
from iitdask.model.system import CandidateSystem
from iitdask.theory.iit4.local_network import (
    MAX_FRONTIER_STATES,
    MAX_INPUTS,
    STATE_BITS,
    LocalNetwork,
    edge_masks,
    has_few_inputs,
    local_factors,
    make_local_network,
    require_masks,
)
from iitdask.theory.iit4.symmetries import Orbits, find_orbits
from iitdask.theory.options import Unfolding
from iitdask.theory.stage import Array

AUTO_MIN_UNITS = 9  # of a system from which another search than over all masks may pay
SPARSE_UNITS = 18  # from which a search over all masks takes days
PAIRS_PER_STEP = 2e-3  # connected pairs that cost as much as a step of the search over all masks
MAX_MECHANISMS = 1 << 22  # that are listed
SAMPLED_MECHANISMS = 256  # whose purviews are counted
SAMPLE_PARTS = 8  # in which they are taken, each at even distances
COUNTED_PURVIEWS = 1 << 16  # of each, at most
COUNTED_PAIRS = 1 << 20  # from which on no further part is counted
SECONDS_PER_PAIR, SECONDS_PER_MECHANISM = 3e-7, 4e-5


@dataclass(frozen=True, slots=True)
class SparseSearch:
    """Connected mechanisms of a system, and what their search takes."""

    network: LocalNetwork
    mechanisms: Array  # (m,) masks, ascending
    orbits: Orbits  # Of them under the symmetries of the system: representatives are searched
    seconds: Array  # (representatives,) predicted, of both directions
    pairs: int  # About how many connected pairs are searched, in one direction


class _Counted(NamedTuple):
    """Purviews of some of the mechanisms that are searched."""

    positions: Array  # (k,) of the mechanisms
    purviews: Array  # (k,) effect purviews of each


def choose_search(system: CandidateSystem, options: Unfolding) -> SparseSearch | None:
    """Return what a search of connected pairs needs, None where all masks are searched.

    Parameters
    ----------
    system : the candidate system
    options : options of the theory, of which `search` says which way: ``auto`` weighs both

    Returns
    -------
    SparseSearch, or None

    Raises
    ------
    InputError
        The system has more than 62 units, or ``sparse`` is asked for and a unit has too many
        inputs, or too many interact.

    References
    ----------
    docs/mathematics.md 27.7.
    """
    require_masks(system)
    return _choose_search(system, options.search)


@lru_cache(maxsize=1)  # what is compiled for a system and its recipe both ask
def _choose_search(system: CandidateSystem, wanted: str) -> SparseSearch | None:
    if wanted == "dense" or (wanted == "auto" and _is_dense(system)):
        return None
    mechanisms, factors = connected_mechanisms(system), local_factors(system)
    if mechanisms is not None and factors is not None:
        orbits = find_orbits(system, factors, mechanisms)
        searched, limit = orbits.representatives, math.inf
        if wanted == "auto" and system.n < SPARSE_UNITS:
            limit = PAIRS_PER_STEP * prod(k * (k + 1.0) for k in system.levels)
        counted = _count_purviews(system, searched, limit)
        mean = float(counted.purviews.mean()) if len(searched) else 0.0
        network = make_local_network(system) if mean * len(searched) < limit else None
        if network is not None:
            seconds = _predicted_seconds(system, searched, counted)
            pairs = round(mean * len(searched))
            return SparseSearch(network, mechanisms, orbits, seconds, pairs)
    if wanted == "sparse":
        raise InputError(
            f"search 'sparse': expected at most {MAX_INPUTS} inputs of each unit, "
            f"{MAX_MECHANISMS} connected mechanisms, 2**{STATE_BITS} states and "
            f"{MAX_FRONTIER_STATES} of units that interact at a time, got more"
        )
    return None


def _is_dense(system: CandidateSystem) -> bool:
    """Tell whether a search over all masks is quick, or the only one, without counting."""
    if system.n < AUTO_MIN_UNITS:
        return True
    edges = int(np.asarray(system.connectivity).sum())
    return (system.n < SPARSE_UNITS and 2 * edges > system.n**2) or not has_few_inputs(system)


def connected_mechanisms(system: CandidateSystem) -> Array | None:
    """List the mechanisms connected by shared inputs and by shared outputs, None of too many.

    Parameters
    ----------
    system : the candidate system

    Returns
    -------
    ndarray, (m,) masks, ascending; or None

    References
    ----------
    docs/mathematics.md 27.2.
    """
    sources, targets = edge_masks(system.connectivity)
    graphs = np.stack([_sharing(sources), _sharing(targets)])
    masks = connected_sets(graphs, MAX_MECHANISMS)
    if len(masks) > MAX_MECHANISMS:
        return None
    alone = np.array([1 << i for i in range(system.n) if not (sources[i] and targets[i])], np.int64)
    return np.asarray(masks[~np.isin(masks, alone)])


def _sharing(masks: Array) -> Array:
    """Return masks of the other units with which each shares a neighbour, (n,)."""
    meets = (masks[:, None] & masks[None, :]) != 0
    np.fill_diagonal(meets, False)
    return np.asarray(meets @ (1 << np.arange(len(masks), dtype=np.int64)))


def _count_purviews(system: CandidateSystem, mechanisms: Array, limit: float) -> _Counted:
    """Count the effect purviews of some mechanisms, at even distances.

    No further ones are counted where that takes long, or once all mechanisms have more than a
    limit even if those that are left had none.
    """
    sources, targets = edge_masks(system.connectivity)
    count = min(len(mechanisms), SAMPLED_MECHANISMS)
    sample = np.arange(count) * len(mechanisms) // max(count, 1)
    parts: list[Array] = []
    found: list[Array] = []
    for first in range(SAMPLE_PARTS):
        parts.append(sample[first::SAMPLE_PARTS])
        chosen = mechanisms[parts[-1]]
        found.append(np.asarray(count_purviews(chosen, targets, sources, COUNTED_PURVIEWS)))
        total = sum(int(each.sum()) for each in found)
        if total >= COUNTED_PAIRS or total * len(mechanisms) >= limit * count:
            break
    positions = np.concatenate(parts)
    order = np.argsort(positions)
    return _Counted(positions[order], np.concatenate(found)[order])


def _predicted_seconds(system: CandidateSystem, mechanisms: Array, counted: _Counted) -> Array:
    """Predict the seconds of every mechanism from the purviews of those with as many candidates.

    References
    ----------
    docs/mathematics.md 27.7.
    """
    reached = np.zeros(len(mechanisms), np.int64)
    for i, target in enumerate(edge_masks(system.connectivity)[1].tolist()):
        reached |= np.where(mechanisms >> i & 1, target, 0)
    candidates = np.bitwise_count(reached.astype(np.uint64)).astype(np.int64)
    pairs = np.zeros(system.n + 1)
    sampled = candidates[counted.positions]
    for size in range(1, system.n + 1):
        inside = counted.purviews[sampled == size]
        pairs[size] = inside.mean() if len(inside) else 1.5 * pairs[size - 1]
    return SECONDS_PER_MECHANISM + SECONDS_PER_PAIR * pairs[candidates]
