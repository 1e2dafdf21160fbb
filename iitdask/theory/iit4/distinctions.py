"""Distinctions and relations: what a cause-effect structure consists of, and its sums.

A distinction binds a set of unit-states u_d, the union of its cause's and its
effect's. Any set of two or more distinctions whose u_d intersect is a relation,
and one whose cause and effect intersect is a self-relation; there can be 2**D of
them, so they are summed and counted without being listed. Numbers are exact
integers and fractions until they are reported.

References: docs/mathematics.md 10, 11 and 23.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from math import comb, fsum
from operator import or_
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from iitdask.model.labels import decode_state, purview_states, purview_unit_states
from iitdask.model.system import CandidateSystem
from iitdask.theory.iit4.mechanisms import CAUSE, EFFECT
from iitdask.theory.iit4.system_analysis import SystemAnalysis, TiedStates, system_dataset
from iitdask.theory.options import Unfolding
from iitdask.theory.stage import Array, Filled
from iitdask.theory.ties import PurviewOrder
from iitdask.theory.variables import assemble_dataset, make_dataset, units_of_masks

ALL_DEGREES_MAX_DISTINCTIONS = 1024  # beyond, only the first degrees are counted one by one
COUNTED_DEGREES = 64
FIXED_POINT_BITS = 1200  # every double is a whole multiple of 2**-1074
DENSE_MAX_UNIT_STATES = 26  # superset sums over this many unit-states fit in memory


@dataclass(frozen=True, slots=True)
class Bindings:
    """Unit-states that distinctions bind, as bitmasks, and phi of the distinctions."""

    phi: Array  # (D,) phi_d, bits
    cause: tuple[int, ...]  # Unit-states of the cause purview, bitmask
    effect: tuple[int, ...]  # Unit-states of the effect purview, bitmask

    @property
    def union(self) -> list[int]:
        """Unit-states of cause and effect together, bitmasks."""
        return [c | e for c, e in zip(self.cause, self.effect, strict=True)]

    @property
    def share(self) -> list[float]:
        """r_d = phi_d / |u_d|, bits per unit-state."""
        return [float(p) / u.bit_count() for p, u in zip(self.phi, self.union, strict=True)]


@dataclass(frozen=True, slots=True)
class RelationSums:
    """Totals over all relations, exact."""

    count: int
    phi: Fraction  # Sum of phi_r, bits
    # Relations of 1, 2, ... distinctions; cut off for very many distinctions.
    by_degree: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Relation:
    """One relation."""

    distinctions: tuple[int, ...]  # Positions of the related distinctions, ascending
    overlap: int  # Unit-states they have in common, bitmask
    phi: float  # Integrated information of the relation, bits


def relation_sums(bindings: Bindings) -> RelationSums:
    """Count and sum all relations without listing them.

    Parameters
    ----------
    bindings : unit-states that distinctions bind, and their phi

    Returns
    -------
    RelationSums, exact totals

    References
    ----------
    docs/mathematics.md 11.2, Eqs. (11.4) to (11.6), and 23.
    """
    loops = sum(1 for c, e in zip(bindings.cause, bindings.effect, strict=True) if c & e)
    union = bindings.union
    weights = _signed_multiplicities(union)
    count = sum(w * (2**m - m - 1) for m, w in weights.items())
    degrees = (loops, *_degrees(weights, len(union)))
    return RelationSums(count + loops, relation_phi(bindings), degrees)


def relation_phi(bindings: Bindings) -> Fraction:
    """Sum phi over all relations.

    Parameters
    ----------
    bindings : unit-states that distinctions bind, and their phi

    Returns
    -------
    Fraction, bits, exact

    References
    ----------
    docs/mathematics.md, Eq. (11.4).
    """
    union, share = bindings.union, bindings.share
    scaled = [fixed_point(r) for r in share]
    total = sum(
        r * (c & e).bit_count()
        for c, e, r in zip(bindings.cause, bindings.effect, scaled, strict=True)
    )
    ascending = sorted(range(len(share)), key=share.__getitem__)
    for bit in range(max(union, default=0).bit_length()):
        total += _sum_of_minima([scaled[d] for d in ascending if union[d] >> bit & 1])
    return Fraction(total, 1 << FIXED_POINT_BITS)


def fixed_point(value: float) -> int:
    """Return a double as a multiple of 2**-FIXED_POINT_BITS, exactly."""
    mantissa, power = math.frexp(value)
    return int(mantissa * 2**53) << (power - 53 + FIXED_POINT_BITS)


def _sum_of_minima(ascending: Sequence[int]) -> int:
    """Sum, over subsets of two or more, the least member: r_(j) leads 2**(m - j) - 1 of them."""
    total = 0
    for r in ascending:  # Horner's rule, the least shifted farthest
        total = (total << 1) + r
    return total - sum(ascending)


def _signed_multiplicities(union: Sequence[int]) -> dict[int, int]:
    """Sum (-1)**(|A| - 1) over the sets A of unit-states that lie in exactly m of the u_d, by m."""
    every = reduce(or_, union, 0)
    used = [bit for bit in range(every.bit_length()) if every >> bit & 1]
    packed = union
    if every >> len(used):  # leave out the bits that are never used
        packed = [sum(1 << k for k, bit in enumerate(used) if u >> bit & 1) for u in union]
    if len(used) > DENSE_MAX_UNIT_STATES:
        return _multiplicities_by_overlap(packed)
    inside = np.bincount(packed, minlength=1 << len(used)).astype(np.int32)
    for b in range(len(used)):
        halves = inside.reshape(-1, 2, 1 << b)
        halves[:, 0] += halves[:, 1]
    odd = np.zeros(1, bool)
    for _ in used:
        odd = np.concatenate([odd, ~odd])
    out: dict[int, int] = {}
    for sign, sizes in ((1, inside[odd]), (-1, inside[~odd][1:])):  # without the empty set
        counts = np.bincount(sizes)
        for m in np.flatnonzero(counts).tolist():
            if m:
                out[m] = out.get(m, 0) + sign * int(counts[m])
    return out


def _multiplicities_by_overlap(packed: Sequence[int]) -> dict[int, int]:
    """Do the same for many unit-states: depth first over the sets that some u_d contains."""
    out: dict[int, int] = {}
    stack = [(0, -1, list(packed))]
    while stack:
        size, last, inside = stack.pop()
        if size:
            out[len(inside)] = out.get(len(inside), 0) + (1 if size % 2 else -1)
        top = max(u.bit_length() for u in inside)
        for bit in range(last + 1, top):
            deeper = [u for u in inside if u >> bit & 1]
            if deeper:
                stack.append((size + 1, bit, deeper))
    return out


def _degrees(weights: dict[int, int], distinctions: int) -> list[int]:
    """Count relations of 2, 3, ... distinctions: sum over A the ways to choose among its m."""
    if distinctions > ALL_DEGREES_MAX_DISTINCTIONS:
        degrees = range(2, COUNTED_DEGREES + 1)
        return [sum(w * comb(m, k) for m, w in weights.items()) for k in degrees]
    # One whole number holds the polynomial: a coefficient is at most 2**distinctions.
    width = distinctions // 8 + 2  # bytes each
    packed = 0
    for m in range(max(weights, default=0), -1, -1):  # Horner in 1 + x, at x = 256**width
        packed += (packed << 8 * width) + weights.get(m, 0)
    data = packed.to_bytes(width * (distinctions + 1), "little")
    poly = [int.from_bytes(data[k : k + width], "little") for k in range(0, len(data), width)]
    while len(poly) > 2 and poly[-1] == 0:
        poly.pop()
    return poly[2:]


def relations_by_degree(bindings: Bindings, degree: int) -> Iterator[Relation]:
    """Yield the relations of `degree` distinctions, in lexicographic order."""
    union, share = bindings.union, bindings.share
    if degree == 1:
        yield from _self_relations(bindings)
        return
    stack: list[tuple[tuple[int, ...], int]] = [
        ((d,), union[d]) for d in reversed(range(len(union)))
    ]
    while stack:
        related, overlap = stack.pop()
        if len(related) == degree:
            yield Relation(related, overlap, overlap.bit_count() * min(share[d] for d in related))
            continue
        stack += [
            ((*related, d), overlap & union[d])
            for d in range(len(union) - 1, related[-1], -1)
            if overlap & union[d]
        ]


def _self_relations(bindings: Bindings) -> Iterator[Relation]:
    for d, (c, e) in enumerate(zip(bindings.cause, bindings.effect, strict=True)):
        if c & e:
            yield Relation((d,), c & e, (c & e).bit_count() * bindings.share[d])


def top_relations(bindings: Bindings, degree: int | None = None) -> Iterator[Relation]:
    """Yield relations, of `degree` distinctions or all, by decreasing phi, lazily.

    Adding a distinction never raises phi of a set of two or more, so the best-first search over
    sets, each extended upwards only, yields in order.
    """
    union, share = bindings.union, bindings.share
    heap: list[tuple[float, tuple[int, ...], int, bool]]
    heap = [(-u.bit_count() * share[d], (d,), u, False) for d, u in enumerate(union)]
    heap += [(-r.phi, r.distinctions, r.overlap, True) for r in _self_relations(bindings)]
    heapq.heapify(heap)
    while heap:
        bound, related, overlap, loop = heapq.heappop(heap)
        if (loop or len(related) > 1) and degree in (None, len(related)):
            yield Relation(related, overlap, -bound)
        if loop or (degree is not None and len(related) >= degree):
            continue
        least = min(share[d] for d in related)
        for d in range(related[-1] + 1, len(union)):
            common = overlap & union[d]
            if common:
                phi = common.bit_count() * min(least, share[d])
                heapq.heappush(heap, (-phi, (*related, d), common, False))


class CauseEffectSide(NamedTuple):
    """A cause or effect of a mechanism: the mask of one purview among those that tie."""

    purview: int
    phi: float  # Integrated information over this purview, bits
    information: float  # Intrinsic information, bits
    state: int  # Representative specified state, little-endian over the purview
    states: tuple[int, ...]  # All specified states whose phi ties, in state order
    # (n,) partners each unit still sees under the named partition; -1 where none applies
    kept: tuple[int, ...]


class TiedPurviews(NamedTuple):
    """The mask of an irreducible mechanism with its tied purviews, the representative first."""

    mechanism: int
    cause: tuple[CauseEffectSide, ...]
    effect: tuple[CauseEffectSide, ...]

    @property
    def phi(self) -> float:
        """phi_d, bits."""
        return min(self.cause[0].phi, self.effect[0].phi)

    @property
    def has_tied_purviews(self) -> bool:
        """True if several purviews tie on a side."""
        return len(self.cause) > 1 or len(self.effect) > 1

    @property
    def has_ties(self) -> bool:
        """True if several purviews or states tie on a side."""
        return any(len(side) > 1 or len(side[0].states) > 1 for side in (self.cause, self.effect))


class Distinction(NamedTuple):
    """A mechanism with the cause and effect chosen for it."""

    choices: TiedPurviews
    cause: CauseEffectSide  # Chosen cause; its ``state`` agrees with the system's
    effect: CauseEffectSide  # Chosen effect; its ``state`` agrees with the system's

    @property
    def phi(self) -> float:
        """phi_d, bits."""
        return self.choices.phi


def collect_ties(pairs: Array, details: Filled, order: PurviewOrder) -> list[TiedPurviews]:
    """Collect the details of tied purviews by mechanism, ascending, the representative first.

    `pairs` is (pairs, 3) direction, mechanism and purview, of which `details` is the filled stage.
    """
    sides: dict[tuple[int, int], list[CauseEffectSide]] = {}
    bits = details["tied_states"].values
    names = ("phi", "information", "state", "ties", "kept")
    columns = [details[name].values.tolist() for name in names]
    rows = zip(pairs.tolist(), bits, *columns, strict=True)
    for (direction, mechanism, purview), states, phi, information, state, ties, kept in rows:
        tied: tuple[int, ...] = (state,)
        if ties > 1:
            tied = tuple(np.flatnonzero(np.unpackbits(states, bitorder="little")).tolist())
        side = CauseEffectSide(purview, phi, information, state, tied, tuple(kept))
        sides.setdefault((mechanism, direction), []).append(side)

    def in_order(mechanism: int, direction: int) -> tuple[CauseEffectSide, ...]:
        by_purview = {side.purview: side for side in sides[mechanism, direction]}
        purviews = order.sort(mechanism, direction == EFFECT, sorted(by_purview))
        return tuple(by_purview[purview] for purview in purviews)

    mechanisms = sorted({mechanism for mechanism, _ in sides})
    return [TiedPurviews(m, in_order(m, CAUSE), in_order(m, EFFECT)) for m in mechanisms]


def congruent_distinctions(
    system: CandidateSystem, tied: Sequence[TiedPurviews], states: tuple[int, int], ties: str
) -> list[Distinction]:
    """Return the mechanisms whose cause and effect can agree with the system's states.

    Parameters
    ----------
    system : the candidate system
    tied : irreducible mechanisms with their tied purviews
    states : the system's cause and effect state, little-endian
    ties : the order among ties, ``reference`` or ``canonical``

    Returns
    -------
    list of Distinction, in the order of `tied`

    References
    ----------
    docs/mathematics.md 10.
    """
    implied = [purview_states(state, system.levels) for state in states]
    out = []
    for choices in tied:
        cause = _congruent_side(choices.cause, implied[0], ties)
        effect = _congruent_side(choices.effect, implied[1], ties)
        if cause is not None and effect is not None:
            out.append(Distinction(choices, cause, effect))
    return out


def _in_system_state(side: CauseEffectSide, implied: Array) -> CauseEffectSide | None:
    """Return the side in the state that the system's implies, None if that state does not tie."""
    state = int(implied[side.purview])
    if state == side.state:
        return side  # as nearly always: one that ties for itself alone
    return side._replace(state=state) if state in side.states else None


