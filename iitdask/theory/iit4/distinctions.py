"""Distinctions of a cause-effect structure: choice among ties, datasets, sensitivity to ties."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from math import fsum
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from iitdask.kernels.subsets import hash_set_order, nonempty_masks_by_size
from iitdask.model.labels import decode_state, purview_states, purview_unit_states, units_of_mask
from iitdask.model.system import CandidateSystem
from iitdask.theory.iit4.mechanisms import CAUSE, EFFECT
from iitdask.theory.iit4.relations import Bindings, RelationSums, relation_phi
from iitdask.theory.iit4.system_analysis import SystemAnalysis, system_dataset
from iitdask.theory.marginal_tables import child_masks
from iitdask.theory.options import Unfolding
from iitdask.theory.stage import Array, Filled
from iitdask.theory.ties import canonical_ranks
from iitdask.theory.variables import assemble_dataset, make_dataset, units_of_masks

SET_ORDER_MAX_UNITS = 14  # beyond, the published order would walk 2**N purviews per mechanism


class CauseEffectSide(NamedTuple):
    """A cause or effect of a mechanism: the mask of one purview among those that tie."""

    purview: int
    phi: float
    """Integrated information over this purview, bits."""
    information: float
    """Intrinsic information, bits."""
    state: int
    """Representative specified state, little-endian over the purview."""
    states: tuple[int, ...]
    """All specified states whose phi ties, in state order."""
    kept: tuple[int, ...]
    """(n,) partners each unit still sees under the named partition; -1 where none applies."""


class TiedPurviews(NamedTuple):
    """The mask of an irreducible mechanism with its tied purviews, the representative first."""

    mechanism: int
    cause: tuple[CauseEffectSide, ...]
    effect: tuple[CauseEffectSide, ...]

    @property
    def has_ties(self) -> bool:
        """True if several purviews or states tie on a side."""
        return any(len(side) > 1 or len(side[0].states) > 1 for side in (self.cause, self.effect))


class Distinction(NamedTuple):
    """A mechanism with the cause and effect chosen for it."""

    choices: TiedPurviews
    cause: CauseEffectSide
    """Chosen cause; its ``state`` agrees with the system's."""
    effect: CauseEffectSide
    """Chosen effect; its ``state`` agrees with the system's."""

    @property
    def phi(self) -> float:
        """phi_d, bits."""
        return min(self.choices.cause[0].phi, self.choices.effect[0].phi)


class PurviewOrder:
    """Order among the tied purviews of a mechanism: the published order, or the canonical one."""

    def __init__(self, system: CandidateSystem, ties: str) -> None:
        self._system = system
        self._reference = ties == "reference" and system.substrate.n_units <= SET_ORDER_MAX_UNITS
        self._ranks: Array | None = None
        self._sequence: Array | None = None
        self._children = child_masks(system.substrate.connectivity) if self._reference else None

    def sort(self, mechanism: int, forward: bool, purviews: Sequence[int]) -> list[int]:
        """Return purview masks in order, the representative first (mathematics.md 15.2, 15.3)."""
        if len(purviews) == 1:
            return list(purviews)
        if not self._reference:
            return sorted(purviews, key=self.canonical_key)
        if self._sequence is None:
            self._sequence = nonempty_masks_by_size(self._system.substrate.n_units)
        outer = {self._outer(p): p for p in purviews}
        order = hash_set_order(self._outer(mechanism), self._sequence, self._children, forward)
        return [outer[p] for p in order.tolist() if p in outer]

    def canonical_key(self, purview: int) -> tuple[int, tuple[int, ...]]:
        """Return a key by which larger purviews come first, then those of lower canonical ranks."""
        if self._ranks is None:
            self._ranks = canonical_ranks(self._system)[list(self._system.units)]
        ranks = self._ranks[list(units_of_mask(purview))].tolist()
        return -len(ranks), tuple(sorted(ranks))

    def _outer(self, mask: int) -> int:
        """Return a mask over the substrate's units."""
        return sum(1 << unit for unit in units_of_mask(mask, self._system.units))


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

    `states` are the system's cause and effect state, little-endian.

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
    states: tuple[int, int]
    """Cause and effect state that distinctions must agree with, little-endian."""
    tied: Sequence[TiedPurviews]
    """Mechanisms irreducible in both directions, with all tied purviews."""
    distinctions: Sequence[Distinction]
    sums: RelationSums
    search: dict[str, int]
    """Counts of what the search excluded and what it computed."""


