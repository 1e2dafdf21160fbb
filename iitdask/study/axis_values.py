"""Meaning of axis values: the substrates of a sweep, their states and their candidate systems."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np

from iitdask.errors import InputError, SpecError
from iitdask.model import examples, gates
from iitdask.model import labels as notation
from iitdask.model.batch import MAX_TABLE_STATES, Batch, Family, is_batchable
from iitdask.model.labels import join_labels, state_text
from iitdask.model.readers import load, substrate_from_study
from iitdask.model.substrate import Substrate
from iitdask.types import Array

MAX_LISTED_UNITS = 16  # Units up to which all candidate systems of a substrate are listed
MAX_MASK_UNITS = 62  # Units whose sets int64 masks can hold
NO_SUCH_STATE = "a substrate with units like these has no such state"


@dataclass(frozen=True, slots=True)
class ValueRule:
    """Values of an axis that depend on the substrates."""

    kind: str  # `all`, `reachable` or `trajectory` of states; `all` or `size` of candidates
    size: int = 0  # Units of a candidate
    start: Any = None  # State a trajectory starts from; None: a random one
    steps: int = 0  # Steps of a trajectory that count
    burn: int = 0  # Steps before those
    seed: int = 0  # Seed of the random generator of trajectories


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """One axis of a sweep."""

    name: str  # Name in :data:`iitdask.study.sweep_axes.AXES`, or a parameter of units
    values: ValueRule | tuple[Any, ...]
    """Values, a family's member as (family, number); or the rule that tells them for substrates."""
    dim: str  # Dimension of the result; zipped axes share one
    is_parameter: bool  # Whether units have it as a parameter of their gates

    @property
    def listed(self) -> tuple[Any, ...]:
        """Values that do not depend on substrates."""
        return () if isinstance(self.values, ValueRule) else self.values


@dataclass(frozen=True, slots=True)
class UnitSignature:
    """Names and numbers of values of all units: substrates that share them share states."""

    levels: tuple[int, ...]  # Values per unit
    labels: tuple[str, ...]  # Names of the units

    @property
    def n_states(self) -> int:
        """Number of states of all units."""
        return math.prod(self.levels)

    def state_code(self, value: Any) -> tuple[int, str]:
        """Return the little-endian number of a state, 0 if there are too many, and its text."""
        state = notation.parse_state(value, self.levels, self.labels)
        is_numbered = self.n_states <= MAX_TABLE_STATES
        code = int(np.ravel_multi_index(state, self.levels, order="F")) if is_numbered else 0
        return code, state_text(state)

    def unit_mask(self, value: Any) -> tuple[int, str]:
        """Return the mask of a set of units, 0 if there are too many, and its text.

        None stands for all units.
        """
        units = range(len(self.labels)) if value is None else value
        chosen = sorted(notation.parse_units(units, self.labels, "units"))
        if not chosen:
            raise InputError("units: expected at least one unit, got none")
        mask = sum(1 << i for i in chosen) if len(self.labels) <= MAX_MASK_UNITS else 0
        return mask, join_labels([self.labels[i] for i in chosen], self.labels)


@dataclass(frozen=True, eq=False)
class SubstrateGrid:
    """All G substrates of a sweep, in C order of the dimensions they vary over."""

    dims: dict[str, int]  # Dimensions that decide about substrates, with their lengths
    signatures: tuple[UnitSignature, ...]  # The distinct signatures
    signature: Array  # (G,) which signature each has, -1 where there is no substrate
    batch: Batch  # The small substrates
    batch_index: Array  # (G,) position in the batch, -1 of substrates that are not small
    single: Mapping[int, Substrate]  # Substrates that were built one by one
    problems: Mapping[int, str]  # Why there is no substrate
    names: tuple[str, ...]  # Labels along the axis of substrates, if there is one

    def substrate(self, number: int) -> Substrate:
        """Return one of the substrates."""
        if number in self.single:
            return self.single[number]
        labels = self.signatures[int(self.signature[number])].labels
        return self.batch.substrate(int(self.batch_index[number]), labels)


