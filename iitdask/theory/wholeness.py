"""How irreducible a whole account is: what its weakest cut costs (spec.md 13.5).

A cut keeps some disjoint blocks of causes and effects together. Averaging severed inputs out
changes nothing for pairs within a block and disconnects all others, so the account of the cut
transition is what the intact one has within the blocks: the strengths of blocks add, and the best
cut is found as the best partition of a pair is, with sums of alpha for values.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iitdask.kernels.occurrences import masks_by_size
from iitdask.kernels.parting import ALPHA_ZERO
from iitdask.kernels.purviews import tolerance
from iitdask.model.transition import Transition
from iitdask.theory.base import Answer, Grid, Region, Stage, Stored
from iitdask.theory.parting import Parted, Parting, named_stage, parted, rows_of, stored
from iitdask.theory.vocabulary import variable

__all__ = [
    "EMPTY",
    "SCATTERED",
    "Wholeness",
    "account_parting",
    "block_strengths",
    "hangs_together",
    "unknown",
    "weakest",
    "wholeness",
]

Array = NDArray[Any]
EMPTY = "no occurrence has an actual cause or effect"
SCATTERED = "the units do not hang together"
TOO_MANY = "not computed: too many pairs of causes and effects"


@dataclass(frozen=True, slots=True)
class Wholeness:
    """The weakest cut of an account."""

    alpha: dict[str, float]
    """Bits the weakest cut costs: of the ``account``, of its ``causes``, of its ``effects``."""
    cut: Array
    """(n, n) connections that the account's weakest cut severs, over the transition's units."""
    ways: int
    """Tied cuts; -1 when they are too many to count; 0 when reducible by a rule."""
    reason: str
    """Why alpha is 0 where a rule says so, or not known."""


def wholeness(
    transition: Transition, done: Sequence[Parted[list[Any]]]
) -> Generator[tuple[Stage, ...], tuple[Answer, ...], Wholeness]:
    """Find the weakest cuts of the account, and of its causes and effects alone."""
    n = len(transition.units)
    alpha = dict.fromkeys(("account", "causes", "effects"), 0.0)
    scattered = not hangs_together(transition.substrate.connectivity, transition.units)
    linked = [each for each in done if any(each.seen)]
    if scattered or not linked:
        reason = SCATTERED if scattered else EMPTY
        return Wholeness(alpha, np.zeros((n, n), np.bool_), 0, reason)
    tables = yield tuple(strength_stage(each) for each in done)
    strengths = np.empty(1 << len(transition.causes))  # of all effects with each set of causes
    strengths[masks_by_size(len(transition.causes))] = tables[1]["strength"][:, -1].values
    strengths += tables[0]["strength"][-1].values
    del tables  # as large as the tables of pairs
    names = ["account", *(each.parting.name for each in linked)]
    shape = (len(transition.causes), len(transition.effects))
    sides = [account_parting(transition.children, shape, name) for name in names]
    found = yield from parted(sides, lambda _, rows: float(rows[-1, -1]))
    for name, each in zip(names, found, strict=True):
        alpha[name] = each.seen[-1]
    alpha["account"], least = weakest(alpha["account"], strengths)
    kept, ways = yield from _named(found[0], strengths, least)
    return Wholeness(alpha, _cut(transition, kept), ways, "")


def unknown(transition: Transition) -> Wholeness:
    """Say that cuts were not looked at."""
    alpha = dict.fromkeys(("account", "causes", "effects"), float("nan"))
    n = len(transition.units)
    return Wholeness(alpha, np.zeros((n, n), np.bool_), 0, TOO_MANY)


def weakest(parted: float, strengths: Array) -> tuple[float, float]:
    """Return alpha of an account, and what its weakest cut costs before it is called zero.

    parted    : cost of the weakest cut into blocks of effects (or nothing)
    strengths : (2**a,) sum of alpha over the links of all effects with each set of causes
    To keep all effects with some of the causes is a cut too: of the effects' occurrences.
    """
    least = min(parted, float(strengths[-1] - strengths[:-1].max()))
    return (least if least > ALPHA_ZERO else 0.0), least


def account_parting(children: Array, shape: tuple[int, int], name: str) -> Parting:
    """Blocks of an account: those of ``shape`` causes and effects, worth all links within.

    name : ``causes``, ``effects`` or ``account``, the links of both
    """
    a, b = shape
    forward = name == "effects"
    own, other = (a, b) if forward else (b, a)
    side = "effects" if forward else "causes"
    joined = Stored(f"{side}/connected", "connected")
    values = Stored(f"system/{side}-strength", "strength")
    made = Parting(f"system/{name}", forward, children, own, other, own, values, joined)
    if name != "account":
        return replace(made, final=True, named=False)
    return replace(made, final=True, more=Stored("system/effects-strength", "strength"))


def strength_stage(done: Parted[Any]) -> Stage:
    """Sum of alpha over the links of one side within each pair of sets, mechanisms by size."""
    side = done.parting
    cells = 1 << side.own + side.other
    return Stage(
        name=f"system/{side.name}-strength",
        # Every set needs those within it: one block.
        grid=Grid(("mechanism",), (1 << side.own,), whole=("mechanism",)),
        fills=(variable("strength", "float64", 0.0, (("purview", 1 << side.other),)),),
        compute=fill_strengths,
        inputs={"masks": side.masks, **stored(done.stages, "alpha")},
        cost=lambda _region: 1e-9 * (side.own + side.other) * cells,
        scratch=16 * cells,
        fixed=True,
    )


def fill_strengths(inputs: Mapping[str, Array], region: Region) -> dict[str, Array]:
    """Sum over all pairs of sets at once."""
    own = (region[0].stop - 1).bit_length()
    strengths = block_strengths(inputs["masks"], own, rows_of(inputs, "alpha"))
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


def _named(
    done: Parted[float], strengths: Array, least: float
) -> Generator[tuple[Stage, ...], tuple[Answer, ...], tuple[Array, int]]:
    """Purview units that each effect keeps under the named cut, and how many cuts tie."""
    side, top = done.parting, float(strengths[-1])
    ways, kept = 0, np.zeros(side.own, np.int64)
    if done.seen[-1] <= least + tolerance(least):
        pair = np.array([[(1 << side.own) - 1, (1 << side.other) - 1]])
        (named,) = yield (named_stage(side, done.stages, pair, np.array([least])),)
        ways, kept = int(named["ways"].values[0]), named["kept"].values[0]
    others = np.flatnonzero(strengths[1:-1] >= top - least - tolerance(least)) + 1
    if ways == 0 and len(others):
        kept = np.full(side.own, others[0])
    return kept, ways if ways < 0 else ways + len(others)


def _cut(transition: Transition, kept: Array) -> Array:
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


def hangs_together(connectivity: Array, units: Sequence[int]) -> bool:
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
