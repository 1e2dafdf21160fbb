"""The verdict on a system: phi_s, its states, its partition, and the ties on the way."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from iitdask.kernels.irreducibility import total_cost
from iitdask.kernels.purviews import ZERO, tolerance
from iitdask.model.system import System
from iitdask.theory.base import Answer, Stage
from iitdask.theory.irreducibility import (
    Candidate,
    Specified,
    minimum_partitions,
    severed,
    shared_ways,
    specified_states,
    states_stage,
)
from iitdask.theory.options import IIT42026, Unfolding
from iitdask.theory.states import digits
from iitdask.theory.symmetry import StateOrder
from iitdask.theory.vocabulary import described

__all__ = ["Analysis", "analysis", "is_strongly_connected", "system_dataset"]

Array = NDArray[Any]

REASONS = {
    "NO_STRONG_CONNECTIVITY": "the units are not strongly connected",
    "MONAD_WITH_NO_SELFLOOP": "a single unit without a connection to itself",
    "NO_CAUSE": "the state has no cause: no past state is more probable than any other",
    "NO_EFFECT": "the state has no effect: the next state is as probable as from any other",
    "REDUCIBLE": "a partition makes no difference",
    "CAPPED": "limited to zero by intrinsic information or differentiation (2026)",
}


@dataclass(frozen=True, slots=True)
class Analysis:
    """Outcome of the analysis of one candidate system."""

    phi: float
    """System integrated information, bits."""
    normalized: float
    """The same per severed pair."""
    reasons: tuple[str, ...] = ()
    """Why phi is 0, when a rule decided it."""
    phi_sides: tuple[float, float] = (np.nan, np.nan)
    """Cause and effect values at the minimum partition."""
    information: tuple[float, float] = (np.nan, np.nan)
    """Intrinsic information of the specified states."""
    states: tuple[int, int] | None = None
    """Cause and effect state of the system, little-endian; None when none was specified."""
    lost: Array | None = None
    """(n,) masks of the inputs each unit loses under the minimum partition."""
    tied_partitions: float = 0.0
    """Partitions tied for the minimum."""
    tied_states: int = 0
    """Pairs of specified states tied for the largest phi."""
    state_options: tuple[tuple[int, int], ...] = ()
    """All of those pairs."""
    differentiation: tuple[float, float] | None = None
    """Cause and effect differentiation (2026)."""


@dataclass(frozen=True, slots=True)
class _Pair:
    """One cause state with one effect state."""

    phi: float
    normalized: float
    cause: Candidate
    effect: Candidate
    decides: tuple[Candidate, ...]
    """The direction whose minimum is the pair's; both when they tie."""


def is_strongly_connected(connectivity: Array) -> bool:
    """Whether every unit reaches every other along declared connections."""
    n = len(connectivity)
    for matrix in (connectivity, connectivity.T):
        seen, frontier = {0}, [0]
        while frontier:
            new = set(np.flatnonzero(matrix[frontier].any(axis=0)).tolist()) - seen
            seen |= new
            frontier = list(new)
        if len(seen) < n:
            return False
    return True


def analysis(
    system: System, options: Unfolding
) -> Generator[tuple[Stage, ...], tuple[Answer, ...], Analysis]:
    """Analyse a system: gatekeeping, specified states, minimum partitions, choice among ties."""
    if not is_strongly_connected(system.connectivity):
        return Analysis(0.0, 0.0, ("NO_STRONG_CONNECTIVITY",))
    if system.n == 1 and not system.connectivity[0, 0]:
        return Analysis(0.0, 0.0, ("MONAD_WITH_NO_SELFLOOP",))
    (filled,) = yield (states_stage(system),)
    cause, effect = specified_states(filled)
    information = (_rounded(cause.information), _rounded(effect.information))
    missing = [
        name for name, ii in zip(("NO_CAUSE", "NO_EFFECT"), information, strict=True) if ii == 0
    ]
    if missing:
        return Analysis(
            0.0,
            0.0,
            tuple(missing),
            information=information,
            states=(cause.states[0], effect.states[0]),
        )
    causes, effects = yield from minimum_partitions(system, cause, effect)
    return _verdict(system, options, cause, effect, [_pair(c, e) for c in causes for e in effects])


def _rounded(value: float) -> float:
    return value if value > ZERO else 0.0


def _pair(c: Candidate, e: Candidate) -> _Pair:
    """Phi of a pair of specified states: the direction with the smaller ratio decides.

    At equal ratios the partition that severs more has the larger phi.
    """
    reducible = tuple(x for x in (c, e) if x.phi <= ZERO)
    if reducible:
        return _Pair(0.0, 0.0, c, e, reducible)
    if abs(c.normalized - e.normalized) <= 1e-12:
        most = max(c.pairs, e.pairs)
        decides = tuple(x for x in (c, e) if x.pairs == most)
    else:
        decides = (min((c, e), key=lambda x: x.normalized),)
    return _Pair(decides[0].phi, decides[0].normalized, c, e, decides)


