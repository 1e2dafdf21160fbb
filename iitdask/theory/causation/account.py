"""The account of a transition: its causal links, and how irreducible they are together."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from iitdask.kernels.causation import ALPHA_ZERO_BITS
from iitdask.kernels.subsets import masks_by_size, phi_tolerance
from iitdask.model.background import overlap_groups
from iitdask.model.contraction import TABLE_BUDGET_BYTES
from iitdask.model.labels import units_of_mask
from iitdask.model.transition import Transition
from iitdask.theory.causation.connected_pairs import (
    ConnectedSearch,
    Records,
    known_pairs,
    pair_records,
    sparse_searches,
)
from iitdask.theory.causation.connected_pairs import witness_stage as connected_witness_stage
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
from iitdask.theory.stage import (
    Array,
    Filled,
    Grid,
    Recipe,
    Region,
    Stage,
    StageRef,
    Steps,
    gather,
)
from iitdask.theory.variables import (
    Outcome,
    assemble_tree,
    make_dataset,
    size_of,
    units_of_masks,
    value_of,
    variable,
)

# A mechanism, masks of its tied purviews, and alpha in bits
StrongestPurviews = tuple[int, tuple[int, ...], float]


@dataclass(frozen=True, slots=True)
class AccountIrreducibility:
    """Irreducibility of an account: the cost of its weakest cut."""

    # Cost of the weakest cut, bits: of the ``account``, of its ``causes``, of its ``effects``
    alpha: dict[str, float]
    # (n, n) connections that the account's weakest cut severs, over the transition's units
    cut: Array
    n_tied_cuts: int  # Number of tied cuts; -1 if they are too many to count, 0 if a rule decided
    reason: str  # Why alpha is 0 by a rule, or was not computed; empty otherwise


class LinkSide(NamedTuple):
    """What one direction contributes to an account."""

    search: PairSearch
    strongest: list[StrongestPurviews]  # By size of the mechanism, then lexicographically
    witness: Callable[[Array, Array], Stage]  # Names partitions of pairs that lose some bits
    strength: Callable[[], Stage]  # Sums alpha over the links within each pair of sets


def account_irreducibility(
    transition: Transition, sides: Sequence[LinkSide], is_whole: bool
) -> Steps[AccountIrreducibility]:
    """Find the weakest cuts of an account, and of its causes and effects alone.

    Parameters
    ----------
    transition : the transition
    sides : its causes and its effects
    is_whole : whether tables over all pairs of causes and effects can be made; without them only
        cuts that lose nothing are found

    Returns
    -------
    AccountIrreducibility, alpha is 0 by a rule if the units are not connected or there is no link

    References
    ----------
    docs/mathematics.md 13.5, Eq. (13.4).
    """
    irreducible = [side for side in sides if side.strongest]
    if not is_weakly_connected(transition.substrate.connectivity, transition.units):
        return _without_cut(transition, 0.0, "the units do not hang together")
    if not irreducible:
        return _without_cut(transition, 0.0, "no occurrence has an actual cause or effect")
    if not is_whole:
        return cut_between_links(transition, sides)
    tables = yield tuple(side.strength() for side in sides)
    strengths = np.empty(1 << len(transition.causes))  # of all effects with each set of causes
    strengths[masks_by_size(len(transition.causes))] = tables[1]["strength"][:, -1].values
    strengths += tables[0]["strength"][-1].values
    del tables  # as large as the tables of pairs
    names = ["account", *(side.search.name for side in irreducible)]
    shape = (len(transition.causes), len(transition.effects))
    searches = [account_search(transition.children, shape, name) for name in names]
    partitions = yield from minimum_partitions(searches, lambda _, rows: float(rows[-1, -1]))
    alpha = dict.fromkeys(("account", "causes", "effects"), 0.0)
    alpha |= {name: result.summaries[-1] for name, result in zip(names, partitions, strict=True)}
    alpha["account"], least = weakest_cut(alpha["account"], strengths)
    kept, n_tied_cuts = yield from _named_cut(partitions[0], strengths, least)
    return AccountIrreducibility(alpha, _severed_connections(transition, kept), n_tied_cuts, "")


def cut_between_links(transition: Transition, sides: Sequence[LinkSide]) -> AccountIrreducibility:
    """Find a cut between parts that no link joins; without one alpha is not a number.

    Parameters
    ----------
    transition : the transition
    sides : its causes and its effects

    Returns
    -------
    AccountIrreducibility

    References
    ----------
    docs/mathematics.md 25.4.
    """
    a, b = len(transition.causes), len(transition.effects)
    parts = {side.search.name: link_parts([side], a, b) for side in sides}
    parts["account"] = link_parts(sides, a, b)
    alpha = dict.fromkeys(parts, math.nan)
    for name, units in (("causes", range(a, a + b)), ("effects", range(a))):
        if not any(part.issuperset(units) for part in parts[name]):
            alpha[name] = 0.0  # also where there are no links
    if len(parts["account"]) == 1:
        reason = "not computed: too many pairs of causes and effects"
        return replace(_without_cut(transition, math.nan, reason), alpha=alpha)
    kept = np.zeros(b, np.int64)
    for part in parts["account"]:
        inside = sum(1 << unit for unit in part if unit < a)
        kept[[unit - a for unit in part if unit >= a]] = inside
    cut = _severed_connections(transition, kept)
    reason = "no link joins the parts that the cut leaves"
    return AccountIrreducibility(alpha | {"account": 0.0}, cut, 0, reason)


def link_parts(sides: Sequence[LinkSide], n_causes: int, n_effects: int) -> list[set[int]]:
    """Group causes, and effects numbered behind them, that links join."""
    groups = [{unit} for unit in range(n_causes + n_effects)]
    for side in sides:
        own, other = (0, n_causes) if side.search.forward else (n_causes, 0)
        for mechanism, purviews, _ in side.strongest:
            units = [unit + own for unit in units_of_mask(mechanism)]
            groups.append({*units, *(unit + other for unit in units_of_mask(purviews[0]))})
    return [set().union(*(groups[place] for place in places)) for places in overlap_groups(groups)]


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
    every = pair_bytes(1 << len(transition.effects), len(transition.causes))
    is_whole = 2 * every <= TABLE_BUDGET_BYTES  # of the account, its causes and its effects
    sparse = sparse_searches(transition, options.background, both)
    if sparse is None:
        sides = yield from _sides_by_tables(transition, options, both, is_whole)
    else:
        sides = yield from _sides_by_connections(transition, both, sparse, is_whole)
    directions = [side for side in sides if side.strongest]
    filled: tuple[Filled, ...] = ()
    if directions:
        filled = yield tuple(_links_stage(side) for side in directions)
    links = [
        link for side, named in zip(directions, filled, strict=True) for link in _links(side, named)
    ]
    irreducibility = yield from account_irreducibility(transition, sides, is_whole)
    return links, _account_tree(transition, links, irreducibility)


def _sides_by_tables(
    transition: Transition,
    options: Causation2019,
    both: tuple[PairSearch, PairSearch],
    is_whole: bool,
) -> Steps[list[LinkSide]]:
    """Find the links of both directions by tables over all pairs of sets."""
    require_memory(transition, both)
    connected = [connected_stage(search, is_whole) for search in both]
    values, *_ = yield (*value_stages(transition, options.background, both), *connected)
    require_defined_causes(transition, np.isnan(values["bits"].values[:, -1]), both[0].masks)
    del values, _  # as large as the tables
    results = yield from minimum_partitions(both, strongest_purviews)
    return [
        LinkSide(
            result.search,
            [
                (int(result.search.masks[row]), purviews, alpha)
                for batch in result.summaries
                for row, purviews, alpha in batch
            ],
            partial(witness_stage, result.search, result.stages),
            partial(strength_stage, result),
        )
        for result in results
    ]


def _sides_by_connections(
    transition: Transition,
    both: tuple[PairSearch, PairSearch],
    sparse: tuple[ConnectedSearch, ConnectedSearch],
    is_whole: bool,
) -> Steps[list[LinkSide]]:
    """Find the links of both directions by pairs that hang together."""
    found = yield from gather({search.name: pair_records(search) for search in sparse})
    records, _ = found["causes"]
    require_defined_causes(transition, records.n_irreducible < 0, records.mechanisms)
    if is_whole:
        yield tuple(connected_stage(search) for search in both)
    sides = []
    for search, pairs in zip(both, sparse, strict=True):
        records, known = found[pairs.name]
        witness = partial(connected_witness_stage, pairs, known)
        strength = partial(pair_strength_stage, search, known)
        sides.append(LinkSide(search, strongest_of_records(records), witness, strength))
    return sides


def strongest_of_records(records: Records) -> list[StrongestPurviews]:
    """Return the strongest purviews of every mechanism that has a link, see mathematics.md 13.3."""
    out = []
    for row in np.flatnonzero(records.alpha.max(axis=1, initial=0.0) > 0).tolist():
        alpha = records.alpha[row]
        best = float(alpha.max())
        is_tied = alpha >= best - phi_tolerance(best)
        tied = smallest_purviews(records.irreducible[row][is_tied].tolist())
        out.append((int(records.mechanisms[row]), tied, best))
    return sorted(out, key=lambda link: (link[0].bit_count(), units_of_mask(link[0])))


def pair_strength_stage(search: PairSearch, known: Mapping[str, Array | StageRef]) -> Stage:
    """As :func:`strength_stage`, of the irreducible pairs that earlier stages found."""
    n = search.n_mechanism_units
    stage = strength_stage(PairSearchResult(search, (), ()))
    return replace(
        stage,
        compute=fill_pair_strengths,
        inputs={**known, "sizes": np.array([n, search.n_purview_units], np.int64)},
    )


def fill_pair_strengths(inputs: Mapping[str, Array], _region: Region) -> dict[str, Array]:
    """Sum alpha over the links within all pairs of sets; one block."""
    n, n_purview_units = inputs["sizes"].tolist()
    alpha = np.zeros((1 << n, 1 << n_purview_units))
    for mechanisms, pairs, values in known_pairs(inputs, "alpha"):
        alpha[mechanisms, pairs] = values
    strengths = block_strengths(np.arange(1 << n), n, [alpha])
    return {"strength": strengths[masks_by_size(n)]}


def strongest_purviews(begin: int, alpha: Array) -> list[StrongestPurviews]:
    """Return the strongest purviews of every mechanism that has a link.

    Of tied purviews those are left out that contain another (mathematics.md 13.3).

    alpha : (rows, 2**purview units) bits of the mechanisms from row ``begin`` on
    """
    out = []
    for row in np.flatnonzero(alpha.max(axis=1, initial=0.0) > 0).tolist():
        best = float(alpha[row].max())
        tied = np.flatnonzero(alpha[row] >= best - phi_tolerance(best)).tolist()
        out.append((begin + row, smallest_purviews(tied), best))
    return out


def smallest_purviews(masks: Iterable[int]) -> tuple[int, ...]:
    """Return the masks that contain no other, in lexicographic order."""
    smallest: list[int] = []
    for mask in sorted(masks, key=int.bit_count):
        if not any(mask & smaller == smaller for smaller in smallest):
            smallest.append(mask)
    return tuple(sorted(smallest, key=units_of_mask))


def _links_stage(side: LinkSide) -> Stage:
    pairs = np.array([(mechanism, tied[0]) for mechanism, tied, _ in side.strongest], np.int64)
    return side.witness(pairs, np.array([alpha for *_, alpha in side.strongest]))


def _links(side: LinkSide, named: Filled) -> list[Link]:
    columns = (named[name].values.tolist() for name in ("bits", "free", "kept", "ways"))
    return [
        Link(side.search.forward, mechanism, tied, alpha, bits, free, tuple(kept), ways)
        for (mechanism, tied, alpha), bits, free, kept, ways in zip(
            side.strongest, *columns, strict=True
        )
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
