"""Details of pairs from local tables: states, ties, the named partition; and repertoires."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from iitdask.kernels.iit4.mechanism_partition import ON_CAUSE, ON_EFFECT
from iitdask.kernels.sparse.local_pairs import (
    LocalScratch,
    make_local_scratch,
    name_local_pair,
    open_local_pair,
)
from iitdask.kernels.sparse.local_tables import SparseNetwork
from iitdask.kernels.subsets import phi_tolerance
from iitdask.model.labels import states_within
from iitdask.model.system import CandidateSystem
from iitdask.theory.iit4.distinctions import CauseEffectSide
from iitdask.theory.iit4.local_network import (
    FIRST_CAPACITY,
    LISTED_TIES,
    PreparedNetwork,
    moved_masks,
    prepare_network,
)
from iitdask.theory.iit4.mechanisms import CAUSE, EFFECT
from iitdask.theory.iit4.search_path import SparseSearch
from iitdask.theory.stage import Array, Grid, Region, Stage, Steps
from iitdask.theory.variables import variable

SIDE_OF_DIRECTION = {CAUSE: ON_CAUSE, EFFECT: ON_EFFECT}
SECONDS_PER_PAIR = 1e-4


def describe_local_pairs(
    system: CandidateSystem, search: SparseSearch, pairs: Array, states: tuple[int, int]
) -> Steps[list[tuple[int, int, CauseEffectSide]]]:
    """Find states, ties and the named partition of pairs.

    Parameters
    ----------
    system : the candidate system
    search : its local tables
    pairs : (pairs, 3) direction, mechanism and purview
    states : the system's cause and effect state, little-endian, at which a partition is named

    Returns
    -------
    list of direction, mechanism and its cause or effect

    References
    ----------
    docs/mathematics.md 6.2, 15.1 and 27.6.
    """
    preferred = np.empty(len(pairs), np.int64)
    for side in (CAUSE, EFFECT):
        rows = pairs[:, 0] == side
        preferred[rows] = states_within(states[side], system.levels, pairs[rows, 2])
    chosen = np.column_stack([pairs, preferred])
    (details,) = yield (_detail_stage("sparse/details", search, chosen, LISTED_TIES),)
    codes: list[Array] = list(details["tied_codes"].values)
    ties = details["ties"].values
    many = np.flatnonzero(ties > LISTED_TIES)
    if len(many):
        (all_,) = yield (_detail_stage("sparse/states", search, chosen[many], int(ties.max())),)
        for k, row in zip(many.tolist(), all_["tied_codes"].values, strict=True):
            codes[k] = row
    names = ("phi", "information", "state", "ties", "kept")
    columns = [details[name].values.tolist() for name in names]
    found = []
    for (side, mechanism, purview), tied, *row in zip(pairs.tolist(), codes, *columns, strict=True):
        phi, information, state, count, kept = row
        listed = tuple(tied[:count].tolist())
        one = CauseEffectSide(purview, phi, information, state, listed, tuple(kept))
        found.append((side, mechanism, one))
    return found


def _detail_stage(name: str, search: SparseSearch, chosen: Array, most: int) -> Stage:
    """Return the stage that describes pairs, with room for so many tied states of each.

    chosen : (pairs, 4) direction, mechanism, purview, and the state at which to name a partition
    """
    return Stage(
        name=name,
        grid=Grid(("pair",), (len(chosen),)),
        variables=(
            variable("phi", "float64", np.nan),
            variable("information", "float64", np.nan),
            variable("state", "int64", -1),
            variable("ties", "int64", 0),
            variable("pairs", "int64", 0),
            variable("tied_codes", "int64", -1, (("tied", most),)),
            variable("kept", "int64", -1, (("unit", len(search.network.order)),)),
        ),
        compute=fill_pairs,
        inputs={
            **search.network.arrays,
            "room": np.array([search.network.frontier_states, most], np.int64),
            "chosen": chosen,
        },
        prepare=prepare_network,
        cost=lambda region: SECONDS_PER_PAIR * (region[0].stop - region[0].start),
        scratch=search.network.scratch_bytes,
        axis_masks={"pair": chosen[:, :3]},
    )


def fill_pairs(prepared: PreparedNetwork, region: Region) -> dict[str, Array]:
    """Describe a range of pairs."""
    net, inputs = prepared
    rows, (states, most) = inputs["chosen"][region[0]], inputs["room"].tolist()
    n, count, place = len(net.levels), len(rows), np.argsort(net.units)
    along = moved_masks(rows[:, 1:3], place).tolist()
    values, numbers = np.zeros((count, 2)), np.full((count, 3), -1)
    codes, kept = np.full((count, most), -1), np.full((count, n), -1)
    work = make_local_scratch(net, states, 1, FIRST_CAPACITY)
    for k, (direction, _, _, wanted) in enumerate(rows.tolist()):
        side, found = SIDE_OF_DIRECTION[direction], np.zeros(3, np.int64)
        while True:
            open_local_pair(net, work, side, *along[k], values[k], found)
            if not work.states.overflow[0]:
                break
            work = make_local_scratch(net, states, 1, 4 * len(work.states.codes))
        order, tied, first = _tied_states(net, work, along[k][1], int(found[0]))
        listed = tied[: len(codes[k])]
        codes[k, : len(listed)] = listed
        chosen = wanted if wanted in tied else first
        at = int(order[chosen])
        pairs = name_local_pair(net, work, side, at, found, kept[k])
        numbers[k] = first, len(tied), int(pairs)
    names = ("phi", "information", "state", "ties", "pairs", "tied_codes", "kept")
    return dict(zip(names, (*values.T.copy(), *numbers.T.copy(), codes, kept), strict=True))


def _tied_states(
    net: SparseNetwork, work: LocalScratch, purview: int, count: int
) -> tuple[Mapping[int, int], list[int], int]:
    """Return positions of specified states, those that tie, ascending, and the one that is named.

    That is the first that no later one exceeds, docs/mathematics.md 6.2. States are numbered over
    the units of the system, not along the order.
    """
    codes = _renumbered_states(net, purview, work.states.codes[:count].copy())
    order = {code: k for k, code in enumerate(codes.tolist())}
    phis = work.states.phis
    best, first = -1.0, 0
    for code in sorted(order):
        phi = float(phis[order[code]])
        if best < 0.0 or phi > best + phi_tolerance(best):
            best, first = phi, code
    least = best - phi_tolerance(best)
    return order, [code for code in sorted(order) if phis[order[code]] >= least], first


def _renumbered_states(net: SparseNetwork, purview: int, codes: Array) -> Array:
    """Turn numbers of states over places of the linear order into those over units."""
    places = [k for k in range(len(net.levels)) if purview >> k & 1]
    weight, weights = 1, {}
    for place in sorted(places, key=lambda k: int(net.units[k])):
        weights[place] = weight
        weight *= int(net.levels[place])
    out = np.zeros_like(codes)
    for place in places:
        out += codes % net.levels[place] * weights[place]
        codes //= net.levels[place]
    return out


def local_repertoire(net: SparseNetwork, direction: int, mechanism: int, purview: int) -> Array:
    """Return the repertoire of a pair, a number per state of the purview, little-endian.

    Parameters
    ----------
    net : the system
    direction : CAUSE or EFFECT
    mechanism, purview : masks of places of the linear order

    Returns
    -------
    ndarray, (states of the purview,)

    References
    ----------
    docs/mathematics.md 3.
    """
    places = [k for k in range(len(net.levels)) if purview >> k & 1]
    places.sort(key=lambda k: int(net.units[k]))
    out = np.ones([int(net.levels[k]) for k in places])
    if direction == EFFECT:
        for axis, j in enumerate(places):
            inputs = net.effect.inputs[j, : net.effect.width[j]].tolist()
            row = net.effect.current[j, _local_mask(inputs, mechanism)]
            values = net.effect.probability[row, : net.levels[j]]
            out = out * values.reshape([-1 if a == axis else 1 for a in range(len(places))])
        return out.ravel(order="F")
    for i in range(len(net.levels)):
        if mechanism >> i & 1:
            inputs = net.cause.inputs[i, : net.cause.width[i]].tolist()
            inside = [unit for unit in inputs if purview >> unit & 1]
            begin = net.cause.offsets[i, _local_mask(inputs, purview)]
            sizes = [int(net.levels[unit]) for unit in inside]
            table = net.cause.probability[begin : begin + int(np.prod(sizes)), 0]
            cube = table.reshape(sizes, order="F")
            axes = np.argsort([places.index(unit) for unit in inside])
            shape = [int(net.levels[k]) if k in inside else 1 for k in places]
            out = out * cube.transpose(axes).reshape(shape)
    return np.asarray(out / out.sum()).ravel(order="F")


def _local_mask(inputs: Sequence[int], mask: int) -> int:
    return sum((mask >> unit & 1) << k for k, unit in enumerate(inputs))
