"""The causal account of a transition (Albantakis et al. 2019), and how irreducible it is.

A cut keeps some disjoint blocks of causes and effects together. Averaging severed inputs out
changes nothing for pairs within a block and disconnects all others, so the account of the cut
transition is what the intact one has within the blocks: the strengths of blocks add, and the
best cut is found as the best partition of a pair is, with sums of alpha for values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from iitdask.kernels.causation import ALPHA_ZERO_BITS, masks_by_size
from iitdask.kernels.subsets import phi_tolerance
from iitdask.model.contraction import TABLE_BUDGET_BYTES
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
from iitdask.theory.stage import Filled, Grid, Recipe, Region, Stage, StageRef, Steps
from iitdask.theory.variables import (
    Outcome,
    assemble_tree,
    make_dataset,
    size_of,
    value_of,
    variable,
)

__all__ = [
    "ACCOUNT_OUTCOMES",
    "DISCONNECTED",
    "NO_LINKS",
    "Account",
    "AccountIrreducibility",
    "Link",
    "account",
    "account_irreducibility",
    "account_search",
    "account_tree",
    "block_strengths",
    "compute_account",
    "is_weakly_connected",
    "uncomputed_irreducibility",
    "weakest_cut",
]


def _sum_alpha(tree: xr.DataTree) -> float:
    return math.fsum(np.asarray(tree["links"].to_dataset()["alpha"].values).tolist())


ACCOUNT_OUTCOMES = (
    Outcome("alpha", "bit", "causal strength of the whole account", value_of("system", "alpha")),
    Outcome("sum_alpha", "bit", "sum over actual causes and effects", _sum_alpha),
    Outcome("n_links", "count", "actual causes and effects", size_of("links", "link"), "int64"),
)
"""Numbers that a sweep records of an account."""

Array = NDArray[Any]
NO_LINKS = "no occurrence has an actual cause or effect"
DISCONNECTED = "the units do not hang together"
NOT_COMPUTED = "not computed: too many pairs of causes and effects"


@dataclass(frozen=True, slots=True)
class AccountIrreducibility:
    """The weakest cut of an account."""

    alpha: dict[str, float]
    """Bits the weakest cut costs: of the ``account``, of its ``causes``, of its ``effects``."""
    cut: Array
    """(n, n) connections that the account's weakest cut severs, over the transition's units."""
    ways: int
    """Tied cuts; -1 when they are too many to count; 0 when reducible by a rule."""
    reason: str
    """Why alpha is 0 where a rule says so, or not known."""


def account_irreducibility(
    transition: Transition, done: Sequence[PairSearchResult[list[Any]]]
) -> Steps[AccountIrreducibility]:
    """Find the weakest cuts of the account, and of its causes and effects alone."""
    n = len(transition.units)
    alpha = dict.fromkeys(("account", "causes", "effects"), 0.0)
    scattered = not is_weakly_connected(transition.substrate.connectivity, transition.units)
    linked = [each for each in done if any(each.seen)]
    if scattered or not linked:
        reason = DISCONNECTED if scattered else NO_LINKS
        return AccountIrreducibility(alpha, np.zeros((n, n), np.bool_), 0, reason)
    tables = yield tuple(strength_stage(each) for each in done)
    strengths = np.empty(1 << len(transition.causes))  # of all effects with each set of causes
    strengths[masks_by_size(len(transition.causes))] = tables[1]["strength"][:, -1].values
    strengths += tables[0]["strength"][-1].values
    del tables  # as large as the tables of pairs
    names = ["account", *(each.parting.name for each in linked)]
    shape = (len(transition.causes), len(transition.effects))
    sides = [account_search(transition.children, shape, name) for name in names]
    found = yield from minimum_partitions(sides, lambda _, rows: float(rows[-1, -1]))
    for name, each in zip(names, found, strict=True):
        alpha[name] = each.seen[-1]
    alpha["account"], least = weakest_cut(alpha["account"], strengths)
    kept, ways = yield from _named_cut(found[0], strengths, least)
    return AccountIrreducibility(alpha, _severed_connections(transition, kept), ways, "")


def uncomputed_irreducibility(transition: Transition) -> AccountIrreducibility:
    """Say that cuts were not looked at."""
    alpha = dict.fromkeys(("account", "causes", "effects"), float("nan"))
    n = len(transition.units)
    return AccountIrreducibility(alpha, np.zeros((n, n), np.bool_), 0, NOT_COMPUTED)


def weakest_cut(parted: float, strengths: Array) -> tuple[float, float]:
    """Return alpha of an account, and what its weakest cut costs before it is called zero.

    parted    : cost of the weakest cut into blocks of effects (or nothing)
    strengths : (2**a,) sum of alpha over the links of all effects with each set of causes
    To keep all effects with some of the causes is a cut too: of the effects' occurrences.
    """
    least = min(parted, float(strengths[-1] - strengths[:-1].max()))
    return (least if least > ALPHA_ZERO_BITS else 0.0), least


def account_search(children: Array, shape: tuple[int, int], name: str) -> PairSearch:
    """Blocks of an account: those of ``shape`` causes and effects, worth all links within.

    name : ``causes``, ``effects`` or ``account``, the links of both
    """
    a, b = shape
    forward = name == "effects"
    own, other = (a, b) if forward else (b, a)
    side = "effects" if forward else "causes"
    joined = StageRef(f"{side}/connected", "connected")
    values = StageRef(f"system/{side}-strength", "strength")
    made = PairSearch(f"system/{name}", forward, children, own, other, own, values, joined)
    if name != "account":
        return replace(made, final=True, named=False)
    return replace(made, final=True, more=StageRef("system/effects-strength", "strength"))


def strength_stage(done: PairSearchResult[Any]) -> Stage:
    """Sum of alpha over the links of one side within each pair of sets, mechanisms by size."""
    side = done.parting
    cells = 1 << side.own + side.other
    return Stage(
        name=f"system/{side.name}-strength",
        # Every set needs those within it: one block.
        grid=Grid(("mechanism",), (1 << side.own,), unsplit=("mechanism",)),
        variables=(variable("strength", "float64", 0.0, (("purview", 1 << side.other),)),),
        compute=fill_strengths,
        inputs={"masks": side.masks, **stage_refs(done.stages, "alpha")},
        cost=lambda _region: 1e-9 * (side.own + side.other) * cells,
        scratch=16 * cells,
        size_is_known=True,
    )


def fill_strengths(inputs: Mapping[str, Array], region: Region) -> dict[str, Array]:
    """Sum over all pairs of sets at once."""
    own = (region[0].stop - 1).bit_length()
    strengths = block_strengths(inputs["masks"], own, referenced_rows(inputs, "alpha"))
    return {"strength": strengths[masks_by_size(own)]}


def block_strengths(masks: Array, own: int, alpha: Sequence[Array]) -> Array:
    """Sum of alpha over the links within each pair of sets; (2**own, 2**other).

    masks : mechanism of each row; alpha : rows in that order, in parts
    """
    size = alpha[0].shape[1]
    out = np.zeros((1 << own, size))
    begin = 0
    for rows in alpha:
        out[masks[begin : begin + len(rows)]] = rows
        begin += len(rows)
    for bit in range(size.bit_length() - 1):  # the best purview within each set
        halves = out.reshape(1 << own, -1, 2, 1 << bit)
        np.maximum(halves[:, :, 1], halves[:, :, 0], out=halves[:, :, 1])
    for bit in range(own):  # summed over the mechanisms within each set
        halves = out.reshape(-1, 2, 1 << bit, size)
        halves[:, 1] += halves[:, 0]
    return out


def _named_cut(
    done: PairSearchResult[float], strengths: Array, least: float
) -> Steps[tuple[Array, int]]:
    """Purview units that each effect keeps under the named cut, and how many cuts tie."""
    side, top = done.parting, float(strengths[-1])
    ways, kept = 0, np.zeros(side.own, np.int64)
    if done.seen[-1] <= least + phi_tolerance(least):
        pair = np.array([[(1 << side.own) - 1, (1 << side.other) - 1]])
        (named,) = yield (witness_stage(side, done.stages, pair, np.array([least])),)
        ways, kept = int(named["ways"].values[0]), named["kept"].values[0]
    others = np.flatnonzero(strengths[1:-1] >= top - least - phi_tolerance(least)) + 1
    if ways == 0 and len(others):
        kept = np.full(side.own, others[0])
    return kept, ways if ways < 0 else ways + len(others)


def _severed_connections(transition: Transition, kept: Array) -> Array:
    """Severed connections: a cause keeps those to the effects of its own block."""
    t = transition
    places = {unit: k for k, unit in enumerate(t.units)}
    cut = np.zeros((len(t.units), len(t.units)), np.bool_)
    cut[[places[i] for i in t.causes]] = True
    for effect, mask in zip(t.effects, kept.tolist(), strict=True):
        for k, cause in enumerate(t.causes):
            if mask >> k & 1:
                cut[places[cause], places[effect]] = False
    return cut


def is_weakly_connected(connectivity: Array, units: Sequence[int]) -> bool:
    """Whether some units are weakly connected."""
    edges = connectivity[np.ix_(units, units)]
    edges = edges | edges.T
    reached = np.zeros(len(units), np.bool_)
    reached[0] = True
    while True:
        grown = reached | edges[reached].any(axis=0)
        if (grown == reached).all():
            return bool(reached.all())
        reached = grown


StrongestPurviews = tuple[int, tuple[int, ...], float]
"""Row of a mechanism, its tied purviews and alpha."""
DIRECTIONS = ("cause", "effect")


class Link(NamedTuple):
    """An actual cause or an actual effect."""

    forward: bool
    """Whether the mechanism is the cause."""
    mechanism: int
    """Mask over the effects (of a cause sought) or the causes (of an effect sought)."""
    purviews: tuple[int, ...]
    """Masks on the other side that tie, none within another; the first is named."""
    alpha: float
    """Causal strength, bits."""
    value: float
    """log2 of the probability of the purview's actual state."""
    free: float
    """The same when the mechanism is not known."""
    kept: tuple[int, ...]
    """Purview units that each mechanism unit keeps under the named partition; 0 elsewhere."""
    ways: int
    """Tied partitions; -1 when they are too many to count."""


