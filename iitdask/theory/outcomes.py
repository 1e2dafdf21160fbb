"""What a sweep keeps of each point: numbers, read from the result of one computation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

__all__ = ["OUTCOMES", "Outcome", "outcome"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One number."""

    name: str
    """Name in the cube."""
    unit: str
    """Its unit."""
    doc: str
    """What it means."""
    read: Callable[[xr.DataTree], Any]
    """Reads it from what a recipe returned."""
    dtype: str = "float64"
    """``float64``, where missing is NaN, or ``int64``, where missing is -1."""

    @property
    def missing(self) -> float | int:
        """Stands where there is no number."""
        return -1 if self.dtype == "int64" else math.nan


def _system(name: str) -> Callable[[xr.DataTree], Any]:
    return lambda tree: tree["system"][name].item() if name in tree["system"] else np.nan


def _count(name: str) -> Callable[[xr.DataTree], Any]:
    return lambda tree: int(tree["system"][name]) if name in tree["system"] else -1


def _attr(name: str) -> Callable[[xr.DataTree], Any]:
    return lambda tree: tree.attrs.get(name, np.nan)


def _relations(name: str, missing: Any) -> Callable[[xr.DataTree], Any]:
    def read(tree: xr.DataTree) -> Any:
        return tree["relations"][name].item() if "relations" in tree.children else missing

    return read


def _distinctions(tree: xr.DataTree) -> int:
    return int(tree["distinctions"].sizes["mechanism"])


def _largest(tree: xr.DataTree) -> float:
    values = np.asarray(tree["complexes"].to_dataset()["phi"].values)
    return float(values[0]) if len(values) else 0.0


def _largest_units(tree: xr.DataTree) -> int:
    inside = np.asarray(tree["complexes"].to_dataset()["units"].values)
    return int(inside[0].sum()) if len(inside) else 0


def _sum_alpha(tree: xr.DataTree) -> float:
    return math.fsum(np.asarray(tree["links"].to_dataset()["alpha"].values).tolist())


def _n_links(tree: xr.DataTree) -> int:
    return int(tree["links"].sizes["link"])


SIA = (
    Outcome("phi", "bit", "integrated information of the system, phi_s", _system("phi")),
    Outcome("normalized_phi", "bit", "the same per severed pair", _system("normalized_phi")),
    Outcome("phi_cause", "bit", "cause side at the minimum partition", _system("phi_cause")),
    Outcome("phi_effect", "bit", "effect side at the minimum partition", _system("phi_effect")),
    Outcome(
        "intrinsic_information_cause",
        "bit",
        "intrinsic information of the specified cause state",
        _system("intrinsic_information_cause"),
    ),
    Outcome(
        "intrinsic_information_effect",
        "bit",
        "intrinsic information of the specified effect state",
        _system("intrinsic_information_effect"),
    ),
    Outcome(
        "n_tied_partitions",
        "count",
        "partitions tied for the minimum",
        _count("n_tied_partitions"),
        "int64",
    ),
    Outcome(
        "n_tied_states",
        "count",
        "pairs of cause and effect states tied for the largest phi_s",
        _count("n_tied_states"),
        "int64",
    ),
)
CES = (
    *SIA,
    Outcome("big_phi", "bit", "Phi of the cause-effect structure", _attr("big_phi")),
    Outcome("sum_phi_distinctions", "bit", "sum over distinctions", _attr("sum_phi_distinctions")),
    Outcome("sum_phi_relations", "bit", "sum over relations", _attr("sum_phi_relations")),
    Outcome("n_distinctions", "count", "distinctions", _distinctions, "int64"),
    Outcome(
        "n_relations",
        "count",
        "relations; -1 where int64 cannot hold them",
        _relations("count", -1),
        "int64",
    ),
)
COMPLEXES = (
    Outcome("phi", "bit", "phi_s of the complex with the largest; 0 without one", _largest),
    Outcome("n_units_largest", "count", "units of that complex", _largest_units, "int64"),
    Outcome(
        "n_complexes",
        "count",
        "complexes",
        lambda tree: int(tree["complexes"].sizes["complex"]),
        "int64",
    ),
    Outcome(
        "candidates_evaluated",
        "count",
        "candidate systems whose phi_s was determined",
        lambda tree: int(tree["complexes"]["candidates_evaluated"]),
        "int64",
    ),
)

ACCOUNT = (
    Outcome("alpha", "bit", "causal strength of the whole account", _system("alpha")),
    Outcome("sum_alpha", "bit", "sum over actual causes and effects", _sum_alpha),
    Outcome("n_links", "count", "actual causes and effects", _n_links, "int64"),
)

OUTCOMES: Mapping[str, tuple[Outcome, ...]] = {
    "sia": SIA,
    "ces": CES,
    "complexes": COMPLEXES,
    "account": ACCOUNT,
}
"""By computation."""


def outcome(compute: str, tree: xr.DataTree) -> dict[str, Any]:
    """Read all numbers of a computation, and why phi is 0."""
    found = {each.name: each.read(tree) for each in OUTCOMES[compute]}
    if "system" in tree.children:
        found["reason"] = str(tree["system"].attrs.get("reasons", ""))
    return found
