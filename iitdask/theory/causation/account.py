"""The account of a transition: its causal links, and how irreducible they are together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from iitdask.kernels.causation import ALPHA_ZERO_BITS
from iitdask.kernels.subsets import masks_by_size, phi_tolerance
from iitdask.model.background import overlap_groups
from iitdask.model.contraction import TABLE_BUDGET_BYTES
from iitdask.model.labels import units_of_mask
from iitdask.model.transition import Transition
from iitdask.theory.causation.partitions import (
    PairSearch,
    PairSearchResult,
    connected_stage,
    minimum_partitions,
    pair_bytes,
    pair_searches,
    referenced_rows,
    require_defined_causes,
    require_memory,
    stage_refs,
    value_stages,
    witness_stage,
)
from iitdask.theory.options import Causation2019
from iitdask.theory.stage import Array, Filled, Grid, Recipe, Region, Stage, StageRef, Steps
from iitdask.theory.variables import (
    Outcome,
    assemble_tree,
    make_dataset,
    size_of,
    units_of_masks,
    value_of,
    variable,
)


@dataclass(frozen=True, slots=True)
class AccountIrreducibility:
    """Irreducibility of an account: the cost of its weakest cut."""

    # Cost of the weakest cut, bits: of the ``account``, of its ``causes``, of its ``effects``
    alpha: dict[str, float]
    # (n, n) connections that the account's weakest cut severs, over the transition's units
    cut: Array
    n_tied_cuts: int  # Number of tied cuts; -1 if they are too many to count, 0 if a rule decided
    reason: str  # Why alpha is 0 by a rule, or was not computed; empty otherwise


def account_irreducibility(
    transition: Transition, results: Sequence[PairSearchResult[list[Any]]]
) -> Steps[AccountIrreducibility]:
    """Find the weakest cuts of an account, and of its causes and effects alone.

    Parameters
    ----------
    transition : the transition
    results : minimum partitions of both directions, with links

    Returns
    -------
    AccountIrreducibility, alpha is 0 by a rule if the units are not connected or there is no link

    References
    ----------
    docs/mathematics.md 13.5, Eq. (13.4).
    """
    irreducible = [result for result in results if any(result.summaries)]
    if not is_weakly_connected(transition.substrate.connectivity, transition.units):
        return _without_cut(transition, 0.0, "the units do not hang together")
    if not irreducible:
        return _without_cut(transition, 0.0, "no occurrence has an actual cause or effect")
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


def _without_cut(transition: Transition, value: float, reason: str) -> AccountIrreducibility:
    alpha, n = dict.fromkeys(("account", "causes", "effects"), value), len(transition.units)
    return AccountIrreducibility(alpha, np.zeros((n, n), np.bool_), 0, reason)


def weakest_cut(cost: float, strengths: Array) -> tuple[float, float]:
    """Return alpha of an account, and the cost of its weakest cut before it is rounded to zero.

    `cost` is that of the weakest cut into blocks of effects (or nothing), bits. To keep all effects
    with some of the causes is a cut, too: `strengths` (2**a,) sums alpha over the links of all
    effects with each set of causes.
    """
    least = min(cost, float(strengths[-1] - strengths[:-1].max()))
    return (least if least > ALPHA_ZERO_BITS else 0.0), least


def account_search(children: Array, shape: tuple[int, int], name: str) -> PairSearch:
    """Return the search for the weakest cut of an account, or of its causes or effects alone.

    Its values are sums of alpha within each pair of sets of causes and effects.

    Parameters
    ----------
    children : (a,) mask of the effects that each cause feeds
    shape : number of causes and of effects
    name : ``account``, ``causes`` or ``effects``

    Returns
    -------
    PairSearch

    References
    ----------
    docs/mathematics.md 13.5 and 25.2.
    """
    forward, is_account = name == "effects", name == "account"
    n_mechanism_units, n_purview_units = shape if forward else shape[::-1]
    direction = "effects" if forward else "causes"
    return PairSearch(
        f"system/{name}",
        forward,
        children,
        n_mechanism_units,
        n_purview_units,
        order=n_mechanism_units,
        values=StageRef(f"system/{direction}-strength", "strength"),
        connected=StageRef(f"{direction}/connected", "connected"),
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
    """Sum alpha over the links within each pair of sets, (2**mechanism units, 2**purview units).

    `masks` has the mechanism of each row; `alpha` has the rows, in parts, each
    (rows, 2**purview units), bits.
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
    linked = [{k, *np.flatnonzero(row).tolist()} for k, row in enumerate(edges)]
    return len(overlap_groups(linked)) == 1