def _congruent_side(
    sides: Sequence[CauseEffectSide], implied: Array, ties: str
) -> CauseEffectSide | None:
    """Return the side that is chosen among ties, None if no side agrees with the system's states.

    By mathematics.md 10: the representative's tied states first, then the largest tied purview.
    """
    if ties == "canonical":  # congruent, then larger, then the label-independent order
        fitting = (_in_system_state(side, implied) for side in sides)
        return next((side for side in fitting if side is not None), None)
    first = _in_system_state(sides[0], implied)
    if first is not None:
        return first
    others = [s for s in sides[1:] if s.state == implied[s.purview]]
    return max(others, key=lambda s: s.purview.bit_count(), default=None)


@dataclass(frozen=True, slots=True)
class CauseEffectStructure:
    """A cause-effect structure, and what it was found from."""

    system: CandidateSystem
    options: Unfolding
    analysis: SystemAnalysis
    # Cause and effect state that distinctions must agree with, little-endian
    states: tuple[int, int]
    tied_states: TiedStates  # All pairs of system states among which `states` were chosen
    # Mechanisms irreducible in both directions, with all tied purviews
    tied: Sequence[TiedPurviews]
    distinctions: Sequence[Distinction]
    sums: RelationSums
    search: dict[str, int]  # Counts of what the search excluded and what it computed


