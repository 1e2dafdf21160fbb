"""Layout of a sweep: the cells of its cube and the distinct points that the cells share."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import msgspec
import numpy as np

from iitdask.errors import SpecError, quote
from iitdask.model.macro_system import has_macro_units, micro_updates, n_macro_units
from iitdask.model.substrate import Substrate
from iitdask.model.unit import Unit
from iitdask.study.sweep_axes import AXES, PARAMETER_AXIS, AxisValues
from iitdask.study.sweep_substrates import Axis, Draw, SubstrateGrid, ValueRule, axis_place
from iitdask.theory.catalog import (
    COMPUTATIONS,
    batched_computations,
    default_theory,
    get_computation,
    theory_name,
    theory_options,
)
from iitdask.theory.options import Theory, recorded_options
from iitdask.theory.point_rows import LargeProblem, plain_value
from iitdask.theory.small_systems import SmallSystems, is_batchable
from iitdask.types import Array


@dataclass(frozen=True, eq=False)
class SweepGrid:
    """Everything the cells of a sweep are made from; arrays have one element per cell."""

    axes: Sequence[Axis]  # The axes
    substrates: SubstrateGrid  # All substrates
    values: Mapping[str, AxisValues]  # States and candidate systems, by their field of targets
    computes: tuple[str, ...]  # Computations along their axis, or the only one
    theories: tuple[Theory, ...]
    """Theories along their axis, or the only one; without either, that of each computation."""
    is_default: bool  # Whether theories are those of the computations
    constant: dict[str, Any]  # Fields of targets that are the same everywhere
    dims: dict[str, int]  # Dimensions and their lengths

    def index_along(self, name: str) -> Array:
        """Position along an axis; 0 where there is no such axis."""
        dim = next((axis.dim for axis in self.axes if axis.name == name), None)
        shape = tuple(self.dims.values())
        own = [length if each == dim else 1 for each, length in self.dims.items()]
        return np.broadcast_to(np.arange(self.dims.get(dim or "", 1)).reshape(own), shape).ravel()

    @cached_property
    def compute(self) -> Array:
        """Position of the computation in `computes`."""
        return self.index_along("compute")

    @cached_property
    def theory(self) -> Array:
        """Position of the theory in `theories`."""
        return self.compute if self.is_default else self.index_along("theory")

    @cached_property
    def substrate(self) -> Array:
        """Number of the substrate."""
        number = np.zeros(len(self.compute), np.int64)
        for dim, length in self.substrates.dims.items():
            number = number * length + self.index_along(dim)
        return number

    @cached_property
    def signature(self) -> Array:
        """Signature of the substrate's units, -1 where there is none."""
        return self.substrates.signature[self.substrate]

    def accepts(self, field: str) -> Array:
        """Whether the computation of a cell takes a field; to the others it means nothing."""
        accepting = [field in COMPUTATIONS[name].target.FIELDS for name in self.computes]
        return np.asarray(np.array(accepting)[self.compute])

    def number_of(self, field: str) -> Array:
        """State number or unit mask of a field; 0 where there is no substrate."""
        numbers = self.values[field].numbers[self.signature, self.index_along(field)]
        return np.where(self.signature >= 0, numbers, 0)

    @cached_property
    def n_units(self) -> Array:
        """Units of the candidate system, -1 where unknown."""
        if "units" not in self.values:
            return np.full(len(self.compute), -1)
        mask = np.where(self.accepts("units"), self.number_of("units"), 0)
        counts = np.bitwise_count(np.maximum(mask, 0)).astype(np.int64)
        macro = np.array([n_macro_units(each) for each in self.values["units"].raw])
        macro = np.where(self.accepts("units"), macro[self.index_along("units")], 0)
        return np.where(macro > 0, macro, np.where(mask > 0, counts, -1))

    @cached_property
    def frequency(self) -> Array | None:
        """Share of the steps of a trajectory, of the first axis that comes from one."""
        for name, values in self.values.items():
            if values.frequency is not None:
                share = values.frequency[self.substrate, self.index_along(name)]
                return np.where(self.accepts(name), share, np.nan)
        return None

    @cached_property
    def coords(self) -> dict[str, tuple[str, list[Any]]]:
        """Dimension and labels of every axis."""
        labels: dict[str, Sequence[Any]] = {
            **{axis.name: self.substrates.names for axis in self.axes if axis.is_source},
            "compute": self.computes,
            "theory": [_theory_label(options) for options in self.theories],
            **{name: values.labels for name, values in self.values.items()},
        }
        return {a.name: (a.dim, list(labels.get(a.name) or _listed_labels(a))) for a in self.axes}

    def theory_label(self) -> str | None:
        """Name the theory where no axis does: one, or that of each computation."""
        if any(axis.name == "theory" for axis in self.axes):
            return None
        names = [_theory_label(options) for options in self.theories]
        if len(set(names)) == 1:
            return names[0]
        return ", ".join(f"{c}: {name}" for c, name in zip(self.computes, names, strict=True))


