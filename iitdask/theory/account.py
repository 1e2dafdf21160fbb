"""The causal account of a transition: Albantakis et al. 2019, spec.md 13."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from iitdask.kernels.purviews import tolerance
from iitdask.model.contraction import BUDGET
from iitdask.model.transition import Transition
from iitdask.theory.base import Answer, Stage, Stages
from iitdask.theory.occurrences import (
    pair_bytes,
    require_possible,
    require_room,
    sides,
    value_stages,
)
from iitdask.theory.options import Causation2019
from iitdask.theory.parting import Parted, Parting, connected_stage, named_stage, parted
from iitdask.theory.vocabulary import described
from iitdask.theory.wholeness import Wholeness, unknown, wholeness

__all__ = ["Account", "Link", "account", "account_of", "account_tree"]

Array = NDArray[Any]
Chosen = tuple[int, tuple[int, ...], float]
"""Row of a mechanism, its tied purviews and alpha."""
SIDES = ("cause", "effect")


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
    whole: Wholeness
    """How irreducible."""


def account(transition: Transition, options: Causation2019) -> Stages:
    """Find every actual cause and effect of a transition, and how irreducible the account is."""
    found = yield from account_of(transition, options)
    return account_tree(found)


def account_of(
    transition: Transition, options: Causation2019
) -> Generator[tuple[Stage, ...], tuple[Answer, ...], Account]:
    """Compute an account.

    Raises
    ------
    MemoryRefusedError
        A table of pairs would be larger than the budget.
    UnreachableStateError
        An occurrence has no cause repertoire in double precision.
    """
    both = sides(transition)
    require_room(transition, both)
    every = pair_bytes(1 << len(transition.effects), len(transition.causes))
    is_whole = 2 * every <= BUDGET  # of the account, its causes and its effects
    connected = [connected_stage(each, is_whole) for each in both]
    values, *_ = yield (*value_stages(transition, options.background, both), *connected)
    require_possible(transition, values)
    del values, _  # as large as the tables
    done = yield from parted(both, strongest)
    chosen = [[link for batch in each.seen for link in batch] for each in done]
    busy = [k for k in (0, 1) if chosen[k]]
    named: dict[int, Answer] = {}
    if busy:
        datasets = yield tuple(_named(done[k], chosen[k]) for k in busy)
        named = dict(zip(busy, datasets, strict=True))
    links = [link for k in busy for link in _links(done[k].parting, chosen[k], named[k])]
    whole = unknown(transition)
    if is_whole:
        whole = yield from wholeness(transition, done)
    return Account(transition, tuple(links), whole)


def strongest(begin: int, alpha: Array) -> list[Chosen]:
    """Row, tied purviews and alpha of every mechanism with a link (spec.md 13.3).

    alpha : (rows, 2**other) bits of the mechanisms from row ``begin`` on
    """
    out = []
    for row in np.flatnonzero(alpha.max(axis=1, initial=0.0) > 0).tolist():
        best = float(alpha[row].max())
        tied = np.flatnonzero(alpha[row] >= best - tolerance(best)).tolist()
        tied.sort(key=lambda mask: (mask.bit_count(), _units(mask)))
        smallest: list[int] = []
        for mask in tied:
            if not any(mask & other == other for other in smallest):
                smallest.append(mask)
        out.append((begin + row, tuple(sorted(smallest, key=_units)), best))
    return out


def _units(mask: int) -> tuple[int, ...]:
    return tuple(i for i in range(mask.bit_length()) if mask >> i & 1)


def _named(done: Parted[list[Chosen]], chosen: Sequence[Chosen]) -> Stage:
    masks = done.parting.masks
    pairs = np.array([(int(masks[row]), tied[0]) for row, tied, _ in chosen], np.int64)
    alpha = np.array([alpha for *_, alpha in chosen])
    return named_stage(done.parting, done.stages, pairs, alpha)


def _links(side: Parting, chosen: Sequence[Chosen], named: Answer) -> list[Link]:
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
    nodes = {"/": _summary(found), "/links": _link_data(found), "/system": _system_data(found)}
    return xr.DataTree.from_dict(nodes)


def _summary(found: Account) -> xr.Dataset:
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


def _link_data(found: Account) -> xr.Dataset:
    t, links = found.transition, found.links
    places = {unit: k for k, unit in enumerate(t.units)}
    columns = [np.array([places[i] for i in side]) for side in (t.effects, t.causes)]
    n, most = len(t.units), max((len(link.purviews) for link in links), default=1)
    mechanism, purview = np.zeros((2, len(links), n), np.bool_)
    tied = np.zeros((len(links), most, n), np.bool_)
    kept = np.full((len(links), n), -1)
    for k, link in enumerate(links):
        own, other = columns[link.forward], columns[not link.forward]
        mechanism[k, own[list(_units(link.mechanism))]] = True
        purview[k, other[list(_units(link.purviews[0]))]] = True
        for j, mask in enumerate(link.purviews):
            tied[k, j, other[list(_units(mask))]] = True
        for i in _units(link.mechanism):
            kept[k, own[i]] = sum(1 << int(other[j]) for j in _units(link.kept[i]))
    alpha = np.array([link.alpha for link in links])
    value = np.array([link.value for link in links])
    free = np.array([link.free for link in links])
    return described(
        {
            "direction": (("link",), np.array([SIDES[x.forward] for x in links], object)),
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


def _system_data(found: Account) -> xr.Dataset:
    whole = found.whole
    values: dict[str, tuple[tuple[str, ...], Any]] = {
        "alpha": ((), whole.alpha["account"]),
        "alpha_causes": ((), whole.alpha["causes"]),
        "alpha_effects": ((), whole.alpha["effects"]),
        "sum_alpha": ((), sum(link.alpha for link in found.links)),
        "n_tied_partitions": ((), whole.ways),
        "cut": (("source", "target"), whole.cut),
    }
    return described(values, {"reason": whole.reason})
