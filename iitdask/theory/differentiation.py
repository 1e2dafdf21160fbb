"""How different the structures are that stimuli trigger, and how differently they are perceived.

The components of structures are their distinctions and relations. Two distinctions are the same
component if mechanism, state, purviews, specified states and phi agree, two relations if they bind
the same distinctions.

References: docs/mathematics.md 40.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import fsum
from typing import NamedTuple

import numpy as np

from iitdask.model.labels import units_of_mask
from iitdask.theory.iit4.relations import Bindings, relation_sums
from iitdask.theory.stage import Array

MAX_INTERSECTIONS = 1 << 12  # Sets of distinctions common to structures; beyond, there are bounds
MAX_SHARED_COMPONENTS = 200_000  # Components of several structures that are listed
SAME_PHI_RELATIVE = 1e-9  # Relative difference of phi of distinctions that are the same


class Interval(NamedTuple):
    """A number of bits, or bounds where only these are known."""

    low: float
    high: float

    @property
    def is_exact(self) -> bool:
        """True if the number is known."""
        return self.low == self.high


class TriggeredStructures(NamedTuple):
    """Structures by stimulus; NaN where one has no distinction of a mechanism."""

    mechanism: Array  # (D, n) whether a unit belongs to the mechanism
    response: Array  # (K, n) state of the system
    phi: Array  # (K, D) bits
    t: Array  # (K, D) share of a distinction that the stimulus triggered
    cause: Array  # (K, D, n) state of the cause, -1 outside of the purview
    effect: Array  # (K, D, n) state of the effect, likewise


@dataclass(frozen=True, slots=True)
class ComponentSets:
    """Different distinctions of all structures, and which structures have them."""

    bindings: Bindings  # Of all of them
    members: tuple[int, ...]  # (K,) distinctions of each structure, bitmasks
    perceived: Array  # (K, D) share that each structure perceives of each distinction, NaN if none

    @classmethod
    def from_structures(cls, structures: TriggeredStructures) -> ComponentSets:
        """Number the different distinctions."""
        number: dict[tuple[bytes, ...], list[tuple[float, int]]] = {}
        phis: list[float] = []
        sides: tuple[list[int], list[int]] = ([], [])
        members, shares = [], list[dict[int, float]]()
        width = int(max(structures.cause.max(initial=0), structures.effect.max(initial=0))) + 1
        for k, row in enumerate(structures.phi):
            mask, share = 0, dict[int, float]()
            for d in np.flatnonzero(~np.isnan(row)).tolist():
                cause, effect = structures.cause[k, d], structures.effect[k, d]
                state = np.where(structures.mechanism[d], structures.response[k], -1)
                key = (state.tobytes(), cause.tobytes(), effect.tobytes())
                known = number.setdefault(key, [])
                phi = float(row[d])
                same = [i for p, i in known if abs(p - phi) <= SAME_PHI_RELATIVE * max(p, phi)]
                if not same:
                    same = [len(phis)]
                    known.append((phi, len(phis)))
                    phis.append(phi)
                    for out, values in zip(sides, (cause, effect), strict=True):
                        out.append(_unit_states(values, width))
                mask |= 1 << same[0]
                share[same[0]] = float(structures.t[k, d])
            members.append(mask)
            shares.append(share)
        perceived = np.full((len(members), len(phis)), np.nan)
        for k, share in enumerate(shares):
            perceived[k, list(share)] = list(share.values())
        bindings = Bindings(np.array(phis, float), tuple(sides[0]), tuple(sides[1]))
        return cls(bindings, tuple(members), perceived)

    def some(self, mask: int) -> Bindings:
        """Return what the distinctions of a bitmask bind."""
        chosen = units_of_mask(mask)
        cause, effect = self.bindings.cause, self.bindings.effect
        return Bindings(
            self.bindings.phi[list(chosen)],
            tuple(cause[d] for d in chosen),
            tuple(effect[d] for d in chosen),
        )


def _unit_states(values: Array, width: int) -> int:
    return sum(1 << (width * unit + v) for unit, v in enumerate(values.tolist()) if v >= 0)


def differentiation(sets: ComponentSets) -> Interval:
    """Sum phi over the union of the components of all structures.

    Parameters
    ----------
    sets : the distinctions of each structure

    Returns
    -------
    Interval, bits; bounds where structures have too many different intersections

    References
    ----------
    docs/mathematics.md, Eq. (40.8).
    """
    signed = _signed_intersections(sets.members)
    if signed is None:
        phis = [float(_structure_phi(sets, mask)) for mask in set(sets.members)]
        return Interval(max(phis), fsum(phis))
    total = sum((sign * _structure_phi(sets, mask) for mask, sign in signed.items()), Fraction(0))
    return Interval(float(total), float(total))


def _structure_phi(sets: ComponentSets, mask: int) -> Fraction:
    bindings = sets.some(mask)
    own = sum(map(Fraction, bindings.phi.tolist()), Fraction(0))
    return own + relation_sums(bindings).phi if len(bindings.phi) else own


def _signed_intersections(members: Sequence[int]) -> dict[int, int] | None:
    """Return intersections of structures with their sign; None if there are too many."""
    signed: dict[int, int] = {}
    for mask in dict.fromkeys(members):
        more = {mask: 1}
        for other, sign in signed.items():
            more[mask & other] = more.get(mask & other, 0) - sign
        for common, sign in more.items():
            signed[common] = signed.get(common, 0) + sign
        signed = {common: sign for common, sign in signed.items() if common and sign}
        if len(signed) > MAX_INTERSECTIONS:
            return None
    return signed


def perceived_differentiation(sets: ComponentSets) -> Interval:
    """Sum, over the union of the components, what is perceived of each by the structure most.

    Parameters
    ----------
    sets : the distinctions of each structure, and the share that is perceived of each

    Returns
    -------
    Interval, bits; bounds where too many components belong to several structures

    References
    ----------
    docs/mathematics.md, Eq. (40.9).
    """
    different = {
        (mask, row.tobytes()): (mask, np.nan_to_num(row))
        for mask, row in zip(sets.members, sets.perceived, strict=True)
        if mask
    }
    if not different:
        return Interval(0.0, 0.0)
    masks = [mask for mask, _ in different.values()]
    t = np.array([row for _, row in different.values()])
    richness = [_richness(sets, mask, row) for mask, row in zip(masks, t, strict=True)]
    repeated = _repeated_perception(sets, masks, t)
    if repeated is None:
        return Interval(max(richness), fsum(richness))
    total = fsum([*richness, -repeated])
    return Interval(total, total)


def _richness(sets: ComponentSets, mask: int, t: Array) -> float:
    fold = relation_sums(sets.some(mask)).fold
    return fsum((t[list(units_of_mask(mask))] * fold).tolist())


def _repeated_perception(sets: ComponentSets, masks: Sequence[int], t: Array) -> float | None:
    """Sum what all but one structure perceive of shared components; None if these are too many."""
    union, share = sets.bindings.union, sets.bindings.share
    holders = [
        sum(1 << k for k, mask in enumerate(masks) if mask >> d & 1) for d in range(len(union))
    ]
    shared = [d for d, among in enumerate(holders) if among & (among - 1)]
    phi, cause, effect = sets.bindings.phi, sets.bindings.cause, sets.bindings.effect
    found: list[float] = []

    def add(chosen: tuple[int, ...], among: int, bits: float) -> None:
        values = bits * t[np.ix_(units_of_mask(among), chosen)].mean(axis=1)
        found.append(float(values.sum() - values.max()))

    stack: list[tuple[tuple[int, ...], int, int, float]] = []
    for d in shared:
        own = (cause[d] & effect[d]).bit_count() * share[d]
        add((d,), holders[d], float(phi[d]) + own)
        stack.append(((d,), holders[d], union[d], share[d]))
    while stack:
        chosen, among, overlap, least = stack.pop()
        for d in shared[shared.index(chosen[-1]) + 1 :]:
            both, common = among & holders[d], overlap & union[d]
            if common and both & (both - 1):
                lower = min(least, share[d])
                add((*chosen, d), both, common.bit_count() * lower)
                stack.append(((*chosen, d), both, common, lower))
        if len(found) > MAX_SHARED_COMPONENTS:
            return None
    return fsum(found)