def build_grid(
    axes: Sequence[Axis], substrates: SubstrateGrid, shared: Mapping[str, Any], where: str
) -> SweepGrid:
    """Resolve what the axes of a sweep mean.

    `shared` holds ``compute``, ``theory`` and fields of targets for cells where no axis names
    one; without a theory it is the first that defines the computation. `where` names the study in
    messages.
    """
    fields = {name: value for name, value in shared.items() if name not in ("compute", "theory")}
    axis_values: dict[str, Any] = {axis.name: axis.values for axis in axes}

    def place(name: str) -> str:
        return axis_place(where, name) if name in axis_values else f"{where}: {name}"

    computes = tuple(axis_values.get("compute", (shared["compute"],)))
    known = [name for name, each in COMPUTATIONS.items() if each.outcomes]
    for name in computes:
        if not isinstance(name, str) or name not in known:
            expected = f"expected one of {', '.join(known)} in a sweep"
            raise SpecError(f"{place('compute')}: {expected}, got {quote(name)}")
    takers = _takers(computes)
    for name in (*(name for name in axis_values if name in _takers(COMPUTATIONS)), *fields):
        if name not in takers:
            meant = " or ".join(repr(each) for each in dict.fromkeys(computes))
            raise SpecError(f"{where}: {name}: has no meaning for compute {meant}")
    values: dict[str, AxisValues] = {}
    given = axis_values.keys() | fields.keys()
    for name, taker in takers.items():
        kind = AXES.get(name, PARAMETER_AXIS)
        if name in _replaced(given) or (kind.alternative and name not in given):
            continue
        if kind.is_required and name not in axis_values and name not in fields:
            expected = f"expected one, or an axis of them, for compute {taker!r}"
            raise SpecError(f"{place(name)}: {expected}, got nothing")
        if kind.resolve is not None and not (kind.is_optional and name not in axis_values):
            content = axis_values.get(name, (fields.get(name),))
            if isinstance(content, ValueRule) and name == "window":
                content = _with_length(content, [axis_values.get("units"), [fields.get("units")]])
            values[name] = kind.resolve(content, substrates, place(name))
    constant = {name: value for name, value in fields.items() if name not in values}
    is_default = "theory" not in shared and "theory" not in axis_values
    names = [default_theory(c) for c in computes] if is_default else [shared.get("theory")]
    theories = _read_theories(computes, axis_values.get("theory", names), where)
    lengths = {name: len(each.labels) for name, each in values.items()}
    lengths |= {"theory": len(theories), "compute": len(computes)} | substrates.dims
    dims = {
        axis.dim: lengths[axis.dim if axis.dim in substrates.dims else axis.name] for axis in axes
    }
    return SweepGrid(axes, substrates, values, computes, theories, is_default, constant, dims)


def _replaced(given: Set[str]) -> set[str]:
    """Fields in place of which another one is given."""
    return {AXES[name].alternative for name in given & AXES.keys()} - {""}