def relation_bindings(
    system: CandidateSystem, distinctions: Sequence[Distinction], states: tuple[int, int]
) -> Bindings:
    """Return the unit-states that each distinction binds.

    Parameters
    ----------
    system : the candidate system, n units
    distinctions : (D,) mechanisms with cause and effect
    states : the system's cause and effect state, little-endian

    Returns
    -------
    Bindings, bits 0 to n - 1 are the units in their cause state, n to 2n - 1 those whose effect
        state differs from it: a unit with one state on both sides counts once

    References
    ----------
    docs/mathematics.md 11.1.
    """
    effect_mask = effect_unit_states(system, states)
    causes = tuple(d.cause.purview for d in distinctions)
    effects = tuple(effect_mask(d.effect.purview) for d in distinctions)
    return Bindings(np.array([d.phi for d in distinctions]), causes, effects)


def effect_unit_states(system: CandidateSystem, states: tuple[int, int]) -> Callable[[int], int]:
    """Return a function from an effect purview to its unit-states, see `relation_bindings`."""
    n = system.n
    values = [decode_state(s, system.levels) for s in states]
    differing = sum(1 << i for i in range(n) if values[0][i] != values[1][i])
    return lambda purview: (purview & ~differing) | (purview & differing) << n


def structure_nodes(structure: CauseEffectStructure, ties: dict[str, Any]) -> dict[str, xr.Dataset]:
    """Return ``/``, ``/system``, ``/distinctions`` and ``/relations`` of a structure."""
    system, distinctions = structure.system, structure.distinctions
    phi_d = fsum(d.phi for d in distinctions)  # one result, whatever the order or the Python
    phi_r, log_r = float_and_log2(structure.sums.phi)
    attrs: dict[str, Any] = {
        "sum_phi_distinctions": phi_d,
        "sum_phi_relations": phi_r,
        "big_phi": phi_d + phi_r,
        "n_distinctions": len(distinctions),
        "n_irreducible_mechanisms": len(structure.tied),
        "n_tied_mechanisms": sum(d.choices.has_ties for d in distinctions),
        "search": structure.search,
        **ties,
    }
    node = system_dataset(system, structure.analysis)
    if structure.analysis.states is None:  # name the states that congruence was judged by
        for name, code in zip(("cause_state", "effect_state"), structure.states, strict=True):
            node[name] = node[name].copy(data=np.array(decode_state(code, system.levels)))
    return {
        "/": assemble_dataset({}, {}, attrs),
        "/system": node,
        "/distinctions": _distinctions_dataset(system, distinctions),
        "/relations": _relations_dataset(structure.sums, phi_r, log_r),
    }