@dataclass(frozen=True, slots=True)
class Account:
    """All links of a transition, and how irreducible they are together."""

    transition: Transition
    """What it is about."""
    links: tuple[Link, ...]
    """Causes, then effects; mechanisms by size, then lexicographically."""
    whole: AccountIrreducibility
    """How irreducible."""


def account(transition: Transition, options: Causation2019) -> Recipe:
    """Find every actual cause and effect of a transition, and how irreducible the account is."""
    found = yield from compute_account(transition, options)
    return account_tree(found)


def compute_account(transition: Transition, options: Causation2019) -> Steps[Account]:
    """Compute an account.

    Raises
    ------
    MemoryRefusedError
        A table of pairs would be larger than the budget.
    UnreachableStateError
        An occurrence has no cause repertoire in double precision.
    """
    both = pair_searches(transition)
    require_memory(transition, both)
    every = pair_bytes(1 << len(transition.effects), len(transition.causes))
    is_whole = 2 * every <= TABLE_BUDGET_BYTES  # of the account, its causes and its effects
    connected = [connected_stage(each, is_whole) for each in both]
    values, *_ = yield (*value_stages(transition, options.background, both), *connected)
    require_defined_causes(transition, values)
    del values, _  # as large as the tables
    done = yield from minimum_partitions(both, strongest_purviews)
    chosen = [[link for batch in each.seen for link in batch] for each in done]
    busy = [k for k in (0, 1) if chosen[k]]
    named: dict[int, Filled] = {}
    if busy:
        datasets = yield tuple(_links_witness_stage(done[k], chosen[k]) for k in busy)
        named = dict(zip(busy, datasets, strict=True))
    links = [link for k in busy for link in _links(done[k].parting, chosen[k], named[k])]
    whole = uncomputed_irreducibility(transition)
    if is_whole:
        whole = yield from account_irreducibility(transition, done)
    return Account(transition, tuple(links), whole)