def _with_length(rule: ValueRule, lists: Iterable[Any]) -> ValueRule:
    """Return windows along a trajectory that are as long as the longest of macro units needs."""
    units = [each for listed in lists if isinstance(listed, list | tuple) for each in listed]
    spans = [micro_updates(each) for each in units if has_macro_units(each)]
    return rule if rule.length is not None else replace(rule, length=max(spans, default=1))


def _takers(computes: Iterable[str]) -> dict[str, str]:
    """Fields of targets that computations take, each with the first that takes it."""
    takers: dict[str, str] = {}
    for compute in computes:
        for name in COMPUTATIONS[compute].target.FIELDS:
            takers.setdefault(name, compute)
    return takers


def _read_theories(computes: Sequence[str], given: Any, where: str) -> tuple[Theory, ...]:
    """Read the theories of a sweep; each has a computation, and each computation a theory."""
    theories = tuple(theory_options(each, f"{where}: theory") for each in given)
    for options in theories:
        if all(_undefined_message(options, compute) for compute in computes):
            raise SpecError(f"{where}: theory: {_undefined_message(options, computes[0])}")
    for compute in computes:
        if all(_undefined_message(options, compute) for options in theories):
            raise SpecError(f"{where}: theory: {_undefined_message(theories[0], compute)}")
    return theories


def _undefined_message(options: Theory, compute: str) -> str:
    """Return why a theory has no such computation, "" if it has."""
    recipes, name = get_computation(compute).recipes, theory_name(options)
    return "" if name in recipes else f"{name} does not define {compute!r}; {', '.join(recipes)} do"


def _listed_labels(axis: Axis) -> list[Any]:
    if all(isinstance(value, Draw) for value in axis.listed):
        return [value.number for value in axis.listed]
    are_numbers = all(isinstance(value, int | float) for value in axis.listed)
    return list(axis.listed) if are_numbers else [str(value) for value in axis.listed]


def _theory_label(options: Theory) -> str:
    chosen, default = msgspec.to_builtins(options), msgspec.to_builtins(type(options)())
    more = [f"{key}={value}" for key, value in chosen.items() if default.get(key) != value]
    return str(chosen["name"]) + (f" ({', '.join(more)})" if more else "")


@dataclass(frozen=True, eq=False)
class SweepLayout:
    """A sweep laid out: the cells of the cube, and the points they share."""

    grid: SweepGrid  # What the cells are made from
    point: Array  # (cells,) number of the point in each cell, -1 where there is none
    problem: Array  # (cells,) number of the problem, -1 where there is none
    problems: dict[int, str]  # Why there is no point, by number of the problem
    points: Mapping[str, SmallSystems]
    """The batchable points, by computation; they come first, one computation after the other."""
    large: tuple[LargeProblem, ...]  # The other points
    digests: Array  # (points, 2) uint64 digest of the content of each point


def build_layout(grid: SweepGrid, *, apart: bool = False) -> SweepLayout:
    """Find the points to compute; with `apart` each gets a recipe of its own, batchable or not.

    Notes
    -----
    Cells share a point when they agree in all that decides its numbers: the tables of the
    substrate, state, candidate, theory and computation. Systems that are equal only up to
    renaming units are computed apart. Where ties are broken in the published order, which
    goes by the numbers of units, they can differ in more than rounding; where they cannot,
    floats are still added in the order of the units, so that last bits would be those of
    whichever came first, and a cube that has grown would not be the one computed at once.
    """
    problem, texts = _find_problems(grid)
    point = np.full(len(problem), -1)
    points: dict[str, SmallSystems] = {}
    digests: list[Array] = []
    count = 0
    for name in () if apart else batched_computations():
        cells = np.flatnonzero(_batchable_cells(grid, name, problem))
        if len(cells):
            points[name], index, own = _distinct_small_systems(grid, name, cells)
            point[cells] = count + index
            count += len(points[name])
            digests.append(own)
    cells = np.flatnonzero((problem < 0) & (point < 0))
    large, own = _large_problems(grid, cells, point, count, apart)
    return SweepLayout(grid, point, problem, texts, points, large, np.concatenate([*digests, own]))


