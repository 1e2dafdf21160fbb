"""IIT 3.0, top to bottom: Oizumi, Albantakis and Tononi 2014 (spec.md 12)."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from iitdask.errors import MemoryRefusedError
from iitdask.kernels.concepts import is_positive, is_tied
from iitdask.model.system import System
from iitdask.theory.analysis import is_strongly_connected
from iitdask.theory.base import Answer, Stage, Stages
from iitdask.theory.compact import compact_stage
from iitdask.theory.concepts import (
    Concepts,
    chosen_concepts,
    concepts_stage,
    details_stage,
    purview_ranks,
    repertoire_bytes,
)
from iitdask.theory.constellations import Cutting, cut_concepts_stage, cuts_stage
from iitdask.theory.options import IIT3
from iitdask.theory.tables import marginals_stage
from iitdask.theory.vocabulary import described

__all__ = ["ces", "sia"]

Array = NDArray[Any]
COMPACT = 6  # units up to which a system is analysed in one block
SIDES = ("cause", "effect")
REASONS = {
    "NO_STRONG_CONNECTIVITY": "the units are not strongly connected",
    "MONAD": "a single unit has no unidirectional partition",
    "NO_CONCEPTS": "no mechanism is irreducible",
    "REDUCIBLE": "a partition makes no difference",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Outcome of the analysis of one candidate system."""

    phi: float = 0.0
    """Distance at the minimum cut, Phi of the system."""
    target: int = 0
    """Units that the minimum cut severs from all others, as a mask; 0 without a cut."""
    ties: int = 0
    """Cuts that tie."""
    reasons: tuple[str, ...] = ()
    """Why Phi is 0, when a rule decided it."""


Found = Generator[tuple[Stage, ...], tuple[Answer, ...], tuple[Verdict, Concepts, Array]]


def sia(system: System, options: IIT3) -> Stages:
    """Analyse how irreducible a system is: a tree whose node ``/system`` is the dataset."""
    reasons = _gate(system)
    if reasons:
        found = Verdict(reasons=reasons)
    elif system.n <= COMPACT:
        single, more = _targets(system.n)
        targets = single + more
        (filled,) = yield (compact_stage(system, options, np.array(targets)),)
        if int(filled["concepts"].values[0]):
            found = _least(
                system.n, targets, filled["distance"].values[0], filled["exact"].values[0]
            )
        else:
            found = Verdict(reasons=("NO_CONCEPTS",))
    else:
        found, _, _ = yield from _verdict(system, options)
    return xr.DataTree.from_dict({"/system": _system_dataset(system, found)})


def ces(system: System, options: IIT3) -> Stages:
    """Unfold the conceptual structure of a system, and that of the system under its cut."""
    found, whole, rank = yield from _verdict(system, options)
    nodes = {"/system": _system_dataset(system, found)}
    structures = [("distinctions", 0, whole)]
    if found.target:
        cutting = Cutting(system, options, rank, whole)
        (cut,) = yield (cut_concepts_stage(cutting, found.target),)
        structures.append(("cut_distinctions", found.target, Concepts.of(cut)))
    rows = [row for _, target, concepts in structures for row in _rows(target, concepts)]
    details = None
    if rows:
        (details,) = yield (details_stage(system, options, rows),)
    begin, information = 0, 0.0
    for name, _, concepts in structures:
        end = begin + 2 * len(concepts.mechanisms)
        part = None if details is None else _rows_of(details, slice(begin, end))
        nodes[f"/{name}"] = _concepts_dataset(system, concepts, part)
        if name == "distinctions":
            information = _conceptual_information(concepts, part)
        begin = end
    attrs = {
        "big_phi": found.phi,
        "sum_phi_distinctions": float(whole.phi.sum()),
        "conceptual_information": information,
        "n_distinctions": len(whole.mechanisms),
    }
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs=attrs), **nodes})


def _verdict(system: System, options: IIT3) -> Found:
    """Concepts, gatekeeping (spec.md 8.1), the cuts one by one and the least of them."""
    _require_room(system)
    yield (marginals_stage(system),)
    (filled,) = yield (concepts_stage(system, options),)
    rank = purview_ranks(system, options.ties)
    concepts = chosen_concepts(filled["phi_cause"].values, filled["phi_effect"].values, rank)
    reasons = _gate(system) or (() if concepts.mechanisms else ("NO_CONCEPTS",))
    if reasons:
        return Verdict(reasons=reasons), concepts, rank
    targets, distances, exact = list[int](), list[float](), list[bool]()
    cutting = Cutting(system, options, rank, concepts)
    incumbent = np.inf
    for name, masks in zip(("cuts", "cuts/more"), _targets(system.n), strict=True):
        if not masks:
            continue
        stage = cuts_stage(cutting, name, np.array(masks), incumbent)
        (cuts,) = yield (stage,)
        targets += masks
        distances += cuts["distance"].values.tolist()
        exact += cuts["exact"].values.tolist()
        incumbent = min(d for d, sure in zip(distances, exact, strict=True) if sure)
    return _least(system.n, targets, distances, exact), concepts, rank


