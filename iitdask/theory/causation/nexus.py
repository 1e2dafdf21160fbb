"""The causal nexus, and true events: occurrences with both an actual cause and an actual effect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from iitdask.kernels.causation import ALPHA_ZERO_BITS
from iitdask.kernels.subsets import masks_by_size, phi_tolerance
from iitdask.model.labels import units_of_mask
from iitdask.model.transition import StatePair, StateTriple, Transition
from iitdask.theory.causation.account import (
    account,
    account_search,
    block_strengths,
    is_weakly_connected,
    links_and_account,
    weakest_cut,
)
from iitdask.theory.causation.partitions import PairSearch, minimum_partitions_inline, pair_values
from iitdask.theory.options import Causation2019
from iitdask.theory.stage import Array, Grid, Recipe, Region, Stage, scoped
from iitdask.theory.variables import make_dataset, units_of_masks, variable

BACKGROUNDS = ("causal", "2019")


def nexus(states: StatePair, options: Causation2019) -> Recipe:
    """Find the transition within a network whose account is most irreducible, and its account.

    Parameters
    ----------
    states : the network, its state before and after, and the units that may take part
    options : options of the theory

    Returns
    -------
    DataTree, ``/candidates``, the irreducible ones, and the nodes of the account

    References
    ----------
    docs/mathematics.md 13.6.
    """
    sides = [_masks_by_size(states.sources), _masks_by_size(states.targets)]
    alpha = np.zeros((0, 0))
    if all(map(len, sides)):
        (filled,) = yield (nexus_stage(states, options.background, sides),)
        alpha = filled["alpha"].values
    best = float(np.nanmax(alpha, initial=0.0))
    tied = np.argwhere(alpha >= best - phi_tolerance(best)).tolist() if best > 0 else []
    pairs = [(int(sides[0][k]), int(sides[1][j])) for k, j in tied]
    ranked = sorted(pairs, key=lambda pair: -(pair[0] | pair[1]).bit_count())
    nodes = {"/candidates": _candidates_dataset(states, sides, alpha)}
    attrs: dict[str, Any] = {
        "alpha": best,
        "n_candidates": alpha.size,
        "n_undefined": int(np.isnan(alpha).sum()),
    }
    if ranked:
        causes, effects = map(units_of_mask, ranked[0])
        both = states.before, states.after
        labels = states.substrate.labels
        named = ([labels[unit] for unit in units] for units in (causes, effects))
        transition = Transition.build(states.substrate, *both, *named)
        tree = yield from scoped("nexus", account(transition, options))
        nodes |= {node.path: node.to_dataset(inherit=False) for node in tree.subtree}
        attrs |= {"causes": list(causes), "effects": list(effects)}
    attrs["n_tied"] = len(ranked)
    nodes["/"] = nodes.get("/", xr.Dataset()).assign_attrs(attrs)
    return xr.DataTree.from_dict(nodes)


def _masks_by_size(units: Sequence[int]) -> Array:
    """Return the mask of every nonempty set of units, by size and then lexicographically."""
    masks = masks_by_size(len(units))[1:].tolist()
    return np.array([sum(1 << u for u in units_of_mask(mask, units)) for mask in masks], np.int64)


def _candidates_dataset(states: StatePair, sides: Sequence[Array], alpha: Array) -> xr.Dataset:
    """List the irreducible candidates, the most irreducible first."""
    rows, columns = np.nonzero(alpha > 0)
    order = np.argsort(-alpha[rows, columns], kind="stable")
    rows, columns = rows[order], columns[order]
    dims, n = ("candidate", "unit"), states.substrate.n_units
    return make_dataset(
        {
            "alpha": (("candidate",), alpha[rows, columns]),
            "causes": (dims, units_of_masks(sides[0][rows], n)),
            "effects": (dims, units_of_masks(sides[1][columns], n)),
        }
    )


def nexus_stage(states: StatePair, background: str, sides: Sequence[Array]) -> Stage:
    """Return the stage that computes alpha of every set of causes with every set of effects.

    `sides` has the masks of both.
    """
    substrate = states.substrate
    units = tuple(range(substrate.n_units))
    everyone = Transition(substrate, states.before, states.after, units, units, len(units))
    n_causes, n_effects = (np.bitwise_count(masks).astype(np.int64) for masks in sides)

    def seconds(region: Region) -> float:
        sizes = n_causes[region[0]][:, None] + n_effects[region[1]]
        return float((1.5e-3 + 5e-9 * np.exp2(1.585 * sizes)).sum())

    return Stage(
        name="candidates",
        grid=Grid(("causes", "effects"), (len(sides[0]), len(sides[1]))),
        variables=(variable("alpha", "float64", np.nan),),
        compute=fill_candidates,
        inputs={
            "actual": everyone.effect,
            "connectivity": np.array(substrate.connectivity),
            "levels": np.array(substrate.levels, np.int64),
            "before": np.array(states.before, np.int64),
            "causes": sides[0],
            "effects": sides[1],
            "background": np.array([BACKGROUNDS.index(background)]),
        },
        prepare=dict,
        cost=seconds,
        size_is_known=True,
    )


def fill_candidates(inputs: Mapping[str, Array], region: Region) -> dict[str, Array]:
    """Compute alpha of a range of candidates; NaN where an occurrence has no cause repertoire."""
    causes, effects = inputs["causes"][region[0]], inputs["effects"][region[1]]
    out = np.empty((len(causes), len(effects)))
    for row, a in enumerate(causes.tolist()):
        for column, b in enumerate(effects.tolist()):
            out[row, column] = candidate_alpha(inputs, units_of_mask(a), units_of_mask(b))
    return {"alpha": out}


def candidate_alpha(
    inputs: Mapping[str, Array], causes: tuple[int, ...], effects: tuple[int, ...]
) -> float:
    """Return alpha of the account of one transition, bits."""
    connectivity, before = inputs["connectivity"], inputs["before"]
    if not is_weakly_connected(connectivity, sorted({*causes, *effects})):
        return 0.0
    edges = connectivity[np.ix_(causes, effects)]
    children = edges @ (1 << np.arange(len(effects), dtype=np.int64))
    a, b = len(causes), len(effects)
    nothing = np.empty(0)
    sides = (
        PairSearch("causes", False, children, b, a, b, nothing, nothing),
        PairSearch("effects", True, children, a, b, a, nothing, nothing),
    )
    tables = _transition_tables(inputs, causes, effects)
    levels = inputs["levels"][list(causes)]
    strengths = []
    for search, table in zip(sides, tables, strict=True):
        if table is None:
            return float("nan")
        values = pair_values(search, table, levels, before[list(causes)])
        if np.isnan(values[:, -1]).any():
            return float("nan")
        alpha = minimum_partitions_inline(search, values)
        strengths.append(block_strengths(search.masks, search.n_mechanism_units, [alpha]))
    whole = strengths[0] + strengths[1].T
    if not whole[-1, -1] > ALPHA_ZERO_BITS:
        return 0.0
    last = replace(account_search(children, (a, b), "account"), added_values=None)
    loss = minimum_partitions_inline(last, whole[masks_by_size(b)])
    return weakest_cut(float(loss[-1, -1]), whole[-1])[0]


def _transition_tables(
    inputs: Mapping[str, Array], causes: tuple[int, ...], effects: tuple[int, ...]
) -> tuple[Array | None, Array]:
    """Return P(effect has its value after | state of the causes), for causes and for effects.

    None in place of the first if the posterior of the other units is needed and undefined.
    """
    levels, before = inputs["levels"].tolist(), inputs["before"].tolist()
    n = len(levels)
    actual = inputs["actual"].reshape((*levels, n), order="F")
    held = tuple(slice(None) if u in causes else before[u] for u in range(n))
    effect = actual[held][..., list(effects)].reshape((-1, len(effects)), order="F")
    if BACKGROUNDS[int(inputs["background"][0])] == "2019":
        return effect, effect
    to_effects = actual[..., list(effects)]
    outside = tuple(u for u in range(n) if u not in causes and u not in effects)
    if any(np.ptp(to_effects, axis=u).max() > 0 for u in outside):
        inside = tuple(u for u in range(n) if u not in outside)
        joint = actual.prod(axis=-1)
        if not joint.sum() > 0:
            return None, effect
        posterior = joint.sum(axis=inside, keepdims=True) / joint.sum()
        to_effects = (to_effects * posterior[..., None]).sum(axis=outside, keepdims=True)
    else:
        to_effects = to_effects.mean(axis=outside, keepdims=True)
    others = tuple(u for u in effects if u not in causes)
    cause = to_effects.mean(axis=others, keepdims=True)
    return cause.reshape((-1, len(effects)), order="F"), effect


def events(triple: StateTriple, options: Causation2019) -> Recipe:
    """Find the occurrences that have both an actual cause and an actual effect.

    Parameters
    ----------
    triple : the transitions into and out of a state
    options : options of the theory

    Returns
    -------
    DataTree, the node ``/events``, and both accounts as ``/into`` and ``/out_of``

    References
    ----------
    docs/mathematics.md 13.7.
    """
    links_in, into = yield from scoped("into", links_and_account(triple.into, options))
    links_out, out_of = yield from scoped("out-of", links_and_account(triple.out_of, options))
    causes = {link.mechanism: link for link in links_in if not link.forward}
    effects = {link.mechanism: link for link in links_out if link.forward}
    both = [mechanism for mechanism in causes if mechanism in effects]
    n = len(triple.into.units)
    rows, line = ("event", "unit"), ("event",)
    values: dict[str, tuple[tuple[str, ...], Any]] = {"mechanism": (rows, units_of_masks(both, n))}
    for name, links in (("cause", causes), ("effect", effects)):
        purviews = [links[m].purviews for m in both]
        values |= {
            f"purview_{name}": (rows, units_of_masks([masks[0] for masks in purviews], n)),
            f"alpha_{name}": (line, np.array([links[m].alpha for m in both], float)),
            f"n_tied_purviews_{name}": (line, np.array([len(masks) for masks in purviews], int)),
        }
    nodes = {"/events": make_dataset(values), "/": xr.Dataset(attrs={"n_events": len(both)})}
    for name, tree in (("into", into), ("out_of", out_of)):
        for node in tree.subtree:
            path = f"/{name}" if node.path == "/" else f"/{name}{node.path}"
            nodes[path] = node.to_dataset(inherit=False)
    return xr.DataTree.from_dict(nodes)
