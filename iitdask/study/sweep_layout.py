"""Layout of a sweep: the cells of its cube and the distinct points that the cells share."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from iitdask.errors import SpecError
from iitdask.study.axis_values import AxisValues, SubstrateGrid, state_values, units_values
from iitdask.study.sweep_axes import Axis
from iitdask.theory.catalog import (
    COMPUTATIONS,
    batched_computations,
    default_theory,
    get_computation,
    theory_name,
    theory_options,
)
from iitdask.theory.options import Theory
from iitdask.theory.sweeps.recipe import LargeProblem
from iitdask.theory.sweeps.small_systems import SmallSystems

__all__ = [
    "SweepGrid",
    "SweepLayout",
    "build_grid",
    "build_layout",
]

STATES, UNITS = ("state", "before", "after"), ("units",)


@dataclass(frozen=True, slots=True, eq=False)
class SweepGrid:
    """Everything the cells of a sweep are made from."""

    axes: Sequence[Axis]
    """The axes."""
    grounds: SubstrateGrid
    """All substrates."""
    columns: Mapping[str, AxisValues]
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
        known = [field in COMPUTATIONS[each].target.FIELDS for each in self.computes]
        return np.asarray(np.array(known)[self.along("compute")])

    def asked(self, compute: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of the columns and of the constant fields that a computation takes."""
        known = COMPUTATIONS[compute].target.FIELDS
        return tuple(n for n in self.columns if n in known), tuple(
            n for n in self.constant if n in known
        )

    def undefined(self) -> list[tuple[NDArray[Any], str]]:
        """Cells whose theory does not define their computation, with what to say of them."""
        out = []
        for c, compute in enumerate(self.computes):
            for t, options in enumerate(self.theories):
                here = (self.along("compute") == c) & (self.theory() == t)
                if here.any() and not _is_defined(options, compute):
                    out.append((here, _undefined_message(options, compute)))
        return out

    def coords(self) -> dict[str, tuple[str, list[Any]]]:
        """Dimension and labels of every axis."""
        fixed: dict[str, Sequence[Any]] = {
            "substrate": self.grounds.names,
            "compute": self.computes,
            "theory": [_theory_label(options) for options in self.theories],
            **{name: column.labels for name, column in self.columns.items()},
        }
        return {a.name: (a.dim, list(fixed.get(a.name) or _parameter_labels(a))) for a in self.axes}

    def theory_label(self) -> str | None:
        """Name the theory where no axis does: one, or that of each computation."""
        if any(axis.name == "theory" for axis in self.axes):
            return None
        names = [_theory_label(options) for options in self.theories]
        if len(set(names)) == 1:
            return names[0]
        return ", ".join(f"{c}: {name}" for c, name in zip(self.computes, names, strict=True))


def build_grid(
    compute: str,
    *,
    axes: Sequence[Axis],
    grounds: SubstrateGrid,
    fields: Mapping[str, Any],
    theory: Any,
    where: str,
) -> SweepGrid:
    """Read what the axes of a sweep mean, see :func:`iitdask.study.sweep_layout.build_layout`."""
    values: dict[str, Any] = {axis.name: axis.values for axis in axes}
    computes = tuple(values.get("compute", (compute,)))
    place = f"{where}: sweep: compute" if "compute" in values else f"{where}: compute"
    known = [name for name, each in COMPUTATIONS.items() if each.outcomes]
    for each in computes:
        if each not in known:
            raise SpecError(f"{place}: expected one of {', '.join(known)} in a sweep, got {each!r}")
    _check_fields(computes, values, fields, where)
    columns: dict[str, AxisValues] = {}
    constant: dict[str, Any] = {}
    for name, user in _first_computation_by_field(computes).items():
        place = f"{where}: sweep: {name}" if name in values else f"{where}: {name}"
        given = values.get(name, (fields.get(name),))
        if name in STATES:
            if name not in values and fields.get(name) is None:
                raise SpecError(
                    f"{place}: expected one, or an axis of them, for compute {user!r}, got nothing"
                )
            columns[name] = state_values(given, grounds, place)
        elif name in UNITS:
            columns[name] = units_values(given, grounds, place)
        elif fields.get(name) is not None:
            constant[name] = fields[name]
    is_default = theory is None and "theory" not in values
    wanted = [default_theory(c) for c in computes] if is_default else values.get("theory", [theory])
    theories = _read_theories(computes, wanted, where)
    lengths = {name: len(column.labels) for name, column in columns.items()}
    lengths |= {"theory": len(theories), "compute": len(computes)}
    dims: dict[str, int] = {}
    for axis in axes:
        length = grounds.dims.get(axis.dim)
        dims[axis.dim] = lengths[axis.name] if length is None else length
    places = np.indices(tuple(dims.values()), dtype=np.int64).reshape(len(dims), -1)
    at = dict(zip(dims, places, strict=True))
    return SweepGrid(axes, grounds, columns, computes, theories, is_default, constant, dims, at)


