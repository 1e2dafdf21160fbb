"""Sweeps as one recipe: stages over small points, and recipes of their own for the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from iitdask.errors import IITError, StateError, UnreachableStateError
from iitdask.kernels.batches import DISCONNECTED, LONELY, STATE_UNREACHABLE, SYSTEM_UNREACHABLE
from iitdask.kernels.verdicts import NO_CAUSE, NO_EFFECT, REDUCIBLE
from iitdask.model.subject import Subject
from iitdask.model.substrate import Substrate
from iitdask.theory.base import Stages, gather, scoped
from iitdask.theory.catalog import recipe, subject_of
from iitdask.theory.options import Theory
from iitdask.theory.outcomes import OUTCOMES, outcome
from iitdask.theory.points import CAPPED, COUNTS, QUANTITIES, Points, points_stage

__all__ = [
    "DONE",
    "FAILED",
    "PENDING",
    "UNREACHABLE",
    "Heavy",
    "Portion",
    "blank",
    "book",
    "stage_name",
    "swept",
]

Array = NDArray[Any]
PENDING, DONE, UNREACHABLE, FAILED = 0, 1, 2, 3
"""What became of a point."""
TOGETHER = 64
"""Recipes that go in step."""
NAMES = {
    DISCONNECTED: "NO_STRONG_CONNECTIVITY",
    LONELY: "MONAD_WITH_NO_SELFLOOP",
    NO_CAUSE: "NO_CAUSE",
    NO_EFFECT: "NO_EFFECT",
    NO_CAUSE | NO_EFFECT: "NO_CAUSE NO_EFFECT",
    REDUCIBLE: "REDUCIBLE",
    CAPPED: "CAPPED",
}
"""Why phi_s is 0, by number."""
BEYOND = {
    STATE_UNREACHABLE: "no past state of the substrate leads to the state",
    SYSTEM_UNREACHABLE: "no past state of the system leads to its state while the units outside "
    "have their current values",
}


@dataclass(frozen=True, slots=True, eq=False)
class Heavy:
    """A point that is split itself."""

    key: str
    """What tells it from others, in hexadecimal digits."""
    substrate: Substrate
    """The substrate."""
    fields: Mapping[str, Any]
    """What is asked of it."""
    options: Theory
    """The theory."""
    compute: str
    """The computation."""


Keep = Callable[[Heavy, Subject, xr.DataTree], None]
"""Takes over the whole result of a point."""


@dataclass(frozen=True, slots=True, eq=False)
class Portion:
    """Points that became part of a sweep at the same time."""

    name: str
    """Name of the stage of its small points."""
    compute: str
    """What is computed of them."""
    small: Array
    """Numbers of the small points, in the order of the stage."""
    points: Points
    """The small points."""


def swept(
    portions: Sequence[Portion],
    heavy: Mapping[int, Heavy],
    out: dict[str, Array],
    *,
    keep: Keep | None = None,
) -> Stages:
    """Compute all points of a sweep: a tree whose root has dim ``point``.

    Parameters
    ----------
    portions
        The small points, stage by stage.
    heavy
        The others, by number.
    out
        Outcomes of all points by name, see :func:`blank`; filled.
    keep
        Given the whole result of each of the others.
    """
    some = [portion for portion in portions if len(portion.points)]
    if some:
        stages = tuple(points_stage(p.name, p.points, p.compute == "ces") for p in some)
        for portion, filled in zip(some, (yield stages), strict=True):
            book(out, portion.small, filled["value"].values, filled["number"].values)
    numbers = list(heavy)
    for begin in range(0, len(numbers), TOGETHER):
        chosen = numbers[begin : begin + TOGETHER]
        recipes = {str(k): _guarded(heavy[k], keep) for k in chosen}
        trees = yield from gather(recipes)
        for k in chosen:
            _book_tree(out, k, heavy[k].compute, trees[str(k)])
    return xr.DataTree(_dataset(out))


def stage_name(number: int, compute: str) -> str:
    """Name of the stage of the small points that became part of a sweep at the same time."""
    return f"sweep/{number}/{compute}"


def blank(computes: Sequence[str], count: int) -> dict[str, Array]:
    """Arrays of the outcomes of computations with nothing known yet, by name."""
    out: dict[str, Array] = {}
    for compute in computes:
        for each in OUTCOMES[compute]:
            out[each.name] = np.full(count, each.missing, each.dtype)
    out["status"] = np.zeros(count, np.int8)
    out["reason"] = np.full(count, "", object)
    out["message"] = np.full(count, "", object)
    return out


def book(out: dict[str, Array], numbers: Array, values: Array, counts: Array) -> None:
    """Put what a stage of small points holds where it belongs."""
    for column, name in enumerate(QUANTITIES[: values.shape[1]]):
        out[name][numbers] = values[:, column]
    for column, name in enumerate(COUNTS[1 : counts.shape[1]], 1):
        out[name][numbers] = counts[:, column]
    codes = counts[:, 0]
    out["status"][numbers] = np.where(np.isin(codes, list(BEYOND)), UNREACHABLE, DONE)
    for code in np.unique(codes).tolist():
        here = numbers[codes == code]
        out["reason"][here] = NAMES.get(code, "")
        out["message"][here] = BEYOND.get(code, "")


def _guarded(point: Heavy, keep: Keep | None) -> Stages:
    """Run the recipe of one point; what is wrong with it becomes its result."""
    try:
        subject = subject_of(point.compute, point.substrate, point.fields, "point")
        asked = recipe(point.compute, subject, point.options)
        tree = yield from scoped(f"points/{point.key}", asked)
    except UnreachableStateError as error:
        return _excused(UNREACHABLE, error)
    except (StateError, IITError) as error:
        return _excused(FAILED, error)
    if keep is not None:
        keep(point, subject, tree)
    return tree


def _excused(status: int, error: Exception) -> xr.DataTree:
    message = " ".join(str(error).split()).removeprefix("point: ")
    return xr.DataTree(xr.Dataset(attrs={"status": status, "message": message}))


def _book_tree(out: dict[str, Array], number: int, compute: str, tree: xr.DataTree) -> None:
    if "status" in tree.attrs:
        out["status"][number] = tree.attrs["status"]
        out["message"][number] = tree.attrs["message"]
        return
    out["status"][number] = DONE
    for name, value in outcome(compute, tree).items():
        out[name][number] = value


def _dataset(out: Mapping[str, Array]) -> xr.Dataset:
    return xr.Dataset({name: ("point", values) for name, values in out.items()})
