"""Irreducibility of a causal account: the cost of its weakest cut.

A cut keeps some disjoint blocks of causes and effects together. Averaging severed inputs out
changes nothing for pairs within a block and disconnects all others, so the account of the cut
transition is what the intact one has within the blocks: the strengths of blocks add, and the
best cut is found as the best partition of a pair is, with sums of alpha for values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from iitdask.kernels.causation import ALPHA_ZERO_BITS
from iitdask.kernels.subsets import masks_by_size, phi_tolerance
from iitdask.model.labels import units_of_mask
from iitdask.model.transition import Transition
from iitdask.theory.causation.partitions import (
    PairSearch,
    PairSearchResult,
    minimum_partitions,
    referenced_rows,
    stage_refs,
    witness_stage,
)
from iitdask.theory.stage import Array, Grid, Region, Stage, StageRef, Steps
from iitdask.theory.variables import variable

NO_LINKS = "no occurrence has an actual cause or effect"
DISCONNECTED = "the units do not hang together"
NOT_COMPUTED = "not computed: too many pairs of causes and effects"


@dataclass(frozen=True, slots=True)
class AccountIrreducibility:
    """Irreducibility of an account: the cost of its weakest cut."""

    alpha: dict[str, float]
    """Cost of the weakest cut, bits: of the ``account``, of its ``causes``, of its ``effects``."""
    cut: Array
    """(n, n) connections that the account's weakest cut severs, over the transition's units."""
    n_tied_cuts: int
    """Number of tied cuts; -1 if they are too many to count, 0 if a rule decided."""
    reason: str
    """Why alpha is 0 by a rule, or was not computed; empty otherwise."""


def account_irreducibility(
    transition: Transition, results: Sequence[PairSearchResult[list[Any]]]
) -> Steps[AccountIrreducibility]:
    """Find the weakest cuts of an account, and of its causes and effects alone.

    `results` are the minimum partitions of both directions, with links. Alpha is 0 by a rule if the
    units are not connected or there is no link.

    References
    ----------
    docs/mathematics.md 13.5, Eq. (13.4).
    """
    scattered = not is_weakly_connected(transition.substrate.connectivity, transition.units)
    irreducible = [result for result in results if any(result.summaries)]
    if scattered or not irreducible:
        return _without_cut(transition, 0.0, DISCONNECTED if scattered else NO_LINKS)
    tables = yield tuple(strength_stage(result) for result in results)
    strengths = np.empty(1 << len(transition.causes))  # of all effects with each set of causes
    strengths[masks_by_size(len(transition.causes))] = tables[1]["strength"][:, -1].values
    strengths += tables[0]["strength"][-1].values
    del tables  # as large as the tables of pairs
    names = ["account", *(result.search.name for result in irreducible)]
    shape = (len(transition.causes), len(transition.effects))
    searches = [account_search(transition.children, shape, name) for name in names]
    partitions = yield from minimum_partitions(searches, lambda _, rows: float(rows[-1, -1]))
    alpha = dict.fromkeys(("account", "causes", "effects"), 0.0)
    alpha |= {name: result.summaries[-1] for name, result in zip(names, partitions, strict=True)}
    alpha["account"], least = weakest_cut(alpha["account"], strengths)
    kept, n_tied_cuts = yield from _named_cut(partitions[0], strengths, least)
    return AccountIrreducibility(alpha, _severed_connections(transition, kept), n_tied_cuts, "")


def uncomputed_irreducibility(transition: Transition) -> AccountIrreducibility:
    """Return the irreducibility of an account whose cuts were not searched: alpha is NaN."""
    return _without_cut(transition, float("nan"), NOT_COMPUTED)


def _without_cut(transition: Transition, value: float, reason: str) -> AccountIrreducibility:
    alpha, n = dict.fromkeys(("account", "causes", "effects"), value), len(transition.units)
    return AccountIrreducibility(alpha, np.zeros((n, n), np.bool_), 0, reason)


def weakest_cut(cost: float, strengths: Array) -> tuple[float, float]:
    """Return alpha of an account, and the cost of its weakest cut before it is rounded to zero.

    To keep all effects with some of the causes is a cut, too: of the effects' occurrences.

    Parameters
    ----------
    cost : of the weakest cut into blocks of effects (or nothing), bits
    strengths : (2**a,) sum of alpha over the links of all effects with each set of causes, bits
    """
    least = min(cost, float(strengths[-1] - strengths[:-1].max()))
    return (least if least > ALPHA_ZERO_BITS else 0.0), least


def account_search(children: Array, shape: tuple[int, int], name: str) -> PairSearch:
    """Return the search for the weakest cut of an account, or of its causes or effects by name.

    Its values are sums of alpha within each pair of sets of causes and effects. `shape` counts
    causes and effects.

    References
    ----------
    docs/mathematics.md 13.5 and 25.2.
    """
    a, b = shape
    forward = name == "effects"
    n_mechanism_units, n_purview_units = (a, b) if forward else (b, a)
    direction = "effects" if forward else "causes"
    connected = StageRef(f"{direction}/connected", "connected")
    values = StageRef(f"system/{direction}-strength", "strength")
    is_account = name == "account"
    return PairSearch(
        f"system/{name}",
        forward,
        children,
        n_mechanism_units,
        n_purview_units,
        n_mechanism_units,
        values,
        connected,
        only_whole_pair=True,
        added_values=StageRef("system/effects-strength", "strength") if is_account else None,
        keeps_best=is_account,
    )


def strength_stage(result: PairSearchResult[Any]) -> Stage:
    """Return the stage that sums alpha over the links of one direction within each pair of sets.

    Mechanisms are listed by size.
    """
    search = result.search
    cells = 1 << search.n_mechanism_units + search.n_purview_units
    return Stage(
        name=f"system/{search.name}-strength",
        # Every set needs those within it: one block.
        grid=Grid(("mechanism",), (1 << search.n_mechanism_units,), unsplit=("mechanism",)),
        variables=(variable("strength", "float64", 0.0, search.purview_axis),),
        compute=fill_strengths,
        inputs={"masks": search.masks, **stage_refs(result.stages, "alpha")},
        cost=lambda _region: 1e-9 * (search.n_mechanism_units + search.n_purview_units) * cells,
        scratch=16 * cells,
        size_is_known=True,
    )


def fill_strengths(inputs: Mapping[str, Array], region: Region) -> dict[str, Array]:
    """Sum alpha over the links within all pairs of sets."""
    n_mechanism_units, alpha = (region[0].stop - 1).bit_length(), referenced_rows(inputs, "alpha")
    strengths = block_strengths(inputs["masks"], n_mechanism_units, alpha)
    return {"strength": strengths[masks_by_size(n_mechanism_units)]}


def block_strengths(masks: Array, n_mechanism_units: int, alpha: Sequence[Array]) -> Array:
    """Sum alpha over the links within each pair of sets.

    Parameters
    ----------
    masks : mechanism of each row
    alpha : rows in the order of `masks`, in parts; each (rows, 2**purview units), bits

    Returns
    -------
    ndarray
        (2**mechanism units, 2**purview units) sums, bits.
    """
    size = alpha[0].shape[1]
    out = np.zeros((1 << n_mechanism_units, size))
    begin = 0
    for rows in alpha:
        out[masks[begin : begin + len(rows)]] = rows
        begin += len(rows)
    for bit in range(size.bit_length() - 1):  # the best purview within each set
        halves = out.reshape(1 << n_mechanism_units, -1, 2, 1 << bit)
        np.maximum(halves[:, :, 1], halves[:, :, 0], out=halves[:, :, 1])
    for bit in range(n_mechanism_units):  # summed over the mechanisms within each set
        halves = out.reshape(-1, 2, 1 << bit, size)
        halves[:, 1] += halves[:, 0]
    return out


def _named_cut(
    result: PairSearchResult[float], strengths: Array, least: float
) -> Steps[tuple[Array, int]]:
    """Return what each effect keeps under the named cut, and how many cuts tie."""
    search, top = result.search, float(strengths[-1])
    n_tied_cuts, kept = 0, np.zeros(search.n_mechanism_units, np.int64)
    if result.summaries[-1] <= least + phi_tolerance(least):
        pair = np.array([[(1 << search.n_mechanism_units) - 1, (1 << search.n_purview_units) - 1]])
        (named,) = yield (witness_stage(search, result.stages, pair, np.array([least])),)
        n_tied_cuts, kept = int(named["ways"].values[0]), named["kept"].values[0]
    others = np.flatnonzero(strengths[1:-1] >= top - least - phi_tolerance(least)) + 1
    if n_tied_cuts == 0 and len(others):
        kept = np.full(search.n_mechanism_units, others[0])
    return kept, n_tied_cuts if n_tied_cuts < 0 else n_tied_cuts + len(others)


def _severed_connections(transition: Transition, kept: Array) -> Array:
    """Return the severed connections; a cause keeps those to the effects of its own block."""
    t = transition
    places = {unit: k for k, unit in enumerate(t.units)}
    cut = np.zeros((len(t.units), len(t.units)), np.bool_)
    cut[[places[i] for i in t.causes]] = True
    for effect, mask in zip(t.effects, kept.tolist(), strict=True):
        cut[[places[i] for i in units_of_mask(mask, t.causes)], places[effect]] = False
    return cut


def is_weakly_connected(connectivity: Array, units: Sequence[int]) -> bool:
    """Return True if each unit reaches all others when directions do not matter."""
    edges = connectivity[np.ix_(units, units)]
    edges = edges | edges.T
    reached = np.zeros(len(units), np.bool_)
    reached[0] = True
    while True:
        grown = reached | edges[reached].any(axis=0)
        if (grown == reached).all():
            return bool(reached.all())
        reached = grown