def _first_computation_by_field(computes: Sequence[str]) -> dict[str, str]:
    """Fields that computations take, each with the first that takes it."""
    out: dict[str, str] = {}
    for compute in computes:
        for name in COMPUTATIONS[compute].target.FIELDS:
            out.setdefault(name, compute)
    return out


def _check_fields(
    computes: Sequence[str], values: Mapping[str, Any], fields: Mapping[str, Any], where: str
) -> None:
    """Refuse what no computation takes."""
    known = {name for each in COMPUTATIONS.values() for name in each.target.FIELDS}
    given = [name for name in values if name in known]
    for name in [*given, *(name for name, value in fields.items() if value is not None)]:
        if name not in _first_computation_by_field(computes):
            said = " or ".join(repr(each) for each in dict.fromkeys(computes))
            raise SpecError(f"{where}: {name}: has no meaning for compute {said}")


def _read_theories(computes: Sequence[str], given: Any, where: str) -> tuple[Theory, ...]:
    """Read the theories of a sweep; each has a computation, and each computation a theory."""
    theories = tuple(theory_options(each, f"{where}: theory") for each in given)
    for options in theories:
        if not any(_is_defined(options, compute) for compute in computes):
            raise SpecError(f"{where}: theory: {_undefined_message(options, computes[0])}")
    for compute in computes:
        if not any(_is_defined(options, compute) for options in theories):
            raise SpecError(f"{where}: theory: {_undefined_message(theories[0], compute)}")
    return theories


def _is_defined(options: Theory, compute: str) -> bool:
    return theory_name(options) in get_computation(compute).recipes


def _undefined_message(options: Theory, compute: str) -> str:
    known = ", ".join(get_computation(compute).recipes)
    return f"{theory_name(options)} does not define {compute!r}; {known} do"


def _parameter_labels(axis: Axis) -> list[Any]:
    values: Any = axis.values
    plain = all(isinstance(v, int | float) for v in values)
    return list(values) if plain else [str(v) for v in values]


def _theory_label(options: Theory) -> str:
    given = msgspec.to_builtins(options)
    plain = msgspec.to_builtins(type(options)())
    more = [f"{key}={value}" for key, value in given.items() if plain.get(key) != value]
    return str(given["name"]) + (f" ({', '.join(more)})" if more else "")


@dataclass(frozen=True, eq=False)
class SweepLayout:
    """A sweep laid out: the cells of the cube, and the points they share."""

    computes: tuple[str, ...]
    """What is computed."""
    theory: str | None
    """Under which theory, unless an axis says so."""
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
    points: Mapping[str, SmallSystems]
    """The small points, by computation; they come first, one computation after the other."""
    heavy: tuple[LargeProblem, ...]
    """The others."""
    digests: NDArray[Any]
    """(points, 2) uint64: what tells the content of a point from that of others."""
    n_units: NDArray[Any]
    """(cells,) units of the candidate system, -1 where unknown."""
    frequency: NDArray[Any] | None
    """(cells,) share of a trajectory's steps, where states come from one."""

    @property
    def n_small(self) -> int:
        """How many small points there are."""
        return sum(map(len, self.points.values()))


