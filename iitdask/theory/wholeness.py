"""How irreducible a whole account is: what its weakest cut costs (spec.md 13.5).

A cut keeps some disjoint blocks of causes and effects together. Averaging severed inputs out
changes nothing for pairs within a block and disconnects all others, so the account of the cut
transition is what the intact one has within the blocks: the strengths of blocks add, and the best
cut is found as the best partition of a pair is, with sums of alpha for values.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from iitdask.kernels.occurrences import masks_by_size
from iitdask.kernels.parting import ALPHA_ZERO
from iitdask.kernels.purviews import tolerance
from iitdask.model.transition import Transition
from iitdask.theory.base import Stage, Stored
from iitdask.theory.parting import Parted, Parting, named_stage, parted

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
    transition: Transition, done: Sequence[Parted]
) -> Generator[tuple[Stage, ...], tuple[xr.Dataset, ...], Wholeness]:
    """Find the weakest cuts of the account, and of its causes and effects alone."""
    causes, effects = (block_strengths(each) for each in done)
    n, shape = len(transition.units), (len(transition.causes), len(transition.effects))
    alpha = dict.fromkeys(("account", "causes", "effects"), 0.0)
    whole = {"account": causes + effects.T, "causes": causes, "effects": effects}
    scattered = not hangs_together(transition.substrate.connectivity, transition.units)
    busy = [name for name, table in whole.items() if table[-1, -1] > ALPHA_ZERO]
    if scattered or not busy:
        reason = SCATTERED if scattered else EMPTY
        return Wholeness(alpha, np.zeros((n, n), np.bool_), 0, reason)
    found = yield from parted(
        [account_parting(transition.children, shape, name, whole[name]) for name in busy]
    )
    for name, each in zip(busy, found, strict=True):
        alpha[name] = float(each.alpha[-1, -1])
    strengths, top = whole["account"][-1, :-1], float(whole["account"][-1, -1])
    alpha["account"], least = weakest(alpha["account"], whole["account"])
    kept, ways = yield from _named(found[busy.index("account")], strengths, top, least)
    return Wholeness(alpha, _cut(transition, kept), ways, "")


def unknown(transition: Transition) -> Wholeness:
    """Say that cuts were not looked at."""
    alpha = dict.fromkeys(("account", "causes", "effects"), float("nan"))
    n = len(transition.units)
    return Wholeness(alpha, np.zeros((n, n), np.bool_), 0, TOO_MANY)


def weakest(parted: float, table: Array) -> tuple[float, float]:
    """Return alpha of an account, and what its weakest cut costs before it is called zero.

    parted : cost of the weakest cut into blocks of effects (or nothing)
    table  : (2**b, 2**a) sum of alpha over the links within each pair of sets
    To keep all effects with some of the causes is a cut too: of the effects' occurrences.
    """
    least = min(parted, float(table[-1, -1] - table[-1, :-1].max()))
    return (least if least > ALPHA_ZERO else 0.0), least


def account_parting(children: Array, shape: tuple[int, int], name: str, table: Array) -> Parting:
    """Blocks of an account: those of ``shape`` causes and effects, worth what ``table`` says."""
    a, b = shape
    forward = name == "effects"
    own, other = (a, b) if forward else (b, a)
    values = np.ascontiguousarray(table[masks_by_size(own)])
    joined = Stored("effects/connected" if forward else "causes/connected", "connected")
    made = Parting(f"system/{name}", forward, children, own, other, own, values, joined)
    return replace(made, final=True)


def block_strengths(done: Parted) -> Array:
    """Sum of alpha over the links within each pair of sets; (2**own, 2**other)."""
    side = done.parting
    out = np.zeros((1 << side.own, 1 << side.other))
    out[side.masks] = done.alpha
    for bit in range(side.other):  # the best purview within each set
        halves = out.reshape(1 << side.own, -1, 2, 1 << bit)
        np.maximum(halves[:, :, 1], halves[:, :, 0], out=halves[:, :, 1])
    for bit in range(side.own):  # summed over the mechanisms within each set
        halves = out.reshape(-1, 2, 1 << bit, 1 << side.other)
        halves[:, 1] += halves[:, 0]
    return out


def _named(
    done: Parted, strengths: Array, top: float, least: float
) -> Generator[tuple[Stage, ...], tuple[xr.Dataset, ...], tuple[Array, int]]:
    """Purview units that each effect keeps under the named cut, and how many cuts tie."""
    side = done.parting
    ways, kept = 0, np.zeros(side.own, np.int64)
    if float(done.alpha[-1, -1]) <= least + tolerance(least):
        pair = np.array([[(1 << side.own) - 1, (1 << side.other) - 1]])
        (named,) = yield (named_stage(done, pair, np.array([top - least])),)
        ways, kept = int(named["ways"].values[0]), named["kept"].values[0]
    others = np.flatnonzero(strengths[1:] >= top - least - tolerance(least)) + 1
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