def _least(n: int, targets: Sequence[int], distances: Any, exact: Any) -> Verdict:
    """The cut of the least distance; among ties the one that keeps the first connections."""
    away = np.asarray(distances, float).tolist()
    least = min(d for d, sure in zip(away, np.asarray(exact).tolist(), strict=True) if sure)
    tied = [t for t, d in zip(targets, away, strict=True) if is_tied(d, least)]
    target = min(tied, key=lambda t: _cut(n, t).ravel().tolist())
    if not is_positive(least):
        return Verdict(0.0, target, 0, ("REDUCIBLE",))
    return Verdict(away[list(targets).index(target)], target, len(tied))


def _require_room(system: System) -> None:
    need, budget = repertoire_bytes(system.levels), system.background.budget
    if need > budget:
        raise MemoryRefusedError(
            f"iit3: the repertoires of {system.n} units need {need / 2**30:.3g} GiB, more than "
            f"the budget of {budget / 2**30:.3g} GiB; choose fewer units"
        )


def _gate(system: System) -> tuple[str, ...]:
    if not is_strongly_connected(system.connectivity):
        return ("NO_STRONG_CONNECTIVITY",)
    return ("MONAD",) if system.n == 1 else ()


def _targets(n: int) -> tuple[list[int], list[int]]:
    """Every unidirectional cut by the units it isolates: one unit against the rest, then others."""
    every = range(1, (1 << n) - 1)
    return (
        [t for t in every if t.bit_count() in (1, n - 1)],
        [t for t in every if t.bit_count() not in (1, n - 1)],
    )


def _cut(n: int, target: int) -> Array:
    inside = (target >> np.arange(n) & 1).astype(bool)
    severed: Array = ~inside[:, None] & inside[None]
    return severed if target else np.zeros((n, n), bool)


def _system_dataset(system: System, found: Verdict) -> xr.Dataset:
    inside = found.target >> np.arange(system.n) & 1
    values: dict[str, tuple[tuple[str, ...], Any]] = {
        "phi": ((), found.phi),
        "n_tied_partitions": ((), found.ties),
        "cut": (("source", "target"), _cut(system.n, found.target)),
        "part": (("unit",), inside ^ inside[0]),
    }
    reason = "; ".join(REASONS[name] for name in found.reasons)
    return _plain(described(values, {"reason": reason, "reasons": " ".join(found.reasons)}))


def _plain(data: xr.Dataset) -> xr.Dataset:
    """IIT 3.0 counts units that differ, not bits."""
    for name in ("phi", "phi_cause", "phi_effect"):
        if name in data:
            data[name].attrs.pop("units")
    return data


def _rows(target: int, concepts: Concepts) -> list[tuple[Any, ...]]:
    """What ``details_stage`` is to work out: causes and effects in turn."""
    return [
        (target, side, m, int(concepts.purviews[side, m]), concepts.sides[side, m])
        for m in concepts.mechanisms
        for side in range(2)
    ]


def _rows_of(details: Answer, rows: slice) -> dict[str, xr.Variable]:
    """Causes and effects that lie there."""
    return {name: values.isel(side=rows) for name, values in details.items()}


def _conceptual_information(concepts: Concepts, details: Answer | None) -> float:
    if details is None:
        return 0.0
    away = details["distance_to_null"].values.reshape(-1, 2).sum(axis=1)
    return round(float(concepts.phi[concepts.mechanisms] @ away), 6)


def _concepts_dataset(system: System, concepts: Concepts, details: Answer | None) -> xr.Dataset:
    chosen, n = concepts.mechanisms, system.n
    states = int(np.prod(system.levels))
    rows, line = ("mechanism", "unit"), ("mechanism",)
    values: dict[str, tuple[tuple[str, ...], Any]] = {
        "mechanism_units": (rows, _units(chosen, n)),
        "phi": (line, concepts.phi[chosen]),
    }
    for side, name in enumerate(SIDES):
        purviews = concepts.purviews[side, chosen]
        values |= {
            f"phi_{name}": (line, concepts.sides[side, chosen]),
            f"purview_{name}": (rows, _units(purviews, n)),
            f"n_tied_purviews_{name}": (line, concepts.ties[side, chosen]),
        }
        own = None if details is None else _rows_of(details, slice(side, None, 2))
        for key, to, shape in (
            ("kept", rows, (0, n)),
            ("ties", line, (0,)),
            ("repertoire", ("mechanism", "purview_state"), (0, states)),
            ("partitioned_repertoire", ("mechanism", "purview_state"), (0, states)),
        ):
            data = np.zeros(shape) if own is None else own[key].values
            called = f"n_tied_partitions_{name}" if key == "ties" else f"{key}_{name}"
            kind = data if key.endswith("repertoire") else data.astype(np.int64)
            values[called] = (to, kind)
    return _plain(described(values))


def _units(masks: Sequence[int] | Array, n: int) -> Array:
    column = np.array(masks, np.int64).reshape(-1, 1)
    return (column >> np.arange(n) & 1).astype(bool)