def build_layout(
    compute: str,
    *,
    axes: Sequence[Axis],
    grounds: SubstrateGrid,
    fields: Mapping[str, Any],
    theory: Any,
    where: str,
    apart: bool = False,
) -> SweepLayout:
    """Lay out the cells of a sweep and find what has to be computed.

    Parameters
    ----------
    compute
        What is computed where no axis says so.
    axes
        The axes.
    grounds
        All substrates.
    fields
        What is asked of them where no axis says so; None means not given.
    theory
        Theory where no axis says so; None: the first that defines a computation.
    where
        What to call the study in messages.
    apart
        Whether every point gets a recipe of its own, small or not.

    Notes
    -----
    Cells share a point when they agree in all that decides its numbers: the tables of the
    substrate, state, candidate, theory and computation. Systems that are equal only up to
    renaming units are computed apart. Where ties are broken in the published order, which
    goes by the numbers of units, they can differ in more than rounding; where they cannot,
    floats are still added in the order of the units, so that last bits would be those of
    whichever came first, and a cube that has grown would not be the one computed at once.
    """
    scheme = build_grid(
        compute, axes=axes, grounds=grounds, fields=fields, theory=theory, where=where
    )
    texts: dict[int, str] = {}
    number = scheme.ground()
    problem = np.full(len(number), -1)
    _record_problems(
        problem, texts, [(number == g, text) for g, text in sorted(grounds.problems.items())]
    )
    _record_problems(problem, texts, scheme.undefined())
    kind = grounds.kind[number]
    for name, column in scheme.columns.items():
        at, takes = scheme.along(name), scheme.takes(name)
        found = [
            ((kind == k) & (at == v) & takes, text) for (k, v), text in column.problems.items()
        ]
        _record_problems(problem, texts, found)
    point = np.full(len(number), -1)
    light = np.zeros(len(number), bool)
    points: dict[str, SmallSystems] = {}
    digests: list[NDArray[Any]] = []
    count = 0
    for each in () if apart else batched_computations():
        small = _batchable_cells(scheme, each, number, kind, problem)
        if small.any():
            points[each], point[small], own = _distinct_small_systems(
                scheme, each, number, kind, small
            )
            point[small] += count
            count += len(points[each])
            digests.append(own)
            light |= small
    heavy, own = _large_problems(scheme, number, (problem < 0) & ~light, point, count)
    return SweepLayout(
        scheme.computes,
        scheme.theory_label(),
        scheme.dims,
        scheme.coords(),
        point,
        texts,
        problem,
        points,
        heavy,
        np.concatenate([*digests, own]),
        _candidate_sizes(scheme, kind),
        _trajectory_share(scheme, number),
    )


def _candidate_sizes(scheme: SweepGrid, kind: NDArray[Any]) -> NDArray[Any]:
    """Units of the candidate of every cell, -1 where unknown."""
    if "units" not in scheme.columns:
        return np.full(len(kind), -1)
    masks = scheme.columns["units"].numbers
    mask = np.where(kind >= 0, masks[kind, scheme.along("units")], -1)
    known = (mask > 0) & scheme.takes("units")
    return np.where(known, np.bitwise_count(np.maximum(mask, 0)).astype(np.int64), -1)


def _trajectory_share(scheme: SweepGrid, number: NDArray[Any]) -> NDArray[Any] | None:
    """Share of the steps of a trajectory, of the first axis that comes from one."""
    for name, column in scheme.columns.items():
        if column.frequency is not None:
            found = column.frequency[number, scheme.along(name)]
            return np.where(scheme.takes(name), found, np.nan)
    return None


def _record_problems(
    problem: NDArray[Any], texts: dict[int, str], found: Sequence[tuple[NDArray[Any], str]]
) -> None:
    """Note a problem in the cells it is about, unless they have one."""
    known = {text: number for number, text in texts.items()}
    for where, text in found:
        fresh = where & (problem < 0)
        if fresh.any():
            problem[fresh] = known.setdefault(text, len(known))
    texts.update({number: text for text, number in known.items()})


def _batchable_cells(
    scheme: SweepGrid,
    compute: str,
    number: NDArray[Any],
    kind: NDArray[Any],
    problem: NDArray[Any],
) -> NDArray[Any]:
    """Cells of a computation whose point is a whole small system for the kernels."""
    out = np.zeros(len(number), bool)
    if compute not in scheme.computes or scheme.asked(compute)[1]:
        return out
    batching = batched_computations()[compute]
    fitting = np.array([batching.accepts(options) for options in scheme.theories])
    masks = scheme.columns["units"].numbers
    mask = np.where(kind >= 0, masks[kind, scheme.along("units")], 0)
    wanted = fitting[scheme.theory()] & scheme.is_computed(compute)
    wanted &= (problem < 0) & (scheme.grounds.place[number] >= 0)
    for k, shape in enumerate(scheme.grounds.kinds):
        levels = np.array(shape.levels, np.int64)
        here = (kind == k) & wanted
        for own in np.unique(mask[here]).tolist():
            inside = levels[(own >> np.arange(len(levels)) & 1).astype(bool)]
            if SmallSystems.is_light(inside, batching.max_units):
                out |= here & (mask == own)
    return out