def _find_problems(grid: SweepGrid) -> tuple[Array, dict[int, str]]:
    """Number of the first problem of every cell, -1 without one; and the texts by number."""
    problem = np.full(len(grid.compute), -1)
    numbers: dict[str, int] = {}

    def record(cells: Array, text: str) -> None:
        cells = cells & (problem < 0)
        if cells.any():
            problem[cells] = numbers.setdefault(text, len(numbers))

    for number, text in sorted(grid.substrates.problems.items()):
        record(grid.substrate == number, text)
    for c, compute in enumerate(grid.computes):
        for t, options in enumerate(grid.theories):
            if text := _undefined_message(options, compute):
                record((grid.compute == c) & (grid.theory == t), text)
    for name, values in grid.values.items():
        index, accepts = grid.index_along(name), grid.accepts(name)
        for (k, v), text in values.problems.items():
            record((grid.signature == k) & (index == v) & accepts, text)
    return problem, {number: text for text, number in numbers.items()}


def _batchable_cells(grid: SweepGrid, compute: str, problem: Array) -> Array:
    """Cells of a computation whose point is a whole small system for the batch kernels."""
    batchable = np.zeros(len(problem), bool)
    known = COMPUTATIONS[compute].target.FIELDS
    if compute not in grid.computes or any(name in known for name in grid.constant):
        return batchable
    if "state" not in grid.values:  # windows in their place
        return batchable
    batching = batched_computations()[compute]
    fitting = np.array([is_batchable(options) for options in grid.theories])
    cells = fitting[grid.theory] & (grid.compute == grid.computes.index(compute)) & (problem < 0)
    cells &= grid.substrates.batch_index[grid.substrate] >= 0
    mask = grid.number_of("units")  # 0 of macro units
    for k, signature in enumerate(grid.substrates.signatures):
        levels = np.array(signature.levels, np.int64)
        here = (grid.signature == k) & cells
        for candidate in np.unique(mask[here]).tolist():
            inside = levels[(candidate >> np.arange(len(levels)) & 1).astype(bool)]
            if SmallSystems.is_light(inside, batching.max_units):
                batchable |= here & (mask == candidate)
    return batchable


def _distinct_small_systems(
    grid: SweepGrid, compute: str, cells: Array
) -> tuple[SmallSystems, Array, Array]:
    """Batchable points of cells, each content once, sorted by shape.

    Returned with the (cells,) positions of their points and the points' (points, 2) uint64 digests.
    """
    batch = grid.substrates.batch
    content = batch.digests()
    _, first, same = np.unique(content, axis=0, return_index=True, return_inverse=True)
    numbers = [grid.number_of("state")[cells], grid.number_of("units")[cells], grid.theory[cells]]
    tables = same.ravel()[grid.substrates.batch_index[grid.substrate[cells]]]
    rows, back = _distinct_rows(np.column_stack([tables, *numbers]))
    caps = np.array([_phi_cap_code(options) for options in grid.theories])
    substrate = first[rows[:, 0]]
    points = SmallSystems(batch, substrate, rows[:, 1], rows[:, 2], caps[rows[:, 3]])
    order = np.lexsort((rows[:, 1], rows[:, 0], *points.own_levels().T[::-1]))
    heads = [f"{compute} {_options_json(options)}".encode() for options in grid.theories]
    keys = [
        _digest(heads[theory] + content[number].tobytes() + state_and_units.tobytes())
        for number, theory, state_and_units in zip(
            substrate[order], rows[order, 3], np.ascontiguousarray(rows[order, 1:3]), strict=True
        )
    ]
    return points.take(order), np.argsort(order)[back], _digest_array(keys)


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def _digest_array(digests: Iterable[bytes]) -> Array:
    """(points, 2) uint64: each digest as two numbers."""
    return np.frombuffer(bytearray().join(digests), np.uint64).reshape(-1, 2)