@dataclass(frozen=True, slots=True, eq=False)
class AxisValues:
    """The values of an axis of states or of candidate systems."""

    labels: tuple[str, ...]  # Labels in the result
    raw: tuple[Any, ...]  # Values as they were given
    numbers: Array
    """(signatures, values) number of the state, or mask of the units; -1 where none fits."""
    problems: Mapping[tuple[int, int], str]
    """Why a value does not fit a signature, by (signature, value)."""
    frequency: Array | None = None
    """(G, values) share of a trajectory's steps, where the values come from one."""


def build_substrates(
    base: Substrate | Mapping[str, Any] | None, axes: Sequence[Axis], folder: Path, where: str
) -> SubstrateGrid:
    """Build all substrates of a sweep."""
    source = next((axis for axis in axes if axis.name == "substrate"), None)
    if source is None and base is None:
        raise SpecError(f"{where}: substrate: expected one, or an axis of them, got nothing")
    choices = (base,) if source is None else source.listed
    dims = {axis.dim: len(axis.listed) for axis in axes if axis.is_parameter or axis is source}
    total, n_batched = math.prod(dims.values()), 0
    signature, batch_index = np.full(total, -1), np.full(total, -1)
    signatures: dict[UnitSignature, int] = {}
    batches: list[Batch] = []
    single: dict[int, Substrate] = {}
    problems: dict[int, str] = {}
    for numbers, choice, settings in _combine(dims, axes, choices):
        try:
            if isinstance(choice, tuple) and len(numbers) == choice[0].count:
                family = _family_with_parameters(choice[0], settings, where)
                units, batch = UnitSignature((2,) * family.n, family.labels), family.batch()
            else:
                substrate = _build_substrate(choice, settings, folder, where)
                units = UnitSignature(substrate.levels, substrate.labels)
                batch = Batch.from_substrates([substrate] if is_batchable(substrate) else [])
                single[int(numbers[0])] = substrate
        except SpecError:
            raise
        except InputError as error:
            problems.update(dict.fromkeys(numbers.tolist(), str(error)))
            continue
        signature[numbers] = signatures.setdefault(units, len(signatures))
        if len(batch):
            batch_index[numbers] = n_batched + np.arange(len(batch))
            n_batched += len(batch)
            batches.append(batch)
    if len(problems) == total:
        raise SpecError(next(iter(problems.values())))
    names = () if source is None else _make_unique(_choice_names(choices), "{}-{}")
    small = Batch.concatenate(batches)
    return SubstrateGrid(
        dims, tuple(signatures), signature, small, batch_index, single, problems, names
    )


def _combine(
    dims: Mapping[str, int], axes: Sequence[Axis], choices: Sequence[Any]
) -> Iterator[tuple[Array, Any, dict[str, Any]]]:
    """Yield numbers of substrates, the choice they are made from, and their parameters.

    All members of a family come together, unless parameters vary along them.
    """
    numbers = np.arange(math.prod(dims.values())).reshape(tuple(dims.values()))
    source = next((axis.dim for axis in axes if axis.name == "substrate"), None)
    parameters = [axis for axis in axes if axis.is_parameter]
    zipped = [axis for axis in parameters if axis.dim == source]
    free = [dim for dim in dims if dim != source]
    for position in product(*(range(dims[dim]) for dim in free)):
        at = dict(zip(free, position, strict=True))
        line = np.atleast_1d(numbers[tuple(at.get(dim, slice(None)) for dim in dims)])
        settings = {axis.name: axis.listed[at[axis.dim]] for axis in parameters if axis.dim in at}
        for k, choice in enumerate(choices):
            count = 1
            if isinstance(choice, tuple) and not zipped:
                family, member = choice
                if member:
                    continue
                count = family.count
            along = {axis.name: axis.listed[k] for axis in zipped}
            yield line[k : k + count], choice, settings | along


def _family_with_parameters(family: Family, parameters: Mapping[str, Any], where: str) -> Family:
    for name in parameters:
        if not family.has_parameter(name):
            raise SpecError(f"{where}: sweep: {name}: no gate of the family has this parameter")
    return family.with_gate_parameters(parameters)


