"""Distinctions: congruent causes and effects of mechanisms, and the dataset of a structure.

References: docs/mathematics.md 10 and 11.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import fsum
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from iitdask.model.labels import decode_state, purview_unit_states, states_within
from iitdask.model.system import CandidateSystem
from iitdask.theory.iit4.mechanisms import CAUSE, EFFECT
from iitdask.theory.iit4.relations import Bindings, RelationSums
from iitdask.theory.iit4.state_classes import TiedStates
from iitdask.theory.iit4.system_analysis import SystemAnalysis, system_dataset
from iitdask.theory.options import Unfolding
from iitdask.theory.stage import Array, Filled
from iitdask.theory.ties import PurviewOrder
from iitdask.theory.variables import assemble_dataset, make_dataset, units_of_masks


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


def described_sides(pairs: Array, details: Filled) -> Iterator[tuple[int, int, CauseEffectSide]]:
    """Yield direction, mechanism and cause or effect of pairs of which `details` is filled.

    `pairs` is (pairs, 3) direction, mechanism and purview.
    """
    bits = details["tied_states"].values
    names = ("phi", "information", "state", "ties", "kept")
    columns = [details[name].values.tolist() for name in names]
    rows = zip(pairs.tolist(), bits, *columns, strict=True)
    for (direction, mechanism, purview), states, phi, information, state, ties, kept in rows:
        tied: tuple[int, ...] = (state,)
        if ties > 1:
            tied = tuple(np.flatnonzero(np.unpackbits(states, bitorder="little")).tolist())
        yield (
            direction,
            mechanism,
            CauseEffectSide(purview, phi, information, state, tied, tuple(kept)),
        )


def collect_ties(
    found: Iterable[tuple[int, int, CauseEffectSide]], order: PurviewOrder
) -> list[TiedPurviews]:
    """Collect tied purviews by mechanism, ascending, the representative first.

    `found` are directions, mechanisms and causes or effects.
    """
    sides: dict[tuple[int, int], list[CauseEffectSide]] = {}
    for direction, mechanism, side in found:
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
    implied = [
        _implied_states(sides, state, system.levels)
        for sides, state in (
            ([side for t in tied for side in t.cause], states[0]),
            ([side for t in tied for side in t.effect], states[1]),
        )
    ]
    out = []
    for choices in tied:
        cause = _congruent_side(choices.cause, implied[0], ties)
        effect = _congruent_side(choices.effect, implied[1], ties)
        if cause is not None and effect is not None:
            out.append(Distinction(choices, cause, effect))
    return out


def _implied_states(
    sides: Sequence[CauseEffectSide], state: int, levels: Sequence[int]
) -> dict[int, int]:
    """Return the state that the system's implies of each purview, by its mask."""
    purviews = np.unique(np.array([side.purview for side in sides], np.int64))
    return dict(
        zip(purviews.tolist(), states_within(state, levels, purviews).tolist(), strict=True)
    )


def _in_system_state(side: CauseEffectSide, implied: Mapping[int, int]) -> CauseEffectSide | None:
    """Return the side in the state that the system's implies, None if that state does not tie."""
    state = implied[side.purview]
    if state == side.state:
        return side  # as nearly always: one that ties for itself alone
    return side._replace(state=state) if state in side.states else None


def _congruent_side(
    sides: Sequence[CauseEffectSide], implied: Mapping[int, int], ties: str
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


MAX_DECIMAL_BITS = 14_284  # Of numbers of at most 4,300 decimal digits
NOT_COUNTED = "not counted: too many sets of distinctions have unit-states in common"


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
        "/distinctions": _distinctions_dataset(system, distinctions, structure.sums),
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
    system: CandidateSystem, distinctions: Sequence[Distinction], sums: RelationSums
) -> xr.Dataset:
    n, count = system.n, len(distinctions)
    rows, line = ("mechanism", "unit"), ("mechanism",)
    values: dict[str, tuple[tuple[str, ...], Any]] = {
        "mechanism_units": (rows, units_of_masks([d.choices.mechanism for d in distinctions], n)),
        "phi": (line, np.array([d.phi for d in distinctions], float)),
        "fold": (line, sums.fold),
        "log2_fold": (line, sums.log2_fold),
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
    degrees, is_counted = sums.by_degree, sums.count is not None
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
    about = {"count": _count_text(sums.count)} | ({} if is_counted else {"reason": NOT_COUNTED})
    return make_dataset(values, about, coords)


def _count_text(count: int | None) -> str:
    """Return a number as text: decimal, hexadecimal where Python converts no more, or empty."""
    if count is None:
        return ""
    return str(count) if count.bit_length() <= MAX_DECIMAL_BITS else hex(count)


def _int64_or_minus_one(count: int | None) -> int:
    return -1 if count is None or count >= 2**63 else count


def _log2(count: int | None) -> float:
    if count is None:
        return np.nan
    shift = max(0, count.bit_length() - 60)
    return float(np.log2(float(count >> shift))) + shift if count else -np.inf
