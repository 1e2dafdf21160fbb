"""The scheme of a sweep: its axes, what each value means, and where along each a cell lies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from iitdask.errors import SpecError
from iitdask.study.columns import Column, state_column, units_column
from iitdask.theory.catalog import (
    COMPUTATIONS,
    computation,
    default_theory,
    theory_name,
    theory_options,
)
from iitdask.theory.outcomes import OUTCOMES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from iitdask.study.axes import Axis
    from iitdask.study.grounds import Grounds
    from iitdask.theory.options import Theory

__all__ = ["Scheme", "scheme_of"]

STATES, UNITS = ("state", "before", "after"), ("units",)


@dataclass(frozen=True, slots=True, eq=False)
class Scheme:
    """Everything the cells of a sweep are made from."""

    axes: Sequence[Axis]
    """The axes."""
    grounds: Grounds
    """All substrates."""
    columns: Mapping[str, Column]
    """States and candidates, by the field they are asked in."""
    computes: tuple[str, ...]
    """Computations along their axis, or the only one."""
    theories: tuple[Theory, ...]
    """Theories along their axis, or the only one; without either, that of each computation."""
    is_default: bool
    """Whether theories are those of the computations."""
    constant: Mapping[str, Any]
    """Fields that are the same everywhere."""
    dims: dict[str, int]
    """Dimensions and their lengths."""
    at: dict[str, NDArray[Any]]
    """Position along every dimension, cell by cell."""

    def __len__(self) -> int:
        return math.prod(self.dims.values())

    def along(self, name: str) -> NDArray[Any]:
        """Position along an axis, cell by cell; 0 where there is no such axis."""
        for axis in self.axes:
            if axis.name == name:
                return self.at[axis.dim]
        return np.zeros(len(self), np.int64)

    def ground(self) -> NDArray[Any]:
        """Number of the ground of every cell."""
        out = np.zeros(len(self), np.int64)
        for dim, length in self.grounds.dims.items():
            out = out * length + self.at[dim]
        return out

    def theory(self) -> NDArray[Any]:
        """Number of the theory of every cell."""
        return self.along("compute" if self.is_default else "theory")

    def is_computed(self, compute: str) -> NDArray[Any]:
        """Whether a cell is about a computation."""
        same = np.array([each == compute for each in self.computes])
        return np.asarray(same[self.along("compute")])

    def takes(self, field: str) -> NDArray[Any]:
        """Whether the computation of a cell takes a field; to the others it means nothing."""
        known = [field in COMPUTATIONS[each].subject.FIELDS for each in self.computes]
        return np.asarray(np.array(known)[self.along("compute")])

    def asked(self, compute: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of the columns and of the constant fields that a computation takes."""
        known = COMPUTATIONS[compute].subject.FIELDS
        return tuple(n for n in self.columns if n in known), tuple(
            n for n in self.constant if n in known
        )

    def undefined(self) -> list[tuple[NDArray[Any], str]]:
        """Cells whose theory does not define their computation, with what to say of them."""
        out = []
        for c, compute in enumerate(self.computes):
            for t, options in enumerate(self.theories):
                here = (self.along("compute") == c) & (self.theory() == t)
                if here.any() and not _defines(options, compute):
                    out.append((here, _lacking(options, compute)))
        return out

    def coords(self) -> dict[str, tuple[str, list[Any]]]:
        """Dimension and labels of every axis."""
        fixed: dict[str, Sequence[Any]] = {
            "substrate": self.grounds.names,
            "compute": self.computes,
            "theory": [_label(options) for options in self.theories],
            **{name: column.labels for name, column in self.columns.items()},
        }
        return {a.name: (a.dim, list(fixed.get(a.name) or _numbers(a))) for a in self.axes}

    def said_theory(self) -> str | None:
        """Name the theory where no axis does: one, or that of each computation."""
        if any(axis.name == "theory" for axis in self.axes):
            return None
        names = [_label(options) for options in self.theories]
        if len(set(names)) == 1:
            return names[0]
        return ", ".join(f"{c}: {name}" for c, name in zip(self.computes, names, strict=True))