def _distinct_rows(keys: Array) -> tuple[Array, Array]:
    """Distinct rows of whole numbers, sorted, and where each row went."""
    spans = tuple((keys.max(axis=0) + 1).tolist())
    is_packable = math.prod(spans) < 2**62
    packed = np.ravel_multi_index(tuple(keys.T), spans) if is_packable else keys
    axis = None if is_packable else 0
    _, first, back = np.unique(packed, axis=axis, return_index=True, return_inverse=True)
    return keys[first], back.ravel()


def _phi_cap_code(options: Theory) -> int:
    given = msgspec.to_builtins(options)
    if given["name"] != "iit4-2026":
        return 0
    return 2 if given["differentiation"] == "specified" else 1


def field_json(value: Any) -> Any:
    """Return a field of a target as JSON can hold it; the name of a macro unit may be shortened."""
    return value.to_dict() if isinstance(value, Unit) else str(value)


def _options_json(options: Theory) -> str:
    return json.dumps(recorded_options(options), sort_keys=True)


def _large_problems(
    grid: SweepGrid, cells: Array, point: Array, count: int, apart: bool
) -> tuple[tuple[LargeProblem, ...], Array]:
    """Points of cells that take a recipe of their own, and their digests.

    Numbers them in ``point``, after the `count` batchable ones. With `apart` none is a row.
    """
    problems: dict[bytes, LargeProblem] = {}
    numbers: dict[bytes, int] = {}
    index = {name: grid.index_along(name) for name in grid.values}
    substrates: dict[int, Substrate] = {}
    seconds = np.full(len(point), np.inf) if apart else _point_seconds(grid, cells)
    for cell in cells.tolist():
        compute = grid.computes[int(grid.compute[cell])]
        known = COMPUTATIONS[compute].target.FIELDS
        fields = grid.constant | {n: v.raw[index[n][cell]] for n, v in grid.values.items()}
        fields = {name: value for name, value in fields.items() if name in known}
        number = int(grid.substrate[cell])
        if number not in substrates:
            substrates[number] = grid.substrates.substrate(number)
        substrate, options = substrates[number], grid.theories[int(grid.theory[cell])]
        text = json.dumps(
            [compute, _options_json(options), fields], sort_keys=True, default=field_json
        )
        key = _digest(f"{substrate.fingerprint} {text}".encode())
        if key not in problems:
            numbers[key] = count + len(problems)
            fields = {name: value for name, value in fields.items() if value is not None}
            own = float(seconds[cell]) if _is_plain(fields) else np.inf
            problems[key] = LargeProblem(key.hex(), substrate, fields, options, compute, own)
        point[cell] = numbers[key]
    return tuple(problems.values()), _digest_array(problems)


def _is_plain(fields: Mapping[str, Any]) -> bool:
    """Whether fields of a target are the same when they have been written as JSON."""
    try:
        json.dumps(fields, default=plain_value)
    except TypeError:
        return False
    return True


def _point_seconds(grid: SweepGrid, cells: Array) -> Array:
    """(all cells,) predicted seconds of whole systems of units, inf of everything else."""
    seconds = np.full(len(grid.compute), np.inf)
    if "units" not in grid.values or "state" not in grid.values:
        return seconds
    mask = np.where(grid.accepts("units"), grid.number_of("units"), 0)
    keys = np.column_stack([grid.compute, grid.theory, grid.signature, mask])[cells]
    for key in np.unique(keys[keys[:, 3] > 0], axis=0):
        compute, theory, signature, units = key.tolist()
        name = theory_name(grid.theories[theory])
        predict = COMPUTATIONS[grid.computes[compute]].point_seconds.get(name)
        if predict is not None:
            levels = grid.substrates.signatures[signature].levels
            inside = tuple(k for i, k in enumerate(levels) if units >> i & 1)
            seconds[cells[(keys == key).all(axis=1)]] = predict(inside)
    return seconds
