"""Single questions about a system, answered without a run: distributions, purviews, partitions.

References: docs/mathematics.md 3 to 8.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np

from iitdask.errors import UnreachableStateError
from iitdask.kernels.iit4.pair import make_pair_scratch
from iitdask.kernels.subsets import PHI_ZERO_BITS, is_purview
from iitdask.model.system import CandidateSystem
from iitdask.theory.iit4.cut_values import StatePairCosts
from iitdask.theory.iit4.mechanisms import DIRECTION_CODES, EFFECT, pair_details
from iitdask.theory.iit4.phi_bounds import cap_phi
from iitdask.theory.iit4.system_analysis import (
    SystemAnalysis,
    analyse_system,
    specify_states,
)
from iitdask.theory.marginal_tables import whole_tables
from iitdask.theory.options import IIT42026, Unfolding
from iitdask.theory.reasons import Reason
from iitdask.theory.stage import Array, compute_steps

FIRST_STATE = 0  # Where it ties, partitions are named at it: it is then the specified state


def marginal_rows(system: CandidateSystem, direction: int, inputs: Sequence[int]) -> Array:
    """Return ``(Z, R)`` P(unit takes value | state of some inputs), the other inputs uniform.

    Parameters
    ----------
    system : the candidate system
    direction : 0 for causes, 1 for effects
    inputs : units, ascending, whose Z states are the little-endian rows

    Returns
    -------
    Array, columns as in the system's tables

    References
    ----------
    docs/mathematics.md 3.
    """
    n, table = system.n, system.effect if direction == EFFECT else system.cause
    shaped = table.reshape(*system.levels[::-1], -1)  # the last unit varies slowest
    others = tuple(n - 1 - unit for unit in range(n) if unit not in inputs)
    rows: Array = shaped.mean(axis=others).reshape(-1, table.shape[1])
    return rows


def _columns(system: CandidateSystem, unit: int) -> slice:
    begin = sum(system.levels[:unit])
    return slice(begin, begin + system.levels[unit])


def _joint(system: CandidateSystem, rows: Array, units: Sequence[int]) -> Array:
    """Return ``(rows, Z)`` P(state of independent units), little-endian."""
    out = np.ones((len(rows), 1))
    for unit in units:
        values = rows[:, _columns(system, unit)]
        out = (values[:, :, None] * out[:, None, :]).reshape(len(rows), -1)
    return out


def _local_code(system: CandidateSystem, units: Sequence[int]) -> int:
    code = 0
    for unit in reversed(units):
        code = code * system.levels[unit] + system.local_state[unit]
    return code


def repertoires(
    system: CandidateSystem, direction: int, mechanism: Sequence[int], purview: Sequence[int]
) -> Array:
    """Return ``(2, Z)`` P(state of a purview), given the mechanism's state and with it unknown.

    Parameters
    ----------
    system : the candidate system
    direction : 0 for causes, 1 for effects
    mechanism, purview : units, ascending

    Returns
    -------
    Array, states little-endian; the second row is the mean over all states of the mechanism, or,
        of causes, uniform

    References
    ----------
    docs/mathematics.md 3, Eq. (3.1) to (3.4).
    """
    if direction == EFFECT:
        every = _joint(system, marginal_rows(system, direction, mechanism), purview)
        return np.stack([every[_local_code(system, mechanism)], every.mean(axis=0)])
    forward = _forward_cause(system, mechanism, purview)
    total = forward.sum()
    if not total > 0:
        raise UnreachableStateError("mechanism: no state of the purview leads to its state")
    return np.stack([forward / total, np.full(len(forward), 1.0 / len(forward))])


def _forward_cause(
    system: CandidateSystem, mechanism: Sequence[int], purview: Sequence[int]
) -> Array:
    """Return ``(Z,)`` P(state of the mechanism | state of a purview)."""
    rows = marginal_rows(system, 0, purview)
    at = [_columns(system, unit).start + system.local_state[unit] for unit in mechanism]
    return np.asarray(rows[:, at].prod(axis=1))


class PurviewDetails(NamedTuple):
    """One mechanism over every purview: (2 directions, 2**n - 1 purviews), row k is mask k + 1."""

    phi: Array  # bits, NaN where the purview is not admissible
    information: Array  # bits
    state: Array  # specified state, little-endian over the purview
    ties: Array  # specified states that tie
    pairs: Array  # severed pairs of the minimum partition
    kept: Array  # (..., n) partners each unit still sees, -1 where none applies


def mechanism_details(system: CandidateSystem, mechanism: int) -> PurviewDetails:
    """Evaluate one mechanism over every purview in both directions.

    Parameters
    ----------
    system : the candidate system, n units
    mechanism : mask of its units

    Returns
    -------
    PurviewDetails

    References
    ----------
    docs/mathematics.md 6.1 to 6.3.
    """
    tables = whole_tables(system)
    size = len(tables.codes)
    rows = [
        (direction, mechanism, purview, FIRST_STATE)
        for direction in range(len(DIRECTION_CODES))
        for purview in range(1, size)
        if is_purview(mechanism, purview, tables.children, direction == EFFECT)
    ]
    pairs = np.array(rows, np.int64).reshape(-1, 4)
    found = pair_details(tables, make_pair_scratch(tables), pairs)
    shape, at = (2, size - 1), (pairs[:, 0], pairs[:, 2] - 1)
    phi, information = np.full((2, *shape), np.nan)
    state, ties, severed = np.zeros((3, *shape), np.int64)
    kept = np.full((*shape, system.n), -1)
    phi[at] = np.where(found["phi"] > PHI_ZERO_BITS, found["phi"], 0.0)
    information[at], state[at], ties[at] = found["information"], found["state"], found["ties"]
    severed[at], kept[at] = found["pairs"], found["kept"]
    return PurviewDetails(phi, information, state, ties, severed, kept)


def pair_partition_phi(
    system: CandidateSystem,
    direction: int,
    parts: Sequence[tuple[Sequence[int], Sequence[int]]],
    state: int,
) -> float:
    """Return phi of a partition of a mechanism and a purview at a state of the purview, bits.

    Parameters
    ----------
    system : the candidate system
    direction : 0 for causes, 1 for effects
    parts : units of the mechanism and of the purview in each part, ascending
    state : little-endian over the purview

    Returns
    -------
    float, 0 where the partition loses nothing

    References
    ----------
    docs/mathematics.md, Eq. (6.1).
    """
    mechanism = sorted(unit for units, _ in parts for unit in units)
    purview = sorted(unit for _, units in parts for unit in units)
    digits = {}
    for unit in purview:
        digits[unit], state = state % system.levels[unit], state // system.levels[unit]

    def code(units: Sequence[int]) -> int:
        value = 0
        for unit in reversed(units):
            value = value * system.levels[unit] + digits[unit]
        return value

    def likelihood(some: Sequence[int], others: Sequence[int]) -> float:
        if direction == EFFECT:
            row = marginal_rows(system, direction, some)[_local_code(system, some)][None]
            return float(_joint(system, row, others)[0, code(others)])
        return float(_forward_cause(system, some, others)[code(others)])

    whole = likelihood(mechanism, purview)
    if not whole > 0:
        return 0.0
    split = reduce(lambda p, part: p * likelihood(*part), parts, 1.0)
    selectivity = float(repertoires(system, direction, mechanism, purview)[0, code(purview)])
    phi = selectivity * float(np.log2(whole / split)) if split > 0 else np.inf
    return phi if phi > PHI_ZERO_BITS else 0.0


class CutValue(NamedTuple):
    """What a directed partition of a system costs at the states that the system specifies."""

    phi: float  # bits; under IIT 4.0 of 2026 capped
    sides: tuple[float, float]  # cause and effect side, bits
    states: tuple[int, int]  # cause and effect state, little-endian


def system_partition_phi(
    system: CandidateSystem, options: Unfolding, severed: Sequence[int]
) -> CutValue:
    """Evaluate one directed partition of a system.

    Parameters
    ----------
    system : the candidate system, n units
    options : options of the theory
    severed : (n,) masks of the inputs that each unit loses

    Returns
    -------
    CutValue

    References
    ----------
    docs/mathematics.md 8.2 and 8.5.
    """
    analysis: SystemAnalysis = compute_steps(analyse_system(system, options))
    states = analysis.states
    if states is None:
        causes, effects = compute_steps(specify_states(system, options)).states
        states = causes.first, effects.first
    costs = StatePairCosts.from_states(system, states)
    cause, effect = costs.phi(np.array([severed], np.int64))[:, 0].tolist()
    phi = 0.0 if analysis.reason & (Reason.NO_CAUSE | Reason.NO_EFFECT) else min(cause, effect)
    if isinstance(options, IIT42026):
        is_specified = options.differentiation == "specified"
        probabilities = costs.selectivity if is_specified else costs.current
        phi = float(cap_phi(np.array(phi), costs.information, probabilities)[0])
    return CutValue(phi, (cause, effect), states)
