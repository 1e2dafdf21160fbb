"""Substrates of a sweep: those along its axes, with parameters of their units replaced."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from iitdask.errors import InputError, SpecError, quote
from iitdask.model import examples, gates
from iitdask.model import labels as notation
from iitdask.model.batch import MAX_TABLE_STATES, Batch, Family, is_batchable
from iitdask.model.checkpoints import WEIGHT_KEYS, WEIGHT_PARAMETERS, Checkpoint
from iitdask.model.labels import MASK_UNITS, join_labels, state_text
from iitdask.model.macro_system import has_macro_units, parse_members, parse_window
from iitdask.model.readers import load, substrate_from_study
from iitdask.model.substrate import Substrate
from iitdask.types import Array

OTHER_AXES = (
    *("substrate", "epoch", "checkpoint", "draw", "state", "before", "after", "units", "theory"),
    *("compute", "tau", "clamp"),
)
"""Names of axes that are no parameters of units."""


@dataclass(frozen=True, slots=True)
class ValueRule:
    """Values of an axis that depend on the substrates."""

    kind: str  # `all`, `reachable` or `trajectory` of states; `all` or `size` of candidates
    size: int = 0  # Units of a candidate
    start: Any = None  # State a trajectory starts from; None: a random one
    steps: int = 0  # Steps of a trajectory that count
    burn: int = 0  # Steps before those
    seed: int = 0  # Seed of the random generator of trajectories
    length: int | None = None  # States of a window of a trajectory; None: as many as units need


class Draw(NamedTuple):
    """One draw from the posterior of an estimate."""

    number: int
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """One axis of a sweep."""

    name: str  # Name in ``AXES``, or a parameter of units
    values: ValueRule | tuple[Any, ...]
    """Values, a family's member as (family, number); or the rule that tells them for substrates."""
    dim: str  # Dimension of the result; zipped axes share one
    is_parameter: bool  # Whether units have it as a parameter of their gates
    is_source: bool = False  # Whether its values are the substrates

    @property
    def listed(self) -> tuple[Any, ...]:
        """Values that do not depend on substrates."""
        return () if isinstance(self.values, ValueRule) else self.values


@dataclass(frozen=True, slots=True)
class UnitSignature:
    """Names and numbers of values of all units: substrates that share them share states."""

    levels: tuple[int, ...]  # Values per unit
    labels: tuple[str, ...]  # Names of the units
    names: tuple[tuple[int, tuple[str, ...]], ...] = ()  # Of values, by unit

    @property
    def n_states(self) -> int:
        """Number of states of all units."""
        return math.prod(self.levels)

    def state_code(self, value: Any) -> tuple[int, str]:
        """Return the little-endian number of a state, 0 if there are too many, and its text."""
        if self.names:
            value = notation.replace_value_names(value, dict(self.names), self.labels)
        state = notation.parse_state(value, self.levels, self.labels)
        is_numbered = self.n_states <= MAX_TABLE_STATES
        code = int(np.ravel_multi_index(state, self.levels, order="F")) if is_numbered else 0
        return code, state_text(state)

    def window_text(self, value: Any) -> tuple[int, str]:
        """Return 0, and the text of a window of states."""
        states = parse_window(self.levels, self.labels, value)
        return 0, " ".join(map(state_text, states))

    def unit_mask(self, value: Any) -> tuple[int, str]:
        """Return the mask of a set of units, and its text.

        The mask is 0 if there are too many, or macro units among them. None stands for all units.
        """
        if has_macro_units(value):
            members = parse_members(self.levels, self.labels, value)
            return 0, " | ".join(member.name for member in members)
        units = self.labels if value is None else value
        chosen = sorted(notation.parse_units(units, self.labels, "units"))
        if not chosen:
            raise InputError("units: expected at least one unit, got none")
        mask = sum(1 << i for i in chosen) if len(self.labels) <= MASK_UNITS else 0
        return mask, join_labels([self.labels[i] for i in chosen], self.labels)


class FamilyMember(NamedTuple):
    """A value of the axis of substrates: one network of a family."""

    family: Family
    number: int


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
    names: tuple[Any, ...]  # Labels along the axis of substrates, if there is one

    def substrate(self, number: int) -> Substrate:
        """Return one of the substrates."""
        if number in self.single:
            return self.single[number]
        labels = self.signatures[int(self.signature[number])].labels
        return self.batch.substrate(int(self.batch_index[number]), labels)