def _sum_alpha(tree: xr.DataTree) -> float:
    return math.fsum(np.asarray(tree["links"].to_dataset()["alpha"].values).tolist())


# Numbers that a sweep records of an account
ACCOUNT_OUTCOMES = (
    Outcome("alpha", "bit", "causal strength of the whole account", value_of("system", "alpha")),
    Outcome("sum_alpha", "bit", "sum over actual causes and effects", _sum_alpha),
    Outcome("n_links", "count", "actual causes and effects", size_of("links", "link")),
)


# Row of a mechanism, masks of its tied purviews, and alpha in bits
StrongestPurviews = tuple[int, tuple[int, ...], float]
DIRECTIONS = ("cause", "effect")


class Link(NamedTuple):
    """An actual cause or an actual effect."""

    forward: bool  # True if the mechanism is the cause
    mechanism: int  # Mask over the effects (of a cause sought) or the causes (of an effect sought)
    # Masks on the other side that tie, none within another; the first is named
    purviews: tuple[int, ...]
    alpha: float  # Causal strength, bits
    # log2 of the probability of the purview's actual state, given the mechanism
    log2_probability: float
    log2_unconstrained: float  # The same without the mechanism
    # Purview units that each mechanism unit keeps under the named partition; 0 elsewhere
    kept: tuple[int, ...]
    n_tied_partitions: int  # Number of tied partitions; -1 if they are too many to count


def account(transition: Transition, options: Causation2019) -> Recipe:
    """Find every actual cause and effect of a transition, and how irreducible the account is.

    Parameters
    ----------
    transition : the transition
    options : options of the theory

    Returns
    -------
    DataTree, the nodes ``/links`` and ``/system``

    References
    ----------
    Albantakis et al. 2019; docs/mathematics.md 13.1 to 13.5.
    """
    _, tree = yield from links_and_account(transition, options)
    return tree


def links_and_account(
    transition: Transition, options: Causation2019
) -> Steps[tuple[list[Link], xr.DataTree]]:
    """Compute the links of a transition, causes before effects, and the nodes of its account."""
    both = pair_searches(transition)
    require_memory(transition, both)
    every = pair_bytes(1 << len(transition.effects), len(transition.causes))
    is_whole = 2 * every <= TABLE_BUDGET_BYTES  # of the account, its causes and its effects
    connected = [connected_stage(search, is_whole) for search in both]
    values, *_ = yield (*value_stages(transition, options.background, both), *connected)
    require_defined_causes(transition, values)
    del values, _  # as large as the tables
    results = yield from minimum_partitions(both, strongest_purviews)
    strongest = [[link for batch in search.summaries for link in batch] for search in results]
    directions = [k for k in (0, 1) if strongest[k]]
    named: dict[int, Filled] = {}
    if directions:
        filled = yield tuple(_links_stage(results[k], strongest[k]) for k in directions)
        named = dict(zip(directions, filled, strict=True))
    links = [link for k in directions for link in _links(results[k].search, strongest[k], named[k])]
    if is_whole:
        irreducibility = yield from account_irreducibility(transition, results)
    else:
        reason = "not computed: too many pairs of causes and effects"
        irreducibility = _without_cut(transition, math.nan, reason)
    return links, _account_tree(transition, links, irreducibility)


def strongest_purviews(begin: int, alpha: Array) -> list[StrongestPurviews]:
    """Return the strongest purviews of every mechanism that has a link.

    Of tied purviews those are left out that contain another (mathematics.md 13.3).

    alpha : (rows, 2**purview units) bits of the mechanisms from row ``begin`` on
    """
    out = []
    for row in np.flatnonzero(alpha.max(axis=1, initial=0.0) > 0).tolist():
        best = float(alpha[row].max())
        tied = np.flatnonzero(alpha[row] >= best - phi_tolerance(best)).tolist()
        tied.sort(key=lambda mask: (mask.bit_count(), units_of_mask(mask)))
        smallest: list[int] = []
        for mask in tied:
            if not any(mask & smaller == smaller for smaller in smallest):
                smallest.append(mask)
        out.append((begin + row, tuple(sorted(smallest, key=units_of_mask)), best))
    return out


