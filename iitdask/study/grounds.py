"""The substrates of a sweep: every substrate with every setting of its units' parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from iitdask.errors import InputError, SpecError
from iitdask.model import examples, gates, notation
from iitdask.model.batch import Batch, is_small
from iitdask.model.families import Family
from iitdask.model.readers import load, substrate_from
from iitdask.model.substrate import Substrate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from iitdask.study.axes import Axis

__all__ = ["Grounds", "Kind", "grounds_of"]


@dataclass(frozen=True, slots=True)
class Kind:
    """Substrates whose units have the same names and numbers of values."""

    levels: tuple[int, ...]
    """Values per unit."""
    labels: tuple[str, ...]
    """Names of the units."""


@dataclass(frozen=True, eq=False)
class Grounds:
    """All substrates of a sweep, in C order of the dimensions they vary over."""

    dims: dict[str, int]
    """Dimensions that decide about substrates, with their lengths."""
    kinds: tuple[Kind, ...]
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
class _Made:
    """What is put together, ground by ground."""

    kind: NDArray[Any]
    place: NDArray[Any]
    kinds: dict[Kind, int]
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
        self.kind[numbers] = self._kind(Kind((2,) * family.n, family.labels))
        self._lay(batch)

    def one(self, number: int, substrate: Substrate) -> None:
        """Put a substrate in its place."""
        self.made[number] = substrate
        self.kind[number] = self._kind(Kind(substrate.levels, substrate.labels))
        if is_small(substrate):
            self.place[number] = self.laid
            self._lay(Batch.of([substrate]))

    def _lay(self, batch: Batch) -> None:
        self.batches.append(batch)
        self.laid += len(batch)

    def _kind(self, kind: Kind) -> int:
        return self.kinds.setdefault(kind, len(self.kinds))


def grounds_of(
    base: Substrate | Mapping[str, Any] | None, axes: Sequence[Axis], folder: Path, where: str
) -> Grounds:
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
    listed = _listed(base, own, where)
    dims: dict[str, int] = {}
    for axis in own:
        length = len(listed) if axis.name == "substrate" else len(axis.values)  # type: ignore[arg-type]
        dims[axis.dim] = length
    total = math.prod(dims.values())
    made = _Made(np.full(total, -1), np.full(total, -1), {}, [], 0, {}, {})
    source = next((axis.dim for axis in own if axis.name == "substrate"), None)
    for numbers, choice, parameters in _combined(dims, own, listed, source):
        if isinstance(choice, tuple) and len(numbers) == choice[0].count:
            made.family(numbers, _altered(choice[0], parameters, where))
            continue
        for number in numbers.tolist():
            try:
                made.one(number, _built(choice, parameters, folder, where))
            except SpecError:
                raise
            except InputError as error:
                made.problems[number] = str(error)
    if len(made.problems) == total:
        raise SpecError(next(iter(made.problems.values())))
    names = tuple(_names(listed)) if source is not None else ()
    return Grounds(
        dims,
        tuple(made.kinds),
        made.kind,
        Batch.joined(made.batches),
        made.place,
        made.made,
        made.problems,
        names,
    )


def _listed(base: Any, own: Sequence[Axis], where: str) -> list[Any]:
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


def _combined(
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


def _altered(family: Family, parameters: Mapping[str, Any], where: str) -> Family:
    for name in parameters:
        if not family.takes(name):
            raise SpecError(f"{where}: sweep: {name}: no gate of the family has this parameter")
    return family.altered(parameters)


def _built(choice: Any, parameters: Mapping[str, Any], folder: Path, where: str) -> Substrate:
    """Build one substrate."""
    if isinstance(choice, tuple):
        family = _altered(choice[0], parameters, where)
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
            else substrate_from(choice, folder, f"{where}: substrate")
        )
    return substrate_from(_with(choice, parameters, where), folder, f"{where}: substrate")


def _with(block: Any, parameters: Mapping[str, Any], where: str) -> dict[str, Any]:
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
        _set(units, labels, name, value, where)
    return {**block, "units": units}


def _set(
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
        if label in ("", own) and gates.takes(str(unit.get("gate", unit.get("kind"))), parameter)
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
    inputs = notation.resolved(
        unit.get("inputs", ()), notation.numbered(tuple(labels)), f"unit {label!r}: inputs"
    )
    places = [k for k, number in enumerate(inputs) if labels[number] == source]
    if not places or "weights" not in unit:
        raise SpecError(f"sweep: {label}.weights.{source}: unit {label!r} has no such weight")
    weights = list(unit["weights"])
    weights[places[0]] = value
    unit["weights"] = weights


def _names(listed: Sequence[Any]) -> Iterator[str]:
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
