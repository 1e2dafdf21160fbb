"""Repertoires of the distinctions of a structure, for those who want to look at them (spec.md 3).

Searches never form these distributions; here they are written out from the
system's tables, whole where a purview is small, else at its most probable states.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from iitdask.model.system import System
from iitdask.theory.vocabulary import described

__all__ = ["MOST_STATES", "repertoires"]

Array = NDArray[Any]
MOST_STATES = 32
"""States of one purview that are written out."""


@dataclass(frozen=True, slots=True)
class _Pair:
    """A mechanism over its cause or effect purview."""

    system: System
    """Candidate system."""
    mechanism: list[int]
    """Units of the mechanism."""
    purview: list[int]
    """Units of the purview."""
    kept: list[int]
    """Per unit, mask of the partners it still sees under the partition."""
    state: list[int]
    """Specified state of the purview's units."""

    @property
    def place(self) -> int:
        """Number of the specified state among those of the purview, little-endian."""
        return _code(self.state, [self.system.levels[j] for j in self.purview])


@dataclass(frozen=True, slots=True)
class _Written:
    """Distributions over all states of a purview."""

    constrained: Array
    """Given the mechanism's state."""
    partitioned: Array
    """Given the mechanism's state under the minimum partition."""
    likelihood: Array
    """What phi compares: as ``constrained``, on the cause side before normalising."""
    likelihood_partitioned: Array
    """As ``partitioned``, likewise."""
    unconstrained: Callable[[Array], Array]
    """Gives the unconstrained distribution at some states; the rest of it may be dear."""


def repertoires(system: System, distinctions: xr.Dataset, most: int = MOST_STATES) -> xr.Dataset:
    """Write out the cause and effect repertoires of distinctions.

    Parameters
    ----------
    system : System
        The candidate system.
    distinctions : Dataset
        Node ``/distinctions`` of its structure.
    most : int
        States of a purview to keep: the most probable ones and the specified one.

    Returns
    -------
    Dataset
        For cause and effect, ragged along ``row_*``: rows ``begin_*(mechanism)`` to the next
        are ``code_*`` (state of the purview, little-endian) with probabilities
        ``constrained_*``, ``unconstrained_*`` and ``partitioned_*``, the last under the minimum
        partition (on the cause side renormalised). Per mechanism ``likelihood_*`` and
        ``likelihood_partitioned_*``, the two probabilities whose log-ratio, times
        ``selectivity_*``, is phi (Albantakis et al. 2023, Eq. 24 and 25).
    """
    values: dict[str, tuple[tuple[str, ...], Any]] = {}
    for side, write in (("cause", _cause), ("effect", _effect)):
        parts = [_cut(write(pair), pair, most) for pair in _pairs(system, distinctions, side)]
        counts = [len(part["code"]) for part in parts]
        values[f"begin_{side}"] = (("edge",), np.cumsum([0, *counts]))
        for name in ("code", "constrained", "unconstrained", "partitioned"):
            kind = np.int64 if name == "code" else float
            joined = np.concatenate([part[name] for part in parts]) if parts else np.empty(0)
            values[f"{name}_{side}"] = ((f"row_{side}",), joined.astype(kind))
        for name in ("likelihood", "likelihood_partitioned", "selectivity"):
            numbers = np.array([part[name] for part in parts], float)
            values[f"{name}_{side}"] = (("mechanism",), numbers)
    return described(values)


def _pairs(system: System, data: xr.Dataset, side: str) -> list[_Pair]:
    names = ("mechanism_units", f"purview_{side}", f"kept_{side}", f"state_{side}")
    columns = [data[name].values for name in names]
    return [
        _Pair(
            system,
            np.flatnonzero(mechanism).tolist(),
            np.flatnonzero(purview).tolist(),
            kept.tolist(),
            state[purview].tolist(),
        )
        for mechanism, purview, kept, state in zip(*columns, strict=True)
    ]