def _build_substrate(
    choice: Any, parameters: Mapping[str, Any], folder: Path, where: str
) -> Substrate:
    """Build one substrate with parameters of its units replaced."""
    if isinstance(choice, tuple):
        family = _family_with_parameters(choice[0], parameters, where)
        return Substrate.from_units(family.block(choice[1])["units"])
    if isinstance(choice, str | Path) and str(choice) in examples.names():
        choice = {"example": str(choice)}
    if not parameters:
        if isinstance(choice, Substrate):
            return choice
        if isinstance(choice, str | Path):
            return load(folder / choice)
        return substrate_from_study(choice, folder, f"{where}: substrate")
    place = f"{where}: sweep: {next(iter(parameters))}"
    if isinstance(choice, str | Path):
        raise SpecError(
            f"{place}: {choice} is a file; name the units in the study to sweep their parameters"
        )
    if isinstance(choice, Mapping) and "example" in choice:
        choice = examples.spec(choice["example"])["substrate"]
    if not isinstance(choice, Mapping) or "units" not in choice:
        raise SpecError(
            f"{place}: expected a substrate made of `units`, whose parameters it could be"
        )
    units = [dict(unit) for unit in choice["units"]]
    defaults = choice.get("labels") or notation.default_labels(len(units))
    labels = [str(unit.get("label") or name) for unit, name in zip(units, defaults, strict=True)]
    for name, value in parameters.items():
        _set_parameter(units, labels, name, value, f"{where}: sweep: {name}")
    block = {**choice, "units": units}
    return substrate_from_study(block, folder, f"{where}: substrate")


def _set_parameter(
    units: list[dict[str, Any]], labels: Sequence[str], name: str, value: Any, where: str
) -> None:
    """Set a parameter of all units that have it, or of the one that is named."""
    label, _, parameter = name.rpartition(".")
    if label.endswith(".weights"):
        _set_weight(units, labels, name, value, where)
        return
    chosen = [
        unit
        for own, unit in zip(labels, units, strict=True)
        if label in ("", own)
        and gates.has_parameter(str(unit.get("gate", unit.get("kind"))), parameter)
    ]
    if not chosen:
        raise SpecError(f"{where}: no unit of the substrate has this parameter")
    for unit in chosen:
        unit[parameter] = list(value) if isinstance(value, tuple) else value


def _set_weight(
    units: list[dict[str, Any]], labels: Sequence[str], name: str, value: Any, where: str
) -> None:
    """Set the weight of one input of one unit."""
    label, _, source = name.rpartition(".weights.")
    if label not in labels:
        raise SpecError(f"{where}: no unit is called {label!r}")
    unit = units[labels.index(label)]
    inputs = notation.parse_units(unit.get("inputs", ()), tuple(labels), f"unit {label!r}: inputs")
    sources = [labels[number] for number in inputs]
    if source not in sources or "weights" not in unit:
        raise SpecError(f"{where}: unit {label!r} has no such weight")
    unit["weights"] = list(unit["weights"])
    unit["weights"][sources.index(source)] = value


def _choice_names(choices: Sequence[Any]) -> Iterator[str]:
    """Name every substrate along its axis."""
    for number, choice in enumerate(choices):
        if isinstance(choice, tuple):
            family, member = choice
            yield family.member_name(member)
        elif isinstance(choice, str | Path):
            yield Path(choice).stem if Path(choice).suffix else str(choice)
        elif isinstance(choice, Mapping) and "example" in choice:
            yield str(choice["example"])
        else:
            yield f"substrate-{number}"


def _make_unique(names: Iterable[str], pattern: str) -> tuple[str, ...]:
    """Number the repetitions of names: two writings of one value are two values."""
    seen: dict[str, int] = {}
    unique = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        unique.append(name if seen[name] == 1 else pattern.format(name, seen[name]))
    return tuple(unique)


def state_values(values: ValueRule | Sequence[Any], grid: SubstrateGrid, where: str) -> AxisValues:
    """Resolve states: a list of them, or a rule."""
    if isinstance(values, ValueRule):
        return _states_of_rule(values, grid, where)
    return _resolve(values, grid, UnitSignature.state_code, where)


