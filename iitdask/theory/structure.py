"""A cause-effect structure as a tree of datasets: distinctions, relations, sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import fsum
from typing import Any

import numpy as np
import xarray as xr

from iitdask.model.system import System
from iitdask.theory.analysis import Analysis, system_dataset
from iitdask.theory.distinctions import Choices, Distinction, Side
from iitdask.theory.options import Unfolding
from iitdask.theory.relations import Bindings, Sums
from iitdask.theory.states import digits, spread
from iitdask.theory.vocabulary import described

__all__ = ["Structure", "bindings_of", "reported", "structure_tree"]


@dataclass(frozen=True, slots=True)
class Structure:
    """Everything a cause-effect structure is made of."""

    system: System
    """Candidate system."""
    options: Unfolding
    """Unfolding and the choices made about it."""
    found: Analysis
    """Verdict on the system."""
    states: tuple[int, int]
    """Cause and effect state that distinctions must agree with, little-endian."""
    every: Sequence[Choices]
    """Mechanisms irreducible in both directions, with all tied purviews."""
    chosen: Sequence[Distinction]
    """The distinctions."""
    sums: Sums
    """Totals over their relations."""
    search: dict[str, int]
    """How much of the search was bounded away."""


def bindings_of(system: System, chosen: Sequence[Distinction], states: tuple[int, int]) -> Bindings:
    """Unit-states that each distinction binds; a unit with one state on both sides counts once."""
    n = system.n
    values = [digits(s, system.levels) for s in states]
    differing = int(sum(1 << i for i in range(n) if values[0][i] != values[1][i]))

    def effect_bits(purview: int) -> int:
        return (purview & ~differing) | (purview & differing) << n

    return Bindings(
        np.array([d.phi for d in chosen]),
        tuple(d.cause.purview for d in chosen),
        tuple(effect_bits(d.effect.purview) for d in chosen),
    )


def structure_tree(made: Structure, ties: dict[str, Any]) -> xr.DataTree:
    """Lay a structure out as ``/system``, ``/distinctions`` and ``/relations``."""
    system, chosen = made.system, made.chosen
    phi_d = fsum(d.phi for d in chosen)  # one result, whatever the order or the Python
    phi_r, log_r = reported(made.sums.phi)
    attrs: dict[str, Any] = {
        "sum_phi_distinctions": phi_d,
        "sum_phi_relations": phi_r,
        "big_phi": phi_d + phi_r,
        "n_distinctions": len(chosen),
        "n_irreducible_mechanisms": len(made.every),
        "n_tied_mechanisms": sum(1 for d in chosen if _is_tied(d)),
        "search": made.search,
        **ties,
    }
    node = system_dataset(system, made.found)
    if made.found.states is None:  # name the states that congruence was judged by
        for name, code in zip(("cause_state", "effect_state"), made.states, strict=True):
            values = np.array(digits(code, system.levels))
            node[name] = node[name].copy(data=values)
    return xr.DataTree.from_dict(
        {
            "/": xr.Dataset(attrs=attrs),
            "/system": node,
            "/distinctions": _distinctions_dataset(system, chosen),
            "/relations": _relations_dataset(made.sums, phi_r, log_r),
        }
    )


def _is_tied(found: Distinction) -> bool:
    sides = (found.choices.cause, found.choices.effect)
    return any(len(side) > 1 or len(side[0].states) > 1 for side in sides)


def reported(value: Fraction) -> tuple[float, float]:
    """Return a fraction as a double (infinite beyond its range) and as log2."""
    if value == 0:
        return 0.0, -np.inf
    shift = value.numerator.bit_length() - value.denominator.bit_length()
    scaled = value / 2**shift if shift >= 0 else value * 2**-shift
    log = shift + float(np.log2(float(scaled)))
    return (float(value) if shift < 1023 else np.inf), log


def _distinctions_dataset(system: System, chosen: Sequence[Distinction]) -> xr.Dataset:
    n, count = system.n, len(chosen)
    bits = np.arange(n)

    def units(masks: Sequence[int]) -> Any:
        return (np.array(masks, np.int64).reshape(count, 1) >> bits & 1).astype(bool)

    rows, line = ("mechanism", "unit"), ("mechanism",)
    values: dict[str, tuple[tuple[str, ...], Any]] = {
        "mechanism_units": (rows, units([d.choices.mechanism for d in chosen])),
        "phi": (line, np.array([d.phi for d in chosen], float)),
    }
    for name in ("cause", "effect"):
        sides: list[Side] = [getattr(d, name) for d in chosen]
        tied: list[tuple[Side, ...]] = [getattr(d.choices, name) for d in chosen]
        purviews = [s.purview for s in sides]
        values |= {
            f"phi_{name}": (line, np.array([s.phi for s in sides], float)),
            f"purview_{name}": (rows, units(purviews)),
            f"state_{name}": (rows, spread([s.state for s in sides], system.levels, purviews)),
            f"intrinsic_information_{name}": (
                line,
                np.array([s.information for s in sides], float),
            ),
            f"kept_{name}": (rows, np.array([s.kept for s in sides], np.int64).reshape(count, n)),
            f"n_tied_purviews_{name}": (line, np.array([len(t) for t in tied], np.int64)),
            f"n_tied_states_{name}": (line, np.array([len(s.states) for s in sides], np.int64)),
        }
    return described(values)


def _relations_dataset(sums: Sums, phi: float, log_phi: float) -> xr.Dataset:
    degrees = sums.by_degree
    values: dict[str, tuple[tuple[str, ...], Any]] = {
        "count": ((), _as_int64(sums.count)),
        "log2_count": ((), _log2(sums.count)),
        "sum_phi": ((), phi),
        "log2_sum_phi": ((), log_phi),
        "count_by_degree": (("degree",), np.array([_as_int64(x) for x in degrees], np.int64)),
        "log2_count_by_degree": (("degree",), np.array([_log2(x) for x in degrees], float)),
    }
    coords = {"degree": np.arange(1, len(degrees) + 1)}
    return described(values, {"count": str(sums.count)}, coords)


def _as_int64(count: int) -> int:
    return count if count < 2**63 else -1


def _log2(count: int) -> float:
    shift = max(0, count.bit_length() - 60)
    return float(np.log2(float(count >> shift))) + shift if count else -np.inf
