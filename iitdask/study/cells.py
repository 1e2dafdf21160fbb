"""From the axes of a sweep to its cells, and from cells to what has to be computed once."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from iitdask.errors import SpecError
from iitdask.study.columns import Column, state_column, units_column
from iitdask.theory.catalog import computation, theory_name, theory_options
from iitdask.theory.outcomes import OUTCOMES
from iitdask.theory.points import Points, takes_small
from iitdask.theory.swept import Heavy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from iitdask.study.axes import Axis
    from iitdask.study.grounds import Grounds
    from iitdask.theory.options import Theory

__all__ = ["Cells", "cells_of"]

STATES, UNITS = ("state", "before", "after"), ("units",)


@dataclass(frozen=True, eq=False)
class Cells:
    """A sweep laid out: the cells of the cube, and the points they share."""

    compute: str
    """What is computed."""
    dims: dict[str, int]
    """Dimensions of the cube and their lengths."""
    coords: dict[str, tuple[str, list[Any]]]
    """Coordinates: dimension and labels."""
    point: NDArray[Any]
    """(cells,) number of the point in each cell, -1 where there is none."""
    problems: dict[int, str]
    """Why there is none; all problems of a kind share a text."""
    problem: NDArray[Any]
    """(cells,) number of the problem, -1 where there is none."""
    points: Points
    """The small points; they come first."""
    heavy: tuple[Heavy, ...]
    """The others."""
    digests: NDArray[Any]
    """(points, 2) uint64: what tells the content of a point from that of others."""
    n_units: NDArray[Any]
    """(cells,) units of the candidate system, -1 where unknown."""
    frequency: NDArray[Any] | None
    """(cells,) share of a trajectory's steps, where states come from one."""


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """Everything cells are made from."""

    compute: str
    axes: Sequence[Axis]
    grounds: Grounds
    columns: Mapping[str, Column]
    theories: tuple[Theory, ...]
    constant: Mapping[str, Any]
    dims: dict[str, int]
    at: dict[str, NDArray[Any]]
    """Position along every dimension, cell by cell."""

    def along(self, name: str) -> NDArray[Any]:
        """Position along an axis, cell by cell; 0 where there is no such axis."""
        for axis in self.axes:
            if axis.name == name:
                return self.at[axis.dim]
        return np.zeros(math.prod(self.dims.values()), np.int64)

    def ground(self) -> NDArray[Any]:
        """Number of the ground of every cell."""
        out = np.zeros(math.prod(self.dims.values()), np.int64)
        for dim, length in self.grounds.dims.items():
            out = out * length + self.at[dim]
        return out


def cells_of(
    compute: str,
    *,
    axes: Sequence[Axis],
    grounds: Grounds,
    fields: Mapping[str, Any],
    theory: Any,
    where: str,
    apart: bool = False,
) -> Cells:
    """Lay out the cells of a sweep and find what has to be computed.

    Parameters
    ----------
    compute
        What is computed in every cell.
    axes
        The axes.
    grounds
        All substrates.
    fields
        What is asked of them where no axis says so; None means not given.
    theory
        Theory where no axis says so.
    where
        What to call the study in messages.
    apart
        Whether every point gets a recipe of its own, small or not.
    """
    plan = _plan(compute, axes=axes, grounds=grounds, fields=fields, theory=theory, where=where)
    texts: dict[int, str] = {}
    number = plan.ground()
    problem = np.full(len(number), -1)
    _mark(problem, texts, [(number == g, text) for g, text in sorted(grounds.problems.items())])
    kind = grounds.kind[number]
    for name, column in plan.columns.items():
        at = plan.along(name)
        found = [((kind == k) & (at == v), text) for (k, v), text in column.problems.items()]
        _mark(problem, texts, found)
    small = _small(plan, number, kind, problem) & (not apart)
    points, point, digests = _unique(plan, number, kind, small)
    heavy, heavy_digests = _heavy(plan, number, (problem < 0) & ~small, point, len(points))
    frequency = next((c.frequency for c in plan.columns.values() if c.frequency is not None), None)
    masks = plan.columns["units"].numbers if "units" in plan.columns else None
    sizes = np.full(len(number), -1)
    if masks is not None:
        mask = np.where(kind >= 0, masks[kind, plan.along("units")], -1)
        sizes = np.where(mask > 0, np.bitwise_count(np.maximum(mask, 0)), -1).astype(np.int64)
    return Cells(
        compute,
        plan.dims,
        _coords(plan),
        point,
        texts,
        problem,
        points,
        heavy,
        np.concatenate([digests, heavy_digests]),
        sizes,
        None if frequency is None else frequency[number, plan.along("state")],
    )


