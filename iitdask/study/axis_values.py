"""Meaning of axis values: the substrates of a sweep, their states and their candidate systems."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iitdask.errors import InputError, SpecError
from iitdask.kernels.batch_tables import mark_reachable_states
from iitdask.model import examples, gates
from iitdask.model import labels as notation
from iitdask.model.batch import MAX_TABLE_STATES, Batch, Family, is_batchable
from iitdask.model.labels import join_labels, state_text
from iitdask.model.readers import load, substrate_from_study
from iitdask.model.substrate import Substrate
from iitdask.study.sweep_axes import Axis, ValueRule

__all__ = [
    "AxisValues",
    "SubstrateGrid",
    "UnitSignature",
    "build_substrates",
    "state_values",
    "units_values",
]


@dataclass(frozen=True, slots=True)
class UnitSignature:
    """Substrates whose units have the same names and numbers of values."""

    levels: tuple[int, ...]
    """Values per unit."""
    labels: tuple[str, ...]
    """Names of the units."""


@dataclass(frozen=True, eq=False)
class SubstrateGrid:
    """All substrates of a sweep, in C order of the dimensions they vary over."""

    dims: dict[str, int]
    """Dimensions that decide about substrates, with their lengths."""
    kinds: tuple[UnitSignature, ...]
    """The kinds there are."""
    kind: NDArray[Any]
    """(G,) which kind each is of, -1 where there is no substrate."""
    batch: Batch
    """The small ones."""
    place: NDArray[Any]
    """(G,) number in the batch, -1 of those that are not small."""
    made: Mapping[int, Substrate]
    """Those that were built one by one."""
    problems: Mapping[int, str]
    """Why there is no substrate."""
    names: tuple[str, ...]
    """Along the axis of substrates, if there is one."""

    def substrate(self, number: int) -> Substrate:
        """One of them."""
        if number in self.made:
            return self.made[number]
        labels = self.kinds[int(self.kind[number])].labels
        return self.batch.substrate(int(self.place[number]), labels)

    def fingerprint(self, number: int) -> str:
        """What tells the content of one from others."""
        return self.substrate(number).fingerprint


@dataclass(slots=True)
class _SubstrateBuilder:
    """What is put together, ground by ground."""

    kind: NDArray[Any]
    place: NDArray[Any]
    kinds: dict[UnitSignature, int]
    batches: list[Batch]
    laid: int
    made: dict[int, Substrate]
    problems: dict[int, str]

    def family(self, numbers: NDArray[Any], family: Family) -> None:
        """Put all members of a family in their places."""
        try:
            batch = family.batch()
        except InputError as error:
            self.problems.update(dict.fromkeys(numbers.tolist(), str(error)))
            return
        self.place[numbers] = self.laid + np.arange(len(numbers))
        self.kind[numbers] = self._kind(UnitSignature((2,) * family.n, family.labels))
        self._lay(batch)

    def one(self, number: int, substrate: Substrate) -> None:
        """Put a substrate in its place."""
        self.made[number] = substrate
        self.kind[number] = self._kind(UnitSignature(substrate.levels, substrate.labels))
        if is_batchable(substrate):
            self.place[number] = self.laid
            self._lay(Batch.from_substrates([substrate]))

    def _lay(self, batch: Batch) -> None:
        self.batches.append(batch)
        self.laid += len(batch)

    def _kind(self, kind: UnitSignature) -> int:
        return self.kinds.setdefault(kind, len(self.kinds))


def build_substrates(
    base: Substrate | Mapping[str, Any] | None, axes: Sequence[Axis], folder: Path, where: str
) -> SubstrateGrid:
    """Build all substrates of a sweep.

    Parameters
    ----------
    base
        The substrate, or its block, unless there is an axis of substrates.
    axes
        All axes of the sweep.
    folder
        Where relative file names start.
    where
        What to call the study in messages.

    Raises
    ------
    InputError
        None of the substrates can be built, or a parameter has no unit to belong to.
    """
    own = [axis for axis in axes if axis.is_parameter or axis.name == "substrate"]
    listed = _expand_choices(base, own, where)
    dims: dict[str, int] = {}
    for axis in own:
        length = len(listed) if axis.name == "substrate" else len(axis.values)  # type: ignore[arg-type]
        dims[axis.dim] = length
    total = math.prod(dims.values())
    made = _SubstrateBuilder(np.full(total, -1), np.full(total, -1), {}, [], 0, {}, {})
    source = next((axis.dim for axis in own if axis.name == "substrate"), None)
    for numbers, choice, parameters in _iter_combinations(dims, own, listed, source):
        if isinstance(choice, tuple) and len(numbers) == choice[0].count:
            made.family(numbers, _family_with_parameters(choice[0], parameters, where))
            continue
        for number in numbers.tolist():
            try:
                made.one(number, _build_one(choice, parameters, folder, where))
            except SpecError:
                raise
            except InputError as error:
                made.problems[number] = str(error)
    if len(made.problems) == total:
        raise SpecError(next(iter(made.problems.values())))
    names = tuple(_unique_names(listed)) if source is not None else ()
    return SubstrateGrid(
        dims,
        tuple(made.kinds),
        made.kind,
        Batch.joined(made.batches),
        made.place,
        made.made,
        made.problems,
        names,
    )


def _expand_choices(base: Any, own: Sequence[Axis], where: str) -> list[Any]:
    """Everything along the axis of substrates; members of families as (family, number)."""
    given = [axis for axis in own if axis.name == "substrate"]
    if not given:
        if base is None:
            raise SpecError(f"{where}: substrate: expected one, or an axis of them, got nothing")
        return [base]
    out: list[Any] = []
    for value in given[0].values:  # type: ignore[union-attr]
        out += [(value, i) for i in range(value.count)] if isinstance(value, Family) else [value]
    return out


def _iter_combinations(
    dims: Mapping[str, int], own: Sequence[Axis], listed: Sequence[Any], source: str | None
) -> Iterator[tuple[NDArray[Any], Any, dict[str, Any]]]:
    """Numbers of grounds, what they are made from, and the parameters they get."""
    numbers = np.arange(math.prod(dims.values())).reshape(tuple(dims.values()) or (1,))
    parameters = [axis for axis in own if axis.is_parameter]
    zipped = any(axis.dim == source for axis in parameters)
    free = [dim for dim in dims if dim != source]
    for places in product(*(range(dims[dim]) for dim in free)):
        at = dict(zip(free, places, strict=True))
        index = tuple(at.get(dim, slice(None)) for dim in dims)
        line = np.atleast_1d(numbers[index]) if dims else numbers
        fixed = {a.name: a.values[at[a.dim]] for a in parameters if a.dim in at}  # type: ignore[index]
        k = 0
        while k < len(listed):
            choice = listed[k]
            step = choice[0].count if isinstance(choice, tuple) and not zipped else 1
            along = {a.name: a.values[k] for a in parameters if a.dim == source}  # type: ignore[index]
            yield line[k : k + step], choice, fixed | along
            k += step


def _family_with_parameters(family: Family, parameters: Mapping[str, Any], where: str) -> Family:
    for name in parameters:
        if not family.takes(name):
            raise SpecError(f"{where}: sweep: {name}: no gate of the family has this parameter")
    return family.with_gate_parameters(parameters)


def _build_one(choice: Any, parameters: Mapping[str, Any], folder: Path, where: str) -> Substrate:
    """Build one substrate."""
    if isinstance(choice, tuple):
        family = _family_with_parameters(choice[0], parameters, where)
        return Substrate.from_units(family.block(choice[1])["units"])
    if isinstance(choice, str | Path):
        choice = {"example": str(choice)} if str(choice) in examples.names() else choice
    if isinstance(choice, str | Path):
        if parameters:
            raise SpecError(
                f"{where}: sweep: {next(iter(parameters))}: {choice} is a file; name "
                "the units in the study to sweep their parameters"
            )
        return load(folder / choice)
    if not parameters:
        return (
            choice
            if isinstance(choice, Substrate)
            else substrate_from_study(choice, folder, f"{where}: substrate")
        )
    return substrate_from_study(
        _block_with_parameters(choice, parameters, where), folder, f"{where}: substrate"
    )


def _block_with_parameters(block: Any, parameters: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return a substrate block with parameters of its units replaced."""
    if isinstance(block, Mapping) and "example" in block:
        block = examples.spec(block["example"])["substrate"]
    if not isinstance(block, Mapping) or "units" not in block:
        name = next(iter(parameters))
        raise SpecError(
            f"{where}: sweep: {name}: expected a substrate made of `units`, whose parameters it "
            "could be"
        )
    units = [dict(unit) for unit in block["units"]]
    given = [unit.get("label") for unit in units]
    known = block.get("labels") or notation.default_labels(len(units))
    labels = [str(own or other) for own, other in zip(given, known, strict=True)]
    for name, value in parameters.items():
        _set_parameter(units, labels, name, value, where)
    return {**block, "units": units}