def strongest_purviews(begin: int, alpha: Array) -> list[StrongestPurviews]:
    """Row, tied purviews and alpha of every mechanism with a link (mathematics.md 13.3).

    alpha : (rows, 2**other) bits of the mechanisms from row ``begin`` on
    """
    out = []
    for row in np.flatnonzero(alpha.max(axis=1, initial=0.0) > 0).tolist():
        best = float(alpha[row].max())
        tied = np.flatnonzero(alpha[row] >= best - phi_tolerance(best)).tolist()
        tied.sort(key=lambda mask: (mask.bit_count(), _units_of_mask(mask)))
        smallest: list[int] = []
        for mask in tied:
            if not any(mask & other == other for other in smallest):
                smallest.append(mask)
        out.append((begin + row, tuple(sorted(smallest, key=_units_of_mask)), best))
    return out


def _units_of_mask(mask: int) -> tuple[int, ...]:
    return tuple(i for i in range(mask.bit_length()) if mask >> i & 1)


def _links_witness_stage(
    done: PairSearchResult[list[StrongestPurviews]], chosen: Sequence[StrongestPurviews]
) -> Stage:
    masks = done.parting.masks
    pairs = np.array([(int(masks[row]), tied[0]) for row, tied, _ in chosen], np.int64)
    alpha = np.array([alpha for *_, alpha in chosen])
    return witness_stage(done.parting, done.stages, pairs, alpha)