def _verdict(
    system: System, options: Unfolding, cause: Specified, effect: Specified, pairs: list[_Pair]
) -> Analysis:
    top = max(p.phi for p in pairs)
    tied = [p for p in pairs if p.phi >= top - tolerance(top)]
    choices = [(p.cause.state, p.effect.state) for p in tied]
    chosen = tied[StateOrder(system, options.ties).first(choices)]
    lost, ways = _named(chosen)
    sides = (
        max(0.0, chosen.cause.selectivity * total_cost(chosen.cause.costs, lost)),
        max(0.0, chosen.effect.selectivity * total_cost(chosen.effect.costs, lost)),
    )
    phi, normalized = chosen.phi, chosen.normalized
    reasons: tuple[str, ...] = ()
    differentiation = None
    if phi == 0.0:
        reasons = ("REDUCIBLE",)
    if isinstance(options, IIT42026):
        differentiation = _differentiation(system, options, cause, effect, chosen)
        capped = min(phi, cause.information, effect.information, *differentiation)
        if _rounded(capped) == 0.0 < phi:
            reasons = ("CAPPED",)
        normalized = _rounded(capped) / _severed_count(lost)
        phi = _rounded(capped)
    return Analysis(
        phi=phi,
        normalized=normalized,
        reasons=reasons,
        phi_sides=sides,
        information=(cause.information, effect.information),
        states=(chosen.cause.state, chosen.effect.state),
        lost=lost,
        tied_partitions=ways,
        tied_states=len(tied),
        state_options=tuple(choices),
        differentiation=differentiation,
    )


def _severed_count(lost: Array) -> int:
    return int(np.bitwise_count(lost.astype(np.uint64)).sum())


def _named(pair: _Pair) -> tuple[Array, float]:
    """The partition that is named, and how many are tied with it."""
    best = max(pair.decides, key=lambda x: tuple(x.key.tolist()))
    if pair.phi == 0.0:
        return severed(best), 0.0
    ways = sum(x.ways for x in pair.decides)
    if len(pair.decides) == 2:
        ways -= shared_ways(pair.cause, pair.effect) if len(pair.cause.costs) > 1 else 1.0
    return severed(best), ways


def _differentiation(
    system: System, options: IIT42026, cause: Specified, effect: Specified, chosen: _Pair
) -> tuple[float, float]:
    """Spec.md 8.5: at the current state as the reference does, or at the specified states."""
    if options.differentiation == "specified":
        p_cause, p_effect = chosen.cause.selectivity, chosen.effect.selectivity
    else:
        p_cause = float(cause.forward[system.code])
        p_effect = float(effect.forward[system.code])
    return tuple(float(-np.log2(p)) if 0 < p < 1 else 0.0 for p in (p_cause, p_effect))  # type: ignore[return-value]


def system_dataset(system: System, found: Analysis) -> xr.Dataset:
    """Make the dataset of a system analysis; its dims are not labelled yet."""
    n = system.n
    lost = np.zeros(n, np.int64) if found.lost is None else found.lost
    cut = (lost[None, :] >> np.arange(n)[:, None] & 1).astype(bool)
    values: dict[str, tuple[tuple[str, ...], Any]] = {
        "phi": ((), found.phi),
        "normalized_phi": ((), found.normalized),
        "phi_cause": ((), found.phi_sides[0]),
        "phi_effect": ((), found.phi_sides[1]),
        "intrinsic_information_cause": ((), found.information[0]),
        "intrinsic_information_effect": ((), found.information[1]),
        "n_tied_partitions": ((), int(found.tied_partitions)),
        "n_tied_states": ((), found.tied_states),
        "cause_state": (("unit",), _unit_states(system, found, 0)),
        "effect_state": (("unit",), _unit_states(system, found, 1)),
        "cut": (("source", "target"), cut),
        "part": (("unit",), _parts(cut)),
    }
    if found.differentiation is not None:
        values["differentiation_cause"] = ((), found.differentiation[0])
        values["differentiation_effect"] = ((), found.differentiation[1])
    reason = "; ".join(REASONS[name] for name in found.reasons)
    return described(values, {"reason": reason, "reasons": " ".join(found.reasons)})


def _unit_states(system: System, found: Analysis, side: int) -> Array:
    if found.states is None:
        return np.full(system.n, -1)
    return np.array(digits(found.states[side], system.levels))


def _parts(cut: Array) -> Array:
    """Number the parts: between two parts at least one direction is always severed."""
    part = np.full(len(cut), -1)
    for i in range(len(cut)):
        if part[i] < 0:
            part[(part < 0) & ~cut[i] & ~cut[:, i]] = part.max() + 1
            part[i] = part.max() if part[i] < 0 else part[i]
    return part