def _set_parameter(
    units: list[dict[str, Any]], labels: Sequence[str], name: str, value: Any, where: str
) -> None:
    """Set a parameter of all units that have it, or of the one that is named."""
    label, _, parameter = name.rpartition(".")
    if label.endswith(".weights"):
        _set_weight(units, labels, label.removesuffix(".weights"), parameter, value)
        return
    chosen = [
        unit
        for own, unit in zip(labels, units, strict=True)
        if label in ("", own)
        and gates.has_parameter(str(unit.get("gate", unit.get("kind"))), parameter)
    ]
    if not chosen:
        raise SpecError(f"{where}: sweep: {name}: no unit of the substrate has this parameter")
    for unit in chosen:
        unit[parameter] = list(value) if isinstance(value, tuple) else value


def _set_weight(
    units: list[dict[str, Any]], labels: Sequence[str], label: str, source: str, value: Any
) -> None:
    """Set the weight of one input of one unit."""
    if label not in labels:
        raise SpecError(f"sweep: {label}.weights.{source}: no unit is called {label!r}")
    unit = units[list(labels).index(label)]
    inputs = notation.parse_units(
        unit.get("inputs", ()), notation.unit_numbers(tuple(labels)), f"unit {label!r}: inputs"
    )
    places = [k for k, number in enumerate(inputs) if labels[number] == source]
    if not places or "weights" not in unit:
        raise SpecError(f"sweep: {label}.weights.{source}: unit {label!r} has no such weight")
    weights = list(unit["weights"])
    weights[places[0]] = value
    unit["weights"] = weights