def scheme_of(
    compute: str,
    *,
    axes: Sequence[Axis],
    grounds: Grounds,
    fields: Mapping[str, Any],
    theory: Any,
    where: str,
) -> Scheme:
    """Read what the axes of a sweep mean, see :func:`iitdask.study.cells.cells_of`."""
    values: dict[str, Any] = {axis.name: axis.values for axis in axes}
    computes = tuple(values.get("compute", (compute,)))
    place = f"{where}: sweep: compute" if "compute" in values else f"{where}: compute"
    for each in computes:
        if each not in OUTCOMES:
            known = ", ".join(OUTCOMES)
            raise SpecError(f"{place}: expected one of {known} in a sweep, got {each!r}")
    _require_meaning(computes, values, fields, where)
    columns: dict[str, Column] = {}
    constant: dict[str, Any] = {}
    for name, user in _users(computes).items():
        place = f"{where}: sweep: {name}" if name in values else f"{where}: {name}"
        given = values.get(name, (fields.get(name),))
        if name in STATES:
            if name not in values and fields.get(name) is None:
                raise SpecError(
                    f"{place}: expected one, or an axis of them, for compute {user!r}, got nothing"
                )
            columns[name] = state_column(given, grounds, place)
        elif name in UNITS:
            columns[name] = units_column(given, grounds, place)
        elif fields.get(name) is not None:
            constant[name] = fields[name]
    is_default = theory is None and "theory" not in values
    wanted = [default_theory(c) for c in computes] if is_default else values.get("theory", [theory])
    theories = _theories(computes, wanted, where)
    lengths = {name: len(column.labels) for name, column in columns.items()}
    lengths |= {"theory": len(theories), "compute": len(computes)}
    dims: dict[str, int] = {}
    for axis in axes:
        length = grounds.dims.get(axis.dim)
        dims[axis.dim] = lengths[axis.name] if length is None else length
    places = np.indices(tuple(dims.values()), dtype=np.int64).reshape(len(dims), -1)
    at = dict(zip(dims, places, strict=True))
    return Scheme(axes, grounds, columns, computes, theories, is_default, constant, dims, at)


def _users(computes: Sequence[str]) -> dict[str, str]:
    """Fields that computations take, each with the first that takes it."""
    out: dict[str, str] = {}
    for compute in computes:
        for name in COMPUTATIONS[compute].subject.FIELDS:
            out.setdefault(name, compute)
    return out


def _require_meaning(
    computes: Sequence[str], values: Mapping[str, Any], fields: Mapping[str, Any], where: str
) -> None:
    """Refuse what no computation takes."""
    known = {name for each in COMPUTATIONS.values() for name in each.subject.FIELDS}
    given = [name for name in values if name in known]
    for name in [*given, *(name for name, value in fields.items() if value is not None)]:
        if name not in _users(computes):
            said = " or ".join(repr(each) for each in dict.fromkeys(computes))
            raise SpecError(f"{where}: {name}: has no meaning for compute {said}")


def _theories(computes: Sequence[str], given: Any, where: str) -> tuple[Theory, ...]:
    """Read the theories of a sweep; each has a computation, and each computation a theory."""
    theories = tuple(theory_options(each, f"{where}: theory") for each in given)
    for options in theories:
        if not any(_defines(options, compute) for compute in computes):
            raise SpecError(f"{where}: theory: {_lacking(options, computes[0])}")
    for compute in computes:
        if not any(_defines(options, compute) for options in theories):
            raise SpecError(f"{where}: theory: {_lacking(theories[0], compute)}")
    return theories


def _defines(options: Theory, compute: str) -> bool:
    return theory_name(options) in computation(compute).recipes


def _lacking(options: Theory, compute: str) -> str:
    known = ", ".join(computation(compute).recipes)
    return f"{theory_name(options)} does not define {compute!r}; {known} do"


def _numbers(axis: Axis) -> list[Any]:
    values: Any = axis.values
    plain = all(isinstance(v, int | float) for v in values)
    return list(values) if plain else [str(v) for v in values]


def _label(options: Theory) -> str:
    given = msgspec.to_builtins(options)
    plain = msgspec.to_builtins(type(options)())
    more = [f"{key}={value}" for key, value in given.items() if plain.get(key) != value]
    return str(given["name"]) + (f" ({', '.join(more)})" if more else "")
