"""Dynamics of a network: a recipe that follows all states, or some, to attractors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from iitdask.kernels.trajectories import next_codes
from iitdask.model.dynamics import (
    MAX_EXACT_STATES,
    Attractors,
    NextValues,
    WholeNetwork,
    attractors_of_map,
    attractors_with_chance,
    core_of,
    core_units,
    follow_starts,
    is_deterministic,
    next_values,
    states_of_codes,
    trajectory,
)
from iitdask.model.labels import decode_state, state_text
from iitdask.model.substrate import Substrate
from iitdask.theory.options import Theory
from iitdask.theory.stage import Array, Grid, Recipe, Region, Stage, uniform_cost
from iitdask.theory.variables import Outcome, attr_of, make_dataset, variable

N_STARTS = 1000  # States that are followed where all are too many
START_SEED = 0
MAX_LISTED = 10_000  # Attractors in a result
MAX_LISTED_STATES = 1000  # States of one attractor in a result
MAX_LONG_RUN_STATES = 1 << 16  # States with their long-run probabilities in a result
SECONDS_PER_VALUE = 4e-9  # Of one unit's next value

DYNAMICS_OUTCOMES = (
    Outcome("n_attractors", "count", "attractors that were found", attr_of("n_attractors")),
    Outcome(
        "longest_period", "count", "period of the slowest attractor", attr_of("longest_period")
    ),
    Outcome("n_recurrent", "count", "states of all attractors", attr_of("n_recurrent")),
)


def dynamics(target: WholeNetwork, _options: Theory) -> Recipe:
    """Find the attractors of a network, their basins, and where it is in the long run.

    Parameters
    ----------
    target : the network
    _options : of the theory, which means nothing here

    Returns
    -------
    DataTree, ``/attractors`` and, where all states are followed, ``/long_run``

    References
    ----------
    docs/mathematics.md 34.
    """
    substrate = target.substrate
    if not is_deterministic(substrate):
        return _tree_with_chance(substrate)
    units = core_units(substrate) or _ancestors(substrate, 0)
    core = core_of(substrate, units)
    count = math.prod(core.levels)
    network = next_values(substrate)
    if count <= MAX_EXACT_STATES:
        (filled,) = yield (_successors_stage(next_values(core), count),)
        found, _ = attractors_of_map(filled["successor"].values)
        return _exact_tree(substrate, units, found, network)
    (filled,) = yield (_starts_stage(network),)
    return _sampled_tree(filled["period"].values, filled["cycle_state"].values, network)


def _ancestors(substrate: Substrate, unit: int) -> tuple[int, ...]:
    found, new = {unit}, [unit]
    while new:
        parents = set(substrate.factors[new.pop()].parents) - found
        found |= parents
        new += parents
    return tuple(sorted(found))


def prepare_network(arrays: Mapping[str, Array]) -> NextValues:
    """Return the next values of units from the inputs of a stage."""
    return NextValues(**arrays)


def _successors_stage(network: NextValues, count: int) -> Stage:
    return Stage(
        name="successors",
        grid=Grid(("state",), (count,)),
        variables=(variable("successor", "int64", -1),),
        compute=fill_successors,
        inputs=network._asdict(),
        prepare=prepare_network,
        cost=uniform_cost(SECONDS_PER_VALUE * len(network.levels)),
        size_is_known=True,
    )


def fill_successors(network: NextValues, region: Region) -> Mapping[str, Array]:
    """Compute the state that follows each of a range of states."""
    begin, end = region[0].start, region[0].stop
    return {"successor": next_codes(begin, end - begin, *network)}


def _starts_stage(network: NextValues) -> Stage:
    n = len(network.levels)
    return Stage(
        name="starts",
        grid=Grid(("start",), (N_STARTS,)),
        variables=(
            variable("period", "int64", 0),
            variable("cycle_state", "uint8", 0, (("unit", n),)),
        ),
        compute=fill_starts,
        inputs=network._asdict(),
        prepare=prepare_network,
        cost=uniform_cost(1000 * SECONDS_PER_VALUE * n),
        size_is_known=True,
    )


def fill_starts(network: NextValues, region: Region) -> Mapping[str, Array]:
    """Follow a range of random states, each the same whatever the range, to their attractors."""
    starts = np.array(
        [
            (
                np.random.default_rng([START_SEED, start]).random(len(network.levels))
                * network.levels
            ).astype(np.uint8)
            for start in range(region[0].start, region[0].stop)
        ]
    )
    period, cycle = follow_starts(network, starts)
    return {"period": period, "cycle_state": cycle}


def _exact_tree(
    substrate: Substrate, units: Sequence[int], found: Attractors, network: NextValues
) -> xr.DataTree:
    """Return the attractors of the core as those of the whole network, which follows it."""
    n, others = (
        substrate.n_units,
        math.prod(substrate.levels) / math.prod(substrate.levels[unit] for unit in units),
    )
    begins = np.zeros((min(len(found.first), MAX_LISTED), n), np.uint8)
    listed = found.first[: len(begins)]
    begins[:, list(units)] = states_of_codes(listed, [substrate.levels[u] for u in units])
    # What follows the core has settled after as many steps as there are units, in the same phase.
    for k, period in enumerate(found.period[: len(begins)].tolist()):
        *_, begins[k] = trajectory(network, begins[k], -(-n // period) * period)
    basins = found.basin * others
    share = found.basin / found.basin.sum()
    tree = _tree(network, begins, found.period, found.n_states, (basins, share))
    tree.attrs |= {"exact": True, "deterministic": True}
    count = int(found.n_states.sum())
    if count <= MAX_LONG_RUN_STATES and len(begins) == len(found.first):
        states, probability = [], []
        for begin, period, part in zip(begins, found.period.tolist(), share.tolist(), strict=True):
            states += [state_text(s.tolist()) for s in trajectory(network, begin, period - 1)]
            probability += [part / period] * period
        tree["long_run"] = _long_run(states, probability)
    return tree


def _sampled_tree(period: Array, cycle: Array, network: NextValues) -> xr.DataTree:
    ended = period > 0
    states, first, counts = np.unique(cycle[ended], axis=0, return_index=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    periods = period[ended][first][order]
    share = counts[order] / len(period)
    basins = share * np.prod(network.levels.astype(np.float64))
    tree = _tree(network, states[order], periods, periods, (basins, share))
    about = {"n_starts": len(period), "n_unresolved": int((~ended).sum())}
    tree.attrs |= {"exact": False, "deterministic": True, **about}
    return tree


def _tree(
    network: NextValues,
    begins: Array,
    period: Array,
    n_states: Array,
    basins: tuple[Array, Array],
) -> xr.DataTree:
    texts = []
    for begin, length in zip(begins[:MAX_LISTED], period.tolist(), strict=False):
        steps = min(length, MAX_LISTED_STATES) - 1
        texts.append(" ".join(state_text(s.tolist()) for s in trajectory(network, begin, steps)))
    return _attractors_tree(texts, period, n_states, basins)


def _attractors_tree(
    texts: Sequence[str], period: Array, n_states: Array, basins: tuple[Array, Array]
) -> xr.DataTree:
    listed = slice(len(texts))
    data = make_dataset(
        {
            "states": (("attractor",), np.array(texts, object)),
            "period": (("attractor",), period[listed]),
            "n_states": (("attractor",), n_states[listed]),
            "basin": (("attractor",), basins[0][listed]),
            "basin_share": (("attractor",), basins[1][listed]),
        }
    )
    attrs: dict[str, Any] = {
        "n_attractors": len(period),
        "longest_period": int(period.max(initial=0)),
        "n_recurrent": int(n_states.sum()),
    }
    tree = xr.DataTree.from_dict({"/attractors": data})
    tree.attrs |= attrs
    return tree


def _tree_with_chance(substrate: Substrate) -> xr.DataTree:
    found, classes, long_run = attractors_with_chance(substrate)
    texts = [
        " ".join(
            state_text(decode_state(code, substrate.levels))
            for code in np.flatnonzero(row).tolist()
        )
        for row in classes
    ]
    share = found.basin / found.basin.sum()
    tree = _attractors_tree(texts, found.period, found.n_states, (found.basin, share))
    tree.attrs |= {"exact": True, "deterministic": False}
    codes = np.flatnonzero(classes.any(axis=0)).tolist()
    states = [state_text(decode_state(code, substrate.levels)) for code in codes]
    tree["long_run"] = _long_run(states, long_run[codes])
    return tree


def _long_run(states: Sequence[str], probability: Any) -> xr.DataTree:
    values = {"long_run_probability": (("state",), np.asarray(probability, np.float64))}
    coords = {"state": ("state", np.array(states, object))}
    return xr.DataTree(make_dataset(values, coords=coords))