def _unique_names(listed: Sequence[Any]) -> Iterator[str]:
    """Name every substrate, each differently."""
    seen: dict[str, int] = {}
    members: dict[int, list[str]] = {}
    for number, choice in enumerate(listed):
        if isinstance(choice, tuple):
            name = members.setdefault(id(choice[0]), choice[0].names())[choice[1]]
        elif isinstance(choice, str | Path):
            name = Path(choice).stem if Path(choice).suffix else str(choice)
        elif isinstance(choice, Mapping) and "example" in choice:
            name = str(choice["example"])
        else:
            name = f"substrate-{number}"
        seen[name] = seen.get(name, 0) + 1
        yield name if seen[name] == 1 else f"{name}-{seen[name]}"


NO_SUCH_STATE = "a substrate with units like these has no such state"


@dataclass(frozen=True, slots=True, eq=False)
class AxisValues:
    """The values of an axis of states or of candidate systems."""

    labels: tuple[str, ...]
    """What each is called in the result."""
    raw: tuple[Any, ...]
    """Each as it was given."""
    numbers: NDArray[Any]
    """(kinds, values) state as a little-endian number, units as a mask; -1 where none fits."""
    problems: dict[tuple[int, int], str]
    """Why a value does not fit a kind."""
    frequency: NDArray[Any] | None = None
    """(G, values) share of a trajectory's steps, where the values come from one."""


