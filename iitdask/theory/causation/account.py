"""The causal account of a transition: Albantakis et al. 2019."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from iitdask.kernels.subsets import phi_tolerance
from iitdask.model.contraction import TABLE_BUDGET_BYTES
from iitdask.model.labels import units_of_mask
from iitdask.model.transition import Transition
from iitdask.theory.causation.partitions import (
    PairSearch,
    PairSearchResult,
    connected_stage,
    minimum_partitions,
    witness_stage,
)
from iitdask.theory.causation.system_alpha import (
    AccountIrreducibility,
    account_irreducibility,
    uncomputed_irreducibility,
)
from iitdask.theory.causation.values import (
    pair_bytes,
    pair_searches,
    require_defined_causes,
    require_memory,
    value_stages,
)
from iitdask.theory.options import Causation2019
from iitdask.theory.stage import Array, Filled, Recipe, Stage, Steps
from iitdask.theory.variables import Outcome, assemble_tree, make_dataset, size_of, value_of


def _sum_alpha(tree: xr.DataTree) -> float:
    return math.fsum(np.asarray(tree["links"].to_dataset()["alpha"].values).tolist())


ACCOUNT_OUTCOMES = (
    Outcome("alpha", "bit", "causal strength of the whole account", value_of("system", "alpha")),
    Outcome("sum_alpha", "bit", "sum over actual causes and effects", _sum_alpha),
    Outcome("n_links", "count", "actual causes and effects", size_of("links", "link")),
)
"""Numbers that a sweep records of an account."""


StrongestPurviews = tuple[int, tuple[int, ...], float]
"""Row of a mechanism, masks of its tied purviews, and alpha in bits."""
DIRECTIONS = ("cause", "effect")


class Link(NamedTuple):
    """An actual cause or an actual effect."""

    forward: bool
    """True if the mechanism is the cause."""
    mechanism: int
    """Mask over the effects (of a cause sought) or the causes (of an effect sought)."""
    purviews: tuple[int, ...]
    """Masks on the other side that tie, none within another; the first is named."""
    alpha: float
    """Causal strength, bits."""
    log2_probability: float
    """log2 of the probability of the purview's actual state, given the mechanism."""
    log2_unconstrained: float
    """The same without the mechanism."""
    kept: tuple[int, ...]
    """Purview units that each mechanism unit keeps under the named partition; 0 elsewhere."""
    n_tied_partitions: int
    """Number of tied partitions; -1 if they are too many to count."""


@dataclass(frozen=True, slots=True)
class Account:
    """All links of a transition, and how irreducible they are together."""

    transition: Transition
    links: tuple[Link, ...]
    """Causes, then effects; mechanisms by size, then lexicographically."""
    irreducibility: AccountIrreducibility


def account(transition: Transition, options: Causation2019) -> Recipe:
    """Find every actual cause and effect of a transition, and how irreducible the account is.

    The tree has the nodes ``/links`` and ``/system``.

    References
    ----------
    Albantakis et al. 2019; docs/mathematics.md 13.1 to 13.5.
    """
    result = yield from compute_account(transition, options)
    return account_tree(result)


def compute_account(transition: Transition, options: Causation2019) -> Steps[Account]:
    """Compute an account: all links of a transition, and how irreducible they are together."""
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
        datasets = yield tuple(_links_witness_stage(results[k], strongest[k]) for k in directions)
        named = dict(zip(directions, datasets, strict=True))
    links = [link for k in directions for link in _links(results[k].search, strongest[k], named[k])]
    irreducibility = uncomputed_irreducibility(transition)
    if is_whole:
        irreducibility = yield from account_irreducibility(transition, results)
    return Account(transition, tuple(links), irreducibility)


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


def _links_witness_stage(
    result: PairSearchResult[list[StrongestPurviews]], strongest: Sequence[StrongestPurviews]
) -> Stage:
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


def account_tree(result: Account) -> xr.DataTree:
    """Return ``/links`` and ``/system`` over a transition's units, with totals at the root."""
    links, alpha = result.links, result.irreducibility.alpha["account"]
    attrs: dict[str, Any] = {} if np.isnan(alpha) else {"alpha": alpha}
    attrs |= {
        "sum_alpha": sum(link.alpha for link in links),
        "n_links": len(links),
        "n_causes": sum(not link.forward for link in links),
        "n_effects": sum(link.forward for link in links),
    }
    nodes = {"/links": _links_dataset(result), "/system": _system_dataset(result)}
    return assemble_tree({"/": xr.Dataset(attrs=attrs), **nodes})


def _links_dataset(result: Account) -> xr.Dataset:
    t, links = result.transition, result.links
    places = {unit: k for k, unit in enumerate(t.units)}
    columns = [np.array([places[i] for i in side]) for side in (t.effects, t.causes)]
    n, most = len(t.units), max((len(link.purviews) for link in links), default=1)
    mechanism, purview = np.zeros((2, len(links), n), np.bool_)
    tied = np.zeros((len(links), most, n), np.bool_)
    kept = np.full((len(links), n), -1)
    for k, link in enumerate(links):
        positions, purview_positions = columns[link.forward], columns[not link.forward]
        mechanism[k, positions[list(units_of_mask(link.mechanism))]] = True
        purview[k, purview_positions[list(units_of_mask(link.purviews[0]))]] = True
        for j, mask in enumerate(link.purviews):
            tied[k, j, purview_positions[list(units_of_mask(mask))]] = True
        for i in units_of_mask(link.mechanism):
            seen = purview_positions[list(units_of_mask(link.kept[i]))]
            kept[k, positions[i]] = sum(1 << j for j in seen.tolist())
    alpha = np.array([link.alpha for link in links])
    log2_probability = np.array([link.log2_probability for link in links])
    log2_unconstrained = np.array([link.log2_unconstrained for link in links])
    line, rows = ("link",), ("link", "unit")
    return make_dataset(
        {
            "direction": (line, np.array([DIRECTIONS[link.forward] for link in links], object)),
            "mechanism": (rows, mechanism),
            "purview": (rows, purview),
            "alpha": (line, alpha),
            "probability": (line, np.exp2(log2_probability)),
            "partitioned_probability": (line, np.exp2(log2_probability - alpha)),
            "ratio": (line, log2_probability - log2_unconstrained),
            "n_tied_purviews": (line, np.array([len(link.purviews) for link in links], int)),
            "tied_purview": (("link", "tie", "unit"), tied),
            "n_tied_partitions": (line, np.array([link.n_tied_partitions for link in links], int)),
            "kept": (rows, kept),
        }
    )


def _system_dataset(result: Account) -> xr.Dataset:
    irreducibility = result.irreducibility
    values: dict[str, tuple[tuple[str, ...], Any]] = {
        "alpha": ((), irreducibility.alpha["account"]),
        "alpha_causes": ((), irreducibility.alpha["causes"]),
        "alpha_effects": ((), irreducibility.alpha["effects"]),
        "sum_alpha": ((), sum(link.alpha for link in result.links)),
        "n_tied_partitions": ((), irreducibility.n_tied_cuts),
        "cut": (("source", "target"), irreducibility.cut),
    }
    return make_dataset(values, {"reason": irreducibility.reason})
