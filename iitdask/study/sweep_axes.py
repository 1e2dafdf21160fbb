"""Axes of a sweep, parsed from the ``sweep:`` block of a study into frozen values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from iitdask.errors import SpecError
from iitdask.model.batch import Family, rule_classes

__all__ = [
    "NON_PARAMETER_AXES",
    "Axis",
    "ValueRule",
    "read_axes",
]

NON_PARAMETER_AXES = ("substrate", "state", "units", "theory", "compute", "before", "after")
"""Axes that are no parameters of units."""
STATE_RULES = ("all", "reachable", "trajectory")
MAX_AXIS_VALUES = 10**7
"""Values an axis may have."""


@dataclass(frozen=True, slots=True)
class ValueRule:
    """Values of an axis that depend on the substrates."""

    kind: str
    """``all``, ``reachable`` or ``trajectory`` of states; ``all`` or ``size`` of units."""
    size: int = 0
    """Units of a candidate."""
    start: Any = None
    """State a trajectory starts from; None: a random one."""
    steps: int = 0
    """Steps of a trajectory."""
    burn: int = 0
    """Steps at its beginning that do not count."""
    seed: int = 0
    """What decides its random choices."""


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """One axis."""

    name: str
    """One of ``NON_PARAMETER_AXES``, a parameter of units, or ``UNIT.parameter``."""
    values: ValueRule | tuple[Any, ...]
    """What it takes on."""
    dim: str
    """Dimension of the result; zipped axes share one."""

    @property
    def is_parameter(self) -> bool:
        """Whether it is a parameter of units."""
        return self.name not in NON_PARAMETER_AXES


def read_axes(block: Any, where: str = "sweep") -> tuple[Axis, ...]:
    """Read the axes of a sweep.

    Parameters
    ----------
    block : mapping
        From the name of an axis to its values: a list, or a mapping with one of ``linspace``,
        ``geomspace`` and ``range``; ``state`` also takes ``all``, ``reachable`` and
        ``{trajectory: {...}}``, ``units`` ``all`` and ``{size: n}``, ``substrate`` a family,
        alone or in the list, ``number`` ``elementary-88``. Under ``zip`` a mapping, or a list of
        mappings, of axes that go through their values together.
    where : str
        What to call the block in messages.

    Raises
    ------
    SpecError
        An axis is not acceptable.
    """
    if not isinstance(block, Mapping) or not block:
        raise SpecError(f"{where}: expected a mapping from axes to values, got {block!r}")
    axes: list[Axis] = []
    for name, given in block.items():
        if name == "zip":
            groups = given if isinstance(given, list | tuple) else [given]
            for number, group in enumerate(groups):
                axes += _read_zipped(group, f"{where}: zip {number}")
        else:
            axes.append(
                Axis(str(name), _read_values(str(name), given, f"{where}: {name}"), str(name))
            )
    names = [axis.name for axis in axes]
    for name in names:
        if names.count(name) > 1:
            raise SpecError(f"{where}: {name}: an axis is given twice")
    return tuple(axes)


def _read_zipped(group: Any, where: str) -> list[Axis]:
    if not isinstance(group, Mapping) or len(group) < 2:
        raise SpecError(f"{where}: expected a mapping of two or more axes, got {group!r}")
    dim = str(next(iter(group)))
    axes = []
    for name, given in group.items():
        values = _read_values(str(name), given, f"{where}: {name}", distinct=name == dim)
        if isinstance(values, ValueRule):
            raise SpecError(f"{where}: {name}: expected a list to go with others, got {given!r}")
        axes.append(Axis(str(name), values, dim))
    lengths = {axis.name: _n_values(axis.values) for axis in axes}
    if len(set(lengths.values())) > 1:
        raise SpecError(f"{where}: expected axes of one length, got {lengths}")
    return axes


def _n_values(values: Any) -> int:
    return sum(v.count if isinstance(v, Family) else 1 for v in values)


def _read_values(name: str, given: Any, where: str, *, distinct: bool = True) -> Any:
    if name in ("state", "before", "after", "units"):
        rule = _read_rule(name, given, where)
        if rule is not None:
            return rule
    if name == "substrate" and isinstance(given, Mapping) and "family" in given:
        return _expand_families(given, where)
    if name == "number" and given == "elementary-88":
        return rule_classes()
    if isinstance(given, Mapping):
        return _spaced_numbers(given, where)
    if isinstance(given, str) or not isinstance(given, Sequence | np.ndarray):
        raise SpecError(f"{where}: expected a list of values, got {given!r}")
    values = tuple(v.item() if isinstance(v, np.generic) else v for v in given)
    if name == "substrate":
        values = tuple(each for v in values for each in _expand_families(v, where))
    if not 0 < len(values) <= MAX_AXIS_VALUES:
        raise SpecError(f"{where}: expected 1 to {MAX_AXIS_VALUES} values, got {len(values)}")
    if distinct and name != "substrate":
        _require_distinct(values, where)
    for value in values if name not in NON_PARAMETER_AXES else ():
        _require_numbers(value, where)
    return values


def _expand_families(given: Any, where: str) -> tuple[Any, ...]:
    """A family for every number of units it is asked for, any other substrate as it is."""
    if isinstance(given, Mapping) and "family" in given:
        return Family.from_block(given, where)
    return (given,)


def _require_distinct(values: Sequence[Any], where: str) -> None:
    seen: set[str] = set()
    for value in values:
        if repr(value) in seen:
            raise SpecError(f"{where}: value {value!r} is given twice")
        seen.add(repr(value))


def _require_numbers(value: Any, where: str) -> None:
    each = value if isinstance(value, list | tuple) else [value]
    if not each or any(isinstance(v, bool) or not isinstance(v, int | float) for v in each):
        raise SpecError(f"{where}: expected numbers, or lists of numbers, got {value!r}")


def _spaced_numbers(given: Mapping[str, Any], where: str) -> tuple[float, ...]:
    kind = next(iter(given)) if len(given) == 1 else None
    forms = {
        "linspace": "[first, last, how many]",
        "geomspace": "[first, last, how many]",
        "range": "[first, end, step]",
    }
    if kind not in forms:
        raise SpecError(
            f"{where}: expected a list or one of {', '.join(forms)}, got {dict(given)!r}"
        )
    three = given[kind]
    fine = isinstance(three, list | tuple) and len(three) == 3
    if not fine or any(
        isinstance(v, bool) or not isinstance(v, int | float) or not math.isfinite(v) for v in three
    ):
        raise SpecError(f"{where}: {kind}: expected {forms[kind]}, got {three!r}")
    if kind == "range":
        if three[2] == 0 or (three[1] - three[0]) / three[2] > MAX_AXIS_VALUES:
            raise SpecError(f"{where}: range: expected a step that leads to the end, got {three!r}")
        values = np.arange(*three)
    else:
        count = three[2]
        if not isinstance(count, int) or not 1 <= count <= MAX_AXIS_VALUES:
            raise SpecError(f"{where}: {kind}: expected a whole number of values, got {count!r}")
        if kind == "geomspace" and three[0] * three[1] <= 0:
            raise SpecError(f"{where}: geomspace: expected ends of one sign, got {three!r}")
        values = (np.linspace if kind == "linspace" else np.geomspace)(three[0], three[1], count)
    if not len(values):
        raise SpecError(f"{where}: {kind}: expected at least one value, got none")
    return tuple(values.tolist())


def _read_rule(name: str, given: Any, where: str) -> ValueRule | None:
    if name == "units":
        if given == "all":
            return ValueRule("all")
        if isinstance(given, Mapping):
            size = given.get("size")
            if set(given) != {"size"} or isinstance(size, bool) or not isinstance(size, int):
                raise SpecError(f"{where}: expected {{size: how many}}, got {dict(given)!r}")
            return ValueRule("size", size=size)
        return None
    if isinstance(given, str):
        if given not in STATE_RULES[:2]:
            raise SpecError(f"{where}: expected all, reachable or a list of states, got {given!r}")
        return ValueRule(given)
    if isinstance(given, Mapping):
        if set(given) != {"trajectory"} or not isinstance(given["trajectory"], Mapping):
            raise SpecError(f"{where}: expected {{trajectory: {{steps: ...}}}}, got {given!r}")
        return _read_trajectory(given["trajectory"], f"{where}: trajectory")
    return None


def _read_trajectory(given: Mapping[str, Any], where: str) -> ValueRule:
    for key in given:
        if key not in ("start", "steps", "burn", "seed"):
            raise SpecError(f"{where}: unknown key {key!r}; it has start, steps, burn, seed")
    numbers = {"steps": given.get("steps"), "burn": given.get("burn", 0)}
    numbers["seed"] = given.get("seed", 0)
    for key, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < (key == "steps"):
            raise SpecError(f"{where}: {key}: expected a whole number, got {value!r}")
    return ValueRule(
        "trajectory", start=given.get("start"), **{k: int(v or 0) for k, v in numbers.items()}
    )