def state_values(given: Any, grounds: SubstrateGrid, where: str) -> AxisValues:
    """Read states: one, a list of them, or a rule.

    Raises
    ------
    SpecError
        A rule needs all states of a substrate that has too many, or no state fits anywhere.
    """
    if isinstance(given, ValueRule):
        return _rule_states(given, grounds, where)
    return _read_listed(given, grounds.kinds, _state_code, where)


def units_values(given: Any, grounds: SubstrateGrid, where: str) -> AxisValues:
    """Read candidate systems: one, a list of them, or a rule."""
    if isinstance(given, ValueRule):
        names: dict[str, Any] = {}
        for kind in grounds.kinds:
            n = len(kind.labels)
            if n > 16 and given.kind == "all":
                raise SpecError(f"{where}: all: {2**n - 1} candidates are too many; give a size")
            sizes = [given.size] if given.kind == "size" else range(1, n + 1)
            for size in sizes:
                for chosen in combinations(range(n), size):
                    own = [kind.labels[i] for i in chosen]
                    names.setdefault(join_labels(own, kind.labels), own)
        if not names:
            raise SpecError(f"{where}: no substrate has {given.size} units")
        given = tuple(names.values())
    return _read_listed(given, grounds.kinds, _unit_mask, where)


def _read_listed(
    given: Sequence[Any], kinds: Sequence[UnitSignature], read: Any, where: str
) -> AxisValues:
    numbers = np.full((len(kinds), len(given)), -1)
    problems: dict[tuple[int, int], str] = {}
    labels: list[str] = []
    for v, value in enumerate(given):
        name = None
        for k, kind in enumerate(kinds):
            try:
                numbers[k, v], text = read(value, kind)
                name = name or text
            except InputError as error:
                problems[k, v] = str(error)
        labels.append(name or str(value))
    if len(problems) == numbers.size:
        raise SpecError(f"{where}: {next(iter(problems.values()))}")
    return AxisValues(_unique_labels(labels), tuple(given), numbers, problems)


def _unique_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """Labels with what repeats numbered: two writings of one value are two values."""
    seen: dict[str, int] = {}
    out = []
    for label in labels:
        seen[label] = seen.get(label, 0) + 1
        out.append(label if seen[label] == 1 else f"{label} ({seen[label]})")
    return tuple(out)


def _state_code(value: Any, kind: UnitSignature) -> tuple[int, str]:
    state = notation.parse_state(value, kind.levels, kind.labels)
    if math.prod(kind.levels) > MAX_TABLE_STATES:
        return 0, state_text(state)
    code = 0
    for one, k in zip(reversed(state), reversed(kind.levels), strict=True):
        code = code * k + one
    return code, state_text(state)


def _unit_mask(value: Any, kind: UnitSignature) -> tuple[int, str]:
    if value is None:
        chosen = tuple(range(len(kind.labels)))
    else:
        chosen = tuple(
            sorted(notation.parse_units(value, notation.unit_numbers(kind.labels), "units"))
        )
    if not chosen:
        raise InputError("units: expected at least one unit, got none")
    text = join_labels([kind.labels[i] for i in chosen], kind.labels)
    return (sum(1 << i for i in chosen) if len(kind.labels) <= 62 else 0), text