def _distinct_small_systems(
    scheme: SweepGrid,
    compute: str,
    number: NDArray[Any],
    kind: NDArray[Any],
    small: NDArray[Any],
) -> tuple[SmallSystems, NDArray[Any], NDArray[Any]]:
    """Small points, each content once and sorted by shape; which each cell has; digests."""
    batch = scheme.grounds.batch
    content = batch.digests()
    _, first, same = np.unique(content, axis=0, return_index=True, return_inverse=True)
    cells = np.flatnonzero(small)
    columns = scheme.columns
    keys = np.column_stack(
        [
            same.ravel()[scheme.grounds.place[number[cells]]],
            columns["state"].numbers[kind[cells], scheme.along("state")[cells]],
            columns["units"].numbers[kind[cells], scheme.along("units")[cells]],
            scheme.theory()[cells],
        ]
    )
    rows, back = _distinct_rows(keys)
    caps = np.array([_phi_cap_code(options) for options in scheme.theories])
    substrate = first[rows[:, 0]]
    points = SmallSystems(batch, substrate, rows[:, 1], rows[:, 2], caps[rows[:, 3]])
    order = np.lexsort((rows[:, 1], rows[:, 0], *points.own_levels().T[::-1]))
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    heads = [f"{compute} {_options_json(options)}".encode() for options in scheme.theories]
    rows, substrate = rows[order], substrate[order]
    digests = np.empty((len(order), 2), np.uint64)
    raw = np.ascontiguousarray(rows[:, 1:3])
    for p, (s, t) in enumerate(zip(substrate.tolist(), rows[:, 3].tolist(), strict=True)):
        state = hashlib.blake2b(heads[t], digest_size=16)
        state.update(content[s])
        state.update(raw[p])
        digests[p] = np.frombuffer(state.digest(), np.uint64)
    return points.at(order), place[back], digests


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


def _phi_cap_code(options: Theory) -> int:
    given = msgspec.to_builtins(options)
    if given["name"] != "iit4-2026":
        return 0
    return 2 if given["differentiation"] == "specified" else 1


def _options_json(options: Theory) -> str:
    return json.dumps(msgspec.to_builtins(options), sort_keys=True)


def _large_problems(
    scheme: SweepGrid,
    number: NDArray[Any],
    which: NDArray[Any],
    point: NDArray[Any],
    count: int,
) -> tuple[tuple[LargeProblem, ...], NDArray[Any]]:
    """Points that take a recipe of their own; numbers them in ``point``, after the small ones."""
    found: dict[bytes, LargeProblem] = {}
    numbers: dict[bytes, int] = {}
    along = {name: scheme.along(name) for name in (*scheme.columns, "compute")}
    theory = scheme.theory()
    for cell in np.flatnonzero(which).tolist():
        compute = scheme.computes[int(along["compute"][cell])]
        columns, constant = scheme.asked(compute)
        fields = {name: scheme.constant[name] for name in constant}
        for name in columns:
            fields[name] = scheme.columns[name].raw[int(along[name][cell])]
        ground = int(number[cell])
        options = scheme.theories[int(theory[cell])]
        text = json.dumps([compute, _options_json(options), fields], sort_keys=True, default=str)
        key = hashlib.blake2b(
            f"{scheme.grounds.fingerprint(ground)} {text}".encode(), digest_size=16
        ).digest()
        if key not in found:
            numbers[key] = count + len(found)
            fields = {name: value for name, value in fields.items() if value is not None}
            substrate = scheme.grounds.substrate(ground)
            found[key] = LargeProblem(key.hex(), substrate, fields, options, compute)
        point[cell] = numbers[key]
    digests = np.array([np.frombuffer(key, np.uint64) for key in found], np.uint64)
    return tuple(found.values()), digests.reshape(-1, 2)