def relation_bindings(
    system: CandidateSystem, distinctions: Sequence[Distinction], states: tuple[int, int]
) -> Bindings:
    """Return the unit-states that each distinction binds.

    A unit with one state on both sides counts once: bits 0 to n - 1 are the units in their cause
    state, n to 2n - 1 those whose effect state differs from it.

    References
    ----------
    docs/mathematics.md 11.1.
    """
    n = system.n
    values = [decode_state(s, system.levels) for s in states]
    differing = sum(1 << i for i in range(n) if values[0][i] != values[1][i])
    causes = tuple(d.cause.purview for d in distinctions)
    effects = (d.effect.purview for d in distinctions)
    shifted = tuple((bits & ~differing) | (bits & differing) << n for bits in effects)
    return Bindings(np.array([d.phi for d in distinctions]), causes, shifted)


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


MAX_ALTERNATIVES = 2000  # other choices tried at most


def tie_sensitivity(structure: CauseEffectStructure) -> dict[str, Any]:
    """Return whether other choices among ties would change a structure.

    ``tie_sensitive``: whether there is another admissible choice of system states or purviews;
    ``phi_tie_sensitive``: ``yes``, ``no`` or ``not determined``, whether one of them, tried alone,
    changes Phi.

    References
    ----------
    docs/mathematics.md 15.4.
    """
    others = [pair for pair in structure.analysis.tied_state_pairs if pair != structure.states]
    swaps = list(_alternative_purviews(structure))
    total = fsum(d.phi for d in structure.distinctions) + float_and_log2(structure.sums.phi)[0]
    verdict, alternatives = "no", _alternative_phis(structure, others, swaps)
    if any(abs(phi - total) > 1e-9 * max(1.0, total) for phi in alternatives):
        verdict = "yes"
    elif len(others) + len(swaps) > MAX_ALTERNATIVES:
        verdict = "not determined"
    return {"tie_sensitive": bool(others or swaps), "phi_tie_sensitive": verdict}


def _alternative_purviews(
    structure: CauseEffectStructure,
) -> Iterator[tuple[int, int, CauseEffectSide]]:
    """Yield distinction, side and every admissible purview that was not chosen."""
    implied = [purview_states(state, structure.system.levels) for state in structure.states]
    for k, d in enumerate(structure.distinctions):
        sides = (d.choices.cause, d.cause.purview), (d.choices.effect, d.effect.purview)
        for side, (tied, chosen) in enumerate(sides):
            fitting = (_in_system_state(s, implied[side]) for s in tied if s.purview != chosen)
            yield from ((k, side, option) for option in fitting if option is not None)


def _alternative_phis(
    structure: CauseEffectStructure,
    others: Sequence[tuple[int, int]],
    swaps: Sequence[tuple[int, int, CauseEffectSide]],
) -> Iterator[float]:
    system, ties = structure.system, structure.options.ties
    for pair in islice(others, MAX_ALTERNATIVES):
        distinctions = congruent_distinctions(system, structure.tied, pair, ties)
        yield _big_phi(structure, distinctions, pair)
    for k, side, option in islice(swaps, max(0, MAX_ALTERNATIVES - len(others))):
        old = structure.distinctions[k]
        sides = (option, old.effect) if side == 0 else (old.cause, option)
        swapped = list(structure.distinctions)
        swapped[k] = Distinction(old.choices, *sides)
        yield _big_phi(structure, swapped, structure.states)


def _big_phi(
    structure: CauseEffectStructure, distinctions: Sequence[Distinction], states: tuple[int, int]
) -> float:
    relations = relation_phi(relation_bindings(structure.system, distinctions, states))
    return fsum(d.phi for d in distinctions) + float_and_log2(relations)[0]