def _plan(
    compute: str,
    *,
    axes: Sequence[Axis],
    grounds: Grounds,
    fields: Mapping[str, Any],
    theory: Any,
    where: str,
) -> _Plan:
    kind = computation(compute, f"{where}: compute").subject
    if compute not in OUTCOMES:
        known = ", ".join(OUTCOMES)
        raise SpecError(f"{where}: compute: expected one of {known} in a sweep, got {compute!r}")
    values = {axis.name: axis.values for axis in axes}
    columns: dict[str, Column] = {}
    constant: dict[str, Any] = {}
    for name in kind.FIELDS:
        place = f"{where}: sweep: {name}" if name in values else f"{where}: {name}"
        given = values.get(name, (fields.get(name),))
        if name in STATES:
            if name not in values and fields.get(name) is None:
                raise SpecError(f"{place}: expected one, or an axis of them, got nothing")
            columns[name] = state_column(given, grounds, place)
        elif name in UNITS:
            columns[name] = units_column(given, grounds, place)
        elif fields.get(name) is not None:
            constant[name] = fields[name]
    for name in [*values, *(n for n, v in fields.items() if v is not None)]:
        if name in ("state", "units", "before", "after") and name not in kind.FIELDS:
            raise SpecError(f"{where}: {name}: has no meaning for compute {compute!r}")
    theories = _theories(compute, values.get("theory", (theory,)), where)
    dims: dict[str, int] = {}
    for axis in axes:
        length = grounds.dims.get(axis.dim)
        if length is None:
            length = len(columns[axis.name].labels) if axis.name in columns else len(theories)
        dims[axis.dim] = length
    places = np.indices(tuple(dims.values()), dtype=np.int64).reshape(len(dims), -1)
    at = dict(zip(dims, places, strict=True))
    return _Plan(compute, axes, grounds, columns, theories, constant, dims, at)


def _theories(compute: str, given: Any, where: str) -> tuple[Theory, ...]:
    """Read the theories of a sweep; each has to define what is computed."""
    theories = tuple(theory_options(each, f"{where}: theory") for each in given)
    for options in theories:
        if theory_name(options) not in computation(compute).recipes:
            known = ", ".join(computation(compute).recipes)
            raise SpecError(
                f"{where}: theory: {theory_name(options)} does not define {compute!r}; {known} do"
            )
    return theories


def _mark(
    problem: NDArray[Any], texts: dict[int, str], found: Sequence[tuple[NDArray[Any], str]]
) -> None:
    """Note a problem in the cells it is about, unless they have one."""
    known = {text: number for number, text in texts.items()}
    for where, text in found:
        fresh = where & (problem < 0)
        if fresh.any():
            problem[fresh] = known.setdefault(text, len(known))
    texts.update({number: text for text, number in known.items()})


def _small(
    plan: _Plan, number: NDArray[Any], kind: NDArray[Any], problem: NDArray[Any]
) -> NDArray[Any]:
    """Cells whose point is a whole small system for the kernels."""
    none = np.zeros(len(number), bool)
    if plan.constant or set(plan.columns) != {"state", "units"}:
        return none
    fitting = np.array([takes_small(plan.compute, options) for options in plan.theories])
    mask = np.where(kind >= 0, plan.columns["units"].numbers[kind, plan.along("units")], 0)
    light = np.zeros(len(number), bool)
    for k, shape in enumerate(plan.grounds.kinds):
        levels = np.array(shape.levels, np.int64)
        here = (kind == k) & (problem < 0) & (plan.grounds.place[number] >= 0)
        for own in np.unique(mask[here]).tolist():
            inside = levels[(own >> np.arange(len(levels)) & 1).astype(bool)]
            if Points.is_light(inside, plan.compute):
                light |= here & (mask == own)
    return np.asarray(light & fitting[plan.along("theory")])