def candidate_values(
    values: ValueRule | Sequence[Any], grid: SubstrateGrid, where: str
) -> AxisValues:
    """Resolve candidate systems: a list of them, or a rule."""
    if isinstance(values, ValueRule):
        values = _candidates_of_rule(values, grid, where)
    return _resolve(values, grid, UnitSignature.unit_mask, where)


def _candidates_of_rule(rule: ValueRule, grid: SubstrateGrid, where: str) -> tuple[Any, ...]:
    candidates: dict[str, list[str]] = {}
    for signature in grid.signatures:
        n = len(signature.labels)
        if n > MAX_LISTED_UNITS and rule.kind == "all":
            raise SpecError(f"{where}: all: {2**n - 1} candidates are too many; give a size")
        for size in [rule.size] if rule.kind == "size" else range(1, n + 1):
            for chosen in combinations(signature.labels, size):
                candidates.setdefault(join_labels(chosen, signature.labels), list(chosen))
    if not candidates:
        raise SpecError(f"{where}: no substrate has {rule.size} units")
    return tuple(candidates.values())


def _resolve(
    values: Sequence[Any],
    grid: SubstrateGrid,
    number_of: Callable[[UnitSignature, Any], tuple[int, str]],
    where: str,
) -> AxisValues:
    """Find the number of each value for each signature."""
    numbers = np.full((len(grid.signatures), len(values)), -1)
    problems: dict[tuple[int, int], str] = {}
    labels: list[str] = []
    for v, value in enumerate(values):
        label = None
        for k, signature in enumerate(grid.signatures):
            try:
                numbers[k, v], text = number_of(signature, value)
                label = label or text
            except InputError as error:
                problems[k, v] = str(error)
        labels.append(label or str(value))
    if len(problems) == numbers.size:
        raise SpecError(f"{where}: {next(iter(problems.values()))}")
    return AxisValues(_make_unique(labels, "{} ({})"), tuple(values), numbers, problems)


def _states_of_rule(rule: ValueRule, grid: SubstrateGrid, where: str) -> AxisValues:
    """Resolve a rule: states of all signatures, in the order in which they are met."""
    for signature in grid.signatures:
        if signature.n_states > MAX_TABLE_STATES:
            raise SpecError(
                f"{where}: {rule.kind}: a substrate of {len(signature.levels)} units has too many "
                f"states to list (at most {MAX_TABLE_STATES}); give a list of states"
            )
    visits = _trajectory_shares(rule, grid) if rule.kind == "trajectory" else None
    states: dict[tuple[int, ...], None] = {}
    for k, signature in enumerate(grid.signatures):
        codes: Sequence[int] = range(signature.n_states)
        if visits is not None:
            codes = np.flatnonzero(visits[grid.signature == k].any(axis=0)).tolist()
        elif rule.kind == "reachable":
            members = np.unique(grid.batch_index[grid.signature == k])
            codes = grid.batch.reachable_states(members).tolist()
        states |= dict.fromkeys(notation.decode_state(code, signature.levels) for code in codes)
    if not states:
        raise SpecError(f"{where}: {rule.kind}: there is no such state")
    resolved = _resolve(tuple(states), grid, UnitSignature.state_code, where)
    frequency = None
    if visits is not None:
        # (G, values); numbers below 0 do not fit the substrate.
        own = resolved.numbers[grid.signature]
        shares = np.take_along_axis(visits, np.maximum(own, 0), axis=1)
        frequency = np.where((own >= 0) & (grid.signature >= 0)[:, None], shares, 0.0)
    problems = dict.fromkeys(resolved.problems, NO_SUCH_STATE)
    return replace(resolved, raw=resolved.labels, problems=problems, frequency=frequency)


def _trajectory_shares(rule: ValueRule, grid: SubstrateGrid) -> Array:
    """(G, states) share of the steps that the trajectory of each substrate spends in a state."""
    shares = np.zeros((len(grid.signature), max(s.n_states for s in grid.signatures)))
    for g, k in enumerate(grid.signature.tolist()):
        if k >= 0:
            signature = grid.signatures[k]
            start = None if rule.start is None else signature.state_code(rule.start)[0]
            shares[g, : signature.n_states] = grid.batch.visited_share(
                int(grid.batch_index[g]), start, steps=rule.steps, burn=rule.burn, seed=rule.seed
            )
    return shares
