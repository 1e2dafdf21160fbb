"""Maximally irreducible causes and effects from local tables, as stages.

A cell is a mechanism connected by shared inputs and by shared outputs; others are reducible.
Effects are searched first, causes only of mechanisms that have effects. A cell has room for a few
tied purviews or states; of those with more a second stage lists all. docs/mathematics.md 27.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from iitdask.kernels.sparse.local_pairs import make_local_scratch, search_local_mechanisms
from iitdask.model.system import CandidateSystem
from iitdask.theory.iit4.distinctions import TiedPurviews, collect_ties
from iitdask.theory.iit4.local_details import describe_local_pairs
from iitdask.theory.iit4.local_network import (
    FIRST_CAPACITY,
    LISTED_TIES,
    PreparedNetwork,
    moved_masks,
    prepare_network,
)
from iitdask.theory.iit4.mechanisms import CAUSE, EFFECT
from iitdask.theory.iit4.search_path import SparseSearch
from iitdask.theory.iit4.symmetries import Orbits
from iitdask.theory.stage import Array, CumulativeCost, Filled, Grid, Region, Stage, Steps
from iitdask.theory.ties import PurviewOrder
from iitdask.theory.variables import variable


def find_connected_mechanisms(
    system: CandidateSystem, search: SparseSearch, states: tuple[int, int], ties: str
) -> Steps[tuple[list[TiedPurviews], dict[str, Any]]]:
    """Find the irreducible mechanisms with their tied causes and effects.

    Of mechanisms that a symmetry of the system turns into each other one is searched.

    Parameters
    ----------
    system : the candidate system
    search : its local tables and its connected mechanisms
    states : the system's cause and effect state, little-endian
    ties : the order among ties, ``reference`` or ``canonical``

    Returns
    -------
    tuple, the irreducible mechanisms in order of their masks, and counts of what was searched

    References
    ----------
    docs/mathematics.md 27.
    """
    orbits = search.orbits
    sets = orbits.representatives
    known = np.zeros((len(sets), 2))
    (mice,) = yield (_mechanism_stage("sparse/mice", search, sets, known, LISTED_TIES),)
    phi, counts = mice["phi"].values, mice["ties"].values
    irreducible = phi.min(axis=1) > 0
    many = irreducible & (counts.max(axis=1) > LISTED_TIES)
    masks: list[Array] = list(mice["tied_masks"].values)
    if many.any():
        most = int(counts[many].max())
        (all_,) = yield (_mechanism_stage("sparse/ties", search, sets[many], phi[many], most),)
        for k, row in zip(np.flatnonzero(many).tolist(), all_["tied_masks"].values, strict=True):
            masks[k] = row
    sides = (_tied_rows(side, search, orbits, phi, (masks, counts)) for side in (CAUSE, EFFECT))
    rows = np.concatenate(list(sides))
    tied: list[TiedPurviews] = []
    if len(rows):
        found = yield from describe_local_pairs(system, search, rows, states)
        tied = collect_ties(found, PurviewOrder(system, ties))
    return tied, _statistics(search, mice)


def _tied_rows(
    side: int, search: SparseSearch, orbits: Orbits, phi: Array, ties: tuple[Sequence[Array], Array]
) -> Array:
    """List direction, mechanism and purview of the tied pairs of irreducible mechanisms, ascending.

    phi : (r, directions) of the representatives
    ties : tied purviews of each, (directions, tied), and (r, directions) how many they are
    """
    masks, counts = ties
    chosen = np.flatnonzero((phi.min(axis=1) > 0)[orbits.which])
    which = orbits.which[chosen]
    number = counts[which, side]
    purviews = [masks[k][side, : counts[k, side]] for k in which.tolist()]
    each = np.repeat(chosen, number)
    tied = orbits.restored(np.concatenate([np.zeros(0, np.int64), *purviews]), orbits.how[each])
    order = np.lexsort((tied, each))
    columns = (np.full(len(each), side), search.mechanisms[each], tied[order])
    return np.column_stack(columns).astype(np.int64)


def _statistics(search: SparseSearch, mice: Filled) -> dict[str, Any]:
    return {
        "path": "sparse",
        "mechanisms": len(search.mechanisms),
        "mechanisms_searched": len(mice["searched"].values),
        "pairs_estimated": search.pairs,
        "pairs_searched": int(mice["searched"].values.sum()),
        "search_nodes": int(mice["nodes"].values.sum()),
    }


def _mechanism_stage(
    name: str, search: SparseSearch, mechanisms: Array, known: Array, most: int
) -> Stage:
    """Return the stage that searches mechanisms, with room for so many tied purviews of each.

    known : (m, 2) phi that each is known to attain as cause and as effect, bits
    """
    rank = np.searchsorted(search.orbits.representatives, mechanisms)
    inner = (("direction", 2),)
    return Stage(
        name=name,
        grid=Grid(("mechanism",), (len(mechanisms),)),
        variables=(
            variable("phi", "float64", np.nan, inner),
            variable("ties", "int64", 0, inner),
            variable("tied_masks", "int64", 0, (*inner, ("tied", most))),
            variable("searched", "int64", 0, inner),
            variable("nodes", "int64", 0, inner),
        ),
        compute=fill_mechanisms,
        inputs={
            **search.network.arrays,
            "room": np.array([search.network.frontier_states, most], np.int64),
            "mechanisms": search.network.along_order(mechanisms),
            "known": known,
        },
        prepare=prepare_network,
        cost=CumulativeCost.from_seconds(search.seconds[rank]),
        scratch=search.network.scratch_bytes,
        axis_masks={"mechanism": mechanisms},
    )


def fill_mechanisms(prepared: PreparedNetwork, region: Region) -> dict[str, Array]:
    """Search a range of mechanisms."""
    net, inputs = prepared
    mechanisms, (states, most) = inputs["mechanisms"][region[0]], inputs["room"].tolist()
    count = len(mechanisms)
    known = np.ascontiguousarray(inputs["known"][region[0]].T)
    phis, ties = np.zeros((2, count)), np.zeros((2, count), np.int64)
    purviews, tally = np.zeros((2, count, most), np.int64), np.zeros((2, count, 4), np.int64)
    done, capacity = 0, FIRST_CAPACITY
    while done < count:
        work = make_local_scratch(net, states, most, capacity)
        done = search_local_mechanisms(
            net, work, mechanisms, known, done, phis, ties, purviews, tally
        )
        capacity *= 4  # where it stopped early, tied states did not fit
    masks = moved_masks(purviews, net.units)
    values = (phis, ties, masks, tally[..., 0], tally[..., 1:].sum(axis=-1))
    names = ("phi", "ties", "tied_masks", "searched", "nodes")
    return {name: value.swapaxes(0, 1).copy() for name, value in zip(names, values, strict=True)}