def _marginals(system: System, table: Array, kept: Sequence[int]) -> Array:
    """(states of kept, columns) table given the kept units, the others uniform; little-endian."""
    n, levels = system.n, system.levels
    cube = table.reshape(*reversed(levels), -1)  # the axis of unit i is n - 1 - i
    others = tuple(n - 1 - i for i in range(n) if i not in set(kept))
    mean: Array = cube.mean(axis=others) if others else cube
    return mean.reshape(-1, table.shape[1])


def _column(system: System, unit: int) -> int:
    return sum(system.levels[:unit])


def _code(values: Sequence[int], levels: Sequence[int]) -> int:
    out = 0
    for value, k in zip(reversed(values), reversed(levels), strict=True):
        out = out * k + value
    return out


def _given(system: System, table: Array, kept: Sequence[int]) -> Array:
    """(columns,) marginals given the current state of the kept units."""
    state = [system.local_state[i] for i in kept]
    found = _marginals(system, table, kept)
    row: Array = found[_code(state, [system.levels[i] for i in kept])]
    return row


def _joint(system: System, rows: Array, units: Sequence[int]) -> Array:
    """(m, states of units) products of the units' marginals in each row, little-endian."""
    out = np.ones((len(rows), 1))
    for i in units:
        begin = _column(system, i)
        own = rows[:, begin : begin + system.levels[i]]
        out = (own[:, :, None] * out[:, None, :]).reshape(len(rows), -1)
    return out


def _members(mask: int) -> list[int]:
    return [i for i in range(mask.bit_length()) if mask >> i & 1]


def _effect(pair: _Pair) -> _Written:
    system, purview = pair.system, pair.purview
    table = np.asarray(system.effect)
    constrained = _joint(system, _given(system, table, pair.mechanism)[None], purview)[0]
    partitioned = np.ones(1)
    for j in purview:
        own = _joint(system, _given(system, table, _members(pair.kept[j]))[None], [j])[0]
        partitioned = (own[:, None] * partitioned[None, :]).ravel()
    rows = _marginals(system, table, pair.mechanism)

    def unconstrained(codes: Array) -> Array:
        out, weight = np.ones((len(rows), len(codes))), 1
        for j in purview:
            out *= rows[:, _column(system, j) + codes // weight % system.levels[j]]
            weight *= system.levels[j]
        mean: Array = out.mean(axis=0)
        return mean

    return _Written(constrained, partitioned, constrained, partitioned, unconstrained)


def _cause(pair: _Pair) -> _Written:
    system = pair.system
    table = np.asarray(system.cause)
    states = int(np.prod([system.levels[j] for j in pair.purview]))
    codes, digits = np.arange(states), {}
    for j in pair.purview:
        digits[j], codes = codes % system.levels[j], codes // system.levels[j]
    whole = _marginals(system, table, pair.purview)
    like, parted = np.ones(states), np.ones(states)
    for i in pair.mechanism:
        column = _column(system, i) + system.local_state[i]
        like *= whole[:, column]
        place, weight = np.zeros(states, np.int64), 1
        seen = _members(pair.kept[i])
        for j in seen:
            place += digits[j] * weight
            weight *= system.levels[j]
        parted *= _marginals(system, table, seen)[place, column]
    return _Written(
        _normalised(like),
        _normalised(parted),
        like,
        parted,
        lambda wanted: np.full(len(wanted), 1.0 / states),
    )


def _normalised(values: Array) -> Array:
    total = values.sum()
    return values / total if total > 0 else values


def _cut(found: _Written, pair: _Pair, most: int) -> dict[str, Any]:
    """Keep the states that are written out."""
    order = np.argsort(-found.constrained, kind="stable").tolist()
    first = order if pair.place in order[:most] else [pair.place, *order]
    codes = np.array(sorted(first[:most]), np.int64)
    return {
        "code": codes,
        "constrained": found.constrained[codes],
        "unconstrained": found.unconstrained(codes),
        "partitioned": found.partitioned[codes],
        "likelihood": found.likelihood[pair.place],
        "likelihood_partitioned": found.likelihood_partitioned[pair.place],
        "selectivity": found.constrained[pair.place],
    }