def _links_stage(result: PairSearchResult[Any], strongest: Sequence[StrongestPurviews]) -> Stage:
    masks = result.search.masks
    pairs = np.array([(int(masks[row]), tied[0]) for row, tied, _ in strongest], np.int64)
    alpha = np.array([alpha for *_, alpha in strongest])
    return witness_stage(result.search, result.stages, pairs, alpha)


def _links(search: PairSearch, strongest: Sequence[StrongestPurviews], named: Filled) -> list[Link]:
    masks = search.masks.tolist()
    columns = (named[name].values.tolist() for name in ("bits", "free", "kept", "ways"))
    return [
        Link(search.forward, masks[row], tied, alpha, bits, free, tuple(kept), ways)
        for (row, tied, alpha), bits, free, kept, ways in zip(strongest, *columns, strict=True)
    ]


def _account_tree(
    transition: Transition, links: Sequence[Link], irreducibility: AccountIrreducibility
) -> xr.DataTree:
    """Return ``/links`` and ``/system`` over a transition's units, with totals at the root."""
    alpha, sum_alpha = irreducibility.alpha, sum((link.alpha for link in links), 0.0)
    attrs: dict[str, Any] = {} if np.isnan(alpha["account"]) else {"alpha": alpha["account"]}
    attrs |= {
        "sum_alpha": sum_alpha,
        "n_links": len(links),
        "n_causes": sum(not link.forward for link in links),
        "n_effects": sum(link.forward for link in links),
    }
    system: dict[str, tuple[tuple[str, ...], Any]] = {
        "alpha": ((), alpha["account"]),
        "alpha_causes": ((), alpha["causes"]),
        "alpha_effects": ((), alpha["effects"]),
        "sum_alpha": ((), sum_alpha),
        "n_tied_partitions": ((), irreducibility.n_tied_cuts),
        "cut": (("source", "target"), irreducibility.cut),
    }
    nodes = {
        "/": xr.Dataset(attrs=attrs),
        "/links": _links_dataset(transition, links),
        "/system": make_dataset(system, {"reason": irreducibility.reason}),
    }
    return assemble_tree(nodes)


def _links_dataset(t: Transition, links: Sequence[Link]) -> xr.Dataset:
    places = {unit: k for k, unit in enumerate(t.units)}
    positions = [[places[i] for i in side] for side in (t.effects, t.causes)]

    def over_units(mask: int, forward: bool) -> int:
        """Turn a mask over the effects, or the causes, into one over the transition's units."""
        return sum(1 << k for k in units_of_mask(mask, positions[forward]))

    n, most = len(t.units), max((len(link.purviews) for link in links), default=1)
    mechanisms = [over_units(link.mechanism, link.forward) for link in links]
    tied = np.zeros((len(links), most), np.int64)
    kept = np.full((len(links), n), -1)
    for k, link in enumerate(links):
        tied[k, : len(link.purviews)] = [over_units(m, not link.forward) for m in link.purviews]
        for i in units_of_mask(link.mechanism):
            kept[k, positions[link.forward][i]] = over_units(link.kept[i], not link.forward)
    alpha = np.array([link.alpha for link in links])
    log2_probability = np.array([link.log2_probability for link in links])
    log2_unconstrained = np.array([link.log2_unconstrained for link in links])
    line, rows = ("link",), ("link", "unit")
    return make_dataset(
        {
            "direction": (line, np.array([DIRECTIONS[link.forward] for link in links], object)),
            "mechanism": (rows, units_of_masks(mechanisms, n)),
            "purview": (rows, units_of_masks(tied[:, 0], n)),
            "alpha": (line, alpha),
            "probability": (line, np.exp2(log2_probability)),
            "partitioned_probability": (line, np.exp2(log2_probability - alpha)),
            "ratio": (line, log2_probability - log2_unconstrained),
            "n_tied_purviews": (line, np.array([len(link.purviews) for link in links], int)),
            "tied_purview": (("link", "tie", "unit"), units_of_masks(tied, n).reshape(-1, most, n)),
            "n_tied_partitions": (line, np.array([link.n_tied_partitions for link in links], int)),
            "kept": (rows, kept),
        }
    )