def float_and_log2(value: Fraction) -> tuple[float, float]:
    """Return a fraction >= 0 as a double (inf beyond its range) and as log2 (-inf for 0)."""
    if value == 0:
        return 0.0, -np.inf
    shift = value.numerator.bit_length() - value.denominator.bit_length()
    scaled = value / 2**shift if shift >= 0 else value * 2**-shift
    log = shift + float(np.log2(float(scaled)))
    return (float(value) if shift < 1023 else np.inf), log


def _distinctions_dataset(
    system: CandidateSystem, distinctions: Sequence[Distinction]
) -> xr.Dataset:
    n, count = system.n, len(distinctions)
    rows, line = ("mechanism", "unit"), ("mechanism",)
    values: dict[str, tuple[tuple[str, ...], Any]] = {
        "mechanism_units": (rows, units_of_masks([d.choices.mechanism for d in distinctions], n)),
        "phi": (line, np.array([d.phi for d in distinctions], float)),
    }
    for name in ("cause", "effect"):
        sides: list[CauseEffectSide] = [getattr(d, name) for d in distinctions]
        tied: list[tuple[CauseEffectSide, ...]] = [getattr(d.choices, name) for d in distinctions]
        purviews, states = [s.purview for s in sides], [s.state for s in sides]
        information = np.array([s.information for s in sides], float)
        values |= {
            f"phi_{name}": (line, np.array([s.phi for s in sides], float)),
            f"purview_{name}": (rows, units_of_masks(purviews, n)),
            f"state_{name}": (rows, purview_unit_states(states, system.levels, purviews)),
            f"intrinsic_information_{name}": (line, information),
            f"kept_{name}": (rows, np.array([s.kept for s in sides], np.int64).reshape(count, n)),
            f"n_tied_purviews_{name}": (line, np.array([len(t) for t in tied], np.int64)),
            f"n_tied_states_{name}": (line, np.array([len(s.states) for s in sides], np.int64)),
        }
    return make_dataset(values)


def _relations_dataset(sums: RelationSums, phi: float, log_phi: float) -> xr.Dataset:
    degrees = sums.by_degree
    counts = np.array([_int64_or_minus_one(x) for x in degrees], np.int64)
    values: dict[str, tuple[tuple[str, ...], Any]] = {
        "count": ((), _int64_or_minus_one(sums.count)),
        "log2_count": ((), _log2(sums.count)),
        "sum_phi": ((), phi),
        "log2_sum_phi": ((), log_phi),
        "count_by_degree": (("degree",), counts),
        "log2_count_by_degree": (("degree",), np.array([_log2(x) for x in degrees], float)),
    }
    coords = {"degree": ("degree", np.arange(1, len(degrees) + 1))}
    return make_dataset(values, {"count": str(sums.count)}, coords)


def _int64_or_minus_one(count: int) -> int:
    return count if count < 2**63 else -1


def _log2(count: int) -> float:
    shift = max(0, count.bit_length() - 60)
    return float(np.log2(float(count >> shift))) + shift if count else -np.inf