def _unique(
    plan: _Plan, number: NDArray[Any], kind: NDArray[Any], small: NDArray[Any]
) -> tuple[Points, NDArray[Any], NDArray[Any]]:
    """Small points, each content once and sorted by shape; which cell has which; digests."""
    batch = plan.grounds.batch
    content = batch.digests()
    _, first, same = np.unique(content, axis=0, return_index=True, return_inverse=True)
    cells = np.flatnonzero(small)
    if not len(cells):
        rows = np.zeros((0, 4), np.int64)
        back = np.zeros(0, np.int64)
    else:
        keys = np.column_stack(
            [
                same.ravel()[plan.grounds.place[number[cells]]],
                plan.columns["state"].numbers[kind[cells], plan.along("state")[cells]],
                plan.columns["units"].numbers[kind[cells], plan.along("units")[cells]],
                plan.along("theory")[cells],
            ]
        )
        rows, back = _distinct_rows(keys)
    caps = np.array([_cap(options) for options in plan.theories])
    substrate = first[rows[:, 0]] if len(rows) else rows[:, 0]
    points = Points(batch, substrate, rows[:, 1], rows[:, 2], caps[rows[:, 3]])
    order = np.lexsort((rows[:, 1], rows[:, 0], *points.own_levels().T[::-1]))
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    point = np.full(len(number), -1)
    point[cells] = place[back]
    heads = [f"{plan.compute} {_options(options)}".encode() for options in plan.theories]
    rows, substrate = rows[order], substrate[order]
    digests = np.empty((len(order), 2), np.uint64)
    raw = np.ascontiguousarray(rows[:, 1:3])
    for p, (s, t) in enumerate(zip(substrate.tolist(), rows[:, 3].tolist(), strict=True)):
        state = hashlib.blake2b(heads[t], digest_size=16)
        state.update(content[s])
        state.update(raw[p])
        digests[p] = np.frombuffer(state.digest(), np.uint64)
    return points.at(order), point, digests


def _distinct_rows(keys: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Distinct rows of whole numbers, sorted, and where each row went."""
    spans = [int(column.max()) + 1 for column in keys.T]
    if math.prod(spans) < 2**62:
        packed = np.zeros(len(keys), np.int64)
        for column, span in zip(keys.T, spans, strict=True):
            packed = packed * span + column
        _, first, back = np.unique(packed, return_index=True, return_inverse=True)
    else:
        _, first, back = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    return keys[first], back.ravel()


def _cap(options: Theory) -> int:
    given = msgspec.to_builtins(options)
    if given["name"] != "iit4-2026":
        return 0
    return 2 if given["differentiation"] == "specified" else 1


def _options(options: Theory) -> str:
    return json.dumps(msgspec.to_builtins(options), sort_keys=True)


def _heavy(
    plan: _Plan,
    number: NDArray[Any],
    which: NDArray[Any],
    point: NDArray[Any],
    count: int,
) -> tuple[tuple[Heavy, ...], NDArray[Any]]:
    """Points that take a recipe of their own; numbers them in ``point``, after the small ones."""
    found: dict[bytes, Heavy] = {}
    numbers: dict[bytes, int] = {}
    along = {name: plan.along(name) for name in (*plan.columns, "theory")}
    for cell in np.flatnonzero(which).tolist():
        fields = dict(plan.constant)
        for name, column in plan.columns.items():
            fields[name] = column.raw[int(along[name][cell])]
        ground = int(number[cell])
        options = plan.theories[int(along["theory"][cell])]
        text = json.dumps([plan.compute, _options(options), fields], sort_keys=True, default=str)
        key = hashlib.blake2b(
            f"{plan.grounds.fingerprint(ground)} {text}".encode(), digest_size=16
        ).digest()
        if key not in found:
            numbers[key] = count + len(found)
            fields = {name: value for name, value in fields.items() if value is not None}
            found[key] = Heavy(
                key.hex(), plan.grounds.substrate(ground), fields, options, plan.compute
            )
        point[cell] = numbers[key]
    digests = np.array([np.frombuffer(key, np.uint64) for key in found], np.uint64)
    return tuple(found.values()), digests.reshape(-1, 2)


def _coords(plan: _Plan) -> dict[str, tuple[str, list[Any]]]:
    out: dict[str, tuple[str, list[Any]]] = {}
    for axis in plan.axes:
        if axis.name == "substrate":
            labels: list[Any] = list(plan.grounds.names)
        elif axis.name in plan.columns:
            labels = list(plan.columns[axis.name].labels)
        elif axis.name == "theory":
            labels = [_theory_label(options) for options in plan.theories]
        else:
            numbers = isinstance(axis.values, tuple) and all(
                isinstance(v, int | float) for v in axis.values
            )
            labels = list(axis.values) if numbers else [str(v) for v in axis.values]  # type: ignore[arg-type,union-attr]
        out[axis.name] = (axis.dim, labels)
    return out


def _theory_label(options: Theory) -> str:
    given = msgspec.to_builtins(options)
    plain = msgspec.to_builtins(type(options)())
    more = [f"{key}={value}" for key, value in given.items() if plain.get(key) != value]
    return str(given["name"]) + (f" ({', '.join(more)})" if more else "")