def build_substrates(
    base: Substrate | Mapping[str, Any] | None, axes: Sequence[Axis], folder: Path, where: str
) -> SubstrateGrid:
    """Build all substrates of a sweep."""
    source = source_axis(axes, where)
    if source is None and base is None:
        raise SpecError(f"{where}: substrate: expected one, or an axis of them, got nothing")
    choices = (base,) if source is None else source.listed
    if any(axis.name == "draw" for axis in axes):
        choices = tuple(_estimated(choice, folder, where) for choice in choices)
    if base is not None and any(isinstance(each, Checkpoint) for each in choices):
        choices = _with_options(choices, base, where)
    dims = {axis.dim: len(axis.listed) for axis in axes if axis.is_parameter or axis is source}
    total, n_batched = math.prod(dims.values()), 0
    signature, batch_index = np.full(total, -1), np.full(total, -1)
    signatures: dict[UnitSignature, int] = {}
    batches: list[Batch] = []
    single: dict[int, Substrate] = {}
    problems: dict[int, str] = {}
    for numbers, choice, settings in _combine(dims, axes, choices):
        try:
            if isinstance(choice, FamilyMember) and len(numbers) == choice.family.count:
                family = _family_with_parameters(choice.family, settings, where)
                units, batch = UnitSignature((2,) * family.n, family.labels), family.batch()
            else:
                substrate = _build_substrate(choice, settings, folder, where)
                names = tuple(sorted(substrate.values.items()))
                units = UnitSignature(substrate.levels, substrate.labels, names)
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
    names = () if source is None else _axis_labels(choices)
    small = Batch.concatenate(batches)
    return SubstrateGrid(
        dims, tuple(signatures), signature, small, batch_index, single, problems, names
    )


def source_axis(axes: Sequence[Axis], where: str) -> Axis | None:
    """Return the axis whose values are substrates, None if there is none."""
    sources = [axis for axis in axes if axis.is_source]
    if len(sources) > 1:
        names = " and ".join(axis.name for axis in sources)
        raise SpecError(f"{where}: expected one axis of substrates, got {names}")
    return sources[0] if sources else None


def _estimated(choice: Any, folder: Path, where: str) -> Any:
    """Return the substrate of a block with recordings, so that all draws share its counts."""
    if isinstance(choice, Mapping) and "series" in choice:
        return substrate_from_study(choice, folder, f"{where}: substrate")
    return choice


def _with_options(choices: Sequence[Any], base: Any, where: str) -> tuple[Checkpoint, ...]:
    """Return checkpoints with the options that the substrate block of a study gives for all."""
    if not isinstance(base, Mapping) or set(base) - {"labels", *WEIGHT_KEYS}:
        expected = f"expected options of weights beside checkpoints ({', '.join(WEIGHT_KEYS)})"
        raise SpecError(f"{where}: substrate: {expected}, got {quote(base)}")
    return tuple(replace(each, block={**base, **each.block}) for each in choices)


def _combine(
    dims: Mapping[str, int], axes: Sequence[Axis], choices: Sequence[Any]
) -> Iterator[tuple[Array, Any, dict[str, Any]]]:
    """Yield numbers of substrates, the choice they are made from, and their parameters.

    All members of a family come together, unless parameters vary along them.
    """
    numbers = np.arange(math.prod(dims.values())).reshape(tuple(dims.values()))
    source = next((axis.dim for axis in axes if axis.is_source), None)
    parameters = [axis for axis in axes if axis.is_parameter]
    zipped = [axis for axis in parameters if axis.dim == source]
    free = [dim for dim in dims if dim != source]
    for position in product(*(range(dims[dim]) for dim in free)):
        at = dict(zip(free, position, strict=True))
        line = np.atleast_1d(numbers[tuple(at.get(dim, slice(None)) for dim in dims)])
        settings = {axis.name: axis.listed[at[axis.dim]] for axis in parameters if axis.dim in at}
        for k, choice in enumerate(choices):
            count = 1
            if isinstance(choice, FamilyMember) and not zipped:
                if choice.number:
                    continue
                count = choice.family.count
            along = {axis.name: axis.listed[k] for axis in zipped}
            yield line[k : k + count], choice, settings | along


def _family_with_parameters(family: Family, parameters: Mapping[str, Any], where: str) -> Family:
    for name in parameters:
        if not family.has_parameter(name):
            problem = "no gate of the family has this parameter"
            raise SpecError(f"{axis_place(where, name)}: {problem}; {_hint(name)}")
    return family.with_gate_parameters(parameters)


def _build_substrate(
    choice: Any, parameters: Mapping[str, Any], folder: Path, where: str
) -> Substrate:
    """Build one substrate with parameters of its units replaced, or drawn from its posterior."""
    if "draw" in parameters:
        rest = {name: value for name, value in parameters.items() if name != "draw"}
        draw: Draw = parameters["draw"]
        return _build_fixed(choice, rest, folder, where).draw(draw.number, draw.seed)
    return _build_fixed(choice, parameters, folder, where)