def _links(side: PairSearch, chosen: Sequence[StrongestPurviews], named: Filled) -> list[Link]:
    masks = side.masks
    bits, free, ways, kept = (named[name].values for name in ("bits", "free", "ways", "kept"))
    return [
        Link(
            side.forward,
            int(masks[row]),
            tied,
            alpha,
            float(bits[k]),
            float(free[k]),
            tuple(kept[k].tolist()),
            int(ways[k]),
        )
        for k, (row, tied, alpha) in enumerate(chosen)
    ]


def account_tree(found: Account) -> xr.DataTree:
    """Lay an account out as datasets over the units of the transition."""
    nodes = {
        "/": _summary_dataset(found),
        "/links": _links_dataset(found),
        "/system": _system_dataset(found),
    }
    return assemble_tree(nodes)


def _summary_dataset(found: Account) -> xr.Dataset:
    alpha = found.whole.alpha["account"]
    return xr.Dataset(
        attrs=({} if np.isnan(alpha) else {"alpha": alpha})
        | {
            "sum_alpha": sum(link.alpha for link in found.links),
            "n_links": len(found.links),
            "n_causes": sum(not link.forward for link in found.links),
            "n_effects": sum(link.forward for link in found.links),
        }
    )


def _links_dataset(found: Account) -> xr.Dataset:
    t, links = found.transition, found.links
    places = {unit: k for k, unit in enumerate(t.units)}
    columns = [np.array([places[i] for i in side]) for side in (t.effects, t.causes)]
    n, most = len(t.units), max((len(link.purviews) for link in links), default=1)
    mechanism, purview = np.zeros((2, len(links), n), np.bool_)
    tied = np.zeros((len(links), most, n), np.bool_)
    kept = np.full((len(links), n), -1)
    for k, link in enumerate(links):
        own, other = columns[link.forward], columns[not link.forward]
        mechanism[k, own[list(_units_of_mask(link.mechanism))]] = True
        purview[k, other[list(_units_of_mask(link.purviews[0]))]] = True
        for j, mask in enumerate(link.purviews):
            tied[k, j, other[list(_units_of_mask(mask))]] = True
        for i in _units_of_mask(link.mechanism):
            kept[k, own[i]] = sum(1 << int(other[j]) for j in _units_of_mask(link.kept[i]))
    alpha = np.array([link.alpha for link in links])
    value = np.array([link.value for link in links])
    free = np.array([link.free for link in links])
    return make_dataset(
        {
            "direction": (("link",), np.array([DIRECTIONS[x.forward] for x in links], object)),
            "mechanism": (("link", "unit"), mechanism),
            "purview": (("link", "unit"), purview),
            "alpha": (("link",), alpha),
            "probability": (("link",), np.exp2(value)),
            "partitioned_probability": (("link",), np.exp2(value - alpha)),
            "ratio": (("link",), value - free),
            "n_tied_purviews": (("link",), np.array([len(x.purviews) for x in links], int)),
            "tied_purview": (("link", "tie", "unit"), tied),
            "n_tied_partitions": (("link",), np.array([x.ways for x in links], int)),
            "kept": (("link", "unit"), kept),
        }
    )


def _system_dataset(found: Account) -> xr.Dataset:
    whole = found.whole
    values: dict[str, tuple[tuple[str, ...], Any]] = {
        "alpha": ((), whole.alpha["account"]),
        "alpha_causes": ((), whole.alpha["causes"]),
        "alpha_effects": ((), whole.alpha["effects"]),
        "sum_alpha": ((), sum(link.alpha for link in found.links)),
        "n_tied_partitions": ((), whole.ways),
        "cut": (("source", "target"), whole.cut),
    }
    return make_dataset(values, {"reason": whole.reason})