def _rule_states(rule: ValueRule, grounds: SubstrateGrid, where: str) -> AxisValues:
    """States that a rule stands for, over all kinds of substrates."""
    for kind in grounds.kinds:
        if math.prod(kind.levels) > MAX_TABLE_STATES:
            raise SpecError(
                f"{where}: {rule.kind}: a substrate of {len(kind.levels)} units has too many "
                f"states to list (at most {MAX_TABLE_STATES}); give a list of states"
            )
    visits = _trajectory_frequency(rule, grounds) if rule.kind == "trajectory" else None
    labels: dict[str, int] = {}
    codes: list[dict[str, int]] = []
    for k, kind in enumerate(grounds.kinds):
        every: Sequence[int] = range(math.prod(kind.levels))
        if rule.kind == "reachable":
            every = _reachable_codes(k, grounds)
        elif visits is not None:
            here = visits[grounds.kind == k][:, : len(every)]
            every = np.flatnonzero(here.any(axis=0)).tolist()
        own = {state_text(_state_of_code(code, kind.levels)): code for code in every}
        codes.append(
            {state_text(_state_of_code(c, kind.levels)): c for c in range(math.prod(kind.levels))}
        )
        for label in own:
            labels.setdefault(label, len(labels))
    if not labels:
        raise SpecError(f"{where}: {rule.kind}: there is no such state")
    numbers = np.array([[own.get(label, -1) for label in labels] for own in codes])
    problems = {(int(k), int(v)): NO_SUCH_STATE for k, v in np.argwhere(numbers < 0)}
    frequency = None
    if visits is not None:
        frequency = np.zeros((len(grounds.kind), len(labels)))
        for g, k in enumerate(grounds.kind.tolist()):
            if k >= 0:
                there = numbers[k] >= 0
                frequency[g, there] = visits[g, numbers[k][there]]
    return AxisValues(tuple(labels), tuple(labels), numbers, problems, frequency)


def _state_of_code(code: int, levels: Sequence[int]) -> list[int]:
    out = []
    for k in levels:
        out.append(code % k)
        code //= k
    return out


def _reachable_codes(k: int, grounds: SubstrateGrid) -> list[int]:
    """States that have a past in some substrate of a kind."""
    batch = grounds.batch
    out = np.zeros(math.prod(grounds.kinds[k].levels), np.bool_)
    levels = np.array(grounds.kinds[k].levels, np.int64)
    for place in np.unique(grounds.place[grounds.kind == k]).tolist():
        mark_reachable_states(batch.tables, batch.starts, place, place + 1, levels, out)
        if out.all():
            break
    return np.flatnonzero(out).tolist()


def _trajectory_frequency(rule: ValueRule, grounds: SubstrateGrid) -> NDArray[Any]:
    """(G, states) share of the steps that the trajectory of each substrate spends in a state."""
    most = max(math.prod(kind.levels) for kind in grounds.kinds)
    out = np.zeros((len(grounds.kind), most))
    for g, k in enumerate(grounds.kind.tolist()):
        if k < 0:
            continue
        kind, place = grounds.kinds[k], int(grounds.place[g])
        begin, end = grounds.batch.starts[place : place + 2]
        table = grounds.batch.tables[begin:end].reshape(math.prod(kind.levels), -1)
        rng = np.random.default_rng([rule.seed, 1])
        code = int(rng.integers(len(table)))
        if rule.start is not None:
            code, _ = _state_code(rule.start, kind)
        draws = rng.random((rule.burn + rule.steps, len(kind.levels)))
        for step in range(rule.burn + rule.steps):
            code = _sample_next_state(table[code], kind.levels, draws[step])
            if step >= rule.burn:
                out[g, code] += 1.0
    return out / rule.steps


def _sample_next_state(row: NDArray[Any], levels: Sequence[int], draws: NDArray[Any]) -> int:
    code, weight, column = 0, 1, 0
    for i, k in enumerate(levels):
        total, value = 0.0, 0
        while value < k - 1:
            total += row[column + value]
            if draws[i] < total:
                break
            value += 1
        code += value * weight
        weight *= k
        column += k
    return code