def _build_fixed(choice: Any, parameters: Mapping[str, Any], folder: Path, where: str) -> Substrate:
    """Build one substrate with parameters of its units replaced."""
    if isinstance(choice, FamilyMember):
        family = _family_with_parameters(choice.family, parameters, where)
        return Substrate.from_units(family.block(choice.number)["units"])
    choice = choice.block if isinstance(choice, Checkpoint) else choice
    if isinstance(choice, str | Path) and str(choice) in examples.names():
        choice = {"example": str(choice)}
    if isinstance(choice, Mapping) and "weights" in choice:
        require_weight_parameters(parameters, where)
        return substrate_from_study({**choice, **parameters}, folder, f"{where}: substrate")
    if not parameters:
        if isinstance(choice, Substrate):
            return choice
        if isinstance(choice, str | Path):
            return load(folder / choice)
        return substrate_from_study(choice, folder, f"{where}: substrate")
    name = next(iter(parameters))
    place = axis_place(where, name)
    if isinstance(choice, str | Path):
        raise SpecError(
            f"{place}: {choice} is a file; name the units in the study to sweep their parameters"
        )
    if isinstance(choice, Mapping) and "example" in choice:
        choice = examples.spec(choice["example"])["substrate"]
    if not isinstance(choice, Mapping) or "units" not in choice:
        require_parameter_name(name, place)
        reason = "tables alone" if isinstance(choice, Substrate) else "no `units`"
        raise SpecError(
            f"{place}: expected a substrate made of `units`, whose parameters it could be, got one "
            f"with {reason}: give the mapping {{'units': [...]}} itself, or the name of an example"
        )
    labels = gates.unit_labels(choice["units"], choice.get("labels"), f"{where}: substrate.units")
    units = [dict(unit) for unit in choice["units"]]
    for name, value in parameters.items():
        _set_parameter(units, labels, name, value, axis_place(where, name))
    block = {**choice, "units": units}
    return substrate_from_study(block, folder, f"{where}: substrate")


def _set_parameter(
    units: list[dict[str, Any]], labels: tuple[str, ...], name: str, value: Any, where: str
) -> None:
    """Set a parameter of all units that have it, or of the one that is named."""
    label, _, parameter = name.rpartition(".")
    if label.endswith(".weights"):
        _set_weight(units, labels, name, value, where)
        return
    chosen = [
        unit
        for own, unit in zip(labels, units, strict=True)
        if label in ("", own) and gates.has_parameter(unit.get("gate", unit.get("kind")), parameter)
    ]
    if not chosen:
        raise SpecError(f"{where}: no unit of the substrate has this parameter; {_hint(name)}")
    for unit in chosen:
        unit[parameter] = list(value) if isinstance(value, tuple) else value


def _set_weight(
    units: list[dict[str, Any]], labels: tuple[str, ...], name: str, value: Any, where: str
) -> None:
    """Set the weight of one input of one unit."""
    label, _, source = name.rpartition(".weights.")
    if label not in labels:
        raise SpecError(f"{where}: no unit is called {label!r}")
    unit = units[labels.index(label)]
    inputs = notation.parse_units(unit.get("inputs", ()), labels, f"unit {label!r}: inputs")
    sources = [labels[number] for number in inputs]
    if source not in sources or "weights" not in unit:
        raise SpecError(f"{where}: unit {label!r} has no such weight")
    unit["weights"] = list(unit["weights"])
    unit["weights"][sources.index(source)] = value


def require_parameter_name(name: str, where: str) -> None:
    """Refuse the name of an axis that is no parameter of any gate."""
    known = {*gates.PARAMETERS, *WEIGHT_PARAMETERS}
    if name.rpartition(".")[2] not in known and ".weights." not in name:
        raise SpecError(f"{where}: no gate has this parameter; {_hint(name)}")


def require_weight_parameters(parameters: Iterable[str], where: str) -> None:
    """Refuse parameters that units made of weights do not have."""
    known = ", ".join(WEIGHT_PARAMETERS)
    for name in parameters:
        if name not in WEIGHT_PARAMETERS:
            raise SpecError(f"{axis_place(where, name)}: expected {known} of units of weights")


def axis_place(where: str, name: str) -> str:
    """Return what to call an axis in messages: ``sweep: noise``, after the name of a study."""
    return f"{where}: {name}" if where == "sweep" else f"{where}: sweep: {name}"


def _hint(name: str) -> str:
    """Suggest the parameter, or the axis, that a name could be meant for."""
    parameter = name.rpartition(".")[2]
    return notation.suggestion(parameter, [*OTHER_AXES, *gates.PARAMETERS])


def _choice_names(choices: Sequence[Any]) -> Iterator[str]:
    """Name every substrate along its axis."""
    for number, choice in enumerate(choices):
        if isinstance(choice, FamilyMember):
            yield choice.family.member_name(choice.number)
        elif isinstance(choice, Checkpoint):
            yield str(choice.name)
        elif isinstance(choice, str | Path):
            yield Path(choice).stem if Path(choice).suffix else str(choice)
        elif isinstance(choice, Mapping) and "example" in choice:
            yield str(choice["example"])
        else:
            yield f"substrate-{number}"


def _axis_labels(choices: Sequence[Any]) -> tuple[Any, ...]:
    numbers = [each.name for each in choices if isinstance(each, Checkpoint)]
    if len(numbers) == len(choices) and all(isinstance(name, int) for name in numbers):
        return tuple(numbers)
    return make_unique(_choice_names(choices), "{}-{}")


def make_unique(names: Iterable[str], pattern: str) -> tuple[str, ...]:
    """Number the repetitions of names: two writings of one value are two values."""
    seen: dict[str, int] = {}
    unique = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        unique.append(name if seen[name] == 1 else pattern.format(name, seen[name]))
    return tuple(unique)
